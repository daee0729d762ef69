"""Continual trainers that leave `lora_<task>.pt` files beside one adapter_config.json."""

import pytest
import torch
from points import make_tensors, write_folder

import modeconn as mc


def renamed(tensors):
    """Names as a PeftModel's own state_dict has them."""
    return {name.replace(".weight", ".default.weight"): value for name, value in tensors.items()}


@pytest.mark.parametrize("names", [dict, renamed], ids=["file-names", "module-names"])
def test_each_file_is_a_point(tmp_path, names):
    folder = write_folder(tmp_path / "run")
    (folder / "adapter_model.safetensors").unlink()
    for seed, task in enumerate(("stance", "tone")):
        torch.save(names(make_tensors(seed)), folder / f"lora_{task}.pt")
    points = [mc.Adapter.from_pretrained(folder / f"lora_{task}.pt") for task in ("stance", "tone")]
    whole = [mc.Adapter.from_pretrained(write_folder(tmp_path / f"p{seed}", make_tensors(seed))) for seed in (0, 1)]
    assert [point.fingerprint for point in points] == [point.fingerprint for point in whole]
    assert [point.name for point in points] == ["lora_stance.pt", "lora_tone.pt"]
    middle = mc.LinearPath(*points)(0.5).save_pretrained(tmp_path / "middle")
    assert mc.Adapter.from_pretrained(middle).fingerprint == mc.LinearPath(*whole)(0.5).fingerprint


def test_a_file_without_a_config_beside_it_is_refused(tmp_path):
    torch.save(make_tensors(0), tmp_path / "lora_stance.pt")
    with pytest.raises(mc.AdapterError, match=r"(?s)cannot read the adapter.*a weights file beside one.*got: a file"):
        mc.Adapter.from_pretrained(tmp_path / "lora_stance.pt")


def test_code_in_such_a_file_does_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    folder = write_folder(tmp_path / "run")
    torch.save({"lora_A": Attack()}, folder / "lora_stance.pt")
    with pytest.raises(mc.AdapterError, match="a pickle may not hold code"):
        mc.Adapter.from_pretrained(folder / "lora_stance.pt")
    assert not (tmp_path / "ran").exists()
