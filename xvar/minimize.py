"""Minimisers: for `assimilate(minimizer=...)`."""

from xvar.core.minimize import LBFGS

__all__ = ["LBFGS"]
