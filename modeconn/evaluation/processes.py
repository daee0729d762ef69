"""Points measured once: kept ones come from the store, the others are shared by the processes of a launch.

Points are measured as a whole by one process, one after the other or some together; where fewer of such groups are
left than there are processes, all of them take their share of each one's batches. These stay as they are, so that the
numbers do not depend on who measured them.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from modeconn.models.shares import Share, alone
from modeconn.runs.processes import Processes

if TYPE_CHECKING:
    from modeconn.evaluation.records import PointStore

# The numbers of points that are measured together, and who scores which batches -> the records of each.
Measure = Callable[[Sequence[int], Share], list[pd.DataFrame]]


def processes_of(store: "PointStore | None") -> Processes:
    """The processes that a store serves; without a launch, this one."""
    return getattr(store, "processes", None) or Processes()


def point_records(
    keys: Sequence[str], measure: Measure, *, together: int = 1, store: "PointStore | None" = None
) -> Iterator[pd.DataFrame]:
    """The records of points one after the other, kept in the store as they come.

    Args:
        keys: One name a point, under which it is kept; not used without a store.
        measure: Measures points, alone or with all processes; one row for each task and example.
        together: How many points are measured together.
        store: Keeps finished points; that of a launch (with `processes`) shares the points over its processes.

    Yields:
        The records of a point, the same in all processes.
    """
    processes = processes_of(store)
    kept = processes.from_main(lambda: _kept(keys, store))
    new = [number for number in range(len(keys)) if number not in kept]
    fresh = _measured([new[first : first + together] for first in range(0, len(new), together)], measure, processes)
    for number, key in enumerate(keys):
        if number in kept:
            yield kept[number]
            continue
        records = next(fresh)
        if store is not None and processes.is_main:
            store.save(key, records)
        yield records


def _kept(keys: Sequence[str], store: "PointStore | None") -> dict[int, pd.DataFrame]:
    """What the store holds: a point's number -> records."""
    if store is None:
        return {}
    found = {number: store.load(key) for number, key in enumerate(keys)}
    return {number: records for number, records in found.items() if records is not None}


def _measured(groups: Sequence[list[int]], measure: Measure, processes: Processes) -> Iterator[pd.DataFrame]:
    """The records of points that are not known yet: a group a process, then those left over by all processes."""
    count = processes.count
    whole = len(groups) - len(groups) % count
    for first in range(0, whole, count):
        mine = groups[first + processes.index]
        for outcome in processes.outcomes(partial(measure, mine, alone)):
            yield from outcome.result()  # those before a group that failed are kept
    for group in groups[whole:]:
        yield from measure(group, processes.share)
