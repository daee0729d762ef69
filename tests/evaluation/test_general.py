"""Benchmarks of the lm-evaluation-harness on local tasks in the forms of MMLU, BBH and PIQA."""

import hashlib
import json
import logging
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from prompt_adapters import make_prompt

import modeconn as mc
from modeconn.errors import EvaluationError
from modeconn.evaluation.general import GENERAL_COLUMNS, SAMPLE_COLUMNS, GeneralScores, general_scores
from modeconn.evaluation.harness import check_known, run_benchmarks
from modeconn.evaluation.intervals import proportion_interval
from modeconn.evaluation.profile import PROFILE_COLUMNS

NUM = 12
LETTERS = ["good", "bad", "maybe", "yes"]
WORDS = ["sat", "ran", "is", "was"]
MEAN = {"aggregation": "mean", "higher_is_better": True}
NAMES = ["tiny_mmlu", "tiny_bbh", "tiny_piqa"]


def mmlu_docs() -> list[dict[str, Any]]:
    return [
        {"question": f"the cat {WORDS[i % 4]} {'big ' * (i % 3)}?", "choices": [*"abcd"], "answer": (i * 7) % 4}
        for i in range(NUM)
    ]


def piqa_docs() -> list[dict[str, Any]]:
    return [
        {"goal": f"dog {WORDS[i % 4]} on", "sol1": "the mat" + " ." * (i % 2), "sol2": "a red red cat", "label": i % 2}
        for i in range(NUM)
    ]


def bbh_docs() -> list[dict[str, Any]]:
    return [{"input": f"the {WORDS[i % 4]} cat {'big ' * (i % 5)}", "target": WORDS[i % 4]} for i in range(NUM)]


def mmlu_prompt(doc: dict[str, Any]) -> str:
    listed = "\n".join(f"{letter} . {choice}" for letter, choice in zip(LETTERS, doc["choices"], strict=True))
    return f"{doc['question'].strip()}\n{listed}\nanswer :"


def piqa_prompt(doc: dict[str, Any]) -> str:
    return f"question : {doc['goal']}\nanswer :"


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three tasks and a group of two of them."""
    pytest.importorskip("lm_eval", reason="the extra `general` is not installed")
    folder = tmp_path_factory.mktemp("benchmarks")
    mmlu = {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question.strip()}}\ngood . {{choices[0]}}\nbad . {{choices[1]}}\nmaybe . {{choices[2]}}\n"
        "yes . {{choices[3]}}\nanswer :",
        "doc_to_choice": LETTERS,
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", **MEAN}],
    }
    bbh = {
        "output_type": "generate_until",
        "doc_to_text": "question : {{input}} ? answer :",
        "doc_to_target": "{{target}}",
        "metric_list": [{"metric": "exact_match", **MEAN}],
        "generation_kwargs": {"until": ["</s>", "\n\n"], "max_gen_toks": 5, "do_sample": False},
        "filter_list": [
            {"name": "get-answer", "filter": [
                {"function": "regex", "regex_pattern": "(sat|ran|is|was)"}, {"function": "take_first"},
            ]},
        ],
        "fewshot_split": "test",
        "num_fewshot": 2,
    }  # fmt: skip
    piqa = {
        "output_type": "multiple_choice",
        "doc_to_text": "question : {{goal}}\nanswer :",
        "doc_to_target": "label",
        "doc_to_choice": "{{[sol1, sol2]}}",
        "metric_list": [{"metric": "acc", **MEAN}, {"metric": "acc_norm", **MEAN}],
    }
    every = {"tiny_mmlu": (mmlu, mmlu_docs()), "tiny_bbh": (bbh, bbh_docs()), "tiny_piqa": (piqa, piqa_docs())}
    for name, (settings, docs) in every.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
        where = {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")}
        shared = {"task": name, "dataset_path": "json", "dataset_kwargs": where, "test_split": "test"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**shared, **settings, "metadata": {"version": 2.0}}))
    group = {
        "group": "tiny_choices",
        "task": ["tiny_mmlu", "tiny_piqa"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
        "metadata": {"version": 1},
    }
    (folder / "tiny_choices.yaml").write_text(yaml.safe_dump(group))
    return folder


@pytest.fixture(scope="module")
def line(ends: list[mc.Adapter]) -> mc.LinearPath:
    return mc.LinearPath(*ends)


@pytest.fixture(scope="module")
def scores(line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path) -> GeneralScores:
    return general_scores(line, model, NAMES, t=[0, 0.5, 1], include_path=benchmarks)


def test_the_tables_have_the_keys_of_a_profile(scores: GeneralScores, line: mc.LinearPath) -> None:
    frame, samples = scores.frame, scores.samples
    assert tuple(frame.columns) == GENERAL_COLUMNS
    assert tuple(samples.columns) == SAMPLE_COLUMNS
    assert set(GENERAL_COLUMNS[:11]) <= set(PROFILE_COLUMNS)
    assert set(frame["path"]) == {line.name}
    assert set(frame["space"]) == {"weights"}
    assert set(frame["split"]) == {"harness"}
    assert sorted(frame["t"].unique()) == [0.0, 0.5, 1.0]
    metrics = {
        ("tiny_mmlu", "acc"),
        ("tiny_bbh", "exact_match,get-answer"),
        ("tiny_piqa", "acc"),
        ("tiny_piqa", "acc_norm"),
    }
    assert set(zip(frame["task"], frame["metric"], strict=True)) == metrics
    assert (frame["num_examples"] == NUM).all()
    assert frame["higher_is_better"].all()
    assert set(frame["version"]) == {"2.0"}
    assert dict(zip(frame["t"], frame["distance"], strict=True)) == {t: line.distance(t) for t in (0.0, 0.5, 1.0)}


def test_each_score_is_the_mean_of_its_samples_and_has_wilsons_interval(scores: GeneralScores) -> None:
    keys = ["task", "metric", "t"]
    each = scores.samples.groupby(keys)["score"]
    for key, row in scores.frame.set_index(keys).iterrows():
        values = each.get_group(key).to_numpy()
        assert len(values) == NUM
        assert row["score"] == pytest.approx(values.mean())
        assert (row["score_low"], row["score_high"]) == proportion_interval(values)
        assert row["stderr"] == pytest.approx(values.std(ddof=1) / NUM**0.5)


def test_the_points_differ(scores: GeneralScores) -> None:
    first = scores.samples.query("task == 'tiny_piqa' and metric == 'acc'")
    likelihoods = [np.array(own["log_likelihoods"].tolist()) for _, own in first.groupby("t")]
    assert all(np.abs(one - likelihoods[0]).max() > 1e-2 for one in likelihoods[1:])


def losses(model: mc.AdapterModel, point: mc.Adapter, prompts: list[str], answers: list[str]) -> np.ndarray:
    """The summed losses of given answers by this package, `[N]`, nats."""
    records = [{"prompt": prompt, "answer": answer} for prompt, answer in zip(prompts, answers, strict=True)]
    encoded = model.encode(mc.Task.from_records("own", {"test": records}))
    with model.at(point) as module:
        return model.score_rows(module, encoded)[0]


def own_log_likelihoods(model: mc.AdapterModel, point: mc.Adapter) -> dict[str, np.ndarray]:
    """Benchmark -> the log-likelihood of each choice by this package, `[N, C]`."""
    mmlu, piqa = mmlu_docs(), piqa_docs()
    asked = {
        "tiny_mmlu": ([mmlu_prompt(doc) for doc in mmlu], [[letter] * NUM for letter in LETTERS]),
        "tiny_piqa": ([piqa_prompt(doc) for doc in piqa], [[doc[name] for doc in piqa] for name in ("sol1", "sol2")]),
    }
    return {
        task: np.stack([-losses(model, point, prompts, answers) for answers in choices], axis=1)
        for task, (prompts, choices) in asked.items()
    }


def found_log_likelihoods(samples: pd.DataFrame, task: str) -> np.ndarray:
    """The harness's, of one point, `[N, C]`."""
    own = samples[(samples["task"] == task) & (samples["metric"] == "acc")].sort_values("example")
    return np.array(own["log_likelihoods"].tolist())


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_log_likelihoods_are_those_of_the_packages_own_scoring(
    scores: GeneralScores, line: mc.LinearPath, model: mc.AdapterModel, t: float
) -> None:
    for task, own in own_log_likelihoods(model, line(t)).items():
        found = found_log_likelihoods(scores.samples[scores.samples["t"] == t], task)
        np.testing.assert_allclose(found, own, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_log_likelihoods_of_other_families(family: str, adapters: Any, benchmarks: Path) -> None:
    end = mc.Adapter.from_pretrained(adapters(family, 1))
    model = mc.AdapterModel.from_pretrained(adapters=[end])
    samples = general_scores([end], model, NAMES, include_path=benchmarks).samples
    assert set(samples["task"]) == set(NAMES)
    for task, own in own_log_likelihoods(model, end).items():
        np.testing.assert_allclose(found_log_likelihoods(samples, task), own, atol=1e-4, rtol=0)


def test_accuracy_is_that_of_evaluate_path(scores: GeneralScores, line: mc.LinearPath, model: mc.AdapterModel) -> None:
    records = [{"prompt": mmlu_prompt(doc), "answer": LETTERS[doc["answer"]]} for doc in mmlu_docs()]
    task = mc.Task.from_records("tiny_mmlu", {"test": records}, labels=LETTERS)
    profile = mc.evaluate_path(line, model, [task], t=[0, 0.5, 1])
    keys = ["path", "task", "t", "example"]
    both = profile.examples.merge(scores.samples, on=keys, suffixes=("", "_harness"))
    assert len(both) == 3 * NUM
    pd.testing.assert_series_equal(both["score"], both["score_harness"], check_names=False)


def test_all_points_are_asked_the_same(scores: GeneralScores) -> None:
    written = scores.samples.query("task == 'tiny_bbh'")
    assert written.groupby("example")["prompt_hash"].nunique().eq(1).all()
    assert written["prompt_hash"].nunique() == NUM
    assert written["output"].notna().all()
    assert written["log_likelihoods"].isna().all()


def test_batch_size_changes_nothing(
    scores: GeneralScores, line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path
) -> None:
    again = general_scores(line, model, NAMES, t=[0.5], include_path=benchmarks, batch_size=3)
    before = scores.samples.query("t == 0.5").reset_index(drop=True)
    pd.testing.assert_frame_equal(again.samples.drop(columns="log_likelihoods"), before.drop(columns="log_likelihoods"))
    assert again.samples["score"].tolist() == before["score"].tolist()


def test_groups_have_a_row_of_their_own(line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path) -> None:
    found = general_scores(line, model, ["tiny_choices"], t=[0], include_path=benchmarks).frame
    acc = found[found["metric"] == "acc"].set_index("task")
    assert acc.loc["tiny_choices", "score"] == pytest.approx(acc.loc[["tiny_mmlu", "tiny_piqa"], "score"].mean())
    assert acc.loc["tiny_choices", "num_examples"] == 2 * NUM
    low, score, high, error = acc.loc["tiny_choices", ["score_low", "score", "score_high", "stderr"]].astype(float)
    assert (score - low, high - score) == pytest.approx((1.959964 * error, 1.959964 * error), rel=1e-6)


def test_a_part_of_the_examples_at_single_checkpoints(
    ends: list[mc.Adapter], model: mc.AdapterModel, benchmarks: Path, scores: GeneralScores
) -> None:
    said: list[tuple[int, int, str]] = []
    found = general_scores(
        ends, model, ["tiny_piqa"], num_examples=5, include_path=benchmarks, progress=lambda *one: said.append(one)
    )
    assert list(found.frame["path"].unique()) == [end.name for end in ends]
    assert found.frame[["t", "distance", "score_low", "score_high"]].isna().all(axis=None)
    assert (found.frame["num_examples"] == 5).all()
    on_path = scores.samples.query("task == 'tiny_piqa' and t == 0 and example < 5")
    own = found.samples[found.samples["path"] == ends[0].name]
    assert own["score"].tolist() == on_path["score"].tolist()
    assert said == [(0, 2, ends[0].name), (1, 2, ends[1].name), (2, 2, "")]


class Kept:
    """A store that writes files as a run folder does."""

    def __init__(self, folder: Path, *, most: int | None = None) -> None:
        self.folder, self.most = folder, most

    def file(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.parquet"

    def load(self, key: str) -> pd.DataFrame | None:
        return pd.read_parquet(self.file(key)) if self.file(key).exists() else None

    def save(self, key: str, records: pd.DataFrame) -> None:
        if self.most is not None and len(list(self.folder.iterdir())) >= self.most:
            raise KeyboardInterrupt
        records.to_parquet(self.file(key))


def test_an_interrupted_measurement_goes_on(
    scores: GeneralScores, line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: dict[str, Any] = {"t": [0, 0.5, 1], "include_path": benchmarks}
    with pytest.raises(KeyboardInterrupt):
        general_scores(line, model, NAMES, store=Kept(tmp_path, most=2), **asked)
    ran: list[Any] = []

    def counted(*given: Any, **settings: Any) -> dict[str, Any]:
        ran.append(given)
        return run_benchmarks(*given, **settings)

    monkeypatch.setattr("modeconn.evaluation.general.run_benchmarks", counted)
    resumed = general_scores(line, model, NAMES, store=Kept(tmp_path), **asked)
    assert len(ran) == 2
    pd.testing.assert_frame_equal(resumed.frame, scores.frame)
    pd.testing.assert_frame_equal(resumed.samples, scores.samples)
    general_scores(line, model, NAMES, store=Kept(tmp_path), num_examples=3, **(asked | {"t": [0]}))
    assert len(ran) == 3  # another question


def state(model: mc.AdapterModel) -> tuple[dict[str, torch.Tensor], Any]:
    """All that a measurement could leave behind."""
    tensors = {name: value.clone() for name, value in model.module.state_dict().items()}
    generators = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    log = logging.getLogger("lm_eval").level
    settings = model.tokenizer.padding_side, len(model.tokenizer), sorted(vars(model.module)), model.module.training
    return tensors, (generators, log, settings)


def assert_same(before: tuple[dict[str, torch.Tensor], Any], after: tuple[dict[str, torch.Tensor], Any]) -> None:
    assert before[1] == after[1]
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])


def test_everything_is_afterwards_what_it_was(line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path) -> None:
    before = state(model)
    general_scores(line, model, NAMES, t=[0.5], num_examples=3, include_path=benchmarks)
    assert_same(before, state(model))


def test_everything_is_what_it_was_after_an_error(
    line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path, tmp_path: Path
) -> None:
    (tmp_path / "wrong.yaml").write_text(
        f"include: {benchmarks / 'tiny_piqa.yaml'}\ntask: wrong\ndoc_to_target: '{{{{1 / (1 - label)}}}}'\n"
    )
    before = state(model)
    with pytest.raises(ZeroDivisionError):
        general_scores(line, model, ["wrong"], t=[0.5], include_path=tmp_path)
    assert_same(before, state(model))


def test_tied_weights_stay_as_a_point_has_them(line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path) -> None:
    called: list[str] = []
    vars(model.module)["tie_weights"] = lambda: called.append("tied")
    try:
        general_scores(line, model, ["tiny_piqa"], t=[0.5], num_examples=1, include_path=benchmarks)
        model.module.tie_weights()
    finally:
        vars(model.module).pop("tie_weights", None)
    assert called == ["tied"]


def test_a_log_likelihood_that_is_no_number_is_never_averaged(
    ends: list[mc.Adapter], model: mc.AdapterModel, benchmarks: Path
) -> None:
    weight = model.module.get_parameter("model.norm.weight")
    kept = weight[0].item()
    weight.data[0] = float("nan")
    try:
        with pytest.raises(EvaluationError, match=r"tiny_piqa at .*\n.*\n.*examples 0, 1, 2"):
            general_scores(ends[:1], model, ["tiny_piqa"], include_path=benchmarks)
    finally:
        weight.data[0] = kept


def test_near_names_of_unknown_tasks() -> None:
    with pytest.raises(
        EvaluationError,
        match=r"such as mmlu_anatomy, mmlu_astronomy\n  got: mmlu_anatomi\n.*include_path \(--lm-eval-tasks\)",
    ):
        check_known(["piqa", "mmlu_anatomi"], ["piqa", "mmlu_anatomy", "mmlu_astronomy", "arc_easy"])
    with pytest.raises(EvaluationError, match="expected: tasks of lm-eval\n  got: zzz"):
        check_known(["zzz"], ["piqa"])


@pytest.mark.slow
def test_the_harnesss_own_tasks_are_known(line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path) -> None:
    with pytest.raises(EvaluationError, match=r"such as .*mmlu_anatomy.*\n  got: mmlu_anatomi\n"):
        general_scores(line, model, ["tiny_piqa", "mmlu_anatomi"], include_path=benchmarks)


@pytest.mark.usefixtures("one_task_of_the_harness")
def test_data_that_cannot_be_read(
    line: mc.LinearPath, model: mc.AdapterModel, benchmarks: Path, tmp_path: Path
) -> None:
    where = {"data_files": {"test": str(tmp_path / "missing.jsonl")}}
    settings = {"include": str(benchmarks / "tiny_piqa.yaml"), "task": "no_data", "dataset_kwargs": where}
    (tmp_path / "no_data.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(EvaluationError, match=r"cannot load no_data\n(.|\n)*FileNotFoundError(.|\n)*include_path"):
        general_scores(line, model, ["no_data"], include_path=tmp_path)


def test_the_missing_extra_is_named(
    line: mc.LinearPath, model: mc.AdapterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(EvaluationError, match=r"the extra `general`(.|\n)*pip install 'modeconn\[general\]'"):
        general_scores(line, model, ["piqa"])


def test_classifiers_are_refused(adapters: Any) -> None:
    end = mc.Adapter.from_pretrained(adapters("bert", 1))
    with pytest.raises(EvaluationError, match="got: a classifier"):
        general_scores([end], mc.AdapterModel.from_pretrained(adapters=[end]), ["piqa"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"benchmarks": []}, "there is no benchmark"),
        ({"benchmarks": ["piqa", "piqa"]}, "told apart(.|\n)*got: piqa, piqa"),
        ({"benchmarks": "piqa"}, "told apart(.|\n)*got: 'piqa'"),
        ({"num_examples": 0}, "got: num_examples=0"),
        ({"batch_size": 0}, "got: batch_size=0"),
        ({"batch_size": "auto"}, "got: batch_size='auto'"),
        ({"t": [0.5, 0.5]}, r"increasing order(.|\n)*t=\[0.5, 0.5\]"),
        ({"t": []}, "one t or more"),
        ({"t": [1.5]}, "stay between the ends"),
        ({"include_path": "no-such-folder"}, "no benchmarks in no-such-folder(.|\n)*got: no folder"),
    ],
)
def test_settings_that_cannot_be_used(
    line: mc.LinearPath, model: mc.AdapterModel, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        general_scores(line, model, **{"benchmarks": ["piqa"], **asked})


def test_a_folder_without_tasks(line: mc.LinearPath, model: mc.AdapterModel, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="a folder without any"):
        general_scores(line, model, ["piqa"], include_path=tmp_path)


def test_checkpoints_that_cannot_be_measured(ends: list[mc.Adapter], model: mc.AdapterModel) -> None:
    with pytest.raises(EvaluationError, match=f"different names(.|\n)*more than once: {ends[0].name}"):
        general_scores([ends[0], ends[0]], model, ["piqa"])
    with pytest.raises(EvaluationError, match="checkpoints and t"):
        general_scores(ends, model, ["piqa"], t=[0])
    with pytest.raises(EvaluationError, match="got: no checkpoint"):
        general_scores([], model, ["piqa"])


def test_checkpoints_without_a_weight_update_are_refused(bases: Any, tmp_path: Path) -> None:
    prompt = mc.Adapter.from_pretrained(
        make_prompt(tmp_path / "prompt", bases("llama"), "llama", "PROMPT_TUNING", seed=1)
    )
    with pytest.raises(EvaluationError, match="got: prompts, prefixes or gates: prompt\n"):
        general_scores([prompt], mc.AdapterModel.from_pretrained(adapters=[prompt]), ["piqa"])


def test_half_precision_is_read_at_the_same_point(
    ends: list[mc.Adapter], line: mc.LinearPath, benchmarks: Path, scores: GeneralScores
) -> None:
    half = mc.AdapterModel.from_pretrained(adapters=ends, dtype="bfloat16")
    found = general_scores(line, half, ["tiny_piqa"], t=[0.5], include_path=benchmarks).samples
    exact = found_log_likelihoods(scores.samples[scores.samples["t"] == 0.5], "tiny_piqa")
    away = np.abs(found_log_likelihoods(found, "tiny_piqa") - exact) / (1 + np.abs(exact))
    assert 0 < away.max() < 0.05
