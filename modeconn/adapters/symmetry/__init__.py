"""Which changes of a transformer's weights leave its function as it is, and how two checkpoints are matched over them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
