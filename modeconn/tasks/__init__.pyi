from .examples import Example as Example
from .examples import ImageExample as ImageExample
from .labels import union_of_labels as union_of_labels
from .scores import score_outputs as score_outputs
from .task import Task as Task
