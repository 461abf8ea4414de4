"""The motion of an analysis that maps and exports show: its steady part, if the method has one."""

from __future__ import annotations

from typing import Literal

import xarray as xr

from xvar.errors import Faults
from xvar.plan.images import STEADY

Part = Literal["steady", "total"]
PARTS: tuple[Part, ...] = ("steady", "total")
#: Shown by default: of rain the transient part of the total follows the noise of a single pair of images.
SHOWN: Part = "steady"


def motion_of(data: xr.Dataset, part: Part = SHOWN) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the components of the motion: the steady ones (window, y, x), or the total at each step.

    Methods without a steady part, and version 0.1, have the total alone. InputError if there is no such part.
    """
    faults = Faults()
    faults.check_choice("part", part, PARTS, SHOWN)
    faults.raise_if_any()
    u, v = STEADY if part == "steady" and set(STEADY) <= set(data.data_vars) else ("u", "v")
    return data[u], data[v]
