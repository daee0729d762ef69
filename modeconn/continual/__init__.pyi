from .buffer import ReplayBuffer as ReplayBuffer
from .methods.ilora import ILoRA as ILoRA
from .methods.method import Sequential as Sequential
from .methods.replay import Replay as Replay
from .scores import ScoreMatrix as ScoreMatrix
from .settings import TrainSettings as TrainSettings
from .trainer import TrainRun as TrainRun
from .trainer import train as train
