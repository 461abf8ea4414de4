"""Variable and dimensions of a sequence of images, by CF attributes first, by customary names second."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.faults import add
from xvar.cf.metadata import NAMES, NAMES_OF_FIELDS
from xvar.cf.units import are_convertible, normalise_units
from xvar.errors import Faults, nearest

#: Rows and columns below which no motion can be found: the stencil of a cubic sampler.
MINIMUM_POINTS = 4

# Keys of cf_xarray's criteria and the axis of each.
_CRITERIA = {"T": "T", "latitude": "Y", "Y": "Y", "longitude": "X", "X": "X", "Z": "Z"}
_NAMES = {
    "T": ("time", "t", "times", "date", "datetime", "ocean_time", "valid_time", "time_counter", "xtime"),
    "Y": (
        *("y", "lat", "latitude", "rlat", "south_north", "yc", "nj", "j", "row", "rows", "northing", "eta_rho"),
        *("nav_lat", "y_c", "yt_ocean", "jmax", "north", "ny"),
    ),
    "X": (
        *("x", "lon", "longitude", "rlon", "west_east", "xc", "ni", "i", "col", "cols", "column", "columns"),
        *("easting", "xi_rho", "nav_lon", "x_c", "xt_ocean", "imax", "east", "nx", "long"),
    ),
}
_WORDS = {"T": "time", "Y": "y (latitude)", "X": "x (longitude)"}
_VELOCITY = re.compile(r"_(velocity|wind)(_|$)")
_VELOCITY_NAMES = re.compile(
    r"^(u|v|uo|vo|u10|v10|ugos|vgos|ugosa|vgosa|us|vs|uu|vv|water_[uv]|u_eastward|v_northward|[uv]_?(vel|wind)\w*)$"
)
_MASK_NAMES = re.compile(r"(^|_)(mask|lsm|landmask|flag|flags|quality|qc|valid)(_|$)|mask$")
_MASK_STANDARD_NAMES = frozenset(
    {"area_type", "land_binary_mask", "sea_binary_mask", "status_flag", "quality_flag", "region"}
)
_VERTICAL = frozenset({"depth", "height", "altitude", "depth_below_geoid", "height_above_geoid"})
_LINKS = ("grid_mapping", "bounds", "climatology", "ancillary_variables", "cell_measures", "formula_terms", "mesh")


@dataclass(frozen=True)
class Axes:
    """Names of the dimensions of a sequence of images, or of states on any other grid."""

    time: Hashable
    y: Hashable | None  # the last axis but one; None if there is one axis
    x: Hashable  # the last axis
    others: tuple[Hashable, ...] = ()  # axes before these, such as levels

    @property
    def space(self) -> tuple[Hashable, ...]:
        """Dimensions of the grid, in the order of the arrays."""
        return (*self.others, *(() if self.y is None else (self.y,)), self.x)

    @property
    def places(self) -> dict[str, Hashable]:
        """Dimensions of the grid by their names in tables of outputs: ``y``, ``x``, and ``axis_0``, ... before them."""
        return dict(zip(places(len(self.space)), self.space, strict=True))


def places(axes: int) -> tuple[str, ...]:
    """Return the names of the axes of a grid in tables of outputs."""
    return (*(f"axis_{number}" for number in range(axes - 2)), *("y", "x")[-axes:])


def attribute(variable: xr.Variable | xr.DataArray, name: str) -> object:
    """Return an attribute that xarray may have moved to the encoding when it decoded the file."""
    value = variable.attrs.get(name)
    return variable.encoding.get(name) if value is None else value


def is_lazy(array: xr.DataArray | xr.Variable) -> bool:
    """Return True for values that are a dask graph."""
    return array.chunks is not None


def in_memory(array: xr.DataArray | xr.Variable) -> np.ndarray[Any, np.dtype[Any]]:
    """Return values of a coordinate or a mask, read in this thread if they are lazy."""
    if is_lazy(array):  # small: the scheduler that runs the windows need not see them
        return np.asarray(array.data.compute(scheduler="synchronous"))
    return np.asarray(array.values)


def is_date(coordinate: xr.DataArray) -> bool:
    """Return True for dates of numpy or of cftime."""
    if coordinate.dtype.kind == "M":
        return True
    return coordinate.dtype == object and coordinate.size > 0 and hasattr(coordinate.values.flat[0], "calendar")


def _axis_by_attributes(coordinate: xr.DataArray) -> str | None:
    """Return T, Y, X or Z of a 1-D coordinate by cf_xarray's criteria, or by its dates."""
    units = normalise_units(str(coordinate.attrs.get("units")))
    attrs = {**coordinate.attrs, "units": units, "axis": str(coordinate.attrs.get("axis")).upper()}
    axis = _by_criteria(attrs, "axis", "standard_name", "units")
    if axis is None and (" since " in units or is_date(coordinate)):
        return "T"
    return axis or _by_criteria(attrs, "_CoordinateAxisType", "cartesian_axis", "grads_dim", "long_name")


def _by_criteria(attrs: Mapping[str, Any], *keys: str) -> str | None:
    from cf_xarray.criteria import coordinate_criteria

    known = ((axis, key, coordinate_criteria[name].get(key, ())) for key in keys for name, axis in _CRITERIA.items())
    return next((axis for axis, key, values in known if str(attrs.get(key)) in values), None)


def dimensions_by_axis(array: xr.DataArray) -> dict[str, list[Hashable]]:
    """Return the dimensions that may be each of T, Y, X: stated by attributes, else by name."""
    stated: dict[Hashable, str | None] = {}
    for dim in array.dims:
        along = [array.coords[dim]] if dim in array.coords else []
        along += [c for name, c in array.coords.items() if name != dim and c.dims == (dim,)]
        stated[dim] = next(filter(None, map(_axis_by_attributes, along)), None)
    unstated = [dim for dim in array.dims if stated[dim] is None]
    result: dict[str, list[Hashable]] = {}
    for axis, names in _NAMES.items():
        dims = [dim for dim in array.dims if stated[dim] == axis]
        dims = dims or [dim for dim in unstated if str(dim).lower() in names]
        if not dims and axis == "T":  # durations, as decoders of GRIB name the steps of a forecast
            dims = [dim for dim in unstated if array[dim].dtype.kind == "m"]
        # A dimension of one value is not what a sequence runs along.
        result[axis] = [dim for dim in dims if array.sizes[dim] > 1] or dims
    return result


def find_axes(array: xr.DataArray, faults: Faults) -> Axes | None:
    """Return the time, y and x dimensions of a variable, None if one is missing or ambiguous.

    Attributes of the coordinates come first (``axis``, ``standard_name``, ``units``, the misspelt ones too), then
    customary names, also of dimensions without a coordinate.
    """
    dims_of = dimensions_by_axis(array)
    dims = ", ".join(f"{dim}: {size}" for dim, size in array.sizes.items())
    for axis, word in _WORDS.items():
        choices = dims_of[axis]
        if len(choices) > 1:
            found = f"several dimensions that may be {word}: {_quoted(choices)}"
            add(faults, "axis-ambiguous", found, array.name, word=word, choice=choices[-1])
        if not choices:
            found = f"no {word} dimension among ({dims})"
            add(faults, "axis-missing", found, array.name, axis=axis, names=_quoted(_NAMES[axis][:3]))
    if any(len(choices) != 1 for choices in dims_of.values()):
        return None
    return Axes(time=dims_of["T"][0], y=dims_of["Y"][0], x=dims_of["X"][0])


def _quoted(names: Iterable[Hashable]) -> str:
    return ", ".join(repr(str(name)) for name in names)


def plane_of(array: xr.DataArray) -> tuple[Hashable, Hashable] | None:
    """Return the dimensions of y and x of a field that may have no time; None if missing or ambiguous."""
    found = dimensions_by_axis(array)
    return (found["Y"][0], found["X"][0]) if len(found["Y"]) == len(found["X"]) == 1 else None


def is_number(variable: xr.Variable | xr.DataArray) -> bool:
    """Return True for real numbers: integers or floats."""
    return isinstance(variable.dtype, np.dtype) and variable.dtype.kind in "iuf"


def _linked(dataset: xr.Dataset) -> set[str]:
    """Return the names that other variables link: grid mappings, bounds, ancillary variables, areas."""
    values = (attribute(variable, link) for variable in dataset.variables.values() for link in _LINKS)
    return {word for value in values if isinstance(value, str) for word in re.split(r"[\s:]+", value) if word}


def without_flags(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset without its variables of flags, such as masks."""
    return dataset.drop_vars([key for key, part in dataset.data_vars.items() if _has_flags(part)])


def _has_flags(array: xr.DataArray) -> bool:
    return "flag_values" in array.attrs or "flag_masks" in array.attrs


def _is_mask(name: Hashable, array: xr.DataArray) -> bool:
    named = str(array.attrs.get("standard_name")) in _MASK_STANDARD_NAMES
    return _has_flags(array) or named or bool(_MASK_NAMES.search(str(name).lower()))


def _is_velocity(name: Hashable, array: xr.DataArray) -> bool:
    standard = str(array.attrs.get("standard_name", ""))
    return bool(_VELOCITY.search(standard) if standard else _VELOCITY_NAMES.match(str(name).lower()))


def find_variable(dataset: xr.Dataset, name: Hashable | None, faults: Faults) -> Hashable | None:
    """Return the variable to assimilate: the named one, or the only one; None if a fault was added.

    Coordinates, bounds, grid mappings, masks, text and linked variables are no candidates; components of velocity are
    left aside if that leaves one variable.
    """
    usable = [key for key, array in dataset.data_vars.items() if len(set(array.dims)) == array.ndim]
    if name is None:
        return _only_variable(dataset, usable, faults)
    if name in usable:
        return name
    if name in dataset.data_vars:
        add(faults, "repeated-dimension", f"dimensions {dataset[name].dims}, one of them twice", name)
    else:
        found = f"no variable of that name; the data variables are {_quoted(usable) or 'none'}"
        add(faults, "unknown-variable", found, name, fix=nearest(name, map(str, usable), "give one of these names"))
    return None


def _only_variable(dataset: xr.Dataset, usable: list[Hashable], faults: Faults) -> Hashable | None:
    """Return the only variable that may be a sequence of images; None if a fault was added."""
    linked = _linked(dataset)
    candidates: list[Hashable] = []
    rejected: list[str] = []
    others: list[Hashable] = []  # of three dimensions, and no numbers
    for key in usable:
        array = dataset[key]
        if not is_number(array):
            if array.ndim >= 3:
                rejected.append(f"{str(key)!r} is {array.dtype}")
                others.append(key)
        elif str(key) in linked or _is_mask(key, array):
            continue
        elif not all(dimensions_by_axis(array).values()):
            rejected.append(f"{str(key)!r} has dimensions {tuple(str(dim) for dim in array.dims)}")
        else:
            candidates.append(key)
    scalars = [key for key in candidates if not _is_velocity(key, dataset[key])]
    for one in (scalars, candidates):
        if len(one) == 1:
            return one[0]
    if candidates:
        # A name that the output leaves free, or else a new one.
        free = [key for key in scalars or candidates if str(key) not in NAMES | NAMES_OF_FIELDS]
        renamed = f'rename one, ds.rename({{"{(scalars or candidates)[0]}": "image"}}).var4d.assimilate("image")'
        found = f"{len(candidates)} variables with time, y and x dimensions: {_quoted(candidates)}"
        add(faults, "variable-ambiguous", found, fix=f'assimilate("{free[0]}")' if free else renamed)
        return None
    planes = [key for key in usable if dataset[key].ndim == 2 and is_number(dataset[key])]
    images = [key for key in planes if plane_of(dataset[key]) is not None]
    fix = 'name the dimensions "time", "y", "x", or give their coordinates attrs["axis"] = "T", "Y", "X"'
    if others and len(others) == len(rejected):
        fix = f"convert it, ds[{str(others[0])!r}] = ds[{str(others[0])!r}].astype('float32')"
    elif images:
        fix = (
            f"{str(images[0])!r} is one image, and motion is what changes between images: give all files of the "
            "record, or xarray.concat(images, 'time')"
        )
    found = "no numeric variable with time, y and x dimensions" + (f" ({'; '.join(rejected[:5])})" if rejected else "")
    add(faults, "variable-missing", found, fix=fix)
    return None


def canonical(array: xr.DataArray, axes: Axes, faults: Faults) -> xr.DataArray | None:
    """Return a variable as (time, y, x), values untouched; None if a fault was added.

    Faults are values that are no numbers or not decoded, extra dimensions and too small grids. Extra dimensions of size
    one become scalar coordinates.
    """
    count = len(faults)
    if not is_number(array):
        add(faults, "not-numeric", f"values of dtype {array.dtype}", array.name)
    packed = [key for key in ("scale_factor", "add_offset", "_FillValue", "missing_value") if key in array.attrs]
    if packed and is_number(array) and array.dtype.kind != "f":
        found = f"{array.dtype} values that are not decoded: {', '.join(packed)} still in the attributes"
        add(faults, "not-decoded", found, array.name)
    order = (axes.time, axes.y, axes.x)
    check_extra(array, order, str(array.name), faults)
    check_points(array, axes, MINIMUM_POINTS, faults)
    if len(faults) > count:
        return None
    return array.isel({dim: 0 for dim in array.dims if dim not in order}).transpose(*order)


def check_extra(array: xr.DataArray, order: tuple[Hashable, ...], label: str, faults: Faults) -> None:
    """Add a fault for each dimension beside those in `order` with more than one value."""
    for dim, size in array.sizes.items():
        if dim not in order and size != 1:
            found = f"an extra dimension {str(dim)!r} of size {size}"
            add(faults, "extra-dimension", found, label, dim, order=", ".join(map(str, order)), fix=_one_of(array, dim))


def check_points(array: xr.DataArray, axes: Axes, minimum: int, faults: Faults) -> bool:
    """Return True if a grid has enough points; else add a fault for each direction that has none yet."""
    known = {fault.dimension for fault in faults if (fault.code, fault.variable) == ("grid-too-small", str(array.name))}
    short = [(label, dim) for label, dim in (("rows", axes.y), ("columns", axes.x)) if array.sizes[dim] < minimum]
    for label, dim in short:
        if str(dim) not in known:
            found = f"a grid of {array.sizes[dim]} {label} along {str(dim)!r}"
            add(faults, "grid-too-small", found, array.name, dim, minimum=minimum)
    return not short


def _one_of(array: xr.DataArray, dim: Hashable) -> str:
    """Return the line that chooses one of several images: of levels, the one nearest the surface."""
    first = f"choose one, ds = ds.isel({dim}=0)"
    level = array[dim]
    if not is_number(level) or not np.isfinite(level.values).all():
        return first
    standard, units = (str(level.attrs.get(key, "")) for key in ("standard_name", "units"))
    if standard.startswith("atmosphere_") or "pressure" in standard or are_convertible(units, "Pa"):
        surface = int(level.values.argmax())
    elif level.attrs.get("positive") in ("up", "down") or level.attrs.get("axis") == "Z" or standard in _VERTICAL:
        # Depths, heights and the ocean's own coordinates are zero at the surface, whichever way they count.
        surface = int(np.abs(level.values).argmin())
    else:
        return first
    value = f"{float(level.values[surface]):g} {units}".strip()
    return f"choose one, ds = ds.isel({dim}={surface}) for that nearest the surface ({value})"
