"""What a reader of CKA values should know before believing them."""

import numpy as np
import pandas as pd

from modeconn.errors import listed

FEW = 50  # examples
DECIDES = 0.1  # a change of CKA by one example
_CARRIES = 0.1  # of the examples


def remarks_on(frame: pd.DataFrame) -> tuple[str, ...]:
    """Remarks on a table of comparisons, one a kind.

    Args:
        frame: Columns as in `rows.COLUMNS`.
    """
    found = [_few(frame), _wide(frame), _undefined(frame), _decided(frame), _carried(frame)]
    return tuple(one for one in found if one)


def _few(frame: pd.DataFrame) -> str:
    """Few examples."""
    number = int(frame["num_examples"].to_numpy().min())
    return f"only {number} examples: the intervals are rough" if number < FEW else ""


def _wide(frame: pd.DataFrame) -> str:
    """More features than rows at once: then the biased form is large whatever the features are."""
    n, p, q = (frame[name].to_numpy(dtype=float) for name in ("num_together", "num_features", "num_features_reference"))
    wide = (p > n) | (q > n)
    if not wide.any():
        return ""
    expected = np.sqrt(p * q / ((n + p) * (n + q)))
    at = int(expected.argmax())
    rows = f"{round(n[at])} rows" + (" at once" if n[at] < frame["num_rows"].iloc[at] else "")
    return (
        f"{int(p[at])} and {int(q[at])} features for {rows}: unrelated features would have a cka_biased of"
        f" about {expected[at]:.2f}; read cka"
    )


def _undefined(frame: pd.DataFrame) -> str:
    """Sites that do not vary."""
    missing = frame.loc[frame["cka"].isna().to_numpy()]
    if missing.empty:
        return ""
    names = _blamed(missing, frame)
    return f"no value at {listed(names)}: the features do not vary, or too little to be told from noise"


def _blamed(missing: pd.DataFrame, frame: pd.DataFrame) -> set[str]:
    """The layers with which no pair has a value."""
    known = frame.loc[frame["cka"].notna().to_numpy()]
    sides = ("layer", "layer_reference")
    found = set().union(*(set(missing[side]) - set(known[side]) for side in sides))
    return found or set().union(*(set(missing[side]) for side in sides))


def _decided(frame: pd.DataFrame) -> str:
    """A single example that moves a value much."""
    size = frame["influence"].abs().to_numpy(dtype=float)
    if not (size > DECIDES).any():
        return ""
    row = frame.iloc[int(np.nanargmax(size))]
    return (
        f"example {row['influential_example']} of {row['task']}/{row['split']} decides: without it the cka of"
        f" {_pair(row)} is {row['cka'] - row['influence']:.2f} instead of"
        f" {row['cka']:.2f}; {int((size > DECIDES).sum())} of {len(frame)} values move by more than {DECIDES}"
    )


def _carried(frame: pd.DataFrame) -> str:
    """Few examples far off, which may hide each other."""
    share = (frame["num_effective"] / frame["num_rows"]).to_numpy(dtype=float)
    if not (share < _CARRIES).any():
        return ""
    row = frame.iloc[int(np.nanargmin(share))]
    return (
        f"at {_pair(row)} the spread is that of about {row['num_effective']:.1f} of"
        f" {row['num_rows']} examples: outliers decide the cka, also where leaving out one changes little"
    )


def _pair(row: pd.Series) -> str:
    """A pair of layers in words."""
    return " and ".join(dict.fromkeys(str(row[side]) for side in ("layer", "layer_reference")))
