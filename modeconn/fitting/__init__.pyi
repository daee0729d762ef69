from .fit import fit_curve as fit_curve
from .result import CurveFit as CurveFit
from .settings import FitSettings as FitSettings
