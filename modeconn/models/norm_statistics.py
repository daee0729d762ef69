"""Running statistics of norm layers, which belong to a point: made anew there, and put back afterwards."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # of batch norm and instance norm


def running_norms(module: nn.Module) -> list[_NormBase]:
    """The batch and instance norms of a module that keep running statistics."""
    return [part for part in module.modules() if isinstance(part, _NormBase) and part.track_running_stats]


def is_statistic(module: nn.Module, buffer: str) -> bool:
    """Whether a buffer of a module is a running statistic of one of its norms."""
    owner = module.get_submodule(buffer.rpartition(".")[0])
    return isinstance(owner, _NormBase) and owner.track_running_stats


@contextmanager
def statistics_of(module: nn.Module, inputs: torch.Tensor | None, *, batch_size: int) -> Iterator[None]:
    """A context in which the norms have the statistics of the module's present weights; afterwards all is as it was.

    The plain mean over batches of one size, which therefore weigh alike.

    Args:
        module: The module, in evaluation mode.
        inputs: Training inputs, `[M, ...]`, on the module's device or not; not read where there is nothing to make.
        batch_size: Examples a batch; a smaller last one is left out.
    """
    norms = running_norms(module)
    with ExitStack() as undo:
        for norm in norms:
            undo.enter_context(kept_buffers(norm))
            undo.callback(setattr, norm, "momentum", norm.momentum)
            undo.callback(norm.eval)
            norm.reset_running_stats()
            norm.train()
        if norms and inputs is not None:
            with ExitStack() as counting:
                for norm in norms:
                    counting.callback(norm.register_forward_pre_hook(_weighing_alike()).remove)
                _run_through(module, inputs, batch_size)
        for norm in norms:
            norm.eval()
        yield


@contextmanager
def own_statistics(norms: Sequence[_NormBase]) -> Iterator[None]:
    """A context in which norms take the statistics of what passes through them, and keep their own."""
    for norm in norms:
        norm.train()
    with ExitStack() as undo:
        for norm in norms:
            undo.callback(norm.eval)
            undo.enter_context(kept_buffers(norm))
        yield


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """A context in which a module writes to copies of its buffers; its own are never touched.

    Written and put back in place, they would be buffers that the backward pass finds changed.
    """
    before = dict(module._buffers)
    module._buffers.update({name: value.clone() for name, value in before.items() if value is not None})
    try:
        yield
    finally:
        module._buffers.update(before)


def _weighing_alike() -> Callable[[nn.Module, object], None]:
    """A hook before every pass: a momentum with which running statistics become the plain mean over passes.

    Batch norm would do so by itself without a momentum; instance norm without one keeps none.
    """
    passes = count(1)

    def hook(norm: nn.Module, _: object) -> None:
        norm.momentum = 1.0 / next(passes)  # type: ignore[assignment]  # a norm has one

    return hook


@torch.no_grad()
def _run_through(module: nn.Module, inputs: torch.Tensor, batch_size: int) -> None:
    """Show a module its training inputs, in batches of one size."""
    device = next(module.parameters()).device
    whole = max(batch_size, len(inputs) - len(inputs) % batch_size)
    for start in range(0, min(whole, len(inputs)), batch_size):
        module(inputs[start : start + batch_size].to(device))
