"""Fits between ends with heads of their own: whose head counts, and that no head moves."""

import numpy as np
import pytest
import torch
from tiny import LABELS

import modeconn as mc
from modeconn.errors import AdapterError, EvaluationError, ModelError
from modeconn.fitting import fit_autoneb, fit_curve
from modeconn.fitting.bends import Bends
from modeconn.fitting.objective import Objective
from modeconn.fitting.settings import FitSettings
from modeconn.fitting.validation import validation_positions

STEPS = {"num_steps": 20, "learning_rate": 0.05, "eval_steps": 10, "eval_points": 3}
CURVES = {
    "bezier": lambda *ends, **options: mc.BezierCurve.between(*ends, num_bends=2, **options),
    "chain": lambda *ends, **options: mc.PolygonalChain.between(*ends, num_bends=2, **options),
    "piecewise": lambda *ends, **options: mc.PiecewiseBezier.between(*ends, num_segments=2, **options),
}


def model_of(path):
    return mc.AdapterModel.from_pretrained(path.start.config.base_model, adapters=path.points)


def heads_of(path):
    return [point.saved.get("classifier.weight") for point in path.points]


def worst(fit):
    return fit.history.dropna(subset=["worst_loss"]).set_index("step")["worst_loss"]


@pytest.mark.parametrize("kind", CURVES)
def test_without_a_policy_heads_of_different_shape_are_refused(kind, two_heads):
    with pytest.raises(AdapterError, match=r'classifier.weight \[3, 16\] and \[2, 16\]\n  remedy: .*heads="shared"'):
        CURVES[kind](*two_heads)


@pytest.mark.parametrize("space", ["weights", "factors", "aligned-factors"])
@pytest.mark.parametrize("kind", CURVES)
def test_a_shared_head_is_the_starts_before_and_after_a_fit(kind, space, two_heads, task_of_each_head):
    curve = CURVES[kind](*two_heads, space=space, heads="shared")
    fit = fit_curve(curve, model_of(curve), task_of_each_head[:1], **STEPS)
    assert worst(fit)[fit.best_step] < worst(fit)[0]
    for path in (curve, fit.curve):
        assert all(torch.equal(head, two_heads[0].saved["classifier.weight"]) for head in heads_of(path))
        assert path.heads == "shared"


def test_without_heads_the_bases_counts(two_heads, task_of_each_head):
    curve = mc.BezierCurve.between(*two_heads, heads="skip")
    model = mc.AdapterModel.from_pretrained(two_heads[0].config.base_model, adapters=curve.points, labels=LABELS)
    fit = fit_curve(curve, model, task_of_each_head[:1], **STEPS)
    assert worst(fit)[fit.best_step] < worst(fit)[0]
    assert heads_of(fit.curve) == [None] * 3


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_with_own_heads_the_worst_loss_is_that_of_an_evaluation(space, two_heads, task_of_each_head):
    curve = mc.BezierCurve.between(*two_heads, space=space, heads="own")
    model = model_of(curve)
    fit = fit_curve(curve, model, task_of_each_head, task_weights=(1.0, 3.0), **STEPS)
    assert worst(fit)[fit.best_step] < worst(fit)[0]
    profile = mc.evaluate_path(fit.curve, model, task_of_each_head, split="eval", t=[0, *validation_positions(3), 1])
    inner = profile.frame.query("0 < t < 1").pivot_table(index="t", columns="task", values="loss")
    assert worst(fit)[fit.best_step] == pytest.approx((0.25 * inner["first"] + 0.75 * inner["second"]).max(), rel=1e-5)


def test_with_own_heads_a_batch_is_scored_by_the_head_that_knows_each_row(two_heads, task_of_each_head):
    curve = mc.BezierCurve.between(*two_heads, heads="own")
    model = model_of(curve)
    objective = Objective(curve, model, task_of_each_head, FitSettings(num_steps=4))
    bends = Bends(curve.on(model), model.device)
    profile = mc.evaluate_path(curve, model, task_of_each_head, split="train", t=[0, 0.3, 1])
    losses = profile.examples[profile.examples["t"] == 0.3].set_index(["task", "example"])["loss_sum"]
    for number in range(4):
        rows = objective.mixture.rows(number)
        assert {task for task, _ in rows} == {0, 1}
        expected = np.mean([losses[("first", "second")[task], row] for task, row in rows])
        assert objective.loss(lambda: bends.at(0.3), number) == pytest.approx(expected, rel=1e-5)


def test_a_fit_with_own_heads_leaves_the_model_and_both_heads_alone(two_heads, task_of_each_head):
    curve = mc.BezierCurve.between(*two_heads, heads="own")
    model = model_of(curve)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    fit = fit_curve(curve, model, task_of_each_head, **STEPS)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert fit.curve.head_of_end is two_heads[1]
    assert fit.curve.end.updates is curve.end.updates


@pytest.mark.parametrize("space", ["weights", "factors", "aligned-factors"])
def test_a_fitted_curve_with_own_heads_is_read_as_it_was(space, two_heads, task_of_each_head, tmp_path):
    curve = mc.BezierCurve.between(*two_heads, space=space, heads="own")
    model = model_of(curve)
    fit = fit_curve(curve, model, task_of_each_head, **(STEPS | {"num_steps": 2}))
    again = mc.load_path(mc.save_path(fit.curve, tmp_path / "path"))
    assert (again.heads, again.space) == ("own", space)
    profiles = [mc.evaluate_path(path, model, task_of_each_head, split="eval", num_points=5)
                for path in (fit.curve, again)]  # fmt: skip
    assert profiles[0].frame["loss"].tolist() == pytest.approx(profiles[1].frame["loss"].tolist(), rel=1e-5)


def test_labels_that_no_head_knows_are_refused(two_heads, make_fit_task):
    curve = mc.BezierCurve.between(*two_heads, heads="own")
    with pytest.raises(EvaluationError, match="no end's head knows the labels of other"):
        fit_curve(curve, model_of(curve), [make_fit_task("other", labels=("cat", "dog"))], **STEPS)


def test_autoneb_moves_no_head_either(two_heads, task_of_each_head):
    for policy in ("shared", "own"):
        chain = mc.PolygonalChain.between(*two_heads, num_bends=2, heads=policy)
        tasks = task_of_each_head[: 1 if policy == "shared" else 2]
        fit = fit_autoneb(chain, model_of(chain), tasks, num_steps=4, num_cycles=2, learning_rate=0.05)
        assert all(torch.equal(head, two_heads[0].saved["classifier.weight"]) for head in heads_of(fit.curve))


@pytest.mark.parametrize("name", ["first", "both"])
def test_masked_labels_are_left_out_of_training_and_validation(name, ends_and_model, make_fit_task):
    """The loss is that of a softmax over the task's own classes, whatever else is in the batch."""
    ends, model = ends_and_model("bert", modules_to_save=["classifier"])
    tasks = [
        make_fit_task("two", labels=LABELS[:2]),
        *([make_fit_task("all", labels=LABELS)] if name == "both" else []),
    ]
    curve = mc.BezierCurve.between(*ends)
    settings = FitSettings(num_steps=4, mask_labels=True, eval_points=1)
    objective, bends = Objective(curve, model, tasks, settings), Bends(curve.on(model), model.device)
    sums, plain = (
        [model.evaluate(curve(0.5), [model.encode(task, split, mc.EncodingSettings(mask_labels=masked))])[0]
         for task in tasks for split in ("train", "eval")] for masked in (True, False)
    )  # fmt: skip
    assert (sums[0].loss_sum < plain[0].loss_sum).all()
    for number in range(4):
        expected = np.mean([sums[2 * task].loss_sum[row] for task, row in objective.mixture.rows(number)])
        assert objective.loss(lambda: bends.at(0.5), number) == pytest.approx(expected, rel=1e-5)
    means = [one.loss_sum.mean() for one in sums[1::2]]
    assert objective.validation.measured(curve, step=0)["worst_loss"] == pytest.approx(np.mean(means), rel=1e-6)
    assert fit_curve(curve, model, tasks, settings=settings).history["loss"].notna().sum() == 4


def test_masked_labels_of_a_model_without_classes(ends_and_model, words):
    ends, model = ends_and_model("llama")
    with pytest.raises(ModelError, match=r"mask_labels \(--mask-labels\)"):
        fit_curve(mc.BezierCurve.between(*ends), model, [words("llama")], mask_labels=True)
