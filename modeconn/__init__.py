"""What lies between two fine-tuned checkpoints of one base model.

A checkpoint is a point, a path is a matrix of coefficients times a few control points, a model is a
function of a point, and everything else is a table over points::

    path(t) = coefficients(t) @ points          [T, K] @ [K, P] -> [T, P]

The public names live in `__init__.pyi`; each is imported on first use, so that `import modeconn` is light.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
