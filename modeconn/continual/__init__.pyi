from .settings import TrainSettings as TrainSettings
from .trainer import TrainRun as TrainRun
from .trainer import train as train
