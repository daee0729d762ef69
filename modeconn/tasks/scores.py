"""Scores of what a model wrote, each in [0, 1] for one example."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from modeconn.errors import TaskError, listed

from .examples import Example
from .last_number import last_number
from .metrics import GENERATED
from .sari import sari

_LIBRARIES = {  # metric -> the module that it needs, and the package that holds it
    "rouge_l": ("rouge_score.rouge_scorer", "rouge-score"),
    "sari": ("sacrebleu.tokenizers.tokenizer_13a", "sacrebleu"),
    "edit_similarity": ("rapidfuzz.fuzz", "rapidfuzz"),
}
_LETTERWISE = "぀-ヿ㐀-䶿一-鿿豈-﫿"  # scripts without blanks between words: kana, Han
_WORD = re.compile(rf"[{_LETTERWISE}]|[^\W_{_LETTERWISE}]+")


def score_outputs(metric: str, outputs: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
    """The score of every output, `[N]` float64 in [0, 1].

    - `rouge_l`: F1 of the longest common subsequence of words (Lin 2004), by rouge-score. Words are runs of letters and
      digits of any script in lower case, one each for Han characters and kana; nothing is stemmed.
    - `sari`: see `sari`; the text to simplify is the example's prompt, and the answer is the one reference. Tokens are
      those of mteval-v13a in lower case, as sacrebleu makes them.
    - `edit_similarity`: `1 - d / (len(a) + len(b))`, where d is the least number of characters that are put in or taken
      out to turn one text into the other: `fuzz.ratio` of rapidfuzz, over 100.
    - `exact_number`: 1 where the last number of the output equals that of the answer; see `last_number`.
    - `generated_exact_match`: 1 where output and answer are the same text.

    Blanks around outputs and answers do not count. An empty output scores 0, or what SARI gives for deleting all.

    Args:
        metric: One of these.
        outputs: What the model wrote, in the order of the examples.
        examples: What was asked.

    Raises:
        TaskError: If the metric is not one of these, or the library that it needs is not installed.

    Example:
        >>> score_outputs("exact_number", ["so it is 1,200 m."], [Example("How long?", "1200")]).tolist()
        [1.0]
    """
    score = _scorer(metric)
    pairs = zip(outputs, examples, strict=True)
    return np.array([score(output.strip(), example) for output, example in pairs], dtype=np.float64)


def check_scorer(metric: str) -> None:
    """Raise unless what a metric needs is installed; better before hours of work than after.

    Raises:
        TaskError: As `score_outputs`.
    """
    if metric not in GENERATED:
        raise TaskError(
            f"no score of written answers is called {metric!r}",
            expected=f"one of {listed(GENERATED)}",
            got=repr(metric),
            remedy="choose one of these as the task's metric",
        )
    if metric in _LIBRARIES:
        _library(metric)


def check_answers(metric: str, examples: Sequence[Example], *, where: str) -> None:
    """Raise if an answer could never be met: `exact_number` needs a number in each.

    Raises:
        TaskError: If an answer holds no number; all are told.
    """
    if metric != "exact_number":
        return
    without = [number for number, example in enumerate(examples) if last_number(example.answer) is None]
    if without:
        shown = ", ".join(map(str, without[:10])) + (f" and {len(without) - 10} more" if len(without) > 10 else "")
        raise TaskError(
            f"cannot score {where} by exact_number",
            expected="a number in every answer",
            got=f"none in the answers of example {shown} (counted from 0)",
            remedy="mend the answers, or choose the metric generated_exact_match",
        )


def _scorer(metric: str) -> Callable[[str, Example], float]:
    """Output and example -> score."""
    check_scorer(metric)
    if metric == "rouge_l":
        scorer = _library(metric).RougeScorer(["rougeL"], tokenizer=_Words())
        return lambda output, example: scorer.score(example.answer, output)["rougeL"].fmeasure
    if metric == "edit_similarity":
        ratio = _library(metric).ratio
        return lambda output, example: ratio(output, example.answer.strip()) / 100 if output else 0.0
    if metric == "sari":
        return _sari
    if metric == "exact_number":
        return lambda output, example: float(last_number(output) == last_number(example.answer))
    return lambda output, example: float(output == example.answer.strip())


class _Words:
    """What rouge-score takes as its tokenizer; its own drops all letters but a to z."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def _sari(output: str, example: Example) -> float:
    """SARI of texts."""
    return sari(_tokens(example.prompt), _tokens(output), [_tokens(example.answer)])


@lru_cache(maxsize=4096)  # sources and references come again at every point
def _tokens(text: str) -> tuple[str, ...]:
    """The tokens of mteval-v13a in lower case."""
    return tuple(_library("sari").Tokenizer13a()(text.lower()).split())


def _library(metric: str) -> Any:  # noqa: ANN401
    """The module that a metric needs.

    Raises:
        TaskError: If it is not installed.
    """
    module, package = _LIBRARIES[metric]
    try:
        return import_module(module)
    except ImportError as error:
        raise TaskError(
            f"cannot score by {metric}",
            expected=f"the library {package}",
            got=f"it cannot be imported: {error}",
            remedy="pip install 'modeconn[text]'",
        ) from error
