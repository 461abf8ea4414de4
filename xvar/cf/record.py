"""A record as its file states it: one variable with its axes, times, grid, units and land."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.amounts import interval_of
from xvar.cf.axes import Axes, canonical, find_axes, find_variable, is_lazy
from xvar.cf.detection import detected, undeclared_nodata
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.kinds import Kind, kind_and_reason
from xvar.cf.land import find_land
from xvar.cf.limits import physical_limits
from xvar.cf.names import without_clash
from xvar.cf.quantities import without_quantities
from xvar.cf.repeated_positions import positions_of_one_frame
from xvar.cf.scan_angles import in_metres
from xvar.cf.size import check_size
from xvar.cf.times import Times, read_times
from xvar.cf.units import normalise_units, units_of
from xvar.errors import Faults

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
    """A sequence of images (time, y, x) on a grid in metres, in ascending order of time.

    `units` have CF's spelling, `land` (y, x) is True on land, `notes` are findings and assumptions for the output.
    `interval` are the seconds over which an amount fell (`xvar.cf.amounts.interval_of`), `nodata` is the value of the
    highest code of a packed image that declares no missing value.
    """

    name: Hashable
    array: xr.DataArray
    axes: Axes
    times: Times
    grid: HorizontalGrid
    units: str
    kind: Kind
    land: NDArray[np.bool_] | None
    notes: tuple[str, ...]
    interval: float | None = None
    nodata: float | None = None

    @property
    def cadence(self) -> float:
        """Median time between two frames, in seconds."""
        return float(np.median(np.diff(self.times.seconds)))


def as_dataset(data: xr.Dataset | xr.DataArray, faults: Faults) -> tuple[xr.Dataset, Hashable | None]:
    """Return the input as a Dataset, and the name of the variable if it was a DataArray."""
    if isinstance(data, xr.Dataset):
        return with_text(without_quantities(data)), None
    if data.name is not None and data.name in data.coords:
        faults.add(
            code="name-of-coordinate",
            variable=data.name,
            found=f"a DataArray with the name of its own coordinate {str(data.name)!r}",
            expected="a name of its own",
            fix='rename it, array.rename("rain")',
        )
        faults.raise_if_any()
    name = "variable" if data.name is None else data.name
    return with_text(without_quantities(data.to_dataset(name=name))), name


def with_text(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset with text attributes if CF has text there: numeric units become text, others are left out."""
    wrong = [
        name
        for name, variable in dataset.variables.items()
        if any(not isinstance(variable.attrs[key], str) for key in TEXT & set(variable.attrs))
    ]
    if not wrong:
        return dataset
    result = dataset.copy(deep=False)
    for name in wrong:
        variable = result.variables[name]
        plain = {key: _text(value) if key in TEXT else value for key, value in variable.attrs.items()}
        if isinstance(variable.attrs.get("units"), (int, float, np.number)):
            plain["units"] = f"{variable.attrs['units']:g}"
        variable.attrs = {key: value for key, value in plain.items() if value is not None}
    return result


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


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
    what, reason = kind_and_reason(array if units is None else array.assign_attrs(units=own_units), dataset)
    interval = interval_of(array, axes.time, times.seconds, dataset)
    nodata = undeclared_nodata(array, what)
    image = detected(image, what, physical_limits(what, own_units, interval), done)
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


def _loaded(image: xr.DataArray, dataset: xr.Dataset, faults: Faults) -> xr.DataArray | None:
    """Return an image read from its file; add a fault if the file is broken."""
    try:
        return image.load()
    except (OSError, RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
        source = dataset.encoding.get("source")
        where = "" if source is None else f"{source}: "
        faults.add(
            code="unreadable-values",
            variable=image.name,
            found=f"{where}values that cannot be read: {type(error).__name__}: {error}",
            expected="a file whose values can be read",
            fix="copy or download it again, or choose the frames that can be read, ds.isel(time=...)",
        )
        return None
