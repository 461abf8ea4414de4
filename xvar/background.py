"""Background of a window that comes from another window: for `assimilate(background=...)`."""

from xvar.plan.background import Cycled

__all__ = ["Cycled"]
