from .errors import AdapterError as AdapterError
from .errors import EvaluationError as EvaluationError
from .errors import ModeconnError as ModeconnError
from .errors import ModelError as ModelError
from .errors import PathError as PathError
from .errors import RunError as RunError
from .errors import TaskError as TaskError

__version__: str
