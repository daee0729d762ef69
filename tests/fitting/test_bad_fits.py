"""What cannot be fitted, and fits that go wrong: four-part errors, and what they still hold."""

import re
from contextlib import contextmanager

import pytest
import torch
from fit_toys import Memory, half_circle, noise, nothing, place_of, places, plane_model, ring
from points import make_point, make_tensors

import modeconn as mc
from modeconn.adapters.gauge import regauge
from modeconn.errors import EvaluationError, FitError, ModelError, PathError, TaskError
from modeconn.fitting import AutoNebSettings, FitSettings, FitStopped, fit_autoneb, fit_curve
from modeconn.fitting.bends import Bend
from modeconn.fitting.objective import check_curve
from modeconn.fitting.store import RunFitStore
from modeconn.runs import RunFolder


@contextmanager
def refused(error, *parts):
    """A context in which an error of four parts is raised that holds these texts in this order."""
    with pytest.raises(error, match="(?s)" + ".*".join(parts)) as caught:
        yield caught
    told = str(caught.value)
    assert re.fullmatch(r"(?s).+\n  expected: .+\n  got: .+\n  remedy: .+", told)


def fit_toy(curve, tasks=None, **settings):
    return fit_curve(curve, plane_model(ring), [nothing()] if tasks is None else tasks, num_steps=2, **settings)


def test_a_curve_without_a_bend():
    a, b = places((-1.0, 0.0), (1.0, 0.0))
    with refused(FitError, "has nothing to fit", "at least one bend", "got: 2 control points"):
        fit_toy(mc.LinearPath(a, b))


@pytest.mark.parametrize("fit", [fit_curve, fit_autoneb])
def test_ends_that_are_one_point(fit):
    a, b, up = places((1.0, 0.0), (1.0, 0.0), (0.0, 0.3))
    with refused(FitError, "nothing to fit between a point and itself", "two different ends", "p0 and p1 are the same"):
        fit(mc.PolygonalChain([a, up, b]), plane_model(ring), [nothing()])


def test_ends_that_are_one_function_in_two_gauges(adapters):
    """In weights space there is nothing between them; in factors space there is."""
    end = mc.Adapter.from_pretrained(adapters("llama", 1))
    turned = regauge(end, seed=3, strength=0.5)
    model = mc.AdapterModel.from_pretrained(adapters=[end])
    assert end.fingerprint != turned.fingerprint
    with refused(FitError, "nothing to fit between a point and itself"):
        fit_curve(mc.BezierCurve.between(end, turned), model, [mc_task()])
    check_curve(mc.BezierCurve.between(end, turned, space="factors"), model)


def test_more_bends_than_a_bezier_curve_may_have():
    a, b = places((-1.0, 0.0), (1.0, 0.0))
    with pytest.raises(PathError, match=r"cannot have 17 bends on one Bezier curve\n  expected: .*16"):
        mc.BezierCurve.between(a, b, num_bends=17)


def test_different_layouts_in_factors_space(adapters):
    ends = [mc.Adapter.from_pretrained(adapters("llama", 1, r=rank)) for rank in (2, 3)]
    with pytest.raises(mc.ModeconnError, match=r"(?s)layout.*\n  expected: .*\n  got: .*\n  remedy: "):
        mc.BezierCurve.between(*ends, space="factors")


def test_positions_that_depend_on_the_bends():
    from modeconn.paths.arclength import reparametrised

    with refused(FitError, "the positions of .* depend on its bends", "constant speed", "arc-length"):
        fit_toy(reparametrised(half_circle()))


def test_bends_of_a_kind_without_factors():
    scales = mc.Adapter.from_tensors(
        {"base_model.model.q.ia3_l": torch.ones(4, 1) * 2}, config_of({"peft_type": "IA3", "target_modules": ["q"]})
    )
    with refused(
        FitError, "cannot be a bend of a fitted curve", "low-rank", "no factors of q.bias, q.weight", "truncated"
    ):
        Bend.of(scales, torch.device("cpu"))


def test_bends_of_a_kind_without_an_update():
    prompt = mc.Adapter.from_tensors(
        {"prompt_embeddings": torch.ones(3, 4)},
        config_of({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "token_dim": 4, "num_layers": 1}),
    )
    with refused(FitError, "cannot be a bend of a fitted curve", r"got: no update \(PROMPT_TUNING\)"):
        Bend.of(prompt, torch.device("cpu"))


def config_of(raw):
    from modeconn.adapters.config import AdapterConfig

    return AdapterConfig.parse({"task_type": "CAUSAL_LM", **raw}, "the adapter")


def test_tensors_in_factors_space_that_are_no_plain_factors(bases, tmp_path):
    from kind_oracle import make_kind
    from peft import LoraConfig

    folders = [
        make_kind(tmp_path / str(seed), bases("llama"), "llama", LoraConfig, seed=seed, std=0.1, r=2, use_dora=True,
                  target_modules=["q_proj"])
        for seed in (1, 2)
    ]  # fmt: skip
    ends = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=ends)
    curve = mc.BezierCurve.between(*ends, space="factors")
    with refused(FitError, "cannot be fitted in factors space", "plain pairs of LoRA factors", "LORA: .*q_proj.weight"):
        fit_curve(curve, model, [])
    with refused(FitError, "cannot be a bend of a fitted curve", "no factors of .*q_proj.weight"):
        fit_curve(mc.BezierCurve.between(*ends), model, [mc_task()])
    with refused(FitError, "has points without factors", "low-rank", "q_proj.weight", "fit_curve"):
        fit_autoneb(mc.PolygonalChain.between(*ends), model, [mc_task()])


def mc_task():
    records = [{"prompt": "the cat sat", "answer": "yes"}, {"prompt": "a dog", "answer": "no"}]
    return mc.Task.from_records("words", {"train": records, "eval": records})


def test_a_point_of_another_model():
    a, b, up = [make_point(make_tensors(seed)) for seed in (1, 2, 3)]
    with pytest.raises(ModelError, match="does not fit the base model"):
        fit_toy(mc.BezierCurve([a, up, b]))


@pytest.mark.parametrize("missing", ["train", "eval"])
def test_a_task_without_a_split_that_the_fit_needs(missing):
    task = nothing()
    rest = {name: split for name, split in task.splits.items() if name != missing}
    with refused(TaskError, f"has no usable split '{missing}'", "got: "):
        fit_toy(half_circle(), [mc.TensorTask("toy", rest)])


def test_a_language_task_without_a_validation_split(ends_and_model):
    ends, model = ends_and_model("llama")
    task = mc.Task.from_records("words", {"train": [{"prompt": "the cat", "answer": "yes"}]})
    with refused(TaskError, "the task 'words' has no split 'eval'", "got: 'eval'"):
        fit_curve(mc.BezierCurve.between(*ends), model, [task])


def test_task_weights_in_another_number_than_the_tasks():
    with refused(FitError, "the task weights do not fit the tasks", "1 weights, one a task", "got: 2: 1, 0.5"):
        fit_toy(half_circle(), task_weights=(1.0, 0.5))


@pytest.mark.parametrize("tasks", [[], [nothing(), nothing()]])
def test_no_task_or_two_of_one_name(tasks):
    with pytest.raises(EvaluationError, match=r"there is no task|the tasks cannot be told apart"):
        fit_toy(half_circle(), tasks)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"num_steps": 0}, "a number above 0"),
        ({"learning_rate": -1.0}, "a number above 0"),
        ({"learning_rate": float("nan")}, "a number above 0"),
        ({"positions_per_step": 0}, "a number above 0"),
        ({"weight_decay": -0.1}, "0 or a number above"),
        ({"eval_steps": -1}, "0 or a number above"),
        ({"save_steps": -1}, "0 or a number above"),
        ({"learning_rate": float("inf")}, "a finite number"),
        ({"weight_decay": float("inf")}, "a finite number"),
        ({"eval_split": "test"}, "a split other than test"),
        ({"train_split": "test"}, "a split other than test"),
        ({"task_weights": (0.0, 0.0)}, "finite weights of at least 0, not all 0"),
        ({"task_weights": (-1.0, 2.0)}, "finite weights of at least 0, not all 0"),
        ({"task_weights": (1.0, float("inf"))}, "finite weights of at least 0, not all 0"),
        ({"optimizer": "lion"}, "adamw or sgd"),
        ({"schedule": "cosine"}, "garipov, draxler or constant"),
        ({"uniform_in": "length"}, "t or arc-length"),
    ],
)
def test_settings_that_cannot_be_used(settings, expected):
    ((name, value),) = settings.items()
    with refused(FitError, f"{name} cannot be used for a fit", expected, re.escape(f"got: {value!r}")):
        FitSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"num_cycles": 0}, "a number above 0"),
        ({"segment_points": 0}, "a number above 0"),
        ({"num_steps": 15, "num_cycles": 14}, "a multiple of num_cycles"),
        ({"positions_per_step": 2}, "1: every pivot is moved at every step"),
        ({"uniform_in": "arc-length"}, "t: pivots lie where they lie"),
    ],
)
def test_settings_that_autoneb_cannot_use(settings, expected):
    with refused(FitError, f"{next(iter(settings))} cannot be used for a fit", expected):
        AutoNebSettings(**({"num_steps": 14} | settings))


def falls_off(outputs, _):
    """A ring beyond whose height 1 there are no numbers."""
    return torch.where(outputs[:, 1] > 1.0, torch.nan, ring(outputs, _))


def test_a_loss_that_is_not_finite_stops_the_fit_and_keeps_the_best_curve():
    store, settings = Memory(), {"num_steps": 60, "eval_steps": 5, "learning_rate": 0.2}
    with refused(
        FitStopped, "the loss of the fit is not finite", "a number", r"got: nan at t=0\.\d+, step \d+",
        r"lower --learning-rate; the best until then, that after step \d+, is kept",
    ) as caught:  # fmt: skip
        fit_curve(half_circle(), plane_model(falls_off), [nothing()], store=store, schedule="constant", **settings)
    fit = caught.value.fit
    failed = int(re.search(r"step (\d+)", caught.value.got)[1])
    assert store.state.step == fit.history["step"].max() == failed - 1
    assert 0 < fit.best_step < failed
    assert fit.best_step % 5 == 0
    torch.testing.assert_close(place_of(fit.curve.points[1]), store.state.best[0])
    assert fit.stopped_early


def test_a_gradient_that_is_not_finite_moves_nothing():
    model = plane_model(lambda outputs, _: (0.0 * outputs).sum(1).abs().sqrt())
    with refused(FitStopped, "the gradient of the fit is not finite", "got: nan at t=.*, step 1") as caught:
        fit_toy_on(model)
    torch.testing.assert_close(place_of(caught.value.fit.curve.points[1]), torch.tensor([0.0, 0.3]))


@pytest.mark.parametrize("count", [1, 3])
def test_a_gradient_that_is_not_finite_is_that_of_all_positions_of_its_step(count):
    """Added up, nothing tells which of them it was."""
    model = plane_model(lambda outputs, _: (0.0 * outputs).sum(1).abs().sqrt())
    with refused(FitStopped, "the gradient of the fit is not finite", "a number") as caught:
        fit_toy_on(model, positions_per_step=count)
    named = re.fullmatch(r"nan at t=([\d., ]+), step 1", caught.value.got)[1].split(", ")
    strata = [int(float(t) * count) for t in named]
    assert strata == list(range(count))


def test_a_gradient_of_autoneb_that_is_not_finite_is_that_of_all_pivots():
    model = plane_model(lambda outputs, _: (0.0 * outputs).sum(1).abs().sqrt())
    chain = mc.PolygonalChain.between(*places((-1.0, 0.0), (1.0, 0.0)), num_bends=3)
    with refused(FitStopped, "the gradient of the fit", r"got: nan at t=0.2500, 0.5000, 0.7500, step 1"):
        fit_autoneb(chain, model, [nothing()], num_steps=4, num_cycles=2)


def fit_toy_on(model, **settings):
    return fit_curve(half_circle(), model, [nothing()], **({"num_steps": 4, "eval_steps": 2} | settings))


def test_a_validation_that_is_not_finite_stops_the_fit_too():
    forwards = []

    def loss(outputs, targets):
        if torch.is_inference_mode_enabled():
            forwards.append(1)
        return ring(outputs, targets) + (torch.nan if len(forwards) > 7 else 0.0)  # both ends, five positions

    with refused(FitStopped, "losses of toy/eval at t=.* after step 2 of the fit are not finite", "is kept") as caught:
        fit_toy_on(plane_model(loss))
    assert caught.value.fit.best_step == 0
    assert caught.value.fit.history["step"].max() == 2


def test_a_loss_that_is_not_finite_before_the_first_step():
    model = plane_model(lambda outputs, _: outputs.sum(1) * torch.nan)
    with pytest.raises(EvaluationError, match=r"losses of toy/eval at t=.* after step 0 of the fit are not finite"):
        fit_toy_on(model)


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_steps": 5}])
def test_a_state_of_another_fit(change):
    store = Memory()
    fit_toy_on(plane_model(ring), store=store)
    with refused(
        FitError, "the state in the store is not that of this fit", "the same curve, model, tasks and settings"
    ):
        fit_toy_on(plane_model(ring), store=store, **change)
    with refused(FitError, "the state in the store is not that of this fit"):
        fit_curve(half_circle(), plane_model(ring), [noise()], store=store, num_steps=4, eval_steps=2)


@pytest.mark.parametrize("content", [b"", b"not a state", None])
def test_a_broken_state_in_a_run_folder(tmp_path, content):
    with RunFolder.open(tmp_path / "run", command="fit", settings={}) as run:
        with run.replacing(run.partial("fit-state.pt")) as temporary:
            torch.save({"steps": 3}, temporary) if content is None else temporary.write_bytes(content)
        with refused(FitError, "cannot go on with the fit in", "the state that this version", "--overwrite"):
            RunFitStore(run).load()


def test_labels_cannot_be_masked_where_classes_have_no_names():
    with refused(FitError, r"mask_labels \(--mask-labels\)", "a classifier of transformers", "got: ModuleModel"):
        fit_toy(half_circle(), mask_labels=True)
