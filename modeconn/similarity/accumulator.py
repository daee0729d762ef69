"""CKA from a stream of minibatches: memory for a handful of matrices, whatever the number of examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from modeconn.errors import EvaluationError, listed
from modeconn.models.finite import check_finite
from modeconn.similarity.features import LEAST_EXAMPLES
from modeconn.similarity.parts import dealt, terms_of_parts

LEAST_MINIBATCHES = 8  # below, their scatter says little


@dataclass(frozen=True, eq=False)
class CKAEstimate:
    """CKA between S sites and S' reference sites.

    Attributes:
        sites: Names, S.
        reference_sites: Names, S'.
        cka: `[S, S']` float64, debiased; `[S]` where sites are matched; NaN where a site does not vary.
        low: Lower ends of the intervals; NaN where there are too few minibatches.
        high: Upper ends.
        cka_biased: The biased form at the size of a minibatch.
        num_rows: Rows of features that were seen.
        num_together: Rows that were compared at once, on average.
        num_minibatches: Minibatches that were averaged over.
    """

    sites: tuple[str, ...]
    reference_sites: tuple[str, ...]
    cka: np.ndarray
    low: np.ndarray
    high: np.ndarray
    cka_biased: np.ndarray
    num_rows: int
    num_together: float
    num_minibatches: int


class CKAAccumulator:
    """Debiased linear CKA over minibatches (Nguyen 2021, arXiv 2010.15327, section 3.1).

    The three HSIC terms of each minibatch are unbiased; they are averaged, and divided once. All pairs of sites come
    from one product: the U-centred Gram of every site is a row. Sums are in float64. A minibatch must be a random
    choice of examples: those sorted by length would hide what differs between lengths. Their scatter gives the
    intervals, by the delta method; below 8 minibatches there are none.

    Rows of one example, as the tokens of a text are, must not be taken for independent ones: two that resemble each
    other on both sides because they are of one text would count as likeness, and texts whose features have nothing to
    do with each other would score high. So rows are compared with those of other examples only.

    Args:
        matched: Compare each site with the reference site in the same place, instead of all pairs.
        max_rows: More rows than this are dealt out at random into parts of at most so many, whose terms are averaged:
            the cost of a Gram grows with the square of its rows.
        seed: Of the dealing.

    Example:
        >>> found, generator = CKAAccumulator(), torch.Generator().manual_seed(0)
        >>> for _ in range(10):
        ...     x = torch.randn(32, 8, generator=generator)
        ...     found.add({"layer": x}, {"layer": x @ torch.randn(8, 5, generator=torch.Generator().manual_seed(1))})
        >>> found.result().cka.shape
        (1, 1)
    """

    def __init__(self, *, matched: bool = False, max_rows: int = 256, seed: int = 0) -> None:
        self._matched, self._max_rows = matched, max(max_rows, 2 * LEAST_EXAMPLES)
        self._generator = torch.Generator().manual_seed(seed)
        self._sites: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._sums: dict[str, torch.Tensor] = {}
        self._rows = self._count = 0
        self._together = 0.0

    def add(
        self,
        features: Mapping[str, torch.Tensor],
        reference: Mapping[str, torch.Tensor],
        *,
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Take in one minibatch.

        Args:
            features: Site -> `[n, D]`, any width, dtype and device.
            reference: Reference site -> `[n, D']`, the same examples in the same order.
            lengths: How many rows each example has, where it has several, one after the other. Every example then
                counts as much as any other, however long it is.

        Raises:
            EvaluationError: If there are fewer than 4 examples, sites differ in their number of rows, lengths do not
                add up to it, the sites are others than before, or a value is not finite.
        """
        sites = tuple(features), tuple(reference)
        self._check(sites, [*features.values(), *reference.values()], lengths)
        number = len(next(iter(features.values())))
        for side, values in zip(("features", "reference"), (features, reference), strict=True):
            for name, rows in values.items():
                check_finite(rows, f"the {side} at {name}")
        parts = dealt(number, lengths, max_rows=self._max_rows, generator=self._generator)
        mean = terms_of_parts((list(features.values()), list(reference.values())), parts, matched=self._matched)
        for key, value in (mean | _products(mean, matched=self._matched)).items():
            self._sums[key] = self._sums[key] + value if self._count else value
        self._together += sum(part.numel() for part in parts) / sum(len(part) for part in parts)
        self._sites, self._rows, self._count = sites, self._rows + number, self._count + 1

    def result(self, *, level: float = 0.95) -> CKAEstimate:
        """What the minibatches so far say.

        Args:
            level: Of the intervals.

        Raises:
            EvaluationError: If there was no minibatch.
        """
        if self._sites is None:
            raise EvaluationError(
                "there is nothing to compare",
                expected="at least one minibatch",
                got="none",
                remedy="call add(features, reference) first",
            )
        mean = {key: (value / self._count).cpu().numpy() for key, value in self._sums.items()}
        cka = _ratio(mean["xy"], mean["xx"], mean["yy"], matched=self._matched)
        reach = _reach(mean, cka, self._count, level=level, matched=self._matched)
        return CKAEstimate(
            *self._sites,
            cka=cka,
            low=np.maximum(cka - reach, -1.0),
            high=np.minimum(cka + reach, 1.0),
            cka_biased=_ratio(mean["xy biased"], mean["xx biased"], mean["yy biased"], matched=self._matched),
            num_rows=self._rows,
            num_together=self._together / self._count,
            num_minibatches=self._count,
        )

    def _check(
        self,
        sites: tuple[tuple[str, ...], tuple[str, ...]],
        values: Sequence[torch.Tensor],
        lengths: Sequence[int] | None,
    ) -> None:
        """Raise unless a minibatch can be added."""
        counts = sorted({len(one) for one in values})
        examples = counts[:1] if lengths is None else [len(lengths)]
        if len(counts) != 1 or examples[0] < LEAST_EXAMPLES:
            raise EvaluationError(
                "a minibatch cannot be compared",
                expected=f"the same {LEAST_EXAMPLES} examples or more at every site",
                got=f"{' and '.join(map(str, counts)) or 'no'} rows"
                + ("" if lengths is None else f" of {len(lengths)} examples"),
                remedy="leave out a last minibatch that is too small, or deal its examples out to the others",
            )
        if lengths is not None and (min(lengths) < 1 or sum(lengths) != counts[0]):
            raise EvaluationError(
                "it is not known which rows belong to which example",
                expected=f"lengths of 1 or more that add up to {counts[0]}, the rows at every site",
                got=f"{len(lengths)} lengths from {min(lengths)} to {max(lengths)}, {sum(lengths)} rows together",
                remedy="give the rows of the first example first, then those of the second",
            )
        if (self._sites is not None and sites != self._sites) or (self._matched and len(sites[0]) != len(sites[1])):
            known = self._sites or sites
            raise EvaluationError(
                "the sites of a minibatch do not fit",
                expected=f"{listed(known[0])} against {listed(known[1])}"
                + (", as many on both sides" if self._matched else ""),
                got=f"{listed(sites[0])} against {listed(sites[1])}",
                remedy="give the same sites in every minibatch",
            )


def _pairs(values: np.ndarray, other: np.ndarray, *, matched: bool) -> tuple[np.ndarray, np.ndarray]:
    """Own terms of sites and of reference sites so that they combine into pairs."""
    return (values, other) if matched else (values[:, None], other[None])


def _products(terms: Mapping[str, torch.Tensor], *, matched: bool) -> dict[str, torch.Tensor]:
    """Products of the three debiased terms of a minibatch, of which sums give the variances."""
    xx, yy = (terms["xx"], terms["yy"]) if matched else (terms["xx"][:, None], terms["yy"][None])
    of = {"x": xx.expand_as(terms["xy"]), "y": yy.expand_as(terms["xy"]), "b": terms["xy"]}
    return {first + " " + second: of[first] * of[second] for first in of for second in of if first <= second}


def _ratio(together: np.ndarray, own: np.ndarray, other: np.ndarray, *, matched: bool) -> np.ndarray:
    """CKA of all pairs; NaN where a site has no similarity even with itself."""
    xx, yy = _pairs(own, other, matched=matched)
    defined = (xx > 0) & (yy > 0)
    return np.where(defined, together / np.sqrt(np.where(defined, xx * yy, 1.0)), np.nan)


def _reach(mean: Mapping[str, np.ndarray], cka: np.ndarray, count: int, *, level: float, matched: bool) -> np.ndarray:
    """Half the width of the intervals: the delta method over minibatches, Student's t with one less than there are."""
    if count < LEAST_MINIBATCHES:
        return np.full(cka.shape, np.nan)
    xx, yy = _pairs(mean["xx"], mean["yy"], matched=matched)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = {"b": 1 / np.sqrt(xx * yy), "x": -cka / (2 * xx), "y": -cka / (2 * yy)}
        square = np.zeros(cka.shape)
        for first in slopes:
            for second in slopes:
                square += slopes[first] * slopes[second] * mean[" ".join(sorted((first, second)))]
    error = np.sqrt(np.maximum(square, 0.0) / (count - 1))  # the mean of the linearised terms is 0
    return stats.t.ppf((1 + level) / 2, count - 1) * error
