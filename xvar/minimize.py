"""Minimisers, for `assimilate(minimizer=...)`."""

from xvar.core.minimize import LBFGS, GaussNewton

__all__ = ["LBFGS", "GaussNewton"]
