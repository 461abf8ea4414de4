"""Memory that a record needs: a record that is too large is refused before anything is read."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, is_lazy
from xvar.errors import Faults

#: Fields of the grid, of four bytes a point, that a window needs while it is minimised.
WORKING_FIELDS = 80

_GIGABYTE = 1e9
# Of control groups, which containers and schedulers set.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available_memory() -> float:
    """Return the bytes of memory that this process may use; infinite if the system does not state them."""
    found = [np.inf]
    # Not of every system.
    with contextlib.suppress(AttributeError, ValueError, OSError):
        found.append(float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES")))
    for name in _LIMITS if sys.platform == "linux" else ():
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            found.append(float(Path(name).read_text(encoding="ascii")))
    return min(found)


def check_size(array: xr.DataArray, axes: Axes, faults: Faults) -> bool:
    """Add a fault and return False if a record, or one window of it, does not fit into memory; values are not read."""
    have, rows, columns = available_memory(), array.sizes[axes.y], array.sizes[axes.x]
    points = f"{rows} x {columns} points along {str(axes.y)!r} and {str(axes.x)!r}"
    machine = f"at most the {have / _GIGABYTE:.3g} GB of memory of this machine"
    window = 4.0 * WORKING_FIELDS * rows * columns
    whole = float(array.size) * getattr(array.dtype, "itemsize", 8)
    if window > have:
        faults.add(
            code="grid-too-large",
            variable=array.name,
            found=f"a grid of {points}: one window needs about {window / _GIGABYTE:.3g} GB",
            expected=machine,
            fix=f"a part of the grid at a time, ds.isel({axes.y}=slice(0, 1000), {axes.x}=slice(0, 1000)), or a coarser"
            f" one, ds.coarsen({axes.y}=4, {axes.x}=4, boundary='trim').mean()",
        )
    elif not is_lazy(array) and whole > have:
        faults.add(
            code="record-too-large",
            variable=array.name,
            found=f"a record of {whole / _GIGABYTE:.3g} GB ({array.sizes[axes.time]} frames of {points})",
            expected=f"{machine}, or lazy data",
            fix=f"open it lazily, xarray.open_dataset(path, chunks={{{str(axes.time)!r}: 10}})",
        )
    else:
        return True
    return False
