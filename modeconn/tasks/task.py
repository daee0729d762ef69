"""A task: named splits of prompts and answers, a label set, a metric."""

import hashlib
import json
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Self

from modeconn.errors import TaskError, listed

from .columns import find_columns
from .examples import Example, ImageExample, Unlisted, checked_unlisted, examples_from
from .labels import checked_labels, collected_labels
from .metrics import check_max_new_tokens, checked_metric
from .scores import check_answers
from .splits import ALIASES, RawTask, check_name, check_split_names, checked_splits


@dataclass(frozen=True, repr=False)
class Task:
    """What is asked of a model, checked when it is made.

    Two tasks are equal if name, splits, labels, metric and what was left out are; where they came from does not count.

    Attributes:
        name: The name that tables and figures show.
        splits: The examples of those of `train`, `eval` and `test` that exist; read-only.
        labels: The label set, to which every answer belongs; None for free answers.
        metric: `accuracy` (needs labels) or `exact_match`; or one of `score_outputs`, for which the model writes its
            answers. Left empty it becomes `accuracy` with labels and `exact_match` without.
        source: Where the data come from, in words.
        left_out: Split -> numbers, counted from 0, of the records that were not taken because their answer is
            outside the label set (see `unlisted` of `load`); without the splits that are whole. Everywhere else,
            as in the column `example` of per-example records, an example's number is its place among those taken.
        max_new_tokens: How long a written answer may become; None takes 256, or half of what the model holds.
        labels_collected: Whether nobody declared the labels: those of the data, in alphabetical order.

    Raises:
        TaskError: If a split is unknown or empty, an example incomplete or outside the labels, the label
            set unfit, the metric unknown or not for these answers, or `max_new_tokens` no number of tokens.

    Example:
        >>> Task("tone", {"test": (Example("Text: fine.", "good"),)}, labels=("good", "bad"))
        Task('tone', test=1, labels=('good', 'bad'), metric='accuracy')
    """

    name: str
    splits: Mapping[str, tuple[Example, ...]]
    labels: tuple[str, ...] | None = None
    metric: str = ""
    source: str = field(default="", compare=False)
    left_out: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    max_new_tokens: int | None = None
    labels_collected: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        where = f"the task {self.name!r}"
        labels = checked_labels(self.labels, where=where)
        splits = checked_splits(self.splits, labels, where=where)
        left_out = MappingProxyType({split: tuple(numbers) for split, numbers in self.left_out.items() if numbers})
        metric = checked_metric(self.metric, labels, where=where)
        check_max_new_tokens(self.max_new_tokens, where=where)
        for split, examples in splits.items():
            check_answers(metric, examples, where=f"{where}, split {split}")
        for name, value in (("labels", labels), ("splits", splits), ("metric", metric), ("left_out", left_out)):
            object.__setattr__(self, name, value)

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of one split, in order.

        Raises:
            TaskError: If the task lacks the split.
        """
        if name not in self.splits:
            raise TaskError(
                f"the task {self.name!r} has no split {name!r}",
                expected=f"one of {listed(self.splits)}",
                got=repr(name),
                remedy="choose a split that is there, or add its file to the task",
            )
        return self.splits[name]

    @property
    def num_left_out(self) -> dict[str, int]:
        """Split -> how many examples were left out, for those from which any was."""
        return {split: len(numbers) for split, numbers in self.left_out.items()}

    @property
    def of_images(self) -> bool:
        """Whether images are asked about, not texts."""
        return isinstance(next(iter(self.splits.values()))[0], ImageExample)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of name, labels, metric, all splits in order, and what was left out of them.

        It is the same for every file format; of images the pixels count.
        """
        content = {
            "name": self.name,
            "labels": self.labels,
            "metric": self.metric,
            "splits": {
                split: [[example.prompt, example.answer] for example in examples]
                for split, examples in self.splits.items()
            },
        }
        if self.left_out:
            content["left_out"] = dict(self.left_out)
        if self.max_new_tokens is not None:
            content["max_new_tokens"] = self.max_new_tokens
        # ASCII and sorted keys: the text, and so the hash, is the same in every process.
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()

    def __hash__(self) -> int:
        """By content, as equality is."""
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        """Name, sizes, what was left out, labels and metric: never the examples."""
        sizes = "".join(f", {split}={len(examples)}" for split, examples in self.splits.items())
        missing = f", left_out={sum(self.num_left_out.values())}" if self.left_out else ""
        return f"Task({self.name!r}{sizes}{missing}, labels={reprlib.repr(self.labels)}, metric={self.metric!r})"

    def __reduce__(self) -> tuple:
        """Tasks go to other processes; the read-only mappings alone cannot be pickled."""
        return type(self), (
            self.name, dict(self.splits), self.labels, self.metric, self.source, dict(self.left_out),
            self.max_new_tokens, self.labels_collected,
        )  # fmt: skip

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str],
        *,
        name: str | None = None,
        labels: Sequence[str] | None = None,
        metric: str | None = None,
        prompt_column: str | None = None,
        answer_column: str | None = None,
        splits: Mapping[str, str] | None = None,
        unlisted: Unlisted = "error",
    ) -> Self:
        """Read a task from a folder, from a file, or from the hub.

        A folder holds `train`, `eval` (also called `validation`, `valid`, `val` or `dev`) and `test`, those
        that exist, as `.json` (a list of records), `.jsonl` (one record in each line) or `.csv`; and, if it
        likes, `task.json` with `name`, `labels`, `metric`, `max_new_tokens` and `source`, beside any notes.
        A split of images may be a folder with a folder for each class: `train/CLASS/FILE.png`. A single file
        becomes the `test` split. The hub is asked only for an id where neither `owner/name` nor a folder
        `owner` is there; it needs the extra `hub`.

        Records are prompt/answer, or text/label with the label's name or its index into the label set (in
        CSV an index is a cell of digits, unless a label is a number itself), or image/label, the image as
        rows of whole numbers from 0 to 255. Other keys are not read.
        Without declared labels a `label` column gets the sorted labels of the train split, of all splits
        where there is no train split; the answers of any other column stay free.

        Args:
            source: A folder, a `.json`, `.jsonl` or `.csv` file, or a hub id: `owner/name` or
                `owner/name:config`.
            name: The task's name; by default that of task.json, of the folder, the file or the data set.
            labels: The label set in order; by default that of task.json or of the data set's features.
            metric: By default that of task.json, else `accuracy` with labels and `exact_match` without.
            prompt_column: The column of prompts, if not `prompt`, `text` or `image`.
            answer_column: The column of answers, if not `answer` or `label`.
            splits: Split of the task -> its name in the source (a file's stem or name, a split of the data
                set). Only these are read; by default all that have a usual name.
            unlisted: What becomes of examples whose answer is not among the labels: "error" refuses the task,
                "leave-out" does without them and notes which in `left_out`.

        Raises:
            TaskError: If anything is missing or cannot be used.
        """
        from .reading import read_source

        raw = read_source(source, splits=splits)
        columns = (prompt_column, answer_column)
        return cls._from_raw(raw, columns, name=name, labels=labels, metric=metric, unlisted=unlisted)

    @classmethod
    def from_records(
        cls,
        name: str,
        splits: Mapping[str, Iterable[Mapping[str, object] | Example]],
        *,
        labels: Sequence[str] | None = None,
        metric: str | None = None,
        prompt_column: str | None = None,
        answer_column: str | None = None,
        source: str = "",
        unlisted: Unlisted = "error",
    ) -> Self:
        """Make a task of records in memory; they are read as those of files are, see `load`.

        Args:
            name: The task's name.
            splits: Records or examples of `train`, `eval` and `test`, those that exist.
            labels: The label set in order.
            metric: By default `accuracy` with labels and `exact_match` without.
            prompt_column: The column of prompts, if not `prompt`, `text` or `image`.
            answer_column: The column of answers, if not `answer` or `label`.
            source: Where the data come from, in words.
            unlisted: What becomes of answers that are not among the labels, as in `load`.

        Raises:
            TaskError: If a record cannot be used, as in `load`.

        Example:
            >>> Task.from_records("tone", {"train": [{"text": "fine", "label": 1}]}, labels=["bad", "good"])
            Task('tone', train=1, labels=('bad', 'good'), metric='accuracy')
        """
        check_split_names(splits, where=f"the task {name!r}")
        records = {split: list(splits[split]) for split in ALIASES if split in splits}
        origins = {split: f"the {split} split of the task {name!r}" for split in records}
        raw = RawTask(name=name, splits=records, origins=origins, source=source)
        columns = (prompt_column, answer_column)
        return cls._from_raw(raw, columns, labels=labels, metric=metric, unlisted=unlisted)

    @classmethod
    def from_dataset(
        cls,
        dataset: object,
        *,
        name: str,
        labels: Sequence[str] | None = None,
        metric: str | None = None,
        prompt_column: str | None = None,
        answer_column: str | None = None,
        splits: Mapping[str, str] | None = None,
        source: str = "",
        unlisted: Unlisted = "error",
    ) -> Self:
        """Make a task of a `datasets.Dataset`, or of a `DatasetDict` or other mapping of them.

        Class labels give the label set and its order. A single data set becomes the `test` split.

        Args:
            dataset: Anything that yields rows as mappings, or a mapping of splits to such things.
            name: The task's name.
            labels: The label set in order; by default that of the answer column's ClassLabel.
            metric: By default `accuracy` with labels and `exact_match` without.
            prompt_column: The column of prompts, if not `prompt`, `text` or `image`.
            answer_column: The column of answers, if not `answer` or `label`.
            splits: Split of the task -> split of the data set; by default all that have a usual name.
            source: Where the data come from, in words.
            unlisted: What becomes of answers that are not among the labels, as in `load`.

        Raises:
            TaskError: If a split or a row cannot be used, as in `load`.
        """
        from .hub import raw_from_dataset

        raw = raw_from_dataset(dataset, name=name, splits=splits, source=source)
        columns = (prompt_column, answer_column)
        return cls._from_raw(raw, columns, labels=labels, metric=metric, unlisted=unlisted)

    @classmethod
    def _from_raw(
        cls,
        raw: RawTask,
        columns: tuple[str | None, str | None],
        *,
        name: str | None = None,
        labels: Sequence[str] | None = None,
        metric: str | None = None,
        unlisted: Unlisted = "error",
    ) -> Self:
        """A task of what was read, with the user's word before the data's."""
        name = raw.name if name is None else name
        everything = chain.from_iterable(raw.splits.values())
        origins = listed(raw.origins.values())
        prompt, answer = columns
        found = find_columns(everything, prompt=prompt, answer=answer, where=origins)
        declared = checked_labels(labels, where=f"the task {name!r}") or raw.labels or raw.class_names.get(found.answer)
        chosen = declared or collected_labels(raw.splits, found)
        unlisted = checked_unlisted(unlisted)
        read = {
            split: examples_from(records, found, labels=chosen, where=raw.origins[split], unlisted=unlisted)
            for split, records in raw.splits.items()
        }
        return cls(
            name,
            {split: part.examples for split, part in read.items()},
            chosen,
            raw.metric if metric is None else metric,
            raw.source,
            {split: part.left_out for split, part in read.items()},
            raw.max_new_tokens,
            not declared and chosen is not None,
        )
