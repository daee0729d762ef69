"""The residual stream of RMS-norm models: folded norms, after which it can be rotated and not only permuted."""

import torch

from modeconn.adapters.symmetry.spec import SymmetrySpec
from modeconn.adapters.symmetry.views import State, check_state


def fold_norms(state: State, spec: SymmetrySpec) -> dict[str, torch.Tensor]:
    """The same function with every norm scale multiplied into the projections that read it.

    `W (g * x / rms(x)) = (W diag(g)) (x / rms(x))`, and `rms(Q x) = rms(x)` for an orthogonal Q: once all scales are
    one, the stream may be rotated, `E Q^T` for the embeddings, `W Q^T` for what reads it and `Q W` for what writes it
    (Ashkboos 2024, arXiv 2401.15024; Theus 2025, arXiv 2506.22712). The norm scales of the result are ones.

    A tied head reads a scaled stream and the embeddings do not, so the two part: the result holds `lm_head.weight` as
    a tensor of its own, and must be loaded into a model that does not tie them (`tie_word_embeddings=False`).

    Products are computed in float64 and rounded to the tensor's dtype, so distances are those of folded weights.

    Args:
        state: Tensors by name.
        spec: The symmetries of the state; `spec.folded()` is the spec of the result.

    Returns:
        A new state; tensors that do not change are those of `state`.

    Raises:
        AdapterError: If the state does not fit the spec, or the architecture has layer norms.
    """
    folded_spec = spec.folded()
    check_state(state, spec, "the state")
    sources = dict(spec.ties)
    folded = dict(state)
    for norm in spec.norms:
        scale = state[norm.scale].double()  # [D]
        for reader in norm.readers:
            weight = folded[reader] if reader in folded else state[sources[reader]]
            folded[reader] = (weight.double() * scale).to(weight.dtype)  # [rows, D], the last dimension reads
        folded[norm.scale] = torch.ones_like(state[norm.scale])
    check_state(folded, folded_spec, "the folded state")
    return folded
