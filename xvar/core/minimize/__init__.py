"""Minimisers of a batch of windows, each window with its own line search and stopping."""

from xvar.core.minimize.gauss_newton import GaussNewton
from xvar.core.minimize.lbfgs import LBFGS, Minimum, Reason

__all__ = ["LBFGS", "GaussNewton", "Minimum", "Reason"]
