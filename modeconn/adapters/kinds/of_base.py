"""What parts have in common that are functions of the base's parameter."""

from dataclasses import dataclass

from modeconn.adapters.part import ANY, Part


@dataclass(frozen=True, eq=False)
class OfBase(Part):
    """A change that is a function of the base's parameter, or of its size."""

    @property
    def needs_base(self) -> bool:
        """True."""
        return True


@dataclass(frozen=True, eq=False)
class OfSize(OfBase):
    """A matrix whose shape only the base knows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, which only the base knows."""
        return ANY, ANY


@dataclass(frozen=True, eq=False)
class OfParameter(OfBase):
    """A change that lies as the model stores the parameter."""

    @property
    def stored(self) -> bool:
        """True: a vector has one orientation, and PEFT keeps a table, or a copy of a module, as it is."""
        return True


@dataclass(frozen=True, eq=False)
class OfBias(OfParameter):
    """A change of a bias that goes with its module's outputs."""

    @property
    def optional(self) -> bool:
        """True: the file does not say whether the module has a bias."""
        return True
