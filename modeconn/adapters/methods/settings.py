"""What the settings of the methods have in common, and how they are checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peft import PeftConfig

from modeconn.adapters.kinds.values import is_number, is_rank
from modeconn.errors import AdapterError, listed


@dataclass
class TargetedConfig(PeftConfig):
    """Settings of a method that adapts chosen linear modules.

    PEFT writes and reads the fields; it needs a dataclass that is not frozen.

    Attributes:
        target_modules: Names or endings of modules, a regular expression, or "all-linear"; by default what PEFT
            targets with LoRA in models of this type.
        exclude_modules: Names, endings or a regular expression of modules that are left out.
        layers_to_transform: Numbers of the layers that are adapted; all by default.
        layers_pattern: The name of the list of layers, where PEFT cannot guess it.
        modules_to_save: Modules that are trained and saved whole, such as a classification head.
    """

    target_modules: list[str] | set[str] | str | None = None
    exclude_modules: list[str] | set[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    modules_to_save: list[str] | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            AdapterError: If one of them cannot be used.
        """
        super().__post_init__()
        # PEFT reads a list as names and a set alike, and writes a set as a list.
        for key in ("target_modules", "exclude_modules"):
            value = getattr(self, key)
            setattr(self, key, set(value) if isinstance(value, list) else value)
        wrong = self.wrong_settings()
        if self.layers_pattern and self.layers_to_transform is None:
            wrong["layers_pattern"] = "layers_to_transform to be given with it"
        if wrong:
            name = type(self).__name__
            raise AdapterError(
                f"{name} has settings that cannot be used",
                expected="; ".join(f"{key}: {expected}" for key, expected in wrong.items()),
                got=listed(f"{key}={getattr(self, key)!r}" for key in wrong),
                remedy=f"change {listed(wrong)} of {name}",
            )

    def wrong_settings(self) -> dict[str, str]:
        """The settings of the method that cannot be used -> what they have to be."""
        return {}

    def unlike(self, rules: Mapping[str, str]) -> dict[str, str]:
        """The fields that break their rule -> what they have to be.

        Args:
            rules: Field -> "rank", "number", "rate" or "flag", or the allowed values, separated by "|".
        """
        return {key: _EXPECTED.get(rule, rule) for key, rule in rules.items() if not _fits(getattr(self, key), rule)}


_EXPECTED = {
    "rank": "a whole number above 0",
    "number": "a finite number other than 0",
    "rate": "a number from 0 to below 1",
    "flag": "true or false",
}


def _fits(value: object, rule: str) -> bool:
    """Whether a value keeps a rule of `TargetedConfig.unlike`."""
    if rule == "rank":
        return is_rank(value)
    if rule == "number":
        return is_number(value)
    if rule == "rate":
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    if rule == "flag":
        return isinstance(value, bool)
    return value in rule.split("|")


def is_shapes(value: object) -> bool:
    """Whether a value is a list of lists of whole numbers above 0, or none."""
    return value is None or (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(shape, list | tuple) and shape and all(map(is_rank, shape)) for shape in value)
    )
