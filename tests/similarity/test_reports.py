"""CKA of points: against activations and the written-out formula; and what must not be compared."""

import numpy as np
import pytest
import torch
from direct_cka import direct_cka
from evaluation_tasks import make_task
from random_tasks import random_task
from tiny import LABELS

import modeconn as mc
from modeconn.errors import EvaluationError, ModelError, TaskError
from modeconn.models.activations import activations
from modeconn.models.inputs import read_inputs
from modeconn.similarity import CKASettings, cka_along_path, cka_between, cka_drift
from modeconn.similarity.rows import COLUMNS, full_rows

LAYERS = ["embedding", "layers.0", "layers.1"]
MEAN = CKASettings(pooling="mean")


def features(model, point, task, pooling="mean", **options):
    return activations(model, point, read_inputs(model, task, **options), pooling=pooling).features


def square(found, column="cka"):
    """A layer-by-layer table as a matrix."""
    return found.frame.pivot(index="layer", columns="layer_reference", values=column).loc[LAYERS, LAYERS].to_numpy()


def test_all_pairs_of_layers_equal_the_formula(model, points, task):
    found = cka_between(points[0], points[1], model, task, settings=MEAN)
    x, y = (features(model, point, task) for point in points[:2])
    expected = [[direct_cka(x[a], y[b]) for b in LAYERS] for a in LAYERS]
    assert square(found) == pytest.approx(np.array(expected), abs=1e-4)
    biased = [[direct_cka(x[a], y[b], debiased=False) for b in LAYERS] for a in LAYERS]
    assert square(found, "cka_biased") == pytest.approx(np.array(biased), abs=1e-4)
    assert list(found.frame.columns) == list(COLUMNS)
    assert (found.frame["low"] <= found.frame["cka"]).all()
    assert (found.frame["cka"] <= found.frame["high"]).all()
    first = found.frame.iloc[0]
    assert (first["point"], first["reference"], first["num_examples"]) == ("llama-1", "llama-2", 30)
    assert found.checks["agree_with_peft_within"].keys() == {"llama-1", "llama-2"}


def test_the_base_is_like_itself_and_unlike_a_checkpoint(model, points, task):
    same = cka_between(None, None, model, task, settings=MEAN)
    assert square(same).diagonal() == pytest.approx(1, abs=1e-9)
    other = cka_between(points[0], None, model, task, settings=MEAN)
    assert square(other)[0, 0] == pytest.approx(1, abs=1e-9)  # no adapter reaches the embedding
    assert square(other)[2, 2] < 0.99


def test_a_path_begins_like_its_start_and_ends_like_the_matrix_of_its_ends(model, points, task):
    line = mc.LinearPath(*points[:2])
    found = cka_along_path(line, model, task, num_points=3, settings=MEAN)
    table = found.frame.pivot(index="layer", columns="t", values="cka").loc[LAYERS]
    assert table[0.0].to_numpy() == pytest.approx(1, abs=1e-9)
    matrix = square(cka_between(points[1], points[0], model, task, settings=MEAN))
    assert table[1.0].to_numpy() == pytest.approx(matrix.diagonal(), abs=1e-9)
    x, y = (features(model, point, task) for point in (line(0.5), points[0]))
    assert table[0.5].to_list() == pytest.approx([direct_cka(x[name], y[name]) for name in LAYERS], abs=1e-4)


@pytest.mark.parametrize(("reference", "like"), [("start", 0.0), ("end", 1.0)])
def test_the_reference_of_a_path_can_be_chosen(model, points, task, reference, like):
    line = mc.LinearPath(*points[:2])
    frame = cka_along_path(line, model, task, t=[0, 1], reference=reference, settings=MEAN).frame
    last = frame[frame["layer"] == "layers.1"].set_index("t")["cka"]
    assert last[like] == pytest.approx(1, abs=1e-9)
    assert last[1 - like] < 0.99


def test_a_path_against_the_base_is_each_point_against_the_base(model, points, task):
    frame = cka_along_path(mc.LinearPath(*points[:2]), model, task, t=[0, 1], reference="base", settings=MEAN).frame
    for t, point in ((0, points[0]), (1, points[1])):
        alone = square(cka_between(point, None, model, task, settings=MEAN)).diagonal()
        assert frame[frame["t"] == t]["cka"].to_numpy() == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize(
    ("reference", "others"), [("base", [None, None, None]), ("first", [0, 0, 0]), ("previous", [None, 0, 1])]
)
def test_drift_compares_each_checkpoint_with_its_reference(model, points, task, reference, others):
    frame = cka_drift(points, model, task, reference=reference, settings=MEAN).frame
    assert frame["step"].unique().tolist() == [1, 2, 3]
    for step, other in enumerate(others, 1):
        alone = cka_between(points[step - 1], None if other is None else points[other], model, task, settings=MEAN)
        assert frame[frame["step"] == step]["cka"].to_numpy() == pytest.approx(square(alone).diagonal(), abs=1e-9)


def test_minibatches_come_near_the_full_batch(model, points):
    task = random_task(labels=LABELS, num_examples=400)
    settings = [CKASettings(pooling="mean", minibatch_size=size) for size in (None, 20)]
    full, streamed = (cka_between(points[0], points[1], model, task, settings=one) for one in settings)
    assert square(streamed) == pytest.approx(square(full), abs=0.05)
    assert (streamed.frame["num_rows"] == 400).all()
    assert (streamed.frame["low"] < streamed.frame["high"])[1:].all()  # the embedding is the same
    assert streamed.frame["influence"].isna().all()


def test_a_last_small_minibatch_is_dealt_out(model, points):
    task = random_task(labels=LABELS, num_examples=43)
    found = cka_drift(points[:1], model, task, settings=CKASettings(pooling="mean", minibatch_size=20))
    assert (found.frame["num_rows"] == 43).all()


def test_tokens_are_rows(model, points, task):
    found = cka_along_path(
        mc.LinearPath(*points[:2]), model, task, t=[0, 1], settings=CKASettings(pooling="all-tokens"), check=False
    )
    assert (found.frame["num_rows"] == sum(read_inputs(model, task).lengths)).all()
    assert found.frame[found.frame["t"] == 0]["cka"].to_numpy() == pytest.approx(1, abs=1e-9)
    assert found.frame.query("t == 1 and layer == 'layers.1'")["cka"].item() < 0.99


def test_tokens_are_compared_with_those_of_other_examples(model, points, task):
    settings = CKASettings(pooling="all-tokens", minibatch_size=30, num_examples=30)
    found = cka_between(*points[:2], model, task, settings=settings, check=False).frame
    assert (found["num_together"] == 30).all()  # one token of each example
    assert (found["num_rows"] > 100).all()


def test_a_decoder_of_its_own_does_not_see_single_tokens_of_the_prompt(adapters, task):
    ends = [mc.Adapter.from_pretrained(adapters("t5", seed)) for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(adapters=ends)
    found = cka_between(*ends, model, task, settings=CKASettings(pooling="all-tokens"), check=False).frame
    assert set(found["layer"]) == {"encoder.embedding", "encoder.block.0", "encoder.block.1"}
    named = CKASettings(pooling="all-tokens", sites=("encoder.block.0", "decoder.block.0"))
    with pytest.raises(EvaluationError, match=r"(?s)other numbers of vectors at decoder.block.0\n.*pooling=\"mean\""):
        cka_between(*ends, model, task, settings=named, check=False)


def test_two_architectures_are_compared_by_text(model, points, adapters, task):
    other_point = mc.Adapter.from_pretrained(adapters("gpt2", 1))
    other = mc.AdapterModel.from_pretrained(adapters=[other_point])
    found = cka_between(points[0], other_point, model, task, reference_model=other, settings=MEAN)
    x, y = features(model, points[0], task), features(other, other_point, task)
    row = found.frame.query("layer == 'layers.1' and layer_reference == 'h.0'")
    assert row["cka"].item() == pytest.approx(direct_cka(x["layers.1"], y["h.0"]), abs=1e-4)
    with pytest.raises(EvaluationError, match="tokens of two tokenizers cannot be compared one by one"):
        cka_between(
            points[0], other_point, model, task, reference_model=other, settings=CKASettings(pooling="all-tokens")
        )


def test_activations_of_different_inputs_are_not_compared(model, task):
    other = random_task(labels=LABELS, num_examples=30, seed=1)
    both = [activations(model, None, read_inputs(model, one)) for one in (task, other)]
    with pytest.raises(EvaluationError, match=r"different inputs .*\n  expected: the same texts in the same order"):
        full_rows(*both, matched=True, settings=CKASettings())


def test_a_layer_that_does_not_vary_has_no_value_and_a_remark(model, points):
    task = make_task("same end", 0)  # all prompts end with one word
    found = cka_between(points[0], points[1], model, task)
    values = square(found)
    assert np.isnan(values[0]).all()
    assert np.isnan(values[:, 0]).all()
    assert np.isfinite(values[1:, 1:]).all()
    assert any("no value at embedding: the features do not vary" in note for note in found.notes)


def test_a_null_tells_chance_from_likeness(model, points, task):
    settings = CKASettings(pooling="mean", num_permutations=50)
    found = cka_between(points[0], points[1], model, task, settings=settings)
    assert (found.frame["p_value"] == 1 / 51).all()
    assert found.frame["null_high"].between(0, 0.5).all()


def test_remarks_on_few_examples_and_many_features(model, task):
    few = cka_between(None, None, model, task, settings=CKASettings(num_examples=8))
    assert few.notes[0] == "only 8 examples: the intervals are rough"
    assert few.notes[1].startswith(
        "16 and 16 features for 8 rows: unrelated features would have a cka_biased of about 0.67"
    )


def test_many_features_are_told_beside_the_rows_of_a_minibatch(model, points, task):
    found = cka_between(*points[:2], model, task, settings=CKASettings(pooling="mean", minibatch_size=10))
    assert "16 and 16 features for 10 rows at once: unrelated features would have a cka_biased of about 0.62" in str(
        found.notes
    )


def test_an_example_that_decides_is_told(model, task):
    from modeconn.models.activations import Activations
    from modeconn.similarity.remarks import remarks_on

    inputs = read_inputs(model, task)
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    moved = x.clone()
    moved[7] += 100
    sides = [Activations("a", inputs, "mean", {"layers.1": rows}) for rows in (x, moved)]
    frame = full_rows(*sides, matched=True, settings=CKASettings(num_resamples=0)).assign(task="words", split="test")
    decides, carried = remarks_on(frame)[1:]
    assert decides.startswith("example 7 of words/test decides: without it the cka of layers.1 is 1.00 instead")
    assert "the spread is that of about 1.1 of 30 examples" in carried


def test_prompts_that_were_cut_are_told(model, task):
    found = cka_between(None, None, model, task, encoding=mc.EncodingSettings(max_length=8))
    assert "prompts were cut to fit" in found.notes[-1]


def test_the_same_call_gives_the_same_bytes(model, points, task):
    tables = [cka_between(points[0], points[1], model, task, settings=MEAN).frame.to_csv() for _ in range(2)]
    assert tables[0] == tables[1]


def test_progress_is_told(model, points, task):
    told = []
    cka_drift(points, model, task, settings=MEAN, check=False, progress=lambda *what: told.append(what))
    assert told[0] == (0, 3, "words")
    assert told[-1] == (3, 3, "words")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_examples": 3}, r"num_examples at least 4[\s\S]*got: num_examples=3"),
        ({"minibatch_size": 2}, "got: minibatch_size=2"),
        ({"num_resamples": -1}, "got: num_resamples=-1"),
        ({"level": 1.0}, r"got: level=1\.0"),
        ({"pooling": "max"}, "unknown pooling 'max'"),
        ({"pooling": "all-tokens", "num_permutations": 9}, "a permutation null needs all examples together"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(EvaluationError, match=message):
        CKASettings(**settings)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"settings": CKASettings(sites="layers.9")}, ModelError, r"no layer 'layers\.9'"),
        ({"split": "eval"}, TaskError, "has no split 'eval'"),
        ({"reference": "middle"}, EvaluationError, r"unknown reference 'middle'\n  expected: start or end or base"),
        ({"num_points": 1}, EvaluationError, "too few points"),
        ({"task": random_task(num_examples=3)}, EvaluationError, "too few examples of words/test"),
    ],
)
def test_what_cannot_be_compared_is_refused(model, points, task, options, error, message):
    with pytest.raises(error, match=message):
        cka_along_path(mc.LinearPath(*points[:2]), model, **({"task": task} | options))


@pytest.mark.parametrize(
    ("count", "reference", "message"),
    [(0, "base", "there is no checkpoint to compare"), (2, "start", "expected: base or first or previous")],
)
def test_a_drift_of_nothing_or_against_nothing_is_refused(model, points, task, count, reference, message):
    with pytest.raises(EvaluationError, match=message):
        cka_drift(points[:count], model, task, reference=reference)


def test_an_adapter_of_another_base_is_refused(model, adapters, task):
    other = mc.Adapter.from_pretrained(adapters("gpt2", 1))
    with pytest.raises(ModelError, match="does not fit the base model"):
        cka_between(other, None, model, task)
