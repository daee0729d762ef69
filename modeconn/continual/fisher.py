"""How much each weight matters to what a model says: the diagonal of the Fisher information."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from modeconn.continual.run import Run, among_allowed
from modeconn.models.family import IGNORED

if TYPE_CHECKING:
    from modeconn.models.encoded import EncodedTask


def fisher_diagonal(losses: Iterable[torch.Tensor], weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The mean over examples of the squared gradient of each example's own loss.

    `F_p = 1/N sum_n (d loss_n / d theta_p)^2`. The square of a batch's gradient is something else: its terms cancel.

    Args:
        losses: The negative log-likelihood of one example each, `[]` in nats, worked out one after the other.
        weights: Name -> weight that the losses depend on.

    Returns:
        Name -> `F`, in the weight's shape.

    Example:
        >>> weight = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> fisher_diagonal((weight @ x for x in torch.tensor([[1.0, 0.0], [-3.0, 2.0]])), {"w": weight})
        {'w': tensor([5., 2.])}
    """
    total, count = {name: torch.zeros_like(weight) for name, weight in weights.items()}, 0
    for loss in losses:
        found = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        for name, one in zip(weights, found, strict=True):
            total[name] += one.square()
        count += 1
    return {name: one / max(count, 1) for name, one in total.items()}


def example_losses(
    run: Run, split: "EncodedTask", rows: Sequence[int], generator: torch.Generator | None
) -> Iterator[torch.Tensor]:
    """The loss of one row after the other, `[]` in nats, without dropout.

    Args:
        run: Model and learner.
        split: The split.
        rows: Which of its rows.
        generator: Of answers that are drawn from the model instead of the given ones, each token after the given
            ones before it; None takes the given answers.
    """
    with run.at({}):  # in `eval()`
        for row in rows:
            batch = run.batch([(split, row)])
            logits = run.logits(batch)
            if generator is not None:
                batch = replace(batch, targets=drawn(among_allowed(logits, batch), batch.targets, generator))
            yield run.losses(batch, logits)[0]


def drawn(logits: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Targets `[B, A]` drawn from the model's probabilities, where there are targets.

    Args:
        logits: `[B, A, C]`.
        targets: `[B, A]`, padded with -100.
        generator: On the CPU.
    """
    probabilities = logits.detach().float().softmax(-1).flatten(0, 1).cpu()  # [B A, C]
    found = torch.multinomial(probabilities, 1, generator=generator).view(targets.shape).to(targets.device)
    return torch.where(targets == IGNORED, targets, found)
