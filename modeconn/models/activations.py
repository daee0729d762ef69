"""What a model computes on the way to its answer: activations at named places, pooled over each example's tokens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.errors import ModelError
from modeconn.models.family import reads_packed
from modeconn.models.fast_linear import fast_linear
from modeconn.models.finite import check_finite
from modeconn.models.inputs import Inputs
from modeconn.models.module_model import ModuleModel
from modeconn.models.pooling import Pooling, check_pooling, check_pooling_fits
from modeconn.models.prompt_batches import Layout, batch_for, batches_for, run_through
from modeconn.models.sites import Site, sites_of
from modeconn.models.tensor_batches import tensor_batch

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel

BASE = "base"  # what tables call the model without a point


@dataclass(frozen=True, eq=False)
class Activations:
    """Features of the same examples at several sites of a model at one point.

    Attributes:
        name: What tables call the point.
        inputs: What was read.
        pooling: How the vectors of an example's tokens became one; with "all-tokens" every token is a row.
        features: Site -> `[N, D]` on the CPU, float32, or float64 of a float64 model; in the order of the inputs.
    """

    name: str
    inputs: Inputs
    pooling: Pooling
    features: Mapping[str, torch.Tensor]

    @property
    def num_rows(self) -> int:
        """Rows of features: examples, or tokens."""
        return len(next(iter(self.features.values())))


def activations(
    model: "AdapterModel | ModuleModel",
    point: Adapter | None,
    inputs: Inputs,
    *,
    sites: str | Sequence[str] = "layers",
    pooling: Pooling = "last-token",
    token_budget: int = 2048,
) -> Activations:
    """The activations of a model at a point; the model is afterwards what it was, hooks included.

    Args:
        model: The model.
        point: The point; None takes the base itself.
        inputs: From `read_inputs` with this model.
        sites: Where: "layers", "attention", "mlp", "all", modules' names, or several of them.
        pooling: "last-token" of the prompt, "mean" over its tokens, "cls" (its first token), or "all-tokens". Padding
            is never among them. Of a `ModuleModel`: see `CKASettings`.
        token_budget: Tokens a batch.

    Raises:
        EvaluationError: If the pooling is unknown, or an activation is not finite.
        ModelError: If the point does not fit, a site is not in the model, or a site that was named has no vector for
            each token.
    """
    check_pooling(pooling)
    check_pooling_fits(model, pooling)
    with at_point(model, point) as module:
        found = read_features(
            model, module, inputs.rows, sites_of(module, sites), pooling=pooling, token_budget=token_budget
        )
    name = BASE if point is None else point.name
    for site, features in found.items():
        check_finite(features, f"the activations of {name} at {site}", model.dtype)
    return Activations(name, inputs, pooling, found)


def at_point(model: "AdapterModel | ModuleModel", point: Adapter | None) -> AbstractContextManager[nn.Module]:
    """The model at a point, or the base itself for None.

    Raises:
        ModelError: If the base of a bare module is asked for, or the point does not fit.
    """
    if point is None and isinstance(model, ModuleModel):
        raise ModelError(
            f"{model.base_name} has no base to compare with",
            expected="a point: a bare module's parameters are those of one checkpoint",
            got="None",
            remedy='make it one: mc.module_point(module), or take reference="start" or "first"',
        )
    return nullcontext(model.module) if point is None else model.at(point)


@torch.inference_mode()
def read_features(
    model: "AdapterModel | ModuleModel",
    module: nn.Module,
    rows: Sequence[Any],
    sites: Sequence[Site],
    *,
    pooling: Pooling,
    token_budget: int = 2048,
) -> dict[str, torch.Tensor]:
    """Features of rows at sites, whatever their values; sites of a group without a vector for each token are left out.

    Args:
        model: Whose family and padding are used; a `ModuleModel` reads batches of its own size.
        module: The model at a point.
        rows: Rows of inputs.
        sites: From `sites_of(module)`.
        pooling: How tokens become one vector.
        token_budget: Tokens a batch.

    Returns:
        Site -> `[N, D]` in the order of the rows; `[tokens, D]` for "all-tokens".

    Raises:
        ModelError: If a site that was named has no vector for each token.
    """
    pieces: dict[str, list[torch.Tensor]] = {}
    order: list[int] = []
    for numbers, layouts, run in _passes(model, module, rows, token_budget):
        with recorded(module, sites, layouts, pooling) as found, _fast(module):
            run()
        for site in sites:
            if site.name in found:
                pieces.setdefault(site.name, []).append(found[site.name].cpu())
            elif site.chosen:
                raise _no_tokens(site, layouts[0], "nothing that is run")
        order += numbers
    lengths = [len(row.context) for row in rows] if pooling == "all-tokens" else None
    return {
        site.name: _in_order(pieces[site.name], order, None if site.decoder else lengths)
        for site in sites
        if site.name in pieces
    }


def _passes(
    model: "AdapterModel | ModuleModel", module: nn.Module, rows: Sequence[Any], token_budget: int
) -> Iterator[tuple[list[int], tuple[Layout, Layout], Callable[[], object]]]:
    """The forward passes over rows: the rows' numbers, where their tokens will stand, and what makes the pass."""
    if isinstance(model, ModuleModel):
        for start in range(0, len(rows), model.batch_size):
            numbers = list(range(start, min(start + model.batch_size, len(rows))))
            tensors = tensor_batch(model, [rows[number] for number in numbers])
            yield numbers, tensors.layouts, partial(module, tensors.inputs)
        return
    for numbers in batches_for(model, module, rows, token_budget):
        batch = batch_for(model, module, [rows[number] for number in numbers])
        yield numbers, batch.layouts, partial(run_through, model, module, batch)


@contextmanager
def recorded(
    module: nn.Module, sites: Sequence[Site], layouts: tuple[Layout, Layout], pooling: Pooling
) -> Iterator[dict[str, torch.Tensor]]:
    """A context in which a forward pass leaves pooled activations; afterwards no hook is left, also after an error.

    Args:
        module: The model.
        sites: Where.
        layouts: Of the texts, and of what a decoder of its own reads.
        pooling: How.

    Yields:
        Site -> features of the last forward pass.
    """
    found: dict[str, torch.Tensor] = {}
    seen: set[str] = set()

    def keep(site: Site) -> Callable[[Any], None]:
        layout = layouts[site.decoder]

        def record(output: Any) -> None:  # noqa: ANN401
            tensor = _first_tensor(output)
            tokens = None if tensor is None else layout.tokens(tensor)
            if tokens is not None and pooling == "all-tokens" and len(tokens) != int(layout.lengths.sum()):
                tokens = None  # a stage that has more positions than the last: its rows are no one else's
            again = site.name in seen  # a module that is used in several places: which of them is meant?
            seen.add(site.name)
            vectors = None if tokens is None or again else layout.pooled(tokens, pooling)
            if vectors is not None:
                found[site.name] = vectors
            elif site.chosen:
                shape = "no tensor" if tensor is None else f"shape {list(tensor.shape)}"
                raise _no_tokens(site, layout, "a second run in one pass" if again else shape)
            else:
                found.pop(site.name, None)

        return record

    with ExitStack() as undo:
        for site in sites:
            part, record = module.get_submodule(site.module), keep(site)
            if site.before:
                hook = part.register_forward_pre_hook(_entering(record), with_kwargs=True)
            else:
                hook = part.register_forward_hook(_leaving(record))
            undo.callback(hook.remove)
        yield found


def _fast(module: nn.Module) -> AbstractContextManager[None]:
    """Linear layers as in an evaluation."""
    return fast_linear() if reads_packed(module) else nullcontext()


def _entering(record: Callable[[Any], None]) -> Callable[..., None]:
    """A hook that sees what enters a module: the hidden states come first, or by name."""

    def hook(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        record(given if given else named.get("hidden_states"))

    return hook


def _leaving(record: Callable[[Any], None]) -> Callable[..., None]:
    """A hook that sees what leaves a module, and changes nothing."""

    def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        record(output)

    return hook


def _first_tensor(output: Any) -> torch.Tensor | None:  # noqa: ANN401
    """What a module computed: the first tensor of a tuple or of an output of transformers."""
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() else None
    several = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((one for one in several if isinstance(one, torch.Tensor) and one.is_floating_point()), None)


def _no_tokens(site: Site, layout: Layout, got: str) -> ModelError:
    """The error for a named site that cannot be pooled."""
    return ModelError(
        f"the activations at {site.name} cannot be compared",
        expected=layout.expected,
        got=got,
        remedy="name another module, such as the layer that holds it",
    )


def _in_order(pieces: Sequence[torch.Tensor], order: Sequence[int], lengths: Sequence[int] | None) -> torch.Tensor:
    """Features of all batches in the order of the rows.

    Args:
        pieces: `[b, D]` each.
        order: Row numbers as the batches hold them.
        lengths: Features of every row, where they may differ; None where all have as many.
    """
    together, back = torch.cat(list(pieces)), torch.tensor(order).argsort()
    if lengths is None:
        return together.view(len(order), -1, together.shape[1])[back].flatten(0, 1)
    texts = together.split([lengths[number] for number in order])
    return torch.cat([texts[place] for place in back.tolist()])
