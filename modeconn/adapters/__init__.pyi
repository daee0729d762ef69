from .adapter import Adapter as Adapter
from .adapter import combine as combine
from .layout import Layout as Layout
from .part import Dense as Dense
from .part import LowRank as LowRank
from .part import Part as Part
from .update import Update as Update
