"""What a model computes on the way to its answer: activations at named places, pooled over each example's tokens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError, ModelError
from modeconn.models.family import reads_packed
from modeconn.models.fast_linear import fast_linear
from modeconn.models.finite import check_finite
from modeconn.models.image_classifier import ImageClassifier
from modeconn.models.inputs import Inputs
from modeconn.models.prompt_batches import Layout, batch_for, batches_for, run_through
from modeconn.models.sites import Site, sites_of

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel

Pooling = Literal["last-token", "mean", "all-tokens", "cls"]
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
    model: "AdapterModel",
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
            is never among them.
        token_budget: Tokens a batch.

    Raises:
        EvaluationError: If the pooling is unknown, or an activation is not finite.
        ModelError: If the point does not fit, a site is not in the model, or a site that was named has no vector for
            each token.
    """
    check_pooling(pooling)
    check_pooling_of_images(model, pooling)
    with at_point(model, point) as module:
        found = read_features(
            model, module, inputs.rows, sites_of(module, sites), pooling=pooling, token_budget=token_budget
        )
    name = BASE if point is None else point.name
    for site, features in found.items():
        check_finite(features, f"the activations of {name} at {site}", model.dtype)
    return Activations(name, inputs, pooling, found)


def at_point(model: "AdapterModel", point: Adapter | None) -> AbstractContextManager[nn.Module]:
    """The model at a point, or the base itself for None."""
    return nullcontext(model.module) if point is None else model.at(point)


def check_pooling(pooling: str) -> None:
    """Raise unless the pooling is known.

    Raises:
        EvaluationError: If it is not.
    """
    if pooling not in get_args(Pooling):
        raise EvaluationError(
            f"unknown pooling {pooling!r}",
            expected=" or ".join(get_args(Pooling)),
            got=repr(pooling),
            remedy='use pooling="last-token" for decoders, "mean" or "cls" for encoders',
        )


def check_pooling_of_images(model: "AdapterModel", pooling: str) -> None:
    """Raise if an image classifier has nothing that the pooling means.

    Raises:
        EvaluationError: If the last position is asked for, or the first of a model without a token for the class.
    """
    if not isinstance(model.family, ImageClassifier) or pooling in ("mean", "all-tokens"):
        return
    classes = any("cls_token" in name for name, _ in model.module.named_parameters())
    if pooling == "last-token" or not classes:
        raise EvaluationError(
            f"images are not pooled by {pooling!r}",
            expected='"cls", "mean" or "all-tokens"' if classes else '"mean" or "all-tokens": no token for the class',
            got=f"{pooling!r}, which is {'a corner' if pooling == 'cls' else 'the last corner'} of the image",
            remedy=f'use pooling="{"cls" if classes else "mean"}"',
        )


@torch.inference_mode()
def read_features(
    model: "AdapterModel",
    module: nn.Module,
    rows: Sequence[Any],
    sites: Sequence[Site],
    *,
    pooling: Pooling,
    token_budget: int = 2048,
) -> dict[str, torch.Tensor]:
    """Features of rows at sites, whatever their values; sites of a group without a vector for each token are left out.

    Args:
        model: Whose family and padding are used.
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
    for numbers in batches_for(model, module, rows, token_budget):
        batch = batch_for(model, module, [rows[number] for number in numbers])
        with recorded(module, sites, batch.layouts, pooling) as found, _fast(module):
            run_through(model, module, batch)
        for site in sites:
            if site.name in found:
                pieces.setdefault(site.name, []).append(found[site.name].cpu())
            elif site.chosen:
                raise _no_tokens(site, "nothing that is run for a prompt")
        order += numbers
    lengths = [len(row.context) for row in rows]
    return {
        site.name: _in_order(pieces[site.name], order, None if pooling != "all-tokens" or site.decoder else lengths)
        for site in sites
        if site.name in pieces
    }


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

    def keep(site: Site) -> Callable[[Any], None]:
        layout = layouts[site.decoder]

        def record(output: Any) -> None:  # noqa: ANN401
            tensor = _first_tensor(output)
            tokens = None if tensor is None else layout.tokens(tensor)
            if tokens is not None and pooling == "all-tokens" and len(tokens) != int(layout.lengths.sum()):
                tokens = None  # a stage that has more positions than the last: its rows are no one else's
            if tokens is not None:
                found[site.name] = layout.pooled(tokens, pooling)
            elif site.chosen:
                raise _no_tokens(site, "no tensor" if tensor is None else f"shape {list(tensor.shape)}")

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


def _no_tokens(site: Site, got: str) -> ModelError:
    """The error for a named site that cannot be pooled."""
    return ModelError(
        f"the activations at {site.name} cannot be compared",
        expected="a module that puts out one vector for each token",
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
