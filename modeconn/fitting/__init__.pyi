from .autoneb import fit_autoneb as fit_autoneb
from .fit import fit_curve as fit_curve
from .result import CurveFit as CurveFit
from .result import FitStopped as FitStopped
from .settings import AutoNebSettings as AutoNebSettings
from .settings import FitSettings as FitSettings
