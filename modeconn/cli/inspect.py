"""Say what adapters hold: kind, modules, ranks, shapes, the size of every update, and whether they can be joined.

Works without the base model; with it, updates are also given relative to the base's weights, and the fit is checked.
"""

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    import pandas as pd

    from modeconn.adapters.adapter import Adapter


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to inspect."""

    adapters: tuple[str, ...] = field(metadata=flag_help("adapter folders or hub ids") | {"positional": True})
    base_model: str | None = field(default=None, metadata=flag_help("check the fit, and give relative norms"))
    json: bool = field(default=False, metadata=flag_help("print one JSON object instead of tables"))
    quiet: bool = False


def run(settings: Settings) -> int:
    """Print a table of the adapters, one of their modules, and why pairs cannot be joined."""
    import pandas as pd

    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.tables import print_table

    adapters = [Adapter.from_pretrained(source, allow_zero=True) for source in settings.adapters]
    norms = _base_norms(adapters, settings.base_model)
    summaries = pd.DataFrame([_summary(adapter) for adapter in adapters])
    modules = pd.DataFrame([row for adapter in adapters for row in _modules(adapter, norms)])
    problems = _problems(adapters)
    if settings.json:
        content = {"adapters": _records(summaries), "modules": _records(modules), "cannot_be_joined": problems}
        print(json.dumps(content, indent=2))
        return 0
    print_table(summaries)
    print()
    print_table(modules)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return 0


def _summary(adapter: "Adapter") -> dict[str, Any]:
    """One adapter as a row."""
    ranks = sorted({update.rank for update in adapter.updates.values()})
    return {
        "adapter": adapter.name,
        "kind": adapter.config.raw.get("peft_type"),
        "task type": adapter.config.task_type,
        "base model": adapter.config.base_model,
        "modules": len(adapter.updates),
        "rank": " ".join(map(str, ranks)),
        "parameters": adapter.layout.num_parameters,
        "norm of update": sum(update.inner(update) for update in adapter.updates.values()) ** 0.5,
        "saved modules": " ".join(sorted(adapter.saved)),
    }


def _modules(adapter: "Adapter", norms: dict[str, float]) -> list[dict[str, Any]]:
    """Every changed parameter as a row."""
    rows = []
    for name, update in sorted(adapter.updates.items()):
        norm = max(update.inner(update), 0.0) ** 0.5
        row = {
            "adapter": adapter.name,
            "parameter": name,
            "shape": " x ".join(map(str, update.shape)),
            "rank": update.rank,
            "scaling": update.parts[0].scaling,
            "norm": norm,
        }
        rows.append(row | ({"relative norm": norm / norms[name]} if norms else {}))
    for name, value in sorted(adapter.saved.items()):
        shape = " x ".join(map(str, value.shape))
        rows.append({"adapter": adapter.name, "parameter": name, "shape": shape, "norm": float(value.norm())})
    return rows


def _base_norms(adapters: "list[Adapter]", base_model: str | None) -> dict[str, float]:
    """The norm of every base weight, after checking that the adapters fit; nothing without a base."""
    if base_model is None:
        return {}
    from modeconn.models.adapter_model import AdapterModel

    norms: dict[str, float] = {}
    models: dict[str, AdapterModel] = {}
    for adapter in adapters:
        shapes = {name: tuple(value.shape) for name, value in sorted(adapter.saved.items())}
        kind = f"{adapter.config.task_type} {shapes}"  # what the architecture and its head depend on
        if kind in models:
            models[kind].check(adapter)
        else:
            models[kind] = AdapterModel.from_pretrained(base_model, adapters=[adapter])
        module = models[kind].module
        norms |= {name: float(module.get_parameter(name).norm()) for name in adapter.updates.keys() - norms.keys()}
    return norms


def _problems(adapters: "list[Adapter]") -> list[str]:
    """Why pairs of adapters cannot be joined by a line in weights space; empty if all can."""
    from modeconn.errors import ModeconnError
    from modeconn.paths.line import LinearPath

    problems = []
    for number, first in enumerate(adapters):
        if first.is_zero:
            problems.append(f"{first.name} changes nothing: it was saved before training")
        for second in adapters[number + 1 :]:
            try:
                LinearPath(first, second)
            except ModeconnError as error:
                problems.append(f"{first.name} and {second.name} cannot be joined: {error.got}")
    return problems


def _records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """A table as JSON values, missing ones as null."""
    return json.loads(str(frame.to_json(orient="records")))
