"""The memory that a window needs, and the tiles in which one that needs too much is minimised."""

from __future__ import annotations

import math

from xvar.cf.faults import add
from xvar.cf.record import FEWEST_FIELDS, GIGABYTE, Record, available_memory
from xvar.errors import Faults
from xvar.plan.option import Method
from xvar.plan.options import Options

#: Fields of the grid that a window of a method needs, its results included: 66 to 82 of four images of rain, 155 of the
#: sea. In tiles it needs `FEWEST_FIELDS` (54 were measured) and these of one tile.
WORKING_FIELDS: dict[Method, int] = {"image_motion": 90, "currents": 210, "advection": 210, "model": 210}
#: Fields that each frame after the fourth adds to a window of image motion.
FIELDS_OF_FRAME = 8
#: Points along a side of a tile; the largest that fits is taken.
SIDES = (1024, 768, 512, 384, 256, 128)


def tile_of(record: Record, method: Method, frames: int, options: Options, faults: Faults) -> int | None:
    """Return the side of the tiles of a window that needs too much memory as a whole; None if it fits.

    Add a fault if it fits in no way.
    """
    have, points = memory_of_window(options), math.prod(record.grid.shape)
    whole = field_bytes(working_fields(method, frames), points, options.dtype)
    if whole <= have:
        return None
    needs = [whole]
    for side in SIDES if method == "image_motion" else ():
        if side < max(record.grid.shape):
            least = FEWEST_FIELDS + working_fields(method, frames) - WORKING_FIELDS[method]
            tile = field_bytes(WORKING_FIELDS[method], side**2, options.dtype)
            needs.append(field_bytes(least, points, options.dtype) + tile)
            if needs[-1] <= have:
                return side
    _refuse(record, options, min(needs), have, faults)
    return None


def _refuse(record: Record, options: Options, need: float, have: float, faults: Faults) -> None:
    """Add a fault for the memory that the call states, or for that of the machine."""
    dims = [str(dim) for dim in record.axes.space]
    points = f"{' x '.join(map(str, record.grid.shape))} points along {' and '.join(map(repr, dims))}"
    found = f"a grid of {points}: one window needs about {need / GIGABYTE:.3g} GB"
    if options.memory is not None:
        faults.add(
            code="memory-too-small",
            variable="memory",
            found=f"memory={options.memory!r} with {found}",
            expected="that or more",
            fix=f'memory="{math.ceil(need / 1e6)}MB"',
        )
        return
    machine = f"at most the {have / GIGABYTE:.3g} GB of memory of this machine"
    words = {"machine": machine, "y": dims[-min(2, len(dims))], "x": dims[-1], "time": str(record.axes.time)}
    add(faults, "grid-too-large", found, record.name, **words)


def working_fields(method: Method, frames: int) -> int:
    """Return the fields of the grid that a window of so many frames needs as a whole."""
    more = FIELDS_OF_FRAME * max(0, frames - 4) if method == "image_motion" else 0
    return WORKING_FIELDS[method] + more


def memory_of_window(options: Options) -> float:
    """Return the bytes that a window may take: those of the option, or of the machine."""
    if options.memory is None:
        return available_memory()
    from dask.utils import parse_bytes

    return float(parse_bytes(options.memory))


def field_bytes(fields: float, points: int, dtype: str | None = None) -> float:
    """Return the bytes of fields, by default in single precision."""
    return (8.0 if dtype == "float64" else 4.0) * fields * points
