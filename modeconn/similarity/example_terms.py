"""The full-batch HSIC terms of many pairs of sites, each with every example left out once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from modeconn.similarity.features import centred, is_constant

_BLOCK_BYTES = 64 * 2**20  # of Gram rows held at once


@dataclass(frozen=True, eq=False)
class ExampleTerms:
    """Debiased HSIC of P pairs of sites, and of each site with itself, whole and without each of N examples.

    Sites keep a scale of their own, which CKA does not see.

    Attributes:
        first: `[P]`, the site of a pair.
        second: `[P]`, its reference site.
        xy: `[P]`.
        xx: `[S]`.
        yy: `[S']`.
        xy_without: `[N, P]`, without one example.
        xx_without: `[N, S]`.
        yy_without: `[N, S']`.
        biased: `[P]`, the biased CKA.
        lengths: `[N, S]`, squared distances of the examples from their mean.
        reference_lengths: `[N, S']`.
    """

    first: torch.Tensor
    second: torch.Tensor
    xy: torch.Tensor
    xx: torch.Tensor
    yy: torch.Tensor
    xy_without: torch.Tensor
    xx_without: torch.Tensor
    yy_without: torch.Tensor
    biased: torch.Tensor
    lengths: torch.Tensor
    reference_lengths: torch.Tensor

    @property
    def cka(self) -> torch.Tensor:
        """`[P]`, debiased; NaN where a site has no similarity even with itself."""
        return ratio(self.xy, self.xx[self.first], self.yy[self.second])

    @property
    def cka_without(self) -> torch.Tensor:
        """`[N, P]`, without one example; NaN below 5 examples."""
        return ratio(self.xy_without, self.xx_without[:, self.first], self.yy_without[:, self.second])


def ratio(together: torch.Tensor, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """CKA from its three terms; NaN where one of the own terms is not positive."""
    nothing = torch.full_like(together, torch.nan)
    return torch.where((own > 0) & (other > 0), together / (own.clamp(min=0) * other.clamp(min=0)).sqrt(), nothing)


def scaled(features: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Centred features of a mean squared distance of 1, float64; zeros where a site does not vary."""
    found = []
    for rows in features.values():
        wide = centred(rows)
        size = wide.square().sum(1).mean().sqrt()
        found.append(torch.zeros_like(wide) if is_constant(rows, wide) else wide / size)
    return found


def example_terms(x: Sequence[torch.Tensor], y: Sequence[torch.Tensor], *, matched: bool) -> ExampleTerms:
    """All terms in one pass over blocks of Gram rows.

    Without its diagonal, a Gram of centred features has the row sums `-k`, `k` the diagonal. So with
    `r_i = sum_j K_ij L_ij`, and `K m`, `L k` from the features, leaving out an example takes from the sums of Song's
    estimator what belongs to it (`m` is the diagonal of L), and nothing is computed anew.

    Args:
        x: From `scaled`, `[N, D]` for each of S sites.
        y: The same for S' reference sites.
        matched: Only pairs in the same place, instead of all.
    """
    sites, others = torch.arange(len(x)), torch.arange(len(y))
    first, second = (sites, others) if matched else (sites.repeat_interleave(len(y)), others.repeat(len(x)))
    k, m = (torch.stack([rows.square().sum(1) for rows in side], 1) for side in (x, y))  # [N, S]
    rows_xy, rows_xx, rows_yy = _row_products(x, y, matched=matched)
    x_on = _applied(x, m, matched=matched)  # K_s m_t, [N, P]
    y_on = _applied(y, k, matched=matched)
    y_on = y_on if matched else y_on.view(-1, len(y), len(x)).transpose(1, 2).flatten(1)
    xy, xy_without = _hsic(rows_xy, k[:, first], m[:, second], x_on, y_on)
    xx, xx_without = _hsic(rows_xx, k, k, *[_applied(x, k, matched=True)] * 2)
    yy, yy_without = _hsic(rows_yy, m, m, *[_applied(y, m, matched=True)] * 2)
    whole = [(r + a * b).sum(0) for r, a, b in ((rows_xy, k[:, first], m[:, second]), (rows_xx, k, k), (rows_yy, m, m))]
    biased = ratio(whole[0], whole[1][first], whole[2][second])
    return ExampleTerms(first, second, xy, xx, yy, xy_without, xx_without, yy_without, biased, k, m)


def _row_products(
    x: Sequence[torch.Tensor], y: Sequence[torch.Tensor], *, matched: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`sum_{j != i} K_ij L_ij` of all pairs and of each site with itself: `[N, P]`, `[N, S]`, `[N, S']`."""
    number = len(x[0])
    step = max(1, _BLOCK_BYTES // (8 * number * (len(x) + len(y))))
    pieces = []
    for start in range(0, number, step):
        block = torch.arange(start, min(start + step, number))
        grams = [torch.stack([rows[block] @ rows.T for rows in side]) for side in (x, y)]  # [S, b, N]
        for gram in grams:
            gram[:, torch.arange(len(block)), block] = 0.0
        own = [gram.square().sum(2).T for gram in grams]  # [b, S]
        if matched:
            cross = (grams[0] * grams[1]).sum(2).T  # [b, S]
        else:
            cross = torch.bmm(grams[0].transpose(0, 1), grams[1].permute(1, 2, 0)).flatten(1)  # [b, S S']
        pieces.append((cross, *own))
    cross, own, other = (torch.cat(one) for one in zip(*pieces, strict=True))
    return cross, own, other


def _applied(x: Sequence[torch.Tensor], vectors: torch.Tensor, *, matched: bool) -> torch.Tensor:
    """Grams times the columns of `vectors`, `[N, S]` or, for all pairs, `[N, S S']`, by way of the features."""
    if matched:
        return torch.stack([rows @ (rows.T @ vectors[:, i]) for i, rows in enumerate(x)], 1)
    return torch.stack([rows @ (rows.T @ vectors) for rows in x], 1).flatten(1)


def _hsic(
    products: torch.Tensor,
    k: torch.Tensor,
    m: torch.Tensor,
    k_on_m: torch.Tensor,
    m_on_k: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """HSIC_1, `[P]`, and without each example, `[N, P]`; all arguments are `[N, P]`."""
    number = len(products)
    trace, sums, other, inner = products.sum(0), -k.sum(0), -m.sum(0), (k * m).sum(0)
    whole = _from_sums(number, trace, sums, other, inner)
    kept = inner - k * m + (k_on_m - k * m) + (m_on_k - k * m) + products
    return whole, _from_sums(number - 1, trace - 2 * products, sums + 2 * k, other + 2 * m, kept)


def _from_sums(
    number: int, trace: torch.Tensor, sums: torch.Tensor, other: torch.Tensor, inner: torch.Tensor
) -> torch.Tensor:
    """HSIC_1 (Nguyen 2021, eq. 3) from `tr K L`, `1' K 1`, `1' L 1` and `1' K L 1` of Grams with zero diagonals."""
    if number < 4:
        return torch.full_like(trace, torch.nan)
    total = trace + sums * other / ((number - 1) * (number - 2)) - 2 * inner / (number - 2)
    return total / (number * (number - 3))
