"""Names for what an evaluation measures, made from everything that decides its numbers."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig

from modeconn.models.matmul_precision import precision_of, rounds
from modeconn.models.point_model import Encoded, PointModel
from modeconn.models.quantised import quantization_of
from modeconn.models.several_points import points_per_batch
from modeconn.paths.path import Path

_OF_NO_ACCOUNT = ('"_name_or_path"', '"transformers_version"', '"dtype"')  # where it lies, who wrote it; said elsewhere


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
    if points_per_batch(model) > 1:  # other products, which round otherwise
        shared.update(f"{points_per_batch(model)} points together".encode())
    shared.update((quantization_of(model.module) or "").encode())
    shared.update(_computed(model.module).encode())
    for split in encoded:
        shared.update(repr(split.identity).encode())
    rows = path.coefficients(torch.tensor(positions, dtype=torch.float64)).tolist()  # [T, K]
    return [
        hashlib.sha256(json.dumps([shared.hexdigest(), position, row]).encode()).hexdigest()
        for position, row in zip(positions, rows, strict=True)
    ]


def _computed(module: Any) -> str:  # noqa: ANN401
    """What a model of transformers computes beside its weights: its config.json, and the tokens that end a text.

    The weights' hash knows nothing of positions, norms or activations, which a file edited between two starts changes.
    """
    config = getattr(module, "config", None)
    lines = config.to_json_string(use_diff=False).splitlines() if isinstance(config, PreTrainedConfig) else []
    told = [line for line in lines if not line.strip().startswith(_OF_NO_ACCOUNT)]
    return "\n".join([*told, repr(getattr(getattr(module, "generation_config", None), "eos_token_id", None))])
