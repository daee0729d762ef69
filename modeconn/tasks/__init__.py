"""What is asked of a model: prompts and answers, label sets, scores.

This package knows no model. Its public names live in `__init__.pyi`; each is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
