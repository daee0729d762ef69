"""Tables drawn as figures: profiles and bands, barriers, trade-offs, examples, planes, trees, score matrices.

Each function reads the columns of one of the tables that a run leaves and knows nothing of models. A
function that draws one panel takes and returns `ax`; one that draws several returns the figure. Figures are
not registered with pyplot: nothing stays open, and no display is needed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
