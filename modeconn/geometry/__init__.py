"""Where the updates lie: their spectra, their subspaces, and what they share with each other and with the base."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
