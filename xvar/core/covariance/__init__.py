"""Error covariances B, Q and R as operators, and their specifications in physical units."""

from xvar.core.covariance.balance import Geostrophic, GeostrophicCovariance, GeostrophicVelocity
from xvar.core.covariance.base import Covariance, Penalty, Shape, Specification
from xvar.core.covariance.diagonal import Diagonal, DiagonalCovariance
from xvar.core.covariance.diffusion import Diffusion, DiffusionCovariance
from xvar.core.covariance.ensemble import Ensemble, EnsembleCovariance
from xvar.core.covariance.helmholtz import Helmholtz, WindowedCovariance
from xvar.core.covariance.matern import Matern
from xvar.core.covariance.penalty import divergence_penalty, gradient_penalty
from xvar.core.covariance.periodic import PeriodicVectorCovariance
from xvar.core.covariance.spectral import SpectralCovariance
from xvar.core.covariance.stream_potential import StreamPotential
from xvar.core.covariance.sum import Sum, SumCovariance, grown
from xvar.core.covariance.tikhonov import Tikhonov
from xvar.core.covariance.transform import Transform

__all__ = [
    "Covariance",
    "Diagonal",
    "DiagonalCovariance",
    "Diffusion",
    "DiffusionCovariance",
    "Ensemble",
    "EnsembleCovariance",
    "Geostrophic",
    "GeostrophicCovariance",
    "GeostrophicVelocity",
    "Helmholtz",
    "Matern",
    "Penalty",
    "PeriodicVectorCovariance",
    "Shape",
    "Specification",
    "SpectralCovariance",
    "StreamPotential",
    "Sum",
    "SumCovariance",
    "Tikhonov",
    "Transform",
    "WindowedCovariance",
    "divergence_penalty",
    "gradient_penalty",
    "grown",
]
