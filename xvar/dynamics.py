"""Models for `assimilate(dynamics=...)`, and what a model of your own must be."""

from xvar.core.advection import Advection
from xvar.core.dynamics import Dynamics, State

__all__ = ["Advection", "Dynamics", "State"]
