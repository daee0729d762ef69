from .adapter_model import AdapterModel as AdapterModel
from .encoded import EncodedTask as EncodedTask
from .encoded import ExampleSums as ExampleSums
