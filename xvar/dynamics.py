"""Models for `assimilate(dynamics=...)`, and the protocol of a model of your own."""

from xvar.core.dynamics import Dynamics, State
from xvar.core.methods.model_error import ModelError
from xvar.core.models.advection import Advection
from xvar.core.models.corrected import Corrected
from xvar.core.models.lorenz import Lorenz63, Lorenz96
from xvar.core.models.shallow_water import ShallowWater

__all__ = ["Advection", "Corrected", "Dynamics", "Lorenz63", "Lorenz96", "ModelError", "ShallowWater", "State"]
