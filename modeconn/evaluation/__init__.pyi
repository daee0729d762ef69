from .barrier import Barrier as Barrier
from .barrier import barrier as barrier
from .evaluate import evaluate_path as evaluate_path
from .profile import Profile as Profile
