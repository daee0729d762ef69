from .ilora import ILoRA as ILoRA
from .method import Sequential as Sequential
from .replay import Replay as Replay
from .table import METHODS as METHODS
