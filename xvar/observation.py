"""How observations enter J: for `assimilate(observation=...)`."""

from xvar.core.experiment import Images
from xvar.core.observation import Logarithm, SquareRoot

__all__ = ["Images", "Logarithm", "SquareRoot"]
