"""Points between adapters of convolutions, and of experts: PEFT loads what `modeconn export` writes of them."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM

import modeconn as mc
from modeconn.adapters.truncating import truncated
from modeconn.cli.main import main
from modeconn.models.placing import placed

PARAMETERS = ["experts.gate_up_proj", "experts.down_proj", "mlp.gate.weight"]
T = 0.3


class Net(nn.Module):
    """Convolutions over a line, an image and a volume, and a layer that is none."""

    def __init__(self):
        super().__init__()
        self.line = nn.Conv1d(2, 6, 3)
        self.image = nn.Conv2d(1, 5, (3, 2), stride=2)
        self.volume = nn.Conv3d(3, 4, (1, 2, 1))
        self.linear = nn.Linear(7, 3)


def net() -> Any:
    return Net()


def mixtral() -> Any:
    sizes = {"vocab_size": 26, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 3, "num_experts_per_tok": 2}
    known: dict[str, Any] = {**sizes, **heads, "experts_implementation": "eager"}  # the others know no float64
    return MixtralForCausalLM(MixtralConfig(**known))


MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "convolutions": (net, {"target_modules": ["line", "image", "volume", "linear"]}),
    "experts": (mixtral, {"target_modules": ["q_proj"], "target_parameters": PARAMETERS}),
}


@contextmanager
def quiet() -> Iterator[None]:
    """PEFT doubts patterns of parameters, which it does follow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys")
        yield


class Made:
    """A random model, always the same, and two adapters of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.make, targets = MODELS[name]
        self.folders = [folder / "a", folder / "b"]
        for seed, one in enumerate(self.folders):
            with quiet():
                config = LoraConfig(**targets, r=2, lora_alpha=3, init_lora_weights=False)
                model = get_peft_model(self.fresh(), config)
            generator = torch.Generator().manual_seed(seed)
            for name_, parameter in model.named_parameters():
                if "lora_" in name_:
                    parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            model.save_pretrained(str(one))
        self.points = [mc.Adapter.from_pretrained(one) for one in self.folders]

    def fresh(self) -> Any:
        torch.manual_seed(0)
        return self.make().double().eval()

    def merged(self, folder: Path) -> dict[str, torch.Tensor]:
        """What PEFT makes of an adapter, the weights before taken away."""
        before = self.fresh().state_dict()
        with quiet():
            after = PeftModel.from_pretrained(self.fresh(), folder).double().merge_and_unload().state_dict()
        return {name: after[name] - before[name] for name in before if not torch.equal(after[name], before[name])}

    def export(self, out: Path, *more: str) -> int:
        ends = ["--start", str(self.folders[0]), "--end", str(self.folders[1])]
        return main(["export", *ends, "--t", str(T), "--output-dir", str(out), *more])


@pytest.fixture(params=MODELS, scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(request.param, tmp_path_factory.mktemp("made"))


def line_of_merged(made: Made) -> dict[str, torch.Tensor]:
    """The point of the line in weights space, by PEFT's merged weights."""
    start, end = (made.merged(folder) for folder in made.folders)
    return {name: (1 - T) * start[name] + T * end[name] for name in start}


def error(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The relative error over all parameters."""
    squares = [(float((found[k] - v).square().sum()), float(v.square().sum())) for k, v in expected.items()]
    return (sum(lost for lost, _ in squares) / sum(total for _, total in squares)) ** 0.5


def test_the_exact_adapter_is_the_line_of_merged_weights(made, tmp_path, capsys):
    assert made.export(tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("adapter at t=0.3, exact, rank 4\n")
    found, expected = made.merged(tmp_path / "out"), line_of_merged(made)
    assert found.keys() == expected.keys()
    assert len(found) == 4
    assert error(found, expected) < 1e-6


def test_what_a_file_holds_comes_back(made, tmp_path):
    point = mc.LinearPath(*made.points)(T)
    again = mc.Adapter.from_pretrained(point.save_pretrained(tmp_path / "out"))
    assert again.updates.keys() == point.updates.keys()
    for name, update in again.updates.items():
        torch.testing.assert_close(update.dense(), point.updates[name].dense(), rtol=1e-5, atol=1e-6)


def test_a_line_in_factors_space_is_that_of_the_tensors(made, tmp_path):
    point = mc.LinearPath(*made.points, space="factors")(T)
    middle = tmp_path / "middle"
    start, end = (end.tensors for end in made.points)
    assert made.export(middle, "--space", "factors") == 0
    found = mc.Adapter.from_pretrained(middle).tensors
    assert found.keys() == start.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (1 - T) * start[name] + T * end[name])
    expected = made.merged(middle)
    base = made.fresh()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    with placed(base, point):
        changes = {name: base.state_dict()[name] - before[name] for name in expected}
    assert error(changes, expected) < 1e-6


@pytest.mark.parametrize("rank", [1, 3])
def test_each_matrix_is_cut_to_the_rank_and_the_error_is_that(rank, made, tmp_path, capsys):
    assert made.export(tmp_path / "out", "--rank", str(rank)) == 0
    told = re.match(rf"adapter at t=0.3, rank {rank}; relative error of the update (\S+)\n", capsys.readouterr().out)
    assert told is not None
    found, expected = made.merged(tmp_path / "out"), line_of_merged(made)
    squares = total = 0.0
    for name, change in expected.items():
        matrices = change if "experts" in name else change.flatten(1)[None]  # [E, out, in], or [1, out, in k]
        values = torch.linalg.svdvals(matrices)  # [E, min(out, in)], the largest first
        squares, total = squares + float(values[:, rank:].square().sum()), total + float(values.square().sum())
    best = (squares / total) ** 0.5
    assert best > 0.05
    assert float(told[1]) == pytest.approx(best, rel=1e-2)
    assert error(found, expected) == pytest.approx(best, rel=1e-5)


def test_the_full_rank_loses_nothing(made):
    point = mc.LinearPath(*made.points)(T)
    near, lost = truncated(point, 99)
    assert lost < 1e-7
    assert error(
        {name: update.dense() for name, update in near.updates.items()},
        {name: update.dense() for name, update in point.updates.items()},
    ) < 1e-6  # fmt: skip
