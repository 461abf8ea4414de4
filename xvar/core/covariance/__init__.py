"""Error covariances B, Q and R as operators, and their specifications in physical units."""

from xvar.core.covariance.base import Covariance, Diagonal, Specification
from xvar.core.covariance.diffusion import Diffusion
from xvar.core.covariance.helmholtz import Helmholtz, StreamPotential
from xvar.core.covariance.homogeneous import Matern, Tikhonov

__all__ = [
    "Covariance",
    "Diagonal",
    "Diffusion",
    "Helmholtz",
    "Matern",
    "Specification",
    "StreamPotential",
    "Tikhonov",
]
