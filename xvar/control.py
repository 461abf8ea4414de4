"""Parameters in the control, for `assimilate(parameters=...)` and `xvar.observation.Images`."""

from xvar.core.parameters import Parameter

__all__ = ["Parameter"]
