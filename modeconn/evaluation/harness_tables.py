"""The results of the lm-evaluation-harness as rows with the keys of a profile's tables."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from modeconn.evaluation.gate import check_finite
from modeconn.evaluation.intervals import MIN_EXAMPLES, Interval, proportion_interval

Row = dict[str, Any]


def score_rows(results: Mapping[str, Any], *, level: float = 0.95) -> list[Row]:
    """One row for each task, or group that has a mean of its own, and metric.

    Args:
        results: Of `run_benchmarks`.
        level: That of the intervals.

    Returns:
        task, score, score_low, score_high, metric, num_examples, stderr, higher_is_better, num_fewshot, version.
    """
    each = _values(results["samples"])
    rows = []
    for task, found in results["results"].items():
        count = found.get("sample_len", 0)
        for name, filtered in [_parts(key) for key in found if _is_metric(key)]:
            score, error = _number(found[f"{name},{filtered}"]), _number(found.get(f"{name}_stderr,{filtered}"))
            metric = metric_name(name, filtered)
            low, high = _interval(score, error, count, each.get((task, metric)), level)
            rows.append({
                "task": task, "score": score, "score_low": low, "score_high": high, "metric": metric,
                "num_examples": count, "stderr": error,
                "higher_is_better": results["higher_is_better"].get(task, {}).get(name),
                "num_fewshot": results["n-shot"].get(task), "version": str(results["versions"].get(task)),
            })  # fmt: skip
    return rows


def sample_rows(results: Mapping[str, Any], where: str) -> list[Row]:
    """One row for each task, metric and example.

    Args:
        results: Of `run_benchmarks`.
        where: The point in words, for messages.

    Returns:
        task, example, metric, score (NaN where the metric has no number for a single example), target, output (what
        was written, filtered as the metric wants it; else None), log_likelihoods (of each choice, nats; None where
        something was written) and prompt_hash.

    Raises:
        EvaluationError: If a log-likelihood is NaN, which the harness would take for an answer.
    """
    rows = []
    for task, samples in results["samples"].items():
        likelihoods = [_log_likelihoods(sample["resps"]) for sample in samples]
        numbers = np.array([sample["doc_id"] for sample in samples])
        broken = np.array([np.nan if values is not None and np.isnan(values).any() else 0.0 for values in likelihoods])
        check_finite(broken, f"{task} at {where}", examples=numbers, task=task)
        for sample, values in zip(samples, likelihoods, strict=True):
            shared = {
                "target": _text(sample["target"]),
                "output": None if values is not None else _text(_single(sample["filtered_resps"])),
                "log_likelihoods": values,
                "prompt_hash": sample["prompt_hash"],
            }
            for name in sample["metrics"]:
                metric = metric_name(name, sample["filter"])
                rows.append(
                    {"task": task, "example": sample["doc_id"], "metric": metric, "score": _number(sample[name])}
                    | shared
                )
    return rows


def metric_name(name: str, filtered: str) -> str:
    """A metric with the filter that answers went through, as the harness writes it; alone where there is none.

    Example:
        >>> metric_name("acc", "none"), metric_name("exact_match", "get-answer")
        ('acc', 'exact_match,get-answer')
    """
    return name if filtered == "none" else f"{name},{filtered}"


def _is_metric(key: str) -> bool:
    """Whether a key of a task's results is that of a metric, not of its standard error or of the task's name."""
    return "," in key and not _parts(key)[0].endswith("_stderr")


def _parts(key: str) -> tuple[str, str]:
    """Metric and filter."""
    name, _, filtered = key.partition(",")
    return name, filtered


def _values(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[tuple[str, str], np.ndarray]:
    """(task, metric) -> the numbers of single examples."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for task, metric, value in _each(samples):
        found[task, metric].append(value)
    return {key: np.array(values) for key, values in found.items()}


def _each(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, str, float]]:
    """Task, metric and number of every example."""
    for task, own in samples.items():
        for sample in own:
            for name in sample["metrics"]:
                yield task, metric_name(name, sample["filter"]), _number(sample[name])


def _interval(score: float, error: float, count: int, values: np.ndarray | None, level: float) -> Interval:
    """Wilson's of a mean of zeros and ones; else the score and its standard error, both ways alike."""
    if count < MIN_EXAMPLES:
        return np.nan, np.nan
    binary = values is not None and len(values) == count and np.isin(values, (0.0, 1.0)).all()
    if values is not None and binary and np.isclose(values.mean(), score):
        return proportion_interval(values, level=level)
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    return score - reach, score + reach


def _log_likelihoods(responses: Sequence[Any]) -> list[float] | None:
    """Those of all choices of an example, the first answer to each request; None of an example that asks for text."""
    first = [answers[0] for answers in responses]
    if any(isinstance(answer, str) for answer in first):
        return None
    return [float(answer[0] if isinstance(answer, tuple | list) else answer) for answer in first]


def _single(values: Sequence[Any]) -> Any:  # noqa: ANN401
    """The one element of a list that has one."""
    return values[0] if len(values) == 1 else values


def _text(value: Any) -> str:  # noqa: ANN401
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _number(value: Any) -> float:  # noqa: ANN401
    """A number as it is; NaN for what is none, such as the harness's "N/A" and the parts of a corpus's score."""
    return float(value) if isinstance(value, int | float | np.number | np.bool_) else np.nan
