"""README's table of kinds: each cell is what a pair of adapters of that kind does here."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import peft
import pytest
from kind_cases import BERT, LLAMA
from kind_cases import CASES as KIND_CASES
from kind_oracle import make_kind
from peft.utils.peft_types import PeftType
from points import write_folder
from prompt_adapters import KINDS as PROMPTS
from prompt_adapters import make_prompt
from tiny import make_base

import modeconn as mc
from modeconn.adapters.full import FullModel
from modeconn.adapters.kinds.table import KINDS
from modeconn.adapters.methods import L2PConfig, LorettaAdpConfig
from modeconn.adapters.truncating import truncated, with_factors
from modeconn.errors import AdapterError
from modeconn.models.exporting import export_merged
from modeconn.paths.joining import joining

pytestmark = [
    pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension"),
    pytest.mark.filterwarnings("ignore:Setting boft_n_butterfly_factor to 1"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks"),
]
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


class Row(NamedTuple):
    """One row of the table."""

    kinds: str
    loads: str
    weights: str
    factors: str
    export: str


def table() -> list[Row]:
    """The rows of the table of kinds."""
    lines = README.split("## Kinds of checkpoints")[1].strip().splitlines()
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in rows][2:]


def lora(family: str = "llama", **settings: Any) -> tuple[str, type, dict[str, Any]]:
    """Settings of LoRA."""
    targets = BERT if family == "bert" else LLAMA
    return family, peft.LoraConfig, {"r": 2, "target_modules": targets, **settings}


def case(name: str) -> tuple[str, type, dict[str, Any]]:
    """One of the cases that are compared with PEFT in full."""
    return KIND_CASES[name].family, KIND_CASES[name].config, KIND_CASES[name].settings


# What the table calls a kind -> an adapter of it.
NAMED: Mapping[str, tuple[str, type, dict[str, Any]]] = {
    "LoRA, rsLoRA": lora(),
    "rsLoRA": lora(use_rslora=True),
    "rank and alpha patterns": lora(rank_pattern={"v_proj": 3}, alpha_pattern={"q_proj": 5}),
    "Embedding": lora(target_modules=["embed_tokens"]),
    "Conv1D": ("gpt2", peft.LoraConfig, {"r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True}),
    "trained tokens, beside LoRA": lora(trainable_token_indices=[3, 7]),
    "or alone": case("tokens"),
    "AdaLoRA": case("adalora"),
    "DeLoRA": case("delora"),
    "GraLoRA": case("gralora"),
    "VB-LoRA": case("vblora"),
    "LoRETTA rep": case("loretta"),
    "VeRA": case("vera"),
    "WeGeFT": case("wegeft"),
    "HRA": case("hra"),
    "MiSS (and Bone": case("miss"),
    "PiSSA": lora(init_lora_weights="pissa"),
    "OLoRA": lora(init_lora_weights="olora"),
    "`lora_bias`": lora(lora_bias=True),
    '`bias="all"`': lora("bert", bias="all"),
    "DoRA": lora(use_dora=True),
    "LoHa": case("loha"),
    "LoKr": case("lokr"),
    "(IA)³": case("ia3"),
    "FourierFT": case("fourier"),
    "OFT": case("oft"),
    "BOFT": case("boft"),
    "C3A": ("llama", peft.C3AConfig, {"target_modules": LLAMA, "block_size": 8}),
    "RandLoRA": case("randlora"),
    "RoAd": case("road"),
    "SHiRA": case("shira"),
    'MiSS with `init_weights="bat"`': case("miss-bat"),
    "LN tuning": case("ln"),
    "L2P": ("llama", L2PConfig, {"pool_size": 4, "prompt_length": 2, "top_n": 2}),
    "LoRETTA adp": ("llama", LorettaAdpConfig, {"target_modules": ["o_proj"], "bottleneck": 4, "tensor_rank": 3}),
    "`modules_to_save` heads": lora("bert"),
}
PROMPT_NAMES = {
    "prompt tuning": "PROMPT_TUNING",
    "multitask": "MULTITASK_PROMPT_TUNING",
    "P-tuning": "P_TUNING",
    "prefix tuning": "PREFIX_TUNING",
    "LLaMA-adapter": "ADAPTION_PROMPT",
}
REFUSED = {
    "LoftQ": {"init_lora_weights": "loftq"},
    "aLoRA": {"alora_invocation_tokens": [1]},
    "X-LoRA": {"peft_type": "XLORA"},
    "Poly": {"peft_type": "POLY"},
    "QALoRA": {"use_qalora": True},
    "Megatron": {"megatron_config": {"a": 1}},
    "layer replication": {"layer_replication": [[0, 1]]},
}
# Needs a base of its own, and is tested there (see tests/adapters): convolutions and experts; starts made from data.
ELSEWHERE = {
    "LoRA on convolutions": "adapters/test_convolution.py",
    "and on experts": "adapters/test_target_parameters.py",
    "CorDA, LoRA-GA, iterated PiSSA": "adapters/test_initialisations.py",
    "full fine-tune": "adapters/full/test_reading.py",
    "shards; experts one by one or stacked": "adapters/full/test_experts.py",
    "before PEFT 0.16": "adapters/kinds/test_oft.py",
    "convolutions with groups": "adapters/test_convolution.py",
}


def row_of(name: str) -> Row:
    """The one row that names a kind first."""
    found = [row for row in table() if re.search(rf"(^|[\s(]){re.escape(name)}", row.kinds)]
    assert found, f"README's table has no {name}"
    return found[0]


@pytest.fixture(scope="module")
def pair(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[mc.Adapter]]:
    """Two adapters of a kind, made and read once."""

    @cache
    def make(name: str) -> list[mc.Adapter]:
        root, folders = tmp_path_factory.mktemp("pair"), []
        for seed in (1, 2):
            if name in PROMPT_NAMES:
                folders.append(make_prompt(root / f"{seed}", bases("llama"), "llama", PROMPT_NAMES[name], seed=seed))
            elif name == "full fine-tune":
                folders.append(make_base(root / f"{seed}", "llama", seed=seed))
            else:
                family, config, settings = NAMED[name]
                folders.append(
                    make_kind(root / f"{seed}", bases(family), family, config, seed=seed, std=0.2, **settings)
                )
        return [mc.Adapter.from_pretrained(folder) for folder in folders]

    return make


ALL = [*NAMED, *PROMPT_NAMES, "full fine-tune"]


@pytest.mark.parametrize("name", ALL)
def test_a_kind_is_joined_as_the_table_says(name, pair):
    row, spaces = row_of(name), joining(*pair(name)).spaces
    assert row.loads == "yes"
    assert ("weights" in spaces) == (not row.weights.startswith("no"))
    assert ("factors" in spaces) == (not row.factors.startswith("no"))


@pytest.mark.parametrize("name", ALL)
def test_a_point_is_exported_as_the_table_says(name, pair, bases, tmp_path):
    row, ends = row_of(name), pair(name)
    space = "factors" if row.weights.startswith("no") else "weights"
    point = mc.LinearPath(*ends, space=space)(0.4)
    base = bases(NAMED[name][0] if name in NAMED else "llama")

    def write_exactly() -> None:
        with_factors(point, lambda: FullModel.open(base)).save_pretrained(tmp_path / "exact")

    if row.export.startswith(("adapter by", "merged")):
        with pytest.raises(AdapterError, match="remedy: "):
            write_exactly()
        export_merged(point, tmp_path / "merged", base=base)
    else:
        write_exactly()
        assert (tmp_path / "exact" / "adapter_config.json").exists()
    if row.export.startswith("adapter by"):
        assert truncated(point, 2, base=FullModel.open(base))[1] < 1
    if row.export.startswith("adapter,"):
        assert "with the base at hand" in row.export
        with pytest.raises(AdapterError, match="remedy: bind the point to its base first"):
            point.save_pretrained(tmp_path / "without")


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_table_refuses_is_refused(name, tmp_path):
    row = row_of(name)
    assert row.loads.startswith("no: ")
    with pytest.raises(AdapterError, match=r"(?s)expected: .*got: .*remedy: "):
        mc.Adapter.from_pretrained(write_folder(tmp_path, **REFUSED[name]))


@pytest.mark.parametrize("name", sorted(kind.name for kind in PeftType if kind.name not in {*KINDS, "POLY", "XLORA"}))
def test_the_other_types_of_peft_are_refused(name, tmp_path):
    assert row_of("PEFT's other types").loads.startswith("no: ")
    with pytest.raises(AdapterError, match=rf"kind that cannot be read(?s:.*)got: .*{name}"):
        mc.Adapter.from_pretrained(write_folder(tmp_path, peft_type=name))


def test_every_row_and_every_kind_has_an_example():
    named = {row_of(name) for name in (*ALL, *REFUSED, *ELSEWHERE, "PEFT's other types")}
    assert [row.kinds for row in table() if row not in named] == []
    examples = {config(task_type=None, **settings).peft_type for _, config, settings in NAMED.values()}
    assert {getattr(kind, "value", kind) for kind in examples} | {*PROMPTS, "FULL", "MODULE"} == {*KINDS}
    assert [file for file in ELSEWHERE.values() if not (Path(__file__).parent / file).exists()] == []
