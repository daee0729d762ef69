"""Centred kernel alignment of two matrices of features."""

import torch

from modeconn.errors import EvaluationError
from modeconn.similarity.features import Features, centred_pair
from modeconn.similarity.hsic import hsic_of_features, hsic_of_grams


def linear_cka(x: Features, y: Features, *, debiased: bool = True) -> float:
    """Linear CKA: how far two representations of the same examples agree up to rotation and scale.

    `HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))` with `K = X X'`, `L = Y Y'` (Kornblith 2019, arXiv 1905.00414). The
    debiased form (Nguyen 2021, arXiv 2010.15327, eq. 3) is near 0 for unrelated features, and may be a little
    negative. The biased one is about `sqrt(p q / ((n + p) (n + q)))` there: 0.98 for 4,096 features and 100 examples.
    Neither withstands outliers: look at the influence of single examples.

    Args:
        x: `[N, P]`, numpy or torch, one row an example.
        y: `[N, Q]`, the same examples in the same order.
        debiased: Whether to take the unbiased estimates of all three terms.

    Returns:
        The similarity; at most 1 in the biased form.

    Raises:
        EvaluationError: If there are fewer than 4 examples, different numbers of them, values that are not finite,
            features that do not vary, or too few examples for the debiased self-similarity to be positive.

    Example:
        >>> x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
        >>> round(linear_cka(x, 3 * x.flip(1)), 6)  # turned and scaled
        1.0
    """
    first, second = centred_pair(x, y)
    if len(first) > max(first.shape[1], second.shape[1]):
        pairs = (first, second), (first, first), (second, second)
        return _ratio(*(hsic_of_features(a, b, debiased=debiased) for a, b in pairs))
    return _of_grams(first @ first.T, second @ second.T, debiased=debiased)


def rbf_cka(x: Features, y: Features, *, bandwidth: float = 0.8, debiased: bool = True) -> float:
    """CKA with Gaussian kernels `exp(-d^2 / (2 sigma^2))`, which look at near examples only.

    `sigma` is a multiple of the median distance between two examples (Kornblith 2019, arXiv 1905.00414, who tried 0.2,
    0.4 and 0.8).

    Args:
        x: `[N, P]`, numpy or torch, one row an example.
        y: `[N, Q]`, the same examples in the same order.
        bandwidth: Sigma as a multiple of the median distance.
        debiased: Whether to take the unbiased estimates of all three terms.

    Returns:
        The similarity.

    Raises:
        EvaluationError: As for `linear_cka`; or if the bandwidth is not positive, or more than half of the pairs of
            examples have the same features.
    """
    if not bandwidth > 0:
        raise EvaluationError(
            "a Gaussian kernel needs a width",
            expected="bandwidth above 0",
            got=f"bandwidth={bandwidth}",
            remedy="use 0.8, 0.4 or 0.2 of the median distance",
        )
    first, second = centred_pair(x, y)
    grams = _gaussian(first, bandwidth, "x"), _gaussian(second, bandwidth, "y")
    return _of_grams(*grams, debiased=debiased)


def _gaussian(rows: torch.Tensor, bandwidth: float, name: str) -> torch.Tensor:
    """The Gaussian Gram matrix, `[N, N]`."""
    squared = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()
    apart = torch.triu_indices(*squared.shape, offset=1)
    median = _median(squared[apart[0], apart[1]])
    if not median > 0:
        raise EvaluationError(
            f"the features {name} have no median distance",
            expected="features that differ between most pairs of examples",
            got="more than half of the pairs with equal features",
            remedy="use linear_cka, or leave repeated examples out",
        )
    return torch.exp(-squared / (2 * bandwidth**2 * median))


def _median(values: torch.Tensor) -> torch.Tensor:
    """The median of `[M]`: of an even number the mean of the middle two, of which torch's own takes the lower one."""
    count = len(values)
    return (values.kthvalue((count + 1) // 2).values + values.kthvalue(count // 2 + 1).values) / 2


def _of_grams(gram: torch.Tensor, other: torch.Tensor, *, debiased: bool) -> float:
    """CKA from two Gram matrices."""
    pairs = (gram, other), (gram, gram), (other, other)
    return _ratio(*(hsic_of_grams(a, b, debiased=debiased) for a, b in pairs))


def _ratio(together: torch.Tensor, own: torch.Tensor, other: torch.Tensor) -> float:
    """The three terms as one number."""
    if not (own > 0 and other > 0):
        raise EvaluationError(
            "the similarity of these features is not defined",
            expected="a positive debiased HSIC of each side with itself",
            got=f"{float(own):.3g} and {float(other):.3g}",
            remedy="take more examples: there are too few to tell the features from noise",
        )
    return float(together / (own.sqrt() * other.sqrt()))
