"""Error covariances B, Q and R as operators, and their specifications in physical units."""

from xvar.core.covariance.base import Covariance, Shape, Specification
from xvar.core.covariance.composite import Sum, grown
from xvar.core.covariance.diagonal import Diagonal
from xvar.core.covariance.diffusion import Diffusion
from xvar.core.covariance.ensemble import Ensemble
from xvar.core.covariance.helmholtz import Helmholtz
from xvar.core.covariance.matern import Matern
from xvar.core.covariance.periodic import PeriodicVectorCovariance
from xvar.core.covariance.spectral import SpectralCovariance
from xvar.core.covariance.stream_potential import StreamPotential
from xvar.core.covariance.tikhonov import Tikhonov, divergence_penalty

__all__ = [
    "Covariance",
    "Diagonal",
    "Diffusion",
    "Ensemble",
    "Helmholtz",
    "Matern",
    "PeriodicVectorCovariance",
    "Shape",
    "Specification",
    "SpectralCovariance",
    "StreamPotential",
    "Sum",
    "Tikhonov",
    "divergence_penalty",
    "grown",
]
