"""How far every layer has moved after each checkpoint of a run, as heat maps."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from . import cka_heat, cka_table, columns, style, task_panels

_FIGURE = "a CKA drift"
_REFERENCES = "the checkpoint before it, the base before the first"


def plot_cka_drift(frame: pd.DataFrame, *, width: float = style.PAGE_WIDTH) -> Figure:
    """A heat map of CKA with the reference by layer and checkpoint for each task; all panels share one scale.

    Args:
        frame: Columns step, point, reference, task, split, pooling, layer, layer_reference, cka, num_examples, as
            `cka_drift` gives them; missing values are grey.
        width: Inches: `PAGE_WIDTH` or `COLUMN_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: It holds several splits or poolings.
    """
    rows = cka_table.checked_cka(frame, figure=_FIGURE, keys=("step", "task", "layer"))
    columns.require_range(rows, "step", figure=_FIGURE, keys=("task", "layer"), low=1, high=np.inf)
    matrices = {task: _matrix(rows, task) for task in task_panels.chosen(rows, None, figure=_FIGURE)}
    references = rows["reference"].drop_duplicates().tolist()
    against = references[0] if len(references) == 1 else _REFERENCES
    heat = cka_heat.Heat(
        head=[f"CKA of every checkpoint with {against}, layer by layer", cka_table.conditions(rows)],
        x_label="checkpoint",
        y_label="layer",
        limits=cka_table.scale_of(rows["cka"].to_numpy()),
        square=False,
    )
    return cka_heat.draw_heats(matrices, heat, width=width)


def _matrix(rows: pd.DataFrame, task: str) -> pd.DataFrame:
    """CKA by layer and checkpoint, in the order of the run."""
    own = columns.rows_where(rows, (rows["task"] == task).to_numpy())
    layers = cka_table.layers_of(own)
    steps = own.drop_duplicates("step").sort_values("step")
    matrix = own.pivot(index="layer", columns="step", values="cka").loc[layers, steps["step"]]
    return pd.DataFrame(matrix.to_numpy(), index=cka_table.short_names(layers), columns=steps["point"].tolist())
