from .l2p import L2PConfig as L2PConfig
from .loretta_adp import LorettaAdpConfig as LorettaAdpConfig
from .loretta_rep import LorettaRepConfig as LorettaRepConfig
from .registration import register_methods as register_methods
from .wegeft import WeGeFTConfig as WeGeFTConfig
