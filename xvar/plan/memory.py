"""The memory that a window needs, and the tiles in which one that needs too much is minimised."""

from __future__ import annotations

import math

from xvar.cf.faults import add
from xvar.cf.record import FEWEST_FIELDS, GIGABYTE, Record, available_memory
from xvar.core.paths import is_compiled
from xvar.errors import Faults
from xvar.execution.workers import is_accelerator
from xvar.plan.option import Method
from xvar.plan.options import Options

#: Fields of the grid that a window of four frames needs, its results included: 66 to 82 of rain. In tiles it needs
#: `FEWEST_FIELDS` (54 were measured) and these of one tile. Of the sea 80 to 89, and 92 to 107 with clouds, where
#: every image is compared with later ones; without compiled code the graph holds more, 124 and 210.
WORKING_FIELDS: dict[Method, int] = {"image_motion": 90, "currents": 240, "advection": 210, "model": 210}
#: Fields that each frame after the fourth adds, of the sea with clouds 18 and 48.
FIELDS_OF_FRAME: dict[Method, int] = {"image_motion": 8, "currents": 50}
#: The same two numbers of currents by compiled code.
COMPILED_CURRENTS = 125, 20
#: Points along a side of a tile; the largest that fits is taken.
SIDES = (1024, 768, 512, 384, 256, 128)


def tile_of(record: Record, method: Method, frames: int, options: Options, faults: Faults) -> int | None:
    """Return the side of the tiles of a window that needs too much memory as a whole; None if it fits.

    Add a fault if it fits in no way.
    """
    have, points = memory_of_window(options), math.prod(record.grid.shape)
    fields = working_fields(method, frames, options.device)
    whole = field_bytes(fields, points, options.dtype)
    if whole <= have:
        return None
    needs = [whole]
    for side in SIDES if method == "image_motion" else ():
        if side < max(record.grid.shape):
            least = FEWEST_FIELDS + fields - WORKING_FIELDS[method]
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


def working_fields(method: Method, frames: int, device: str | None = None) -> int:
    """Return the fields of the grid that a window of so many frames needs as a whole on a device."""
    fields, of_frame = WORKING_FIELDS[method], FIELDS_OF_FRAME.get(method, 0)
    if method == "currents" and is_compiled() and not is_accelerator(device):
        fields, of_frame = COMPILED_CURRENTS
    return fields + of_frame * max(0, frames - 4)


def memory_of_window(options: Options) -> float:
    """Return the bytes that a window may take: those of the option, or of the machine."""
    if options.memory is None:
        return available_memory()
    from dask.utils import parse_bytes

    return float(parse_bytes(options.memory))


def field_bytes(fields: float, points: int, dtype: str | None = None) -> float:
    """Return the bytes of fields, by default in single precision."""
    return (8.0 if dtype == "float64" else 4.0) * fields * points
