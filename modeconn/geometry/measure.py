"""Where the updates of some points lie: tables by module, by pair, and in total."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.agreement import check_same_base, check_same_shapes
from modeconn.adapters.part import BaseWeights
from modeconn.geometry.accepting import check_points, check_settings
from modeconn.geometry.base_directions import BaseDirections, base_matrices
from modeconn.geometry.comparison import Change
from modeconn.geometry.drift import drift
from modeconn.geometry.increments import without_saved
from modeconn.geometry.intruders import LOOKED_AT, THRESHOLD, resemblances
from modeconn.geometry.matrices import matrices_of
from modeconn.geometry.rows import by_place, module_row, pair_row, place_of
from modeconn.geometry.totals import pair_totals, point_totals

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Geometry:
    """Where updates lie, as tables.

    Attributes:
        modules: One row for each point and matrix that it changes: point, parameter, module (the parameter, with * for
            numbers), layer, num_rows, num_columns, rank, norm, base_norm, relative_norm, spectral_norm, stable_rank,
            effective_rank; with `principal` also top_columns, bottom_columns, columns_by_chance and the same of rows,
            intruders, looked_at and least_resemblance.
        overlaps: One row for each pair of points and matrix that both change: first, second, parameter, module, layer,
            cosine, sign_agreement, signed_entries, directions, and for columns and rows their overlap, its chance, the
            smallest angle in degrees, and what share of either update's square lies in the other's subspace.
        points: One row for each point: the same measures of the block-diagonal matrix of all its matrices.
        pairs: One row for each pair: the same of all matrices, those that one of them lacks counting as 0 there.
        spectra: One row for each point, parameter and singular value: point, parameter, index from 1, value.
    """

    modules: pd.DataFrame
    overlaps: pd.DataFrame
    points: pd.DataFrame
    pairs: pd.DataFrame
    spectra: pd.DataFrame

    def drift(self) -> pd.DataFrame:
        """How the points move from one to the next, in their order, as those of a training run: see `drift`."""
        return drift(self.points, self.pairs)


def measure_geometry(
    points: Sequence[Adapter],
    *,
    base: BaseWeights | None = None,
    directions: int = 32,
    principal: int = 0,
    threshold: float = THRESHOLD,
    progress: Progress | None = None,
) -> Geometry:
    """Spectra of the updates of some points, and what they share with each other and with the base.

    One parameter is in memory at a time, of updates with factors as its factors. Saved modules (heads) are no updates,
    and left out.

    Args:
        points: Checkpoints of one base model, or differences of such.
        base: The base's weights, for norms relative to them and for updates that are functions of them; a `FullModel`
            stays on disk.
        directions: How many leading singular directions of an update span the subspaces that are compared, at most.
        principal: How many of the base's first and last singular directions updates are held against; 0 for none. The
            base's weights are then decomposed, and so is every changed weight, to count its intruder dimensions.
        threshold: The largest cosine of an intruder dimension (see `count_intruders`).
        progress: Called as `progress(done, total, what)`.

    Raises:
        AdapterError: If there is no point, points have no weight update or one name, do not fit each other, or need a
            base that is not there.
        EvaluationError: If a setting means nothing.
    """
    check_settings(directions, principal, threshold, base=base)
    points = [without_saved(point) for point in points]
    check_points(points, base=base)
    check_same_base(points)
    check_same_shapes(points)
    if base is not None:
        points = [point.within(base) for point in points]
    parameters = sorted({name for point in points for name in point.updates}, key=by_place)
    found = _Rows([], [], [])
    for number, parameter in enumerate(parameters):
        for name, changes in _changes(points, parameter, base, directions).items():
            weight = None if base is None else base_matrices(parameter, base).get(name)
            found.add(name, changes, weight, principal=principal, threshold=threshold)
        if progress is not None:
            progress(number + 1, len(parameters), "parameters")
    names = [point.name for point in points]
    modules, overlaps, spectra = found.frames()
    return Geometry(
        modules, overlaps, point_totals(modules, spectra, names), pair_totals(overlaps, modules, names), spectra
    )


def _changes(
    points: Sequence[Adapter], parameter: str, base: BaseWeights | None, directions: int
) -> dict[str, dict[str, Change]]:
    """Name of a matrix -> name of a point -> its change."""
    found: dict[str, dict[str, Change]] = {}
    for point in points:
        if parameter not in point.updates:
            continue
        for name, matrix in matrices_of(parameter, point.updates[parameter], base).items():
            found.setdefault(name, {})[point.name] = Change(matrix, directions)
    return found


@dataclass(frozen=True)
class _Rows:
    """The rows of the three tables that grow with the matrices."""

    modules: list[dict[str, object]]
    overlaps: list[dict[str, object]]
    spectra: list[tuple[str, str, np.ndarray]]

    def add(
        self,
        name: str,
        changes: Mapping[str, Change],
        weight: torch.Tensor | None,
        *,
        principal: int,
        threshold: float,
    ) -> None:
        """One matrix at all points that change it."""
        wanted = principal > 0 and weight is not None and not any(one.matrix.is_vector for one in changes.values())
        directions = BaseDirections.of(weight) if wanted and weight is not None else None
        base_norm = None if weight is None else float(torch.linalg.vector_norm(weight, dtype=torch.float64))
        for point, change in changes.items():
            row = {"point": point, **place_of(name), **module_row(change, base_norm)}
            if directions is not None and change.decomposition.rank:
                row |= _against_base(change, directions, principal, threshold)
            self.modules.append(row)
            if not change.matrix.is_vector:
                self.spectra.append((point, name, change.decomposition.values.numpy()))
        names = list(changes)
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                pair = {"first": first, "second": second, **place_of(name)}
                self.overlaps.append(pair | pair_row(changes[first], changes[second]))

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """The tables."""
        modules = pd.DataFrame(self.modules).astype({"layer": "Int64"})
        spectra = [
            pd.DataFrame({"point": point, "parameter": name, "index": np.arange(1, len(values) + 1), "value": values})
            for point, name, values in self.spectra
        ]
        empty = pd.DataFrame(columns=["point", "parameter", "index", "value"])
        overlaps = pd.DataFrame(self.overlaps)
        return (
            modules,
            overlaps.astype({"layer": "Int64"}) if len(overlaps) else overlaps,
            pd.concat(spectra, ignore_index=True) if spectra else empty,
        )


def _against_base(change: Change, base: BaseDirections, count: int, threshold: float) -> dict[str, float]:
    """What an update shares with the base's weight, and what is new in the changed weight."""
    cosines = resemblances(base.left, base.weight + change.matrix.dense(), LOOKED_AT)
    return base.shares(change.decomposition, count) | {
        "intruders": int((cosines < threshold).sum()),
        "looked_at": len(cosines),
        "least_resemblance": float(cosines.min()),
    }
