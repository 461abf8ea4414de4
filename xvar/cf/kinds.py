"""Kind of a variable, by which defaults are chosen: its evidence, physical limits, and codes of radars."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import xarray as xr

from xvar.cf.axes import attribute
from xvar.cf.units import are_convertible, convert, is_parsable, normalise_units, rain_rate_factor

Kind = Literal["rain", "reflectivity", "sea_temperature", "temperature", "other"]

#: Limits in mm h-1 (38 mm fell within a minute once), dBZ and K; and of any variable.
RAIN_RATE, REFLECTIVITY, TEMPERATURE = (0.0, 3000.0), (-130.0, 130.0), (100.0, 1000.0)
ANYTHING = (-1e15, 1e15)
#: K, -5 to 60 degrees Celsius: more than any sea has.
SEA_TEMPERATURE = (268.15, 333.15)

#: dBZ that represents "nothing detected" if the value in the file is outside the physical limits.
NOTHING = -32.0

_NODATA = ("nodata", "_Nodata", "what_nodata")
_UNDETECT = ("undetect", "_Undetect", "what_undetect")

_WORDS: dict[Kind, set[str]] = {
    "rain": {
        *("rain", "rainfall", "precip", "precipitation", "rainrate", "rr", "acrr", "tp", "pr", "qpe"),
        *("rainfallrate", "rainc", "rainnc"),
    },
    "reflectivity": {"reflectivity", "dbz", "dbzh", "zh", "refl", "reflectivities", "cref"},
    "temperature": {"temperature", "sst", "temp", "thetao", "tos", "theta", "potemp"},
}
_TEMPERATURE = re.compile(r"(^|_)temperature($|_at_|_of_)")

# Of the sea, in standard names, in names and long names, and in coordinates.
_SEA_NAME = re.compile(r"(^|_)(sea_(surface|water)|ocean)(_|$)")
_SEA_WORD = re.compile(r"sst\w{0,3}|[a-z]{0,3}sst|tos|thetao|toce|votemper|sosstsst|sea|ocean|sea(surface|water)\w*")
_NOT_SEA = re.compile(
    r"\b(air|atmospher\w*|soil|ground|land|lake|snow|ice|brightness|clouds?|cloudtop|dew|toa|t2m|tas|[td]b|bt"
    r"|(2|10) ?m(et(er|re)s?)?)\b"
)
_SEA_DEPTH = re.compile(r"ocean_\w+|depth|s_rho|depth[tuvw]|z_?l|st_ocean")
_BESIDE = re.compile(r"\w*sea_water_\w*(salinity|velocity)|sea_surface_(height|elevation)\w*|sea_floor_depth\w*")
_BESIDE_WORDS = frozenset({"salinity", "salt", "vosaline"})
_MODEL = re.compile(r"\b(ROMS|NEMO|HYCOM|MITgcm|MOM\d|FVCOM|ocean T grid)\b")
#: Standard names that do not say of what surface or body the temperature is.
_GENERAL = frozenset({"", "surface_temperature"})


def standard_name(variable: xr.Variable | xr.DataArray) -> str:
    """Return the standard name without its modifier; empty if there is none, or GRIB's "unknown"."""
    name = str(variable.attrs.get("standard_name", "")).partition(" ")[0]
    return "" if name == "unknown" else name


def kind(array: xr.DataArray, dataset: xr.Dataset | None = None) -> Kind:
    """Return the kind of a variable by its standard name, else its units, else its name and long name.

    Values are not read. A temperature without :func:`sea_evidence` in its dataset is "temperature".
    """
    return kind_and_reason(array, dataset)[0]


def kind_and_reason(array: xr.DataArray, dataset: xr.Dataset | None = None) -> tuple[Kind, str]:
    """Return the kind of a variable, see :func:`kind`, and the statement of the file that decided it."""
    found, reason = _measured(array)
    if found != "temperature":
        return found, reason
    evidence = sea_evidence(dataset, array)
    if evidence is None:
        return found, f'{reason}, no evidence of a sea: method="currents" analyses currents'
    return "sea_temperature", f"by {evidence}"


def sea_evidence(dataset: xr.Dataset | None, array: xr.DataArray) -> str | None:
    """Return evidence that a variable belongs to a sea, such as "'salinity' beside it", or None; values are not read.

    In this order: its standard name (any other one, such as ``air_temperature``, decides against a sea); its name and
    long name; a vertical coordinate of oceans; salinity, sea water velocity, sea surface height or sea floor depth
    beside it on the same grid; the grid or the global attributes of an ocean model.
    """
    standard = standard_name(array)
    if _SEA_NAME.search(standard):
        return f"standard_name {standard!r}"
    names = _names(array)
    if standard not in _GENERAL or any(_NOT_SEA.search(_spaced(text)) for text in names.values()):
        return None
    for label, text in names.items():
        if any(_SEA_WORD.fullmatch(word) for word in _spaced(text).split()):
            return f"{label} {text!r}"
    for name, coordinate in array.coords.items():
        if coordinate.ndim <= 1 and _SEA_DEPTH.fullmatch(standard_name(coordinate) or str(name).lower()):
            return f"vertical coordinate {str(name)!r}"
    if {"eta_rho", "xi_rho"} <= set(array.dims):
        return "grid of ROMS"
    if dataset is None:
        return None
    for name, variable in dataset.data_vars.items():
        known = _BESIDE.fullmatch(standard_name(variable)) or str(name).lower() in _BESIDE_WORDS
        if known and name != array.name and len(set(variable.dims) & set(array.dims)) >= 2:
            return f"{str(name)!r} beside it"
    for key, value in dataset.attrs.items():
        model = _MODEL.search(str(value)) if key in ("title", "description", "source", "type", "model") else None
        if model is not None:
            return f"global attribute {key} names {model[0]}"
    return None


def _names(array: xr.DataArray) -> dict[str, str]:
    return {"name": str(array.name), "long_name": str(array.attrs.get("long_name", ""))}


def _spaced(text: str) -> str:
    """Return words in lower case, separated by blanks."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def _measured(array: xr.DataArray) -> tuple[Kind, str]:
    """Return the kind without regard to a sea, and its reason."""
    standard, units = standard_name(array), array.attrs.get("units")
    if standard:
        meant: Kind = "other"
        if "reflectivity" in standard:
            meant = "reflectivity"
        elif "rainfall" in standard or "precipitation" in standard:
            meant = "rain"
        elif _TEMPERATURE.search(standard) and not standard.startswith("tendency"):
            meant = "temperature"
        return meant if _units_allow(meant, units) else "other", f"by standard_name {standard!r}"
    if units is not None:
        spelling, reason = normalise_units(str(units)), f"by units {str(units)!r}"
        if spelling == "dBZ":
            return "reflectivity", reason
        if are_convertible(spelling, "K"):
            return "temperature", reason
        # A depth over a time with small depths is rain; m s-1 alone is any velocity.
        if are_convertible(spelling, "m s-1") and re.search(r"\b(mm|millimet|inch|in)\b", spelling):
            return "rain", reason
    for known, words in _WORDS.items():
        for label, text in _names(array).items():
            if words & set(_spaced(text).split()) and _units_allow(known, units):
                return known, f"by {label} {text!r}"
    return "other", "by neither standard_name, units nor name"


def _units_allow(label: Kind, units: object) -> bool:
    """Check that the units, if they can be read, are those of a kind."""
    spelling = normalise_units(str(units))
    if label == "other" or units is None or not is_parsable(spelling):
        return True
    if label == "rain":
        return rain_rate_factor(spelling, 1.0) is not None
    if label == "temperature":
        return are_convertible(spelling, "K")
    return spelling == "dBZ" or are_convertible(spelling, "1")


def physical_limits(kind: Kind, units: str, interval: float | None) -> tuple[float, float]:
    """Return the lowest and highest possible value in `units`; `interval` is that of an amount of rain, in seconds."""
    if kind == "rain":
        factor = rain_rate_factor(units, interval)
        if factor is not None:
            return RAIN_RATE[0] / factor, RAIN_RATE[1] / factor
    elif kind == "reflectivity" and units == "dBZ":
        return REFLECTIVITY
    elif kind in ("sea_temperature", "temperature") and are_convertible(units, "K"):
        low, high = (float(convert(limit, "K", units)) for limit in TEMPERATURE)
        return low, high
    return ANYTHING


def sea_units(low: float, high: float, units: str) -> str | None:
    """Return K or degree_Celsius if a sea has the temperatures `low` to `high` in it, and none of them in `units`."""
    if not are_convertible(units, "K"):
        return None
    least, most = (convert(limit, "K", units) for limit in SEA_TEMPERATURE)
    for unit in ("K", "degree_Celsius") if high < least or low > most else ():
        least, most = (convert(limit, "K", unit) for limit in SEA_TEMPERATURE)
        if least <= low and high <= most:
            return unit
    return None


def detected(array: xr.DataArray, kind: Kind, limits: tuple[float, float], notes: list[str]) -> xr.DataArray:
    """Return values with nodata missing, and undetect a value: no rain, or the least reflectivity.

    `limits` are the physical limits in the units of the variable; `notes` receives the changes. Lazy values stay lazy.
    """
    if kind not in ("rain", "reflectivity"):
        return array
    result = array
    nodata, undetect = (_value(array, names) for names in (_NODATA, _UNDETECT))
    if nodata is not None:
        result = result.where(~_is(array, nodata))
        notes.append(f"nodata of {nodata:g} taken as missing")
    if undetect is not None:
        seen = undetect if limits[0] <= undetect <= limits[1] else NOTHING
        least = 0.0 if kind == "rain" else seen
        if least != undetect:
            result = result.where(~_is(array, undetect), np.asarray(least, dtype=result.dtype)[()])
        notes.append(f"undetect of {undetect:g} is {least:g}: looked at, and nothing seen")
    return result.assign_attrs(array.attrs) if result is not array else array


def undeclared_nodata(array: xr.DataArray, kind: Kind) -> float | None:
    """Return the value of the highest code of a radar image packed into unsigned integers without a missing value."""
    encoding = array.encoding
    code = np.dtype(encoding["dtype"]) if encoding.get("dtype") is not None else None
    if kind not in ("rain", "reflectivity") or code is None or code.kind != "u" or "scale_factor" not in encoding:
        return None
    declared = ("_FillValue", "missing_value", "valid_range", "valid_max", *_NODATA, *_UNDETECT)
    if any(attribute(array, name) is not None for name in declared):
        return None
    return _physical(float(np.iinfo(code).max), array)


def _value(array: xr.DataArray, names: tuple[str, ...]) -> float | None:
    """Return the decoded value of a code that the file declares under one of some names."""
    for name in names:
        code: Any = attribute(array, name)
        if isinstance(code, (int, float, np.number)) and np.isfinite(code):
            return _physical(float(code), array)
    return None


def _physical(code: float, array: xr.DataArray) -> float:
    scale, offset = (array.encoding.get(name, neutral) for name, neutral in (("scale_factor", 1), ("add_offset", 0)))
    return code * float(scale) + float(offset)


def _is(array: xr.DataArray, value: float) -> xr.DataArray:
    """Return a mask, True at values equal to `value`, to the rounding of single precision."""
    return abs(array - value) <= 1e-6 * max(abs(value), 1.0)
