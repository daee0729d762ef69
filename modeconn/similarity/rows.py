"""One comparison as rows of a table: what is known of every pair of sites."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from modeconn.errors import EvaluationError, listed
from modeconn.models.activations import Activations
from modeconn.models.inputs import Inputs
from modeconn.models.sites import Site
from modeconn.similarity.accumulator import CKAEstimate
from modeconn.similarity.example_terms import ExampleTerms, example_terms, scaled
from modeconn.similarity.features import LEAST_EXAMPLES
from modeconn.similarity.settings import CKASettings
from modeconn.similarity.uncertainty import bootstrap_interval, effective_number, influence, permutation_null

COLUMNS = (
    "point", "reference", "task", "split", "pooling", "layer", "layer_reference", "t", "cka", "low", "high",
    "cka_biased", "num_examples", "num_rows", "num_together", "num_features", "num_features_reference", "num_effective",
    "influence", "influential_example", "null_high", "p_value",
)  # fmt: skip


def check_same_inputs(inputs: Inputs, other: Inputs, pooling: str) -> None:
    """Raise unless two models read the same texts in the same order; for single tokens, the same tokens.

    Raises:
        EvaluationError: If they do not, or there are fewer than 4.
    """
    if inputs.num_examples < LEAST_EXAMPLES:
        raise EvaluationError(
            f"too few examples of {inputs.task}/{inputs.split} to compare representations",
            expected=f"{LEAST_EXAMPLES} examples or more",
            got=str(inputs.num_examples),
            remedy="take another split or more examples: some hundred for an interval that says something",
        )
    if inputs.texts != other.texts:
        raise EvaluationError(
            "activations of different inputs cannot be compared",
            expected="the same texts in the same order on both sides",
            got=f"{_told(inputs)} and {_told(other)}",
            remedy="read both with the same task, split and num_examples",
        )
    if pooling == "all-tokens" and inputs.tokens != other.tokens:
        raise EvaluationError(
            "the tokens of two tokenizers cannot be compared one by one",
            expected="the same tokens on both sides",
            got=f"{sum(inputs.lengths)} and {sum(other.lengths)} tokens of the same texts",
            remedy='pool them: pooling="mean" or "last-token"',
        )


def of_prompts(features: Mapping[str, torch.Tensor], sites: Sequence[Site], count: int) -> dict[str, torch.Tensor]:
    """The features that have a row for each token of the prompts: those of a decoder of its own have not.

    Args:
        features: Site -> `[rows, D]`.
        sites: Where they were taken.
        count: Tokens of the prompts.

    Raises:
        EvaluationError: If a site that was named has other rows, or all have.
    """
    kept = {name: rows for name, rows in features.items() if len(rows) == count}
    lost = [site.name for site in sites if site.name in features.keys() - kept.keys() and (site.chosen or not kept)]
    if lost:
        raise EvaluationError(
            "single tokens of the prompts are not seen everywhere",
            expected="sites with a vector for each token, such as the layers of the encoder",
            got=f"other numbers of vectors at {listed(lost)}",
            remedy='name other sites, or take pooling="mean" or "last-token"',
        )
    return kept


def full_rows(point: Activations, reference: Activations, *, matched: bool, settings: CKASettings) -> pd.DataFrame:
    """All pairs of sites of two points, or those in the same place, by the full batch.

    Args:
        point: Activations at a point.
        reference: Those that it is compared with.
        matched: Only pairs in the same place, instead of all.
        settings: How sure the numbers are made.

    Returns:
        Columns from `layer` to `p_value`, one row a pair; what was not asked for is missing.

    Raises:
        EvaluationError: If the activations are not of the same inputs.
    """
    check_same_inputs(point.inputs, reference.inputs, point.pooling)
    x, y = scaled(point.features), scaled(reference.features)
    terms = example_terms(x, y, matched=matched)
    low, high = bootstrap_interval(
        terms, num_resamples=settings.num_resamples, level=settings.level, seed=settings.seed
    )
    largest, example = influence(terms)
    numbers = np.array([row.example for row in point.inputs.rows])
    known = example.numpy() >= 0
    chance = _chance(terms, x, y, matched=matched, settings=settings)
    sites, others = list(point.features), list(reference.features)
    return pd.DataFrame(
        {
            "layer": [sites[i] for i in terms.first],
            "layer_reference": [others[i] for i in terms.second],
            "cka": terms.cka,
            "low": low,
            "high": high,
            "cka_biased": terms.biased,
            "num_examples": point.inputs.num_examples,
            "num_rows": point.num_rows,
            "num_together": float(point.num_rows),
            "num_features": [x[i].shape[1] for i in terms.first],
            "num_features_reference": [y[i].shape[1] for i in terms.second],
            "num_effective": torch.where(terms.cka.isnan(), torch.nan, effective_number(terms)),
            "influence": largest,
            "influential_example": pd.array(np.where(known, numbers[example], -1), dtype="Int64"),
            **chance,
        }
    ).assign(influential_example=lambda found: found["influential_example"].mask(~known))


def streamed_rows(
    estimate: CKAEstimate, inputs: Inputs, widths: tuple[Mapping[str, int], Mapping[str, int]]
) -> pd.DataFrame:
    """The same of a stream of minibatches, of which single examples are not known.

    Args:
        estimate: From a `CKAAccumulator`.
        inputs: What was read.
        widths: Site -> number of features, of both sides.
    """
    sites, others = np.array(estimate.sites), np.array(estimate.reference_sites)
    matched = estimate.cka.ndim == 1
    first = sites if matched else sites.repeat(len(others))
    second = others if matched else np.tile(others, len(sites))
    return pd.DataFrame(
        {
            "layer": first,
            "layer_reference": second,
            "cka": estimate.cka.reshape(-1),
            "low": estimate.low.reshape(-1),
            "high": estimate.high.reshape(-1),
            "cka_biased": estimate.cka_biased.reshape(-1),
            "num_examples": inputs.num_examples,
            "num_rows": estimate.num_rows,
            "num_together": estimate.num_together,
            "num_features": [widths[0][name] for name in first],
            "num_features_reference": [widths[1][name] for name in second],
        }
    )


def _chance(
    terms: ExampleTerms, x: list[torch.Tensor], y: list[torch.Tensor], *, matched: bool, settings: CKASettings
) -> dict[str, np.ndarray]:
    """The upper end of what shuffled examples give, and how often they give as much."""
    if not settings.num_permutations:
        return {}
    null = permutation_null(
        x, y, matched=matched, num_permutations=settings.num_permutations, seed=settings.seed
    ).numpy()  # [R, P]
    found = terms.cka.numpy()
    p_value = (1 + (null >= found).sum(axis=0)) / (1 + len(null))
    with np.errstate(invalid="ignore"):
        high = np.quantile(null, settings.level, axis=0)
    return {"null_high": high, "p_value": np.where(np.isnan(found), np.nan, p_value)}


def _told(inputs: Inputs) -> str:
    """Inputs in words."""
    return f"{inputs.num_examples} examples of {inputs.task}/{inputs.split} ({inputs.texts[:12]})"
