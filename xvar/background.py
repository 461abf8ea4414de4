"""Background of a window that comes from another window: for `assimilate(background=...)`."""

from xvar.plan.control import Cycled

__all__ = ["Cycled"]
