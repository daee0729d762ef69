from .examples import Example as Example
from .labels import union_of_labels as union_of_labels
from .metrics import accuracy as accuracy
from .metrics import exact_match as exact_match
from .task import Task as Task
