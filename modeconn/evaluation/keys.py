"""Names for what an evaluation measures, made from everything that decides its numbers."""

import hashlib
import json
from collections.abc import Sequence

import torch

from modeconn.models.matmul_precision import precision_of, rounds
from modeconn.models.point_model import Encoded, PointModel
from modeconn.models.quantised import quantization_of
from modeconn.paths.path import Path


def point_keys(path: Path, model: PointModel, encoded: Sequence[Encoded], positions: Sequence[float]) -> list[str]:
    """One key a position; two are equal only if the records of both points are.

    A path's or a task's name says little: two folders may be called `checkpoint-100`.

    Args:
        path: The path.
        model: The model.
        encoded: The splits that are evaluated.
        positions: T positions on the path.

    Returns:
        T texts of 64 hexadecimal digits.
    """
    shared = hashlib.sha256()
    shared.update(
        repr((type(path).__name__, path.name, path.space, [point.fingerprint for point in path.points])).encode()
    )
    shared.update(repr((model.fingerprint, str(model.dtype), model.device.type)).encode())
    if rounds(model):
        shared.update(precision_of(model).encode())
    shared.update((quantization_of(model.module) or "").encode())
    for split in encoded:
        shared.update(repr(split.identity).encode())
    rows = path.coefficients(torch.tensor(positions, dtype=torch.float64)).tolist()  # [T, K]
    return [
        hashlib.sha256(json.dumps([shared.hexdigest(), position, row]).encode()).hexdigest()
        for position, row in zip(positions, rows, strict=True)
    ]
