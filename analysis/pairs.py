"""What lies between consecutive checkpoints of a run: distance, directions, barrier, representations, forgetting."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

import modeconn as mc

NUM_POINTS, NUM_EXAMPLES, DIRECTIONS = 7, 100, 8
OVERLAPS = ("cosine", "sign_agreement", "column_overlap", "row_overlap")


def pair_rows(
    run: mc.TrainRun, tasks: Sequence[mc.Task], base: str | Path, *, similarity: bool = True
) -> Iterator[dict[str, Any]]:
    """One row for each pair of consecutive checkpoints.

    Columns: number (of the newer task, from 1), old, new, score_lost and loss_gained by the old task from one to the
    other, old_norm, new_norm, distance, and of both updates cosine, sign_agreement, column_overlap, row_overlap; the
    same four of the step between them against the old update, by no more directions than that has (`step_...`);
    barrier_old, barrier_new (chord, nats per token), midpoint_old (nats above the better end); cka_last and cka_mean on
    the old task's prompts.

    Args:
        run: Checkpoints and scores.
        tasks: In the order of training; no rows where a checkpoint stands for several.
        base: Folder of the base model.
        similarity: Whether to measure the last two columns, which needs a model that reads prompts.
    """
    if len(run.checkpoints) != len(tasks):
        return
    points = [mc.Adapter.from_pretrained(folder) for folder in run.checkpoints]
    if any(not point.updates for point in points):
        return  # prompts: there is no weight update to measure
    model = mc.AdapterModel.from_pretrained(base, adapters=points)
    weights = mc.FullModel.open(base)
    for number, ((old, new), (old_task, new_task)) in enumerate(
        zip(pairwise(points), pairwise(tasks), strict=True), start=2
    ):
        yield {
            "number": number,
            "old": old_task.name,
            "new": new_task.name,
            **_forgotten(run.scores, number, old_task.name),
            **_geometry(old, new, weights),
            **_between(old, new, model, (old_task, new_task)),
            **(_similarity(old, new, model, old_task) if similarity else {}),
        }


def _forgotten(scores: pd.DataFrame, number: int, task: str) -> dict[str, float]:
    """What the old task lost while the new one was learnt."""
    own = scores[scores["task"] == task].assign(loss=lambda frame: frame["metric"] == "loss")
    cells: Mapping[tuple[int, bool], float] = own.set_index(["after_task", "loss"])["score"].to_dict()
    return {
        "score_lost": cells[number - 1, False] - cells[number, False],
        "loss_gained": cells[number, True] - cells[number - 1, True],
    }


def _geometry(old: mc.Adapter, new: mc.Adapter, base: mc.FullModel) -> dict[str, float]:
    """Norms, and what the updates share."""
    whole = mc.measure_geometry([old, new], base=base, directions=DIRECTIONS)
    norms = whole.points.set_index("point")["norm"]
    pair = whole.pairs.iloc[0]
    old, new = old.on(base), new.on(base)
    step = replace(new - old, name="step")
    found = {
        "old_norm": float(norms[old.name]),
        "new_norm": float(norms[new.name]),
        "distance": float(pair["distance"]),
    }
    found |= {name: float(pair[name]) for name in OVERLAPS}
    ranks = whole.modules.loc[whole.modules["point"] == old.name, "rank"].dropna()
    fewest = min(DIRECTIONS, int(ranks.min()))  # with more, a step of factors holds the old update's subspace anyway
    against = mc.measure_geometry([old, step], base=base, directions=fewest).pairs.iloc[0]
    return found | {f"step_{name}": float(against[name]) for name in OVERLAPS}


def _between(
    old: mc.Adapter, new: mc.Adapter, model: mc.AdapterModel, tasks: tuple[mc.Task, mc.Task]
) -> dict[str, float]:
    """Barriers of the line."""
    chosen = [replace(task, splits={"test": task.split("test")[:NUM_EXAMPLES]}) for task in tasks]
    profile = mc.evaluate_path(mc.LinearPath(old, new), model, chosen, num_points=NUM_POINTS, check=False)
    rows = profile.barriers().query("metric == 'loss' and baseline == 'chord'").set_index("task")["barrier"]
    loss = profile.frame.set_index(["task", "t"])["loss"]
    name = tasks[0].name
    return {
        "barrier_old": float(rows[name]),
        "barrier_new": float(rows[tasks[1].name]),
        "midpoint_old": float(loss[name, 0.5] - min(loss[name, 0.0], loss[name, 1.0])),
    }


def _similarity(old: mc.Adapter, new: mc.Adapter, model: mc.AdapterModel, task: mc.Task) -> dict[str, float]:
    """CKA of the layers, at the end of the old task's prompts."""
    settings = mc.CKASettings(num_examples=NUM_EXAMPLES, num_resamples=0)
    found = mc.cka_between(new, old, model, task, settings=settings, check=False).frame
    same = found[found["layer"] == found["layer_reference"]]["cka"]
    return {"cka_last": float(same.iloc[-1]), "cka_mean": float(same.mean())}
