from .adapter import Adapter as Adapter
from .adapter import combine as combine
from .layout import Layout as Layout
from .update import Dense as Dense
from .update import LowRank as LowRank
from .update import Part as Part
from .update import Update as Update
