"""SARI: how well a simplification adds, keeps and deletes what human ones do."""

from collections import Counter
from collections.abc import Sequence

_LONGEST = 4  # n-grams of 1 to 4 tokens


def sari(source: Sequence[str], output: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The mean of three scores, each a mean over n-grams of n = 1 to 4 (Xu 2016, TACL 4, equations 1 to 9).

    With counts of an n-gram in the source I, the output O and the r references together R (a share `#R / r` is R'):

        add:    precision and recall of the n-grams in O and not in I, right if in R and not in I; F1
        keep:   precision and recall of `min(#I, #O)`, right up to `min(#I, #R')`; F1
        delete: precision only of `#I - #O`, right by what is left of it after subtracting `#R'`

    Precisions of `keep` and `delete` are means over n-grams, each counting once; the recall of `keep` is a ratio of
    sums. Where there is nothing to add, keep or delete, a precision or recall is 1. These are the conventions of
    Tensor2Tensor, the GEM benchmark and the metric `sari` of Hugging Face, which TRACE uses; so numbers compare with
    theirs. Others differ: the script that came with the paper has 0 in place of 1, and another recall of `keep`; the
    paper's text averages precisions and recalls before F1, and counts deletions of repeated n-grams right up to
    `#I - #R'`, with which an output equal to its only reference always scores 1 (here only where the source repeats
    none of what it may lose); EASSE sums counts over a whole corpus first.

    Args:
        source: The tokens of the text that was to be simplified.
        output: The tokens of what a model wrote.
        references: The tokens of every human simplification, one or more.

    Returns:
        A number in [0, 1]; tables elsewhere often have 100 times that.

    Raises:
        ValueError: If there is no reference.

    Example:
        >>> source, output = "about 95 species are accepted".split(), "about 95 species are known".split()
        >>> round(sari(source, output, [output]), 3), round(sari(source, source, [output]), 3)
        (1.0, 0.601)
    """
    if not references:
        raise ValueError("SARI needs one reference or more")
    orders = range(1, _LONGEST + 1)
    parts = [
        _parts(_counts(source, n), _counts(output, n), sum((_counts(one, n) for one in references), Counter()),
               len(references))
        for n in orders
    ]  # fmt: skip
    return sum(sum(part) for part in parts) / (3 * _LONGEST)


def _counts(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often every n-gram occurs."""
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def _parts(source: Counter, output: Counter, references: Counter, num_references: int) -> tuple[float, float, float]:
    """Add, keep and delete of one order; counts are multiplied by r, so that R' needs no fractions."""
    whole, written = (
        Counter({gram: count * num_references for gram, count in own.items()}) for own in (source, output)
    )
    return _add(source, output, references), _keep(whole, written, references), _delete(whole, written, references)


def _add(source: Counter, output: Counter, references: Counter) -> float:
    """F1 of the n-grams that are new."""
    added, wanted = output.keys() - source.keys(), references.keys() - source.keys()
    right = len(added & wanted)
    return _f1(_share(right, len(added)), _share(right, len(wanted)))


def _keep(source: Counter, output: Counter, references: Counter) -> float:
    """F1 of the n-grams that stay."""
    kept, wanted = source & output, source & references
    right = kept & wanted
    precision = _share(sum(right[gram] / kept[gram] for gram in right), len(kept))
    return _f1(precision, _share(right.total(), wanted.total()))


def _delete(source: Counter, output: Counter, references: Counter) -> float:
    """Precision of the n-grams that go."""
    deleted = source - output
    right = deleted - references
    return _share(sum(right[gram] / deleted[gram] for gram in right), len(deleted))


def _share(part: float, whole: int) -> float:
    """A ratio; 1 of nothing."""
    return part / whole if whole else 1.0


def _f1(precision: float, recall: float) -> float:
    """The harmonic mean; 0 if either is 0."""
    return 2 * precision * recall / (precision + recall) if precision * recall else 0.0
