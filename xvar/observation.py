"""Observations and how they enter J: for `assimilate(observation=...)`."""

from xvar.core.comparison import Bias
from xvar.core.observation import Logarithm, SquareRoot
from xvar.plan.experiment.images import Images
from xvar.plan.experiment.table import Points, pixels

__all__ = ["Bias", "Images", "Logarithm", "Points", "SquareRoot", "pixels"]
