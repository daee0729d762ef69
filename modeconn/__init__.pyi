from .adapters.adapter import Adapter as Adapter
from .adapters.adapter import combine as combine
from .adapters.layout import Layout as Layout
from .continual.settings import TrainSettings as TrainSettings
from .continual.trainer import TrainRun as TrainRun
from .continual.trainer import train as train
from .errors import AdapterError as AdapterError
from .errors import EvaluationError as EvaluationError
from .errors import FitError as FitError
from .errors import ModeconnError as ModeconnError
from .errors import ModelError as ModelError
from .errors import PathError as PathError
from .errors import RunError as RunError
from .errors import TaskError as TaskError
from .evaluation.barrier import Barrier as Barrier
from .evaluation.barrier import barrier as barrier
from .evaluation.evaluate import evaluate_path as evaluate_path
from .evaluation.profile import Profile as Profile
from .models.adapter_model import AdapterModel as AdapterModel
from .paths.line import LinearPath as LinearPath
from .tasks.encoding import EncodingSettings as EncodingSettings
from .tasks.task import Example as Example
from .tasks.task import Task as Task

__version__: str
