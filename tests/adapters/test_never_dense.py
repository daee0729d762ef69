"""Where updates have factors, no tensor as large as an update is ever made: not in loading, combining or aligning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from points import make_tensors, write_folder
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import modeconn as mc
from modeconn.adapters.truncating import truncated

SHAPE = (300, 200)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation of torch gives back."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(one.numel() for one in tree_leaves(found) if isinstance(one, torch.Tensor))])
        return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters of different ranks."""
    root = tmp_path_factory.mktemp("wide")
    modules = {"layers.0.q": SHAPE, "layers.1.v": SHAPE}
    return [
        write_folder(
            root / str(rank), make_tensors(rank, rank=rank, modules=modules), r=rank, base_model_name_or_path="b"
        )
        for rank in (2, 3)
    ]


ACTIONS = {
    "load": lambda a, b, out: (a.is_zero, b.fingerprint),  # noqa: ARG005
    "combine": lambda a, b, out: a + 0.5 * (b - a),  # noqa: ARG005
    "walk a line": lambda a, b, out: mc.LinearPath(a, b)(0.3).fingerprint,  # noqa: ARG005
    "measure": lambda a, b, out: (mc.LinearPath(a, b).distance(1.0), (a - b).norm(), a.inner(b)),  # noqa: ARG005
    "align": lambda a, b, out: mc.align(a, to=b).report,  # noqa: ARG005
    "change the gauge": lambda a, b, out: mc.regauge(a, seed=0),  # noqa: ARG005
    "join aligned": lambda a, b, out: mc.LinearPath(a, b, space="aligned-factors")(0.5),  # noqa: ARG005
    "bend": lambda a, b, out: mc.BezierCurve.between(a, b, bend_rank=4),  # noqa: ARG005
    "truncate": lambda a, b, out: truncated(mc.LinearPath(a, b)(0.5), 2),  # noqa: ARG005
    "save": lambda a, b, out: mc.LinearPath(a, b)(0.5).save_pretrained(out),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_no_operation_gives_back_a_whole_update(action, folders, tmp_path):
    with Largest() as largest:
        a, b = (mc.Adapter.from_pretrained(folder) for folder in folders)
        ACTIONS[action](a, b, tmp_path / "out")
    assert 0 < largest.numel < SHAPE[0] * SHAPE[1] / 4


def test_a_whole_update_would_be_seen(folders):
    with Largest() as largest:
        mc.Adapter.from_pretrained(folders[0]).updates["layers.0.q.weight"].dense()
    assert largest.numel == SHAPE[0] * SHAPE[1]
