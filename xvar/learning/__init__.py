"""Training of parts of a model by the analyses of many windows."""

from xvar.learning.training import Learned, learn
from xvar.learning.windows import Windows

__all__ = ["Learned", "Windows", "learn"]
