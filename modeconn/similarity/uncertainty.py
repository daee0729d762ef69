"""How far a CKA is to be believed: intervals over examples, single examples that decide it, chance agreement."""

from collections.abc import Sequence

import numpy as np
import torch

from modeconn.errors import EvaluationError
from modeconn.similarity.example_terms import ExampleTerms
from modeconn.similarity.hsic import u_centred

LEAST_FOR_INTERVALS = 8
_MOST_BYTES = 2 * 2**30  # of Gram matrices for a permutation null


def bootstrap_interval(
    terms: ExampleTerms, *, num_resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Percentile intervals of CKA over examples, from resampled jackknife pseudo-values.

    Drawing examples twice would not do: an example and its copy are as alike as can be, and the debiased form, which
    leaves out the diagonal for that reason, would be biased again. The pseudo-values `n H - (n - 1) H_(-i)` of the
    three terms, whose means are the terms themselves (Arvesen 1969), are resampled together, and divided once a
    resample.

    Args:
        terms: Of N examples.
        num_resamples: R; 0 gives no interval.
        level: Coverage.
        seed: Of the resamples, which all pairs share.

    Returns:
        Low and high, `[P]` each; NaN below 8 examples.
    """
    number, pairs = terms.xy_without.shape
    if number < LEAST_FOR_INTERVALS or num_resamples == 0:
        nothing = torch.full((pairs,), torch.nan, dtype=torch.float64)
        return nothing, nothing.clone()
    counts = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=num_resamples)
    weights = torch.from_numpy(counts).double() / number  # [R, N]
    together, own, other = (
        weights @ (number * whole - (number - 1) * without)  # [R, P]
        for whole, without in (
            (terms.xy, terms.xy_without),
            (terms.xx, terms.xx_without),
            (terms.yy, terms.yy_without),
        )
    )
    drawn = _divided(together, own, other, terms).clamp_(-1.0, 1.0)
    low, high = _quantiles(drawn, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return low, high


def _divided(together: torch.Tensor, own: torch.Tensor, other: torch.Tensor, terms: ExampleTerms) -> torch.Tensor:
    """CKA of every resample from `[R, P]`, `[R, S]` and `[R, S']`; NaN where an own term is not positive."""
    own, other = (torch.where(one > 0, one, torch.nan).rsqrt() for one in (own, other))
    sites, others = own.shape[1], other.shape[1]
    if together.shape[1] == sites * others:  # all pairs, of which a view does what choosing columns would
        return (together.view(-1, sites, others) * own[:, :, None]).mul_(other[:, None, :]).flatten(1)
    return together * own[:, terms.first] * other[:, terms.second]


def _quantiles(drawn: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """Quantiles of the columns of `[R, P]` that leave out NaN: by partition, which takes a quarter of a sort's time."""
    found = torch.from_numpy(np.quantile(drawn.numpy(), sides.numpy(), axis=0))  # NaN where a column has one
    gaps = found[0].isnan()
    if gaps.any():
        found[:, gaps] = torch.nanquantile(drawn[:, gaps], sides, dim=0)
    return found


def influence(terms: ExampleTerms) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest change of each pair's CKA when one example is left out, and which example that is.

    Args:
        terms: Of N examples.

    Returns:
        `[P]`, CKA with the example less CKA without it, and `[P]`, the example's number; NaN and -1 below 5 examples.
    """
    changes = terms.cka - terms.cka_without  # [N, P]
    known = torch.nan_to_num(changes.abs(), nan=-1.0)
    size, example = known.max(0)
    largest = changes.gather(0, example[None])[0]
    return torch.where(size < 0, torch.nan, largest), torch.where(size < 0, -1, example)


def effective_number(terms: ExampleTerms) -> torch.Tensor:
    """How many examples carry the spread of the features, `[P]`: of both sides the smaller `(sum d)^2 / sum d^2`.

    `d` are squared distances from the mean: N for equal ones, 1 if one example lies far off and all others together,
    and 2 for two such, of which leaving out one would change little.

    Args:
        terms: Of N examples.
    """
    both = [
        lengths.sum(0).square() / lengths.square().sum(0).clamp(min=torch.finfo(torch.float64).tiny)
        for lengths in (terms.lengths, terms.reference_lengths)
    ]
    return torch.minimum(both[0][terms.first], both[1][terms.second])


def permutation_null(
    x: Sequence[torch.Tensor], y: Sequence[torch.Tensor], *, matched: bool, num_permutations: int, seed: int = 0
) -> torch.Tensor:
    """CKA of each pair when the reference's examples are shuffled: what chance gives.

    Debiased CKA is the cosine of two U-centred Grams, and shuffling changes no length.

    Args:
        x: From `scaled`, `[N, D]` for each of S sites.
        y: The same for S' reference sites.
        matched: Only pairs in the same place, instead of all.
        num_permutations: R.
        seed: Of the permutations, which all pairs share.

    Returns:
        `[R, P]` float64.

    Raises:
        EvaluationError: If the Gram matrices would take more than 2 GiB.
    """
    number = len(x[0])
    needed = 4 * number**2 * (len(x) + len(y))
    if needed > _MOST_BYTES:
        raise EvaluationError(
            "a permutation null of so many examples and sites does not fit into memory",
            expected=f"Gram matrices of at most {_MOST_BYTES / 2**30:.0f} GiB",
            got=f"{needed / 2**30:.1f} GiB for {number} examples at {len(x)} and {len(y)} sites",
            remedy="take fewer examples or sites, or leave the null out (num_permutations=0)",
        )
    i, j = torch.triu_indices(number, number, offset=1)
    rows = torch.stack([_upper(one, i, j) for one in x])  # [S, n (n - 1) / 2]
    grams = torch.stack([u_centred(one @ one.T).float().flatten() for one in y])  # [S', n^2]
    lengths = torch.stack([_length(gram.view(number, number)[i, j]) for gram in grams])
    generator, drawn = torch.Generator().manual_seed(seed), []
    for _ in range(num_permutations):
        order = torch.randperm(number, generator=generator)
        shuffled = grams[:, order[i] * number + order[j]] / lengths[:, None]
        drawn.append((rows * shuffled).sum(1) if matched else (rows @ shuffled.T).flatten())
    return torch.stack(drawn).double()


def _upper(rows: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    """The upper triangle of a U-centred Gram, of length 1, float32."""
    values = u_centred(rows @ rows.T)[i, j].float()
    return values / _length(values)


def _length(values: torch.Tensor) -> torch.Tensor:
    """The Euclidean length, NaN for zeros: nothing is similar to what does not vary."""
    length = values.norm()
    return torch.where(length > 0, length, torch.nan)
