"""How observations enter J: for `assimilate(observation=...)`."""

from xvar.core.methods.experiment import Images
from xvar.core.observation import Logarithm, SquareRoot
from xvar.plan.points import Points, assimilate_points, pixels

__all__ = ["Images", "Logarithm", "Points", "SquareRoot", "assimilate_points", "pixels"]
