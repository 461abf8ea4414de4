"""Conversion of an output to strict CF-1.11, so that ``to_netcdf`` and ``to_zarr`` write a valid file."""

from __future__ import annotations

import datetime
import importlib.metadata
import pathlib
import re
from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.axes import attribute, in_memory
from xvar.cf.geodesy import mapping_attributes, rewritten
from xvar.cf.units import are_convertible, is_parsable, normalise_units, same_units
from xvar.errors import printable

CONVENTIONS = "CF-1.11"

#: Calendars of which CF-1.11 wants to know how leap seconds are counted.
_LEAP_SECOND_CALENDARS = frozenset({"standard", "gregorian", "proleptic_gregorian", "julian"})

# Attributes that belong to the encoding of the input, or that xarray writes itself.
_ENCODED = frozenset(
    {
        *("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "dtype", "coordinates"),
        *("calendar", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_ChunkSizes", "_Storage", "DIMENSION_LABELS"),
        *("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_NCProperties"),
    }
)
_BOUNDS = frozenset({"valid_min", "valid_max", "valid_range", "actual_range"})
_TYPED = _BOUNDS | {"flag_values", "flag_masks"}
_LINKS = ("ancillary_variables", "bounds", "climatology", "cell_measures", "formula_terms", "time")

#: Units that a standard name needs, of the names that files of rain and sea temperature are known to misuse.
_CANONICAL = {
    "rainfall_rate": "m s-1",
    "lwe_precipitation_rate": "m s-1",
    "rainfall_flux": "kg m-2 s-1",
    "precipitation_flux": "kg m-2 s-1",
    "precipitation_amount": "kg m-2",
    "rainfall_amount": "kg m-2",
    "thickness_of_rainfall_amount": "m",
    "lwe_thickness_of_precipitation_amount": "m",
    "equivalent_reflectivity_factor": "dBZ",
}

# Units of a position, its standard name and axis.
_POSITION = (
    (re.compile(r"degrees?_?(north|N)"), "latitude", "Y"),
    (re.compile(r"degrees?_?(east|E)"), "longitude", "X"),
)
_STANDARD_NAME = re.compile(r"^[a-z][a-z0-9_]*( (standard_error|detection_minimum))?$")
_ATTRIBUTE_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")


def to_cf(dataset: xr.Dataset, source: xr.Dataset, *, action: str, configuration: str | None = None) -> xr.Dataset:
    """Return an output as strict CF-1.11, with the history of `source`, the input; nothing lazy is computed.

    The grid mapping and global attributes of the input are kept if they are valid; its packing is not. Coordinates and
    integers have no fill value. `action` and `configuration` are written into ``history``, with all corrections.
    """
    notes: list[str] = []
    result = _without_text(dataset, notes)
    result = _with_grid_mapping(result, source, notes)
    present = {str(name) for name in result.variables}
    mappings = {str(v.attrs["grid_mapping"]) for v in result.variables.values() if "grid_mapping" in v.attrs}
    for name, variable in result.variables.items():
        if str(name) not in mappings:
            is_coordinate = name in result.coords
            variable.attrs = _attributes(name, variable, present, is_coordinate, notes)
            _complete(name, variable, is_coordinate, notes)
    result.attrs = _global_attributes(dataset, source, action, configuration, notes)
    return for_writing(result)


def for_writing(dataset: xr.Dataset) -> xr.Dataset:
    """Return an output with types and encodings for ``to_netcdf`` or ``to_zarr``, also after it was read back.

    Zarr keeps numbers of attributes without their type, and xarray gives every float a fill value unless its encoding
    says none, which a file cannot state. Flags and bounds get the type of their variable.
    """
    result = dataset.copy(deep=False)
    for name, variable in result.variables.items():
        variable.attrs = {
            key: np.asarray(value).astype(variable.dtype)[()] if key in _TYPED else value
            for key, value in variable.attrs.items()
        }
        variable.encoding = _encoding(variable, name in result.coords)
    result.encoding = {}
    return result


def _without_text(dataset: xr.Dataset, notes: list[str]) -> xr.Dataset:
    """Return a shallow copy with attributes of its own, without text variables and repeated dimensions."""
    result = dataset.copy(deep=False)
    for name, variable in dataset.variables.items():
        repeated = len(set(variable.dims)) != len(variable.dims)
        if repeated or _is_text(variable):
            result = result.drop_vars([name])
            if not isinstance(attribute(variable, "grid_mapping_name"), str):
                why = "a repeated dimension" if repeated else "text, which strict CF does not take here"
                notes.append(f"{printable(name)} dropped: {why}")
        elif variable.dtype == bool:
            flags = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "false true"}
            result[name] = result[name].astype(np.int8).assign_attrs({**flags, **variable.attrs})
    for variable in result.variables.values():
        variable.attrs = dict(variable.attrs)
    return result


def _is_text(variable: xr.Variable) -> bool:
    if variable.dtype.kind != "O":
        return variable.dtype.kind in "SU"
    # Objects that are dates of a calendar of their own are no text; dates are never lazy.
    return variable.size == 0 or variable.chunks is not None or not hasattr(variable.values.flat[0], "calendar")


def _with_grid_mapping(dataset: xr.Dataset, source: xr.Dataset, notes: list[str]) -> xr.Dataset:
    """Return a Dataset with its grid mapping as a scalar int, linked from every field of the grid."""
    made: dict[str, xr.Variable | None] = {}
    planes: dict[frozenset[Hashable], str] = {}
    for name, variable in dataset.variables.items():
        link = attribute(variable, "grid_mapping")
        if not isinstance(link, str) or not link.split():
            continue
        target = link.split()[0].rstrip(":")
        if target not in made:
            found = mapping_attributes(dataset, target) or mapping_attributes(source, target)
            made[target] = None if not found else rewritten(found, notes, target)
            if found is None:
                notes.append(f"link of {printable(name)} to the absent grid mapping {printable(target)} dropped")
        if made[target] is not None:
            planes[frozenset(variable.dims[-2:])] = target
    # A mapping that nothing points at would be a variable without a meaning.
    stray = [n for n, v in dataset.variables.items() if "grid_mapping_name" in v.attrs and str(n) not in made]
    result = dataset.drop_vars([*stray, *(name for name in made if name in dataset.variables)])
    for name, variable in result.variables.items():
        variable.attrs.pop("grid_mapping", None)
        target = planes.get(frozenset(variable.dims[-2:]), "")
        if target and name in result.data_vars and variable.ndim >= 2:
            variable.attrs["grid_mapping"] = target
    used = set(planes.values())
    added = {name: variable for name, variable in made.items() if variable is not None and name in used}
    return result.assign(added) if added else result  # which takes a tenth of all that is done to label a window


def _attributes(
    name: Hashable, variable: xr.Variable, present: set[str], is_coordinate: bool, notes: list[str]
) -> dict[str, Any]:
    """Return attributes that strict CF accepts, with links to present variables only."""
    result: dict[str, Any] = {}
    for key, value in variable.attrs.items():
        text, kept, why = str(key), _usable(value), type(value).__name__
        if text in _ENCODED:
            continue
        if not _ATTRIBUTE_NAME.match(text):
            kept, why = None, "no name of CF"
        elif text in _LINKS:
            kept, why = _usable(_present_links(text, str(value), present)), f"{printable(value)} is not in the output"
        elif text in _BOUNDS and (not is_coordinate or _is_time(variable) or np.asarray(value).dtype != variable.dtype):
            # They bound the packed or observed values of the input; xarray would mask by them what was analysed.
            kept, why = None, "it bounds the values of the input"
        elif text == "cell_methods" and not _methods_known(str(value), variable, present):
            kept, why = None, printable(value)
        elif text in _TYPED and np.asarray(value if kept is None else kept).dtype.kind not in "iuf":
            kept = None
        if kept is None:
            notes.append(f"attribute {printable(text)} of {printable(name)} dropped: {why}")
        else:
            result[text] = kept
    return result


def _present_links(key: str, value: str, present: set[str]) -> str | None:
    """Return the part of a link whose targets are present, None if there is none."""
    if key in ("cell_measures", "formula_terms"):
        pairs = re.findall(r"(\w+):\s*(\w+)", value)
        complete = pairs and all(target in present for _, target in pairs)
        return value if complete else None
    words = [word for word in value.split() if word in present]
    return " ".join(words) or None


def _methods_known(value: str, variable: xr.Variable, present: set[str]) -> bool:
    """Return True if the names in cell_methods are dimensions, variables or standard names of an axis."""
    names = set(re.findall(r"(\w+):(?![^(]*\))", value))
    known = {str(dim) for dim in variable.dims} | present | {"area", "time", "latitude", "longitude"}
    return bool(names) and names <= known


def _usable(value: Any) -> Any:
    """Return a value that NetCDF and Zarr both hold, or None."""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, (str, bytes)):
        return printable(value if isinstance(value, str) else value.decode("utf-8", "replace"), keep="\n")
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    if array.dtype.kind in "iuf" and array.ndim <= 1:
        return value
    return [printable(word) for word in array.ravel()] if array.dtype.kind == "U" and array.ndim <= 1 else None


def _is_time(variable: xr.Variable) -> bool:
    return variable.dtype.kind == "M" or (variable.dtype.kind == "O" and variable.size > 0)


def _complete(name: Hashable, variable: xr.Variable, is_coordinate: bool, notes: list[str]) -> None:
    """Add units, standard names and units_metadata that strict CF requires."""
    attrs, label = variable.attrs, printable(name)
    if _is_time(variable):
        if attrs.get("standard_name") not in ("time", "forecast_reference_time"):
            attrs["standard_name"] = "forecast_reference_time" if name == "forecast_reference_time" else "time"
        attrs.pop("units", None)
        if variable.dims != (name,):
            attrs.pop("axis", None)
        if _calendar(variable) in _LEAP_SECOND_CALENDARS and "units_metadata" not in attrs:
            attrs["units_metadata"] = "leap_seconds: unknown"
            notes.append(f"units_metadata of {label}: leap_seconds: unknown")
    elif variable.dtype.kind == "m":
        attrs.pop("units", None)
    else:
        _fix_units(label, attrs, notes)
        if not (is_coordinate and _complete_position(label, variable, notes)):
            _check_standard_name(label, attrs, notes)
    if "long_name" not in attrs and "standard_name" not in attrs:
        attrs["long_name"] = label.replace("_", " ").strip() or "variable"


def _fix_units(label: str, attrs: dict[Any, Any], notes: list[str]) -> None:
    if "units" not in attrs:
        return
    given = str(attrs["units"])
    fixed = normalise_units(given)
    if not is_parsable(fixed):
        del attrs["units"]
        notes.append(f"units of {label} dropped: {printable(given)!r} is none of UDUNITS")
        return
    attrs["units"] = given if same_units(fixed, given) else fixed
    if attrs["units"] != given:
        notes.append(f"units of {label}: {printable(given)!r} written as {fixed!r}")
    if are_convertible(fixed, "K"):
        attrs.setdefault("units_metadata", "temperature: on_scale")


def _complete_position(label: str, variable: xr.Variable, notes: list[str]) -> bool:
    """Add the names of latitude and longitude; return False for other coordinates."""
    for units, standard, axis in _POSITION:
        if units.fullmatch(str(variable.attrs.get("units"))):
            if "standard_name" not in variable.attrs:
                variable.attrs["standard_name"] = standard
                notes.append(f"standard_name of {label}: {standard}")
            variable.attrs.setdefault("long_name", standard)
            if variable.ndim == 1 and label in map(str, variable.dims):
                variable.attrs.setdefault("axis", axis)
            return True
    return False


def _check_standard_name(label: str, attrs: dict[Any, Any], notes: list[str]) -> None:
    """Drop a standard name that CF does not have, or has for other units."""
    if "standard_name" not in attrs:
        return
    name, units = str(attrs["standard_name"]), attrs.get("units")
    canonical = _CANONICAL.get(name.split(" ")[0])
    # A decoder of GRIB writes "unknown" if its tables have no standard name.
    if not _STANDARD_NAME.match(name) or name == "unknown":
        why = "no standard name of CF"
    elif canonical is not None and units is not None and not are_convertible(str(units), canonical):
        why = f"it needs units of {canonical}, not {units}"
    else:
        return
    del attrs["standard_name"]
    attrs.setdefault("long_name", printable(name).replace("_", " "))
    notes.append(f"standard_name {printable(name)} of {label} dropped: {why}")


def _calendar(variable: xr.Variable) -> str:
    return "proleptic_gregorian" if variable.dtype.kind == "M" else str(in_memory(variable).flat[0].calendar)


def _encoding(variable: xr.Variable, is_coordinate: bool) -> dict[str, Any]:
    """Return an encoding without anything of the encoding of the input."""
    if _is_time(variable):  # whole units since an epoch of their calendar: exact, and independent of other variables
        values, units, missing = in_memory(variable), "seconds", False
        if values.dtype.kind == "M":
            missing = bool(np.isnat(values).any())
            dates = values[~np.isnat(values)]
            finer = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
            units = next((name for unit, name in finer.items() if (dates.astype(f"M8[{unit}]") == dates).all()), units)
        elif any(date.microsecond for date in values.flat):
            units = "microseconds"
        number = {"dtype": np.dtype(np.float64 if missing else np.int64), "_FillValue": np.nan if missing else None}
        return {"calendar": _calendar(variable), "units": f"{units} since 1970-01-01 00:00:00", **number}
    if variable.dtype.kind == "m":
        values = in_memory(variable)
        whole = not np.isnat(values).any() and not (values % np.timedelta64(1, "s")).astype(np.int64).any()
        return {"units": "seconds", "dtype": np.dtype(np.int64 if whole else np.float64), "_FillValue": None}
    if is_coordinate or variable.dtype.kind in "iu":
        return {"dtype": variable.dtype, "_FillValue": None}
    return {"dtype": variable.dtype, "_FillValue": variable.dtype.type(np.nan)}


def identity(source: xr.Dataset) -> str:
    """Return the name of the file of the input, its size, and its own identifier if it has one."""
    path = source.encoding.get("source")
    name = f"file {pathlib.PurePath(str(path)).name!r}" if path else "a dataset in memory"
    sizes = ", ".join(f"{dim}: {size}" for dim, size in source.sizes.items())
    marks = [f"{key}={source.attrs[key]}" for key in ("id", "tracking_id", "uuid") if key in source.attrs]
    return printable(" ".join([f"{name} ({sizes})", *marks]))


@lru_cache(maxsize=1)
def _program() -> str:
    return f"xvar {importlib.metadata.version('xvar')}"


def _global_attributes(
    dataset: xr.Dataset, source: xr.Dataset, action: str, configuration: str | None, notes: list[str]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in {**source.attrs, **dataset.attrs}.items():
        text = str(key)
        if text in _ENCODED or text in ("Conventions", "history", "grid_mapping"):
            continue
        usable = _usable(value) if _ATTRIBUTE_NAME.match(text) else None
        if usable is None:
            notes.append(f"global attribute {printable(text)} dropped: {type(value).__name__}")
        else:
            result[text] = usable
    program = _program()
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = f"{stamp} {program}: {printable(action)} of {identity(source)}"
    if configuration:
        entry += f"; configuration: {printable(configuration)}"
    if notes:
        entry += f"; changed for {CONVENTIONS}: " + "; ".join(dict.fromkeys(printable(note) for note in notes))
    before = printable(dataset.attrs.get("history", source.attrs.get("history", "")), keep="\n").strip()
    completed = {"Conventions": CONVENTIONS, "history": f"{before}\n{entry}" if before else entry}
    return {"title": f"xvar {printable(action)}", "source": program} | result | completed
