"""Features that must be numbers."""

import torch

from modeconn.errors import EvaluationError


def check_finite(features: torch.Tensor, what: str, dtype: torch.dtype | None = None) -> None:
    """Raise if features hold NaN or infinity.

    Args:
        features: `[N, D]`.
        what: What they are, for the message.
        dtype: What they were computed in; their own by default.

    Raises:
        EvaluationError: With the first rows that do, and float16 as the likely cause.
    """
    finite = torch.isfinite(features).all(1)
    if bool(finite.all()):
        return
    broken = (~finite).nonzero()[:, 0].tolist()
    narrow = (dtype or features.dtype) == torch.float16
    raise EvaluationError(
        f"{what} are not finite",
        expected="finite numbers" + (", which in float16 end at 65504" if narrow else ""),
        got=f"NaN or infinity in {len(broken)} of {len(features)} rows, first at {', '.join(map(str, broken[:10]))}",
        remedy="compute in float32 or bfloat16: activations of language models overflow in float16"
        if narrow
        else "look at these examples and at what computed them; float32 holds more than float16",
    )
