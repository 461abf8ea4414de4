"""Errors B, Q and R in physical units: for `assimilate(background_error=..., model_error=...)`."""

from xvar.core.covariance import Diagonal, Diffusion, Helmholtz, Matern, Specification, Tikhonov

__all__ = ["Diagonal", "Diffusion", "Helmholtz", "Matern", "Specification", "Tikhonov"]
