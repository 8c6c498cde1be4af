"""moewright: from budgets to a Mixture-of-Experts language model that you can build.

Every command of the command line is a function of the same name here. Importing this package loads neither torch nor
transformers.
"""

from moewright.architecture import Architecture
from moewright.design import design
from moewright.errors import UserError
from moewright.fitting import Fit, fit
from moewright.inspection import Inspection, inspect
from moewright.prediction import Prediction, predict

__all__ = ["Architecture", "Fit", "Inspection", "Prediction", "UserError", "design", "fit", "inspect", "predict"]
__version__ = "0.1.0"
