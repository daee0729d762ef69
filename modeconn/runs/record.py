"""`run.json`: what was run, with what, on what, and how it ended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from modeconn.errors import RunError
from modeconn.runs.environment import peak_device_memory_mib, peak_memory_mib, versions
from modeconn.runs.strict_json import json_text, plain

RECORD_NAME = "run.json"
Status = Literal["running", "finished", "failed", "interrupted", "discarded"]
NEEDED = frozenset({"command", "settings", "status", "versions", "files", "started"})
# Where a run is kept, and how much it says, do not decide its numbers; what was left out of tasks is in their hashes.
NOT_COMPARED = frozenset({"output_dir", "overwrite", "debug", "quiet", "dry_run", "unlisted_answers"})


def _now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class RunRecord:
    """The content of one `run.json`.

    Attributes:
        command: The verb that ran, such as `evaluate`.
        settings: Its settings, resolved, as plain JSON.
        status: `running` (or killed while it ran), `finished`, `failed`, `interrupted`, or `discarded`
            (an overwrite was under way).
        versions: Package versions of the last attempt.
        device: Where the numbers were made, such as `cpu` or `cuda:0`.
        dtype: The data type of the model, such as `float32`.
        seeds: Seeds by name.
        hashes: Content hashes of what was read (base model, adapters, tasks) by name.
        facts: Whatever else the command tells about the run.
        files: Names of the files and folders that the run writes, noted before each is written.
        started: Start of the first attempt, ISO 8601, UTC.
        seconds: Wall time, all attempts together.
        attempts: How often the run was started.
        peak_memory_mib: Most memory of the process, the largest of all attempts.
        peak_device_memory_mib: Most memory on one GPU, the largest of all attempts.
        error: Kind and first line of the error that ended the last attempt.
    """

    command: str
    settings: dict[str, Any]
    status: Status = "running"
    versions: dict[str, str | None] = field(default_factory=versions)
    device: str | None = None
    dtype: str | None = None
    seeds: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    started: str = field(default_factory=_now)
    seconds: float = 0.0
    attempts: int = 1
    peak_memory_mib: float | None = None
    peak_device_memory_mib: float | None = None
    error: str | None = None

    def text(self) -> str:
        """The record as the text of `run.json`."""
        return json_text(self, at=RECORD_NAME)

    def again(self) -> "RunRecord":
        """The record of the next attempt: same run, running, versions of today."""
        return replace(self, status="running", versions=versions(), attempts=self.attempts + 1, error=None)

    def ended(self, error: BaseException | None, *, seconds: float) -> "RunRecord":
        """The record of an attempt that took some seconds and ended with an error, or well (None)."""
        status: Status = "finished"
        if error is not None:
            status = "failed" if isinstance(error, Exception) else "interrupted"
        first_line = str(error).partition("\n")[0]
        return replace(
            self,
            status=status,
            error=None if error is None else f"{type(error).__name__}: {first_line}",
            seconds=round(self.seconds + seconds, 3),
            peak_memory_mib=_larger(self.peak_memory_mib, peak_memory_mib()),
            peak_device_memory_mib=_larger(self.peak_device_memory_mib, peak_device_memory_mib()),
        )

    def with_facts(self, facts: Mapping[str, Any]) -> "RunRecord":
        """The record with facts added: named fields take theirs, the rest goes to `facts`."""
        known = {"device", "dtype"} & facts.keys()
        merged: dict[str, Any] = {name: plain(facts[name], at=name) for name in known}
        for name in ("seeds", "hashes"):
            merged[name] = getattr(self, name) | plain(facts.get(name, {}), at=name)
        others = {name: item for name, item in facts.items() if name not in {*known, "seeds", "hashes"}}
        return replace(self, **merged, facts=self.facts | plain(others, at="facts"))


def read_record(folder: str | Path) -> RunRecord | None:
    """Reads a folder's `run.json`.

    Args:
        folder: A run folder; it need not exist.

    Returns:
        The record, or None where there is no `run.json`.

    Raises:
        RunError: The file is there and is no record of a run.
    """
    path = Path(folder) / RECORD_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        raise _no_record(path, str(error)) from error
    if not isinstance(content, dict) or not content.keys() >= NEEDED:
        raise _no_record(path, "JSON without the entries of a run")
    # Entries of other versions may lack or come on top: it must stay plain whose folder this is.
    names = {entry.name for entry in fields(RunRecord)}
    known: dict[str, Any] = {name: item for name, item in content.items() if name in names}
    known["files"] = tuple(known["files"])
    return RunRecord(**known)


def differences(former: RunRecord, wanted: RunRecord) -> list[str]:
    """What keeps two records of a command from being one run, in words, one entry per difference, sorted.

    Compared are the settings (but those that say where and how loudly), and the hashes that
    both records hold.
    """
    before = _flat(_compared(former.settings), "")
    now = _flat(_compared(wanted.settings), "")
    shared = former.hashes.keys() & wanted.hashes.keys()
    before |= {f"content of {name}": former.hashes[name] for name in shared}
    now |= {f"content of {name}": wanted.hashes[name] for name in shared}
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return [f"{name} {_shown(before.get(name))} (now {_shown(now.get(name))})" for name in names]


def _compared(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide a run's numbers."""
    return {name: value for name, value in settings.items() if name not in NOT_COMPARED}


def _flat(settings: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {}
        flat |= nested or {f"{prefix}{name}": value}
    return flat


def _shown(value: object) -> str:
    """A setting's value in a message, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _no_record(path: Path, got: str) -> RunError:
    """The refusal of a file that only looks like a record."""
    return RunError(
        f"cannot read {path}",
        expected="the record of a run of modeconn",
        got=got,
        remedy="give another --output-dir, or move that file away",
    )


def _larger(before: float | None, now: float | None) -> float | None:
    """The larger of two peaks, either of which may be missing."""
    return max((peak for peak in (before, now) if peak is not None), default=None)
