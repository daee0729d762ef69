"""What puts the layers of a method into a model, for PEFT."""

import copy
from collections.abc import Mapping
from typing import Any

from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, _maybe_include_all_linear_layers
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn

from modeconn.adapters.methods.layer import AdaptedLinear, check_adaptable


class MethodModel(BaseTuner):
    """A model with the layers of one method in the place of its targeted modules."""

    tuner_layer_cls: type[AdaptedLinear]  # type: ignore[assignment]
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    reads_weight = False  # whether the method computes with the weight of the base model

    def check_targets(self, config: Any, targets: Mapping[str, nn.Module]) -> None:  # noqa: ANN401, ARG002
        """Check the targeted modules together and note in the settings what follows from them.

        Args:
            config: The settings; a copy, which is what is saved.
            targets: Name -> module of the base model, in the model's order.

        Raises:
            AdapterError: If one of them cannot be adapted.
        """
        for name, module in targets.items():
            check_adaptable(name, module, reads_weight=self.reads_weight)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Add an adapter; the settings object that the user gave stays as it was."""
        self.peft_config[adapter_name] = copy.copy(self.peft_config[adapter_name])
        super().inject_adapter(model, adapter_name, *args, **kwargs)

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:  # noqa: ANN401
        """Check all targets before the first module is replaced, so that an error leaves the model as it was."""
        config: Any = _maybe_include_all_linear_layers(peft_config, model)
        adapted = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
        inside = tuple(f"{name}." for name in adapted)
        targets = {
            name: module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
            for name, module in model.named_modules()
            if name and not name.startswith(inside) and self._check_target_module_exists(config, name)
        }
        self.check_targets(config, targets)

    def _create_and_replace(
        self,
        peft_config: Any,  # noqa: ANN401
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,  # noqa: ARG002  (only of methods that adapt single parameters)
        **_: Any,  # noqa: ANN401
    ) -> None:
        """Give one module its adapter, in a layer of the method that takes the module's place."""
        layer = target if isinstance(target, self.tuner_layer_cls) else self.tuner_layer_cls(target, current_key)
        layer.add(adapter_name, peft_config)
        layer.set_adapter(self.active_adapters, inference_mode=peft_config.inference_mode)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)
