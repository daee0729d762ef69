"""Adding methods to PEFT's tables, so that its public functions know them."""

from peft import PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import register_peft_method

from modeconn.errors import AdapterError


def register_methods() -> None:
    """Let PEFT train, save and load WeGeFT, LoRETTA rep, LoRETTA adp and L2P.

    Needed before `PeftModel.from_pretrained` of such an adapter; importing one of the configs registers its method as
    well. A second call changes nothing.

    Raises:
        AdapterError: If PEFT has a method of one of these names itself.

    Example:
        >>> from peft import PeftType
        >>> register_methods()
        >>> PeftType("WEGEFT").value
        'WEGEFT'
    """
    from modeconn.adapters.methods import l2p, loretta_adp, loretta_rep, wegeft  # noqa: F401  (each registers its method)


def register(name: str, config_class: type[PeftConfig], model_class: type[BaseTuner]) -> None:
    """Add one method to PEFT's tables.

    Args:
        name: The method's name in lower case; its `peft_type` is the same in upper case.
        config_class: Its settings.
        model_class: What puts its layers into a model; has the prefix `name + "_"`.

    Raises:
        AdapterError: If PEFT has a method of that name itself.
    """
    known = PEFT_TYPE_TO_CONFIG_MAPPING.get(name.upper())  # type: ignore[call-overload]  # members are strings
    if known is config_class:
        return
    if known is not None or name.upper() in PeftType.__members__:
        raise AdapterError(
            f"cannot add the method {name} to PEFT",
            expected="a name that PEFT does not use itself",
            got=f"{name.upper()} of {known.__module__ if known else 'PeftType'}",
            remedy=f"use PEFT's own {name}, or an older PEFT that lacks it",
        )
    _add_peft_type(name.upper())
    register_peft_method(name=name, config_cls=config_class, model_cls=model_class, prefix=f"{name}_")


def _add_peft_type(name: str) -> None:
    """Give `PeftType` one more member: PEFT knows the methods that it registers by this enumeration only."""
    member = str.__new__(PeftType, name)
    member._name_, member._value_ = name, name
    setattr(PeftType, name, member)  # before the maps: an enumeration refuses to reassign what they hold
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
