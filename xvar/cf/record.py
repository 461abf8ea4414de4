"""A record as its file states it: one variable with its axes, times, grid, units, land; the memory that it needs."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, canonical, find_axes, find_variable, is_lazy
from xvar.cf.faults import add
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.grid.coordinates import in_metres, positions_of_one_frame
from xvar.cf.kinds import Kind, detected, kind_and_reason, physical_limits, undeclared_nodata
from xvar.cf.land import find_land
from xvar.cf.metadata import NAMES, NAMES_OF_FIELDS
from xvar.cf.plausible import check_units_of_name, warn_of_unusual, without_packing_error
from xvar.cf.times import Times, interval_of, read_times
from xvar.cf.units import normalise_units, units_of, without_quantities
from xvar.errors import Faults

#: Dimensions of an analysis, a forecast and scores, beside those of the grid.
DIMENSIONS = ("window", "step", "interval", "stage", "lead_time", "threshold")

#: Attributes with text in CF.
TEXT = frozenset(
    {
        *("units", "standard_name", "long_name", "axis", "positive", "calendar", "grid_mapping", "coordinates"),
        *("bounds", "climatology", "cell_methods", "cell_measures", "ancillary_variables", "formula_terms"),
        *("flag_meanings", "units_metadata", "grid_mapping_name"),
    }
)


@dataclass(frozen=True)
class Record:
    """A sequence of images (time, y, x), or of states on another grid, in ascending order of time."""

    name: Hashable
    array: xr.DataArray
    axes: Axes
    times: Times
    grid: HorizontalGrid
    units: str  # in CF's spelling
    kind: Kind
    land: NDArray[np.bool_] | None  # (y, x), True on land
    notes: tuple[str, ...]  # findings and assumptions for the output
    interval: float | None = None  # seconds over which an amount fell, see `interval_of`
    nodata: float | None = None  # value of the highest code of a packed image that declares no missing value

    @property
    def is_plane(self) -> bool:
        """True for images (time, y, x), False for states on any other grid."""
        return len(self.grid.shape) == 2

    @property
    def cadence(self) -> float:
        """Median time between two frames, in seconds."""
        return float(np.median(np.diff(self.times.seconds)))


def as_dataset(data: xr.Dataset | xr.DataArray, faults: Faults) -> tuple[xr.Dataset, Hashable | None]:
    """Return the input as a Dataset, and the name of the variable if it was a DataArray."""
    own = data.variables if isinstance(data, xr.Dataset) else {} if data.name in data.coords else {data.name: data}
    for name in (name for name, part in own.items() if name in part.dims and part.ndim > 2):
        found = f"a variable {str(name)!r} with the name of one of its dimensions, which xarray takes for a coordinate"
        add(faults, "name-of-dimension", found, name, name, name=str(name), new=f"{name}_axis")
        faults.raise_if_any()
    if isinstance(data, xr.Dataset):
        return with_text(without_quantities(data)), None
    if data.name is not None and data.name in data.coords:
        found = f"a DataArray with the name of its own coordinate {str(data.name)!r}"
        add(faults, "name-of-coordinate", found, data.name)
        faults.raise_if_any()
    name = "variable" if data.name is None else data.name
    return with_text(without_quantities(data.to_dataset(name=name))), name


def with_text(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset with text attributes if CF has text there: numeric units become text, others are left out."""
    result = dataset
    for name, variable in dataset.variables.items():
        wrong = {key: value for key, value in variable.attrs.items() if key in TEXT and not isinstance(value, str)}
        if not wrong:
            continue
        result = dataset.copy(deep=False) if result is dataset else result
        texts = {key: value.decode("utf-8", "replace") for key, value in wrong.items() if isinstance(value, bytes)}
        if isinstance(wrong.get("units"), (int, float, np.number)):
            texts["units"] = f"{wrong['units']:g}"
        kept = {key: texts.get(key, value) for key, value in variable.attrs.items() if key in texts or key not in wrong}
        result.variables[name].attrs = kept
    return result


def read_record(
    dataset: xr.Dataset,
    variable: Hashable | None,
    faults: Faults,
    *,
    land: Any = None,
    units: str | None = None,
    dx: float | None = None,
    dy: float | None = None,
    sort: bool = False,
    own_model: bool = False,
) -> Record | None:
    """Read a Dataset as a sequence of images, without computing lazy data; None without images, times, units or grid.

    The default variable is the only one; other options as of `xvar.assimilation.assimilate`. With `own_model` a model
    of the user's own moves the images. A record with other faults is returned, so that its values can be checked in the
    same call.
    """
    name = find_variable(dataset, variable, faults)
    if name is None:
        return None
    done: list[str] = []
    dataset = in_metres(dataset, name, done)
    array = dataset[name]
    own_units = units_of(array, units, faults)
    axes = find_axes(array, faults)
    if axes is None:
        return None
    array = positions_of_one_frame(array, axes, faults)
    image = canonical(array, axes, faults)
    if not check_size(array, axes, faults):
        return None
    if image is not None and not is_lazy(image):
        image = _loaded(image, dataset, faults)
    times = read_times(array, axes, faults, sort)
    grid = horizontal_grid(array, axes, faults, dx, dy, mapping=dataset)
    if image is None or times is None or grid is None or own_units is None:
        return None
    image = grid.on_earth(image, axes)
    what, reason = kind_and_reason(array if units is None else array.assign_attrs(units=own_units), dataset)
    interval = interval_of(array, axes.time, times.seconds, dataset)
    nodata = undeclared_nodata(array, what)
    check_units_of_name(array, own_units, faults)
    image = detected(image, what, physical_limits(what, own_units, interval), done)
    image = without_packing_error(image, what, array, done)
    warn_of_unusual(image, what, own_units, grid.spacing)
    image = without_clash(image, axes, faults, done, own_model=own_model)
    mask, statement = find_land(dataset, image, axes, land, faults)
    if times.order is not None:
        image = image.isel({axes.time: times.order})
    notes = [f"kind: {what}, {reason}", f"grid: {grid.description}", f"land: {statement}", *done]
    if times.note:
        notes.append(times.note)
    given = array.attrs.get("units")
    if units is not None:
        notes.append(f"units {own_units!r} as stated by units=")
    elif given is not None and str(given) != own_units and normalise_units(str(given)) == own_units:
        notes.append(f"units {given!r} read as {own_units!r}")
    return Record(name, image, axes, times, grid, own_units, what, mask, tuple(notes), interval, nodata)


def without_clash(
    array: xr.DataArray, axes: Axes, faults: Faults, notes: list[str], *, own_model: bool = False
) -> xr.DataArray:
    """Return a variable (time, y, x) whose coordinates have names that the output leaves free; `notes` receives others.

    A decoder of GRIB adds a scalar ``step`` to each field, and ``step`` is a dimension of an analysis: it becomes
    ``step_of_input``. The variable and the dimensions of the grid are named in calls: a clash of these is a fault. A
    state of the user's own model may have a ``u``.
    """
    taken, fields = {*DIMENSIONS, *NAMES}, set() if own_model else NAMES_OF_FIELDS
    for dim, names, what, new in (
        *((dim, DIMENSIONS, "dimension of the grid", place) for place, dim in axes.places.items()),
        (None, taken | fields, "variable", "image"),
    ):
        name = str(array.name if dim is None else dim)
        if name in names:
            found = f"a {what} with the name {name!r}, which is one of the output's own"
            add(faults, "name-taken", found, array.name, dim, others=", ".join(DIMENSIONS), name=name, new=new)
    clashing = {
        name: f"{name}_of_input"
        for name, part in array.coords.items()
        if name not in array.dims and axes.time not in part.dims and str(name) in taken | NAMES_OF_FIELDS
    }
    if not clashing:
        return array
    words = ", ".join(f"{str(name)!r} as {new!r}" for name, new in clashing.items())
    notes.append(f"coordinates that are also names of the output: {words}")
    return array.rename(clashing)


def _loaded(image: xr.DataArray, dataset: xr.Dataset, faults: Faults) -> xr.DataArray | None:
    """Return an image read from its file; add a fault if the file is broken."""
    try:
        return image.load()
    except (OSError, RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
        source = dataset.encoding.get("source", "the data")
        found = f"{source}: values that cannot be read: {type(error).__name__}: {error}"
        add(faults, "unreadable-values", found, image.name)
        return None


#: Fields of the grid, of four bytes a point, that a window of any method needs at least, see `xvar.plan.memory`.
FEWEST_FIELDS = 60

GIGABYTE = 1e9
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
    """Add a fault and return False if a record, or one window of it, cannot fit into memory; no value is read."""
    have, sizes = available_memory(), [array.sizes[dim] for dim in axes.space]
    points = f"{' x '.join(map(str, sizes))} points along {' and '.join(repr(str(dim)) for dim in axes.space)}"
    machine = f"at most the {have / GIGABYTE:.3g} GB of memory of this machine"
    words = {"machine": machine, "y": axes.y, "x": axes.x, "time": str(axes.time)}
    window = 4.0 * FEWEST_FIELDS * math.prod(sizes)
    whole = float(array.size) * getattr(array.dtype, "itemsize", 8)
    if window > have:
        found = f"a grid of {points}: one window needs about {window / GIGABYTE:.3g} GB"
        add(faults, "grid-too-large", found, array.name, **words)
    elif not is_lazy(array) and whole > have:
        found = f"a record of {whole / GIGABYTE:.3g} GB ({array.sizes[axes.time]} frames of {points})"
        add(faults, "record-too-large", found, array.name, **words)
    else:
        return True
    return False
