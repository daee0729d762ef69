"""Tables of an evaluation that are more than the profile: barriers of all definitions, examples lost, a chosen t."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from modeconn.evaluation.profile import Metric, Profile
    from modeconn.evaluation.sequential import PreciseProfile
    from modeconn.tasks.task import Task


METRICS: "tuple[Metric, ...]" = ("loss", "score")


@dataclass(frozen=True)
class ProfileTables:
    """What is written beside a profile.

    Attributes:
        barriers: barriers.csv: loss and error, every definition.
        bands: bands.csv: bands that hold a whole profile at once, of loss and error.
        lost: lost_examples.csv: which examples are lost along the way, with their text; None where tasks have none.
        looks: looks.csv: how many examples were used, where they were evaluated in growing samples.
        chosen: chosen.csv: the position that was chosen on another split, and what it gains on this one.
    """

    barriers: pd.DataFrame
    bands: pd.DataFrame
    lost: pd.DataFrame | None = None
    looks: pd.DataFrame | None = None
    chosen: pd.DataFrame | None = None

    @property
    def files(self) -> dict[str, pd.DataFrame]:
        """File name -> table, of those that there are."""
        named = {
            "barriers.csv": self.barriers,
            "bands.csv": self.bands,
            "lost_examples.csv": self.lost,
            "looks.csv": self.looks,
            "chosen.csv": self.chosen,
        }
        return {name: table for name, table in named.items() if table is not None}


def tables_of(
    profile: "Profile",
    tasks: "Sequence[Task]" = (),
    *,
    precise: "Sequence[PreciseProfile]" = (),
    validation: "Profile | None" = None,
    statistics: Mapping[str, Any] | None = None,
    choose_by: "Metric" = "score",
    weights: Mapping[str, float] | None = None,
) -> ProfileTables:
    """All tables of a profile.

    Args:
        profile: What was measured.
        tasks: Whose texts the lost examples have; without them there is no such table.
        precise: What growing samples gave, one for each path: their barriers allow for several looks.
        validation: The same paths on another split, on which a position is chosen.
        statistics: `confidence`, `num_resamples` and `seed` of the intervals; growing samples bring their own.
        choose_by: "score" or "loss": whose mean is best at the chosen position.
        weights: Those of the tasks in that mean; all alike by default.
    """
    settings = statistics or {}
    return ProfileTables(
        barriers=barriers_of(precise or [profile], {} if precise else settings),
        bands=_bands(precise or [profile], {} if precise else settings),
        lost=_lost(profile, tasks) if tasks else None,
        looks=pd.concat([one.looks for one in precise], ignore_index=True) if precise else None,
        chosen=_chosen(profile, validation, choose_by, weights, settings) if validation is not None else None,
    )


def barriers_of(
    profiles: "Sequence[Profile | PreciseProfile]", statistics: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """The barriers of loss and error by every definition, p-values adjusted over all paths and tasks.

    Args:
        profiles: What was measured.
        statistics: Settings of the intervals, where profiles do not bring their own.
    """
    from modeconn.evaluation.barrier_table import with_holm
    from modeconn.evaluation.definitions import ALL_DEFINITIONS

    settings = {"baselines": ALL_DEFINITIONS, **(statistics or {})}
    tables = [one.barriers(metric, **settings) for one in profiles for metric in METRICS]
    return with_holm(pd.concat(tables, ignore_index=True))


def _bands(profiles: "Sequence[Profile | PreciseProfile]", statistics: Mapping[str, Any]) -> pd.DataFrame:
    """The bands of loss and error, at the confidence that each profile's intervals have."""
    tables = [one.bands(metric, **statistics) for metric in METRICS for one in profiles]
    return pd.concat(tables, ignore_index=True)


def _lost(profile: "Profile", tasks: "Sequence[Task]") -> pd.DataFrame:
    """The examples that are right at the start and not all along."""
    from modeconn.evaluation.example_table import lost_examples

    return lost_examples(profile, tasks)


def _chosen(
    profile: "Profile", validation: "Profile", metric: "Metric", weights: Mapping[str, float] | None,
    statistics: Mapping[str, Any],
) -> pd.DataFrame:  # fmt: skip
    """The best position of the validation split on this one, for every path."""
    from modeconn.evaluation.chosen_t import choose_t

    paths = profile.frame["path"].unique()
    options: dict[str, Any] = {"tasks": weights or None, "metric": metric, **statistics}
    tables = [choose_t(validation, profile, path=str(path), **options).table for path in paths]
    return pd.concat(tables, ignore_index=True)
