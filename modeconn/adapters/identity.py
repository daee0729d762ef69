"""What tells points apart: a hash of what they do."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter


def fingerprint_of(point: "Adapter") -> str:
    """SHA-256 in hex of what a point does: of updates and saved modules, else of its tensors.

    Args:
        point: The point; names, notes and where it was read do not count.
    """
    digest = hashlib.sha256()
    for name in sorted(point.updates):
        digest.update(f"{name} {point.updates[name].digest()}".encode())
    others = point.saved if point.config.kind.has_update else point.tensors
    for name in sorted(others):
        digest.update(f"{name} {tuple(others[name].shape)}".encode())
        digest.update(others[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
