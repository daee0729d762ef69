"""Random filter-normalised directions around a checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import torch

from modeconn.adapters.adapter import Adapter, combine
from modeconn.adapters.part import Dense, LowRank
from modeconn.adapters.update import Update
from modeconn.errors import EvaluationError
from modeconn.models.placing import folded
from modeconn.models.point_model import PointModel

Filters = Literal["update", "weights", "factors"]


def random_step(
    point: Adapter, model: PointModel, *, filters: Filters, generator: torch.Generator, name: str = "random step"
) -> Adapter:
    """A point moved by one random direction, each filter of which is as long as the filter of the point.

    Li 2018 (arXiv 1712.09913): `d_i <- d_i / |d_i| |theta_i|` with `d_i` Gaussian, for every filter i, which is what
    one index of a tensor's first dimension selects (a neuron's weights, a convolution's kernel, a token's vector);
    vectors (biases, norms) do not move. What `theta` is, is said by `filters`:

    - "update": `theta = dW`, the change that the adapter makes. The direction is of the update's own rank, `s_i u_i V`
      with Gaussian u and V, so that nothing dense is kept, and its length does not depend on the gauge of the
      factors; dense where the update has no factors (DoRA, full fine-tunes). Step 1 is as long as the fine-tuning
      itself. Saved modules do not move.
    - "weights": `theta = W_0 + dW`, the published form, for modules trained as a whole (`module_point`) and for
      comparison with it. For an adapter the direction still is of its rank and in its target modules; saved modules
      move too.
    - "factors": theta is each of the adapter's own tensors: the only choice where there is no `dW` (prompts, bottleneck
      adapters). For LoRA it depends on the gauge: one function written in two ways has two surfaces.

    Args:
        point: The checkpoint.
        model: The model, which knows the base's weights.
        filters: What the filters' lengths are matched to.
        generator: Where the random numbers come from, on the CPU.
        name: The result's name.

    Returns:
        The point plus the direction.

    Raises:
        EvaluationError: If the choice is unknown, or the point has nothing of the kind.
    """
    check_filters(point, filters)
    if filters == "factors":
        tensors = {key: point.tensors[key] for key, _ in point.layout.shapes}  # without whole numbers
        moved = {key: value + _like(value, generator) for key, value in tensors.items()}
        return point.with_vector(point.layout.pack(moved), name=name)
    updates = {}
    for parameter, update in sorted(point.within(model).updates.items()):
        if len(update.shape) > 1:
            lengths = _lengths(update, parameter, model, filters)
            updates[parameter] = _change(update, lengths, generator, transposed=model.transposed(parameter))
    still = torch.zeros_like if filters == "update" else lambda value: _like(value, generator)
    return _plus(point, updates, still, name)


def default_filters(point: Adapter) -> Filters:
    """What fits a point: "update" where it changes weights, "weights" for a whole module, else "factors"."""
    if not point.config.kind.has_update:
        return "factors"
    return "update" if point.updates else "weights"


def check_filters(point: Adapter, filters: str) -> None:
    """Raise unless a point has what filters are to be matched to.

    Args:
        point: The checkpoint.
        filters: "update", "weights" or "factors".

    Raises:
        EvaluationError: If the choice is unknown, or the point has nothing of the kind.
    """
    usable = {"update": bool(point.updates), "weights": point.config.kind.has_update, "factors": point.own is not None}
    if not usable.get(filters):
        can = [choice for choice in get_args(Filters) if usable[choice]]
        raise EvaluationError(
            f"no random directions around {point.name} matched to {filters!r}",
            expected=" or ".join(can),
            got=repr(filters),
            remedy=f'give filters="{can[0]}"',
        )


def _lengths(update: Update, parameter: str, model: PointModel, filters: Filters) -> torch.Tensor:
    """The length of every filter of an update, or of the changed weight, `[rows]`."""
    transposed, weight = model.transposed(parameter), model.weight(parameter)
    if filters == "weights":
        whole = folded(weight, update, transposed=transposed).float().cpu()
        return _norms(whole.mT if transposed else whole)
    if update.low_rank:
        return _product_norms(*update.factors())
    bound = update.on(weight, transposed=transposed)
    dense = bound.dense().float().cpu()
    return _norms(dense.mT if transposed and bound.stored else dense)


def _change(update: Update, lengths: torch.Tensor, generator: torch.Generator, *, transposed: bool) -> Update:
    """A Gaussian change whose filters have given lengths: of the update's rank where it has factors, else dense.

    Args:
        update: Gives shape, rank and orientation.
        lengths: `[rows]`.
        generator: Where the random numbers come from.
        transposed: Whether the model stores the parameter as `[in, out]`, so that its filters are columns.
    """
    if update.low_rank:
        rows, columns = update.shape
        up = torch.randn(rows, update.rank, generator=generator)
        down = torch.randn(update.rank, columns, generator=generator)
        scale = lengths / _product_norms(up, down)  # [rows]
        return Update.of(LowRank(scale[:, None] * up, down, 1.0, lookup=update.lookup))
    drawn = torch.randn(update.shape, generator=generator)
    turned = transposed and update.stored
    value = _scaled(drawn.mT, lengths).mT.contiguous() if turned else _scaled(drawn, lengths)
    return Update.of(Dense(value, in_storage=update.stored))


def _plus(
    point: Adapter, updates: dict[str, Update], step: Callable[[torch.Tensor], torch.Tensor], name: str
) -> Adapter:
    """The point plus a change of its updates and saved modules."""
    saved = {key: step(value) for key, value in sorted(point.saved.items())}
    change = replace(point, updates=updates, saved=saved, own=None, source=None, weight_sum=0.0, name="change")
    return combine((1.0, 1.0), (point, change), name=name)


def _like(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A Gaussian tensor with filters as long as those of a tensor; zeros for a vector."""
    if value.ndim < 2:
        return torch.zeros_like(value)
    return _scaled(torch.randn(value.shape, generator=generator), _norms(value))


def _scaled(drawn: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """A tensor with filters of given lengths, `[rows, ...]` and `[rows]`."""
    return drawn * (lengths / _norms(drawn)).reshape(-1, *[1] * (drawn.ndim - 1))


def _norms(value: torch.Tensor) -> torch.Tensor:
    """The length of every filter, `[rows]`."""
    return value.flatten(1).norm(dim=1)


def _product_norms(up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """The lengths of the rows of `up @ down`, `[rows]`, without the product: `|u V|^2 = u V V^T u^T`."""
    return ((up @ (down @ down.T)) * up).sum(dim=1).clamp(min=0.0).sqrt()
