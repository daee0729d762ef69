"""WeGeFT, LoRETTA and L2P as PEFT methods: train, save and load them with PEFT's own functions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
