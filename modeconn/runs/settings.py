"""How a settings dataclass says what its fields mean."""

from typing import Any


def flag_help(text: str) -> dict[str, Any]:
    """The metadata of a field that becomes its flag's help: `field(default=8, metadata=flag_help("rank"))`."""
    return {"help": text}
