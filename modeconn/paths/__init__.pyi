from .line import LinearPath as LinearPath
from .path import Path as Path
from .path import Space as Space
