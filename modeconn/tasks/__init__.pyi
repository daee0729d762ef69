from .examples import Example as Example
from .labels import union_of_labels as union_of_labels
from .task import Task as Task
