"""What is estimated beside the state: for `assimilate(parameters=...)` and `xvar.observation.Images`."""

from xvar.core.parameters import Parameter

__all__ = ["Parameter"]
