"""Full fine-tunes whose vocabulary grew or shrank: tables that have other rows than the base's."""

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import FullModel


def with_other_rows(point: Adapter, base: FullModel) -> frozenset[str]:
    """The modules of a point that are a full fine-tune's, and have another number of tokens than the base's.

    There is no `dW` of them: rows that the base lacks have nothing to be added to. They are saved whole instead.

    Args:
        point: A point with the base's names.
        base: The base.
    """
    before = base.settings.get("vocab_size")
    found = set()
    for name, update in point.updates.items():
        shape = base.skeleton.shapes.get(base.skeleton.ties.get(name, name), ())
        is_vocabulary = shape[:1] == (before,) and update.shape[1:] == shape[1:]
        if update.replaces and is_vocabulary and update.shape != shape:
            found.add(name.rpartition(".")[0])
    return frozenset(found)
