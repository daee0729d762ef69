"""Ends of different ranks, modules and kinds, with bends of LoRA between them, in weights space."""

from pathlib import Path

import pytest
import torch
from kind_oracle import make_kind
from peft import LoraConfig
from tiny import FAMILIES

import modeconn as mc
from modeconn.adapters.truncating import truncated
from modeconn.fitting.bends import Bends
from modeconn.fitting.fit import fit_curve
from modeconn.models.trainable import placed_trainable

SETTINGS = {"num_steps": 30, "learning_rate": 0.05, "eval_points": 3, "eval_steps": 10}


def worst_before_and_after(fit):
    measured = fit.history.dropna(subset=["worst_loss"]).set_index("step")["worst_loss"]
    return measured[0], measured[fit.best_step]


def assert_losses_of_evaluation(curve, model, task):
    """The curve through which gradients reach the bends has the losses of the curve."""
    encoded = model.encode(task, "train", mc.EncodingSettings(all_choices=False))
    batch = model.collate([(encoded, row) for row in range(encoded.num_examples)])
    bends = Bends(curve.on(model), model.device)
    for t in (0.2, 0.7):
        with placed_trainable(model.module, bends.at(t)), torch.no_grad():
            found = model.batch_losses(batch).double()
        expected = torch.from_numpy(model.evaluate(curve(t), [encoded])[0].loss_sum)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def assert_fitted(curve, model, task):
    """A fit lowers the worst loss, and that half-way clearly; its ends are the very points that were given."""
    fit = fit_curve(curve, model, [task], **SETTINGS)
    before, after = worst_before_and_after(fit)
    assert after < before  # near the ends, which do not move
    encoded = [model.encode(task, "train")]
    before, after = (model.evaluate(one(0.5), encoded)[0].loss_sum.sum() for one in (curve, fit.curve))
    assert after < 0.95 * before
    assert (fit.curve.start, fit.curve.end) == (curve.start, curve.end)
    return fit


def test_ends_of_different_ranks_and_modules(adapters, words):
    ends = [
        mc.Adapter.from_pretrained(adapters("llama", 1, r=2, target_modules=["q_proj"])),
        mc.Adapter.from_pretrained(adapters("llama", 2, r=3, target_modules=["q_proj", "v_proj"])),
    ]
    model = mc.AdapterModel.from_pretrained(adapters=ends)
    curve = mc.BezierCurve.between(*ends)
    assert {update.rank for update in curve.points[1].updates.values()} == {3, 5}
    assert_losses_of_evaluation(curve, model, words("llama"))
    fit = assert_fitted(curve, model, words("llama"))
    assert {update.rank for update in fit.curve.points[1].updates.values()} == {3, 5}


def test_ends_of_dora(bases, words, tmp_path):
    base, targets = bases("llama"), ["q_proj", "v_proj"]
    options = {"r": 2, "use_dora": True, "target_modules": targets, "std": 0.3}
    folders = [make_kind(tmp_path / str(seed), base, "llama", LoraConfig, seed=seed, **options) for seed in (1, 2)]
    ends = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = mc.AdapterModel.from_pretrained(base, adapters=ends)
    bend, lost = truncated(mc.LinearPath(*ends)(0.5).on(model), 4)
    assert lost < 0.5
    curve = mc.BezierCurve([ends[0], bend, ends[1]])
    assert_losses_of_evaluation(curve, model, words("llama"))
    assert_fitted(curve, model, words("llama"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ends_that_are_full_fine_tunes(dtype, bases, adapters, words, tmp_path):
    ends = [mc.Adapter.from_pretrained(full_fine_tune(bases("llama"), tmp_path / str(seed), seed)) for seed in (1, 2)]
    bend = mc.Adapter.from_pretrained(adapters("llama", 3, target_modules=["q_proj", "v_proj", "down_proj"]))
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[*ends, bend], dtype=dtype)
    curve = mc.BezierCurve([ends[0], bend, ends[1]])
    if dtype == "float32":
        assert_losses_of_evaluation(curve, model, words("llama"))
    assert_fitted(curve, model, words("llama"))


def full_fine_tune(base: Path, folder: Path, seed: int) -> Path:
    """A base with all weights moved a little."""
    torch.manual_seed(seed)
    model = type(FAMILIES["llama"]()).from_pretrained(base, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * parameter.data.std().nan_to_num(0.0) * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def test_a_base_in_bf16_is_fitted_with_points_in_float32(adapters, words):
    ends = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(adapters=ends, dtype="bfloat16")
    fit = assert_fitted(mc.BezierCurve.between(*ends), model, words("llama"))
    assert {value.dtype for value in fit.curve.points[1].tensors.values()} == {torch.float32}


def test_a_saved_fit_is_read_and_measured_as_it_was(adapters, words, tmp_path):
    """Bends of their own scaling among them: rsLoRA with alpha 5 and rank 3 scales by 2.887."""
    ends = [mc.Adapter.from_pretrained(adapters("llama", seed, r=3, lora_alpha=5, use_rslora=True)) for seed in (1, 2)]
    own = mc.Adapter.from_pretrained(adapters("llama", 3, r=3, lora_alpha=5, use_rslora=True))
    model = mc.AdapterModel.from_pretrained(adapters=ends)
    for number, curve in enumerate([
        mc.BezierCurve([ends[0], own, ends[1]]),
        mc.BezierCurve.between(*ends),
        mc.BezierCurve.between(*ends, space="factors"),
        mc.BezierCurve.between(*ends, space="aligned-factors"),
    ]):  # fmt: skip
        fit = fit_curve(curve, model, [words("llama")], num_steps=2, learning_rate=0.1)
        again = mc.load_path(mc.save_path(fit.curve, tmp_path / str(number)))
        profiles = [mc.evaluate_path(path, model, [words("llama")], split="eval", num_points=5)
                    for path in (fit.curve, again)]  # fmt: skip
        assert profiles[0].frame["loss"].tolist() == pytest.approx(profiles[1].frame["loss"].tolist(), rel=1e-5)
