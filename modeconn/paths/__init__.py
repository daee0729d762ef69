"""How points are joined: `path(t) = coefficients(t) @ points`. Knows no model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
