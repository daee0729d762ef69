"""How alike two representations are: CKA and its relatives, on arrays, in minibatches, along paths."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
