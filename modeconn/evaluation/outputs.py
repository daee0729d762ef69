"""What a model wrote at the points of a path: a table beside the numbers."""

import pandas as pd

OUTPUT_COLUMNS = ("path", "task", "t", "example", "output", "ended", "score")
_WRITTEN = ["output", "ended"]


def without_outputs(records: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Per-example records as numbers only, and the outputs that they hold.

    Args:
        records: Per-example records of one path or several, with the columns `output` and `ended` if a model wrote.

    Returns:
        The records without these columns; and path, task, t, example, output, ended, score of the examples for which
        the model wrote, or None where it wrote nothing.
    """
    if "output" not in records:
        return records, None
    written = records.loc[records["output"].notna().to_numpy(), list(OUTPUT_COLUMNS)]
    outputs = written.astype({"output": "str", "ended": "bool"}).reset_index(drop=True)
    return records.drop(columns=_WRITTEN), outputs if len(outputs) else None


def with_outputs(examples: pd.DataFrame, outputs: pd.DataFrame | None) -> pd.DataFrame:
    """Per-example records with what was written, as they were before `without_outputs`."""
    if outputs is None:
        return examples
    return examples.merge(outputs.drop(columns="score"), how="left", on=["path", "task", "t", "example"])
