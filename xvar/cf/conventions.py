"""Conversion of an output to strict CF-1.11, so that ``to_netcdf`` and ``to_zarr`` write a valid file."""

from __future__ import annotations

import datetime
import importlib.metadata
import pathlib
import re
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.axes import attribute, in_memory
from xvar.cf.geodesy import mapping_attributes
from xvar.cf.grid_mapping import rewritten
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
_TYPED = frozenset({"flag_values", "flag_masks", "valid_min", "valid_max", "valid_range", "actual_range"})
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

_POSITION = {
    "degrees_north": ("latitude", "latitude", "Y"),
    "degrees_east": ("longitude", "longitude", "X"),
}
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
    mappings = {str(v.attrs["grid_mapping"]) for v in result.data_vars.values() if "grid_mapping" in v.attrs}
    for name in list(result.variables):
        variable = result.variables[name]
        if str(name) in mappings:
            continue
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
    drop = []
    for name, variable in dataset.variables.items():
        repeated = len(set(variable.dims)) != len(variable.dims)
        if repeated or _is_text(variable):
            drop.append(name)
            if not isinstance(attribute(variable, "grid_mapping_name"), str):
                why = "a repeated dimension" if repeated else "text, which strict CF does not take here"
                notes.append(f"{printable(name)} dropped: {why}")
    result = result.drop_vars(drop)
    for name in list(result.variables):
        if result.variables[name].dtype == bool:
            flags = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "false true"}
            result[name] = result[name].astype(np.int8).assign_attrs({**flags, **result[name].attrs})
    for name in list(result.variables):
        result.variables[name].attrs = dict(result.variables[name].attrs)
    return result


def _is_text(variable: xr.Variable) -> bool:
    kind = variable.dtype.kind
    if kind in "SU":
        return True
    if kind != "O":
        return False
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
    return result.assign({name: variable for name, variable in made.items() if variable is not None and name in used})


def _attributes(
    name: Hashable, variable: xr.Variable, present: set[str], is_coordinate: bool, notes: list[str]
) -> dict[str, Any]:
    """Return attributes that strict CF accepts, with links to present variables only."""
    result: dict[str, Any] = {}
    for key, value in variable.attrs.items():
        text = str(key)
        if text in _ENCODED:
            continue
        if not _ATTRIBUTE_NAME.match(text):
            notes.append(f"attribute {printable(text)} of {printable(name)} dropped: no name of CF")
            continue
        if text in _LINKS:
            kept = _present_links(text, str(value), present)
            if kept is None:
                notes.append(f"{text} of {printable(name)} dropped: {printable(value)} is not in the output")
                continue
            value = kept
        elif text in ("valid_min", "valid_max", "valid_range", "actual_range"):
            # They bound the packed or observed values of the input; xarray would mask by them what was analysed.
            if not is_coordinate or _is_time(variable) or np.asarray(value).dtype != variable.dtype:
                notes.append(f"{text} of {printable(name)} dropped: it stood for the values of the input")
                continue
        elif text == "cell_methods" and not _methods_known(str(value), variable, present):
            notes.append(f"cell_methods of {printable(name)} dropped: {printable(value)}")
            continue
        usable = _usable(value)
        if text in _TYPED and np.asarray(value if usable is None else usable).dtype.kind not in "iuf":
            usable = None
        if usable is None:
            notes.append(f"attribute {text} of {printable(name)} dropped: {type(value).__name__}")
            continue
        result[text] = usable
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
    if isinstance(value, str):
        return printable(value, keep="\n")
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "replace"), keep="\n")
    if isinstance(value, (int, float, np.number)):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    if array.dtype.kind in "iuf" and array.ndim <= 1:
        return array if isinstance(value, np.ndarray) else value
    if array.dtype.kind == "U" and array.ndim <= 1:
        return [printable(word) for word in array.ravel()]
    return None


def _is_time(variable: xr.Variable) -> bool:
    kind = variable.dtype.kind
    return kind == "M" or (kind == "O" and variable.size > 0)


def _complete(name: Hashable, variable: xr.Variable, is_coordinate: bool, notes: list[str]) -> None:
    """Add units, standard names and units_metadata that strict CF requires."""
    attrs = variable.attrs
    label = printable(name)
    if _is_time(variable):
        if variable.attrs.get("standard_name") not in ("time", "forecast_reference_time"):
            attrs["standard_name"] = "forecast_reference_time" if name == "forecast_reference_time" else "time"
        attrs.pop("units", None)
        if variable.ndim != 1 or variable.dims != (name,):
            attrs.pop("axis", None)
        if _calendar(variable) in _LEAP_SECOND_CALENDARS and "units_metadata" not in attrs:
            attrs["units_metadata"] = "leap_seconds: unknown"
            notes.append(f"units_metadata of {label}: leap_seconds: unknown")
    elif variable.dtype.kind == "m":
        attrs.pop("units", None)
    else:
        _fix_units(label, variable, notes)
        _fix_standard_name(label, variable, is_coordinate, notes)
    if "long_name" not in attrs and "standard_name" not in attrs:
        attrs["long_name"] = label.replace("_", " ").strip() or "variable"


def _fix_units(label: str, variable: xr.Variable, notes: list[str]) -> None:
    attrs = variable.attrs
    if "units" not in attrs:
        return
    given = str(attrs["units"])
    fixed = normalise_units(given)
    if is_parsable(fixed):
        if fixed != given and not same_units(fixed, given):
            attrs["units"] = fixed
            notes.append(f"units of {label}: {printable(given)!r} written as {fixed!r}")
        else:
            attrs["units"] = given
        units = attrs["units"]
        if are_convertible(units, "K"):
            attrs.setdefault("units_metadata", "temperature: on_scale")
        return
    del attrs["units"]
    notes.append(f"units of {label} dropped: {printable(given)!r} is none of UDUNITS")


def _fix_standard_name(label: str, variable: xr.Variable, is_coordinate: bool, notes: list[str]) -> None:
    attrs = variable.attrs
    name = attrs.get("standard_name")
    units = attrs.get("units")
    if is_coordinate and units is not None:
        for spelling, (standard, long_name, axis) in _POSITION.items():
            if re.fullmatch(rf"degrees?_?({spelling[8:]}|{spelling[8].upper()})", str(units)):
                if "standard_name" not in attrs:
                    attrs["standard_name"] = standard
                    notes.append(f"standard_name of {label}: {standard}")
                attrs.setdefault("long_name", long_name)
                if variable.ndim == 1 and label in map(str, variable.dims):
                    attrs.setdefault("axis", axis)
                return
    if name is None:
        return
    canonical = _CANONICAL.get(str(name).split(" ")[0])
    # A decoder of GRIB writes "unknown" if its tables have no standard name.
    if not _STANDARD_NAME.match(str(name)) or str(name) == "unknown":
        why = "no standard name of CF"
    elif canonical is not None and units is not None and not are_convertible(str(units), canonical):
        why = f"it needs units of {canonical}, not {units}"
    else:
        return
    del attrs["standard_name"]
    attrs.setdefault("long_name", printable(name).replace("_", " "))
    notes.append(f"standard_name {printable(name)} of {label} dropped: {why}")


def _calendar(variable: xr.Variable) -> str:
    if variable.dtype.kind == "M":
        return "proleptic_gregorian"
    return str(in_memory(variable).flat[0].calendar)


def _encoding(variable: xr.Variable, is_coordinate: bool) -> dict[str, Any]:
    """Return an encoding without anything of the encoding of the input."""
    kind = variable.dtype.kind
    if _is_time(variable):
        return _time_encoding(variable)
    if kind == "m":
        return {"units": "seconds", "dtype": _exact_type(variable, np.timedelta64(1, "s")), "_FillValue": None}
    if is_coordinate or kind in "iu":
        return {"dtype": variable.dtype, "_FillValue": None}
    return {"dtype": variable.dtype, "_FillValue": variable.dtype.type(np.nan)}


def _exact_type(variable: xr.Variable, unit: np.timedelta64) -> np.dtype[Any]:
    values = in_memory(variable)
    whole = not np.isnat(values).any() and not (values % unit).astype(np.int64).any()
    return np.dtype(np.int64 if whole else np.float64)


def _time_encoding(variable: xr.Variable) -> dict[str, Any]:
    """Return whole units since an epoch of its own calendar: exact, and independent of other variables."""
    values = in_memory(variable)
    units = "seconds"
    encoding: dict[str, Any] = {"calendar": _calendar(variable), "_FillValue": None}
    missing = False
    if values.dtype.kind == "M":
        missing = bool(np.isnat(values).any())
        dates = values[~np.isnat(values)]
        finer = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
        units = next((name for unit, name in finer.items() if (dates.astype(f"M8[{unit}]") == dates).all()), units)
    elif any(date.microsecond for date in values.flat):
        units = "microseconds"
    encoding["units"] = f"{units} since 1970-01-01 00:00:00"
    encoding["dtype"] = np.dtype(np.float64 if missing else np.int64)
    if missing:
        encoding["_FillValue"] = np.nan
    return encoding


def _version() -> str:
    try:
        return importlib.metadata.version("xvar")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def identity(source: xr.Dataset) -> str:
    """Return the name of the file of the input, its size, and its own identifier if it has one."""
    path = source.encoding.get("source")
    name = f"file {pathlib.PurePath(str(path)).name!r}" if path else "a dataset in memory"
    sizes = ", ".join(f"{dim}: {size}" for dim, size in source.sizes.items())
    marks = [f"{key}={source.attrs[key]}" for key in ("id", "tracking_id", "uuid") if key in source.attrs]
    return printable(" ".join([f"{name} ({sizes})", *marks]))


def _global_attributes(
    dataset: xr.Dataset, source: xr.Dataset, action: str, configuration: str | None, notes: list[str]
) -> dict[str, Any]:
    merged: Mapping[Hashable, Any] = {**source.attrs, **dataset.attrs}
    result: dict[str, Any] = {}
    for key, value in merged.items():
        text = str(key)
        if text in _ENCODED or text in ("Conventions", "history", "grid_mapping"):
            continue
        usable = _usable(value) if _ATTRIBUTE_NAME.match(text) else None
        if usable is None:
            notes.append(f"global attribute {printable(text)} dropped: {type(value).__name__}")
            continue
        result[text] = usable
    version = _version()
    result.setdefault("title", f"xvar {printable(action)}")
    result.setdefault("source", f"xvar {version}")
    result["Conventions"] = CONVENTIONS
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = f"{stamp} xvar {version}: {printable(action)} of {identity(source)}"
    if configuration:
        entry += f"; configuration: {printable(configuration)}"
    if notes:
        entry += f"; changed for {CONVENTIONS}: " + "; ".join(dict.fromkeys(printable(note) for note in notes))
    before = printable(dataset.attrs.get("history", source.attrs.get("history", "")), keep="\n").strip()
    result["history"] = f"{before}\n{entry}" if before else entry
    return result
