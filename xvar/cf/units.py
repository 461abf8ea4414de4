"""Units of measurement: spellings of real files, corrected for UDUNITS, and factors between units."""

from __future__ import annotations

import functools
import re
from typing import Any, overload

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xvar.cf.faults import add
from xvar.errors import Faults

#: kg m-3; makes a mass of water over an area a depth.
DENSITY_OF_LIQUID_WATER = 1000.0

# UDUNITS reads 'degree Celsius' as an angle times a temperature (0.01745 K rad), 'C' as coulomb and 'F' as farad, and
# does not read 'degrees East' at all. These are the spellings that files are known to have, folded to lower case with
# single spaces; anything else is left as it is.
_SPELLINGS = {
    spelling: units
    for units, spellings in {
        "degree_Celsius": "celsius|degree celsius|degrees celsius|deg celsius|degcelsius|degrees_celsius|deg c|"
        "degree c|degrees c|deg. c|deg_c|c|° c|ºc|º c|oc|centigrade|degree centigrade|degrees centigrade|celcius|"
        "degree celcius|degrees celcius",
        "K": "kelvin|kelvins|degree kelvin|degrees kelvin|deg k|degree k|degrees k",
        "degree_Fahrenheit": "degree fahrenheit|degrees fahrenheit|deg f|degrees f|f|fahrenheit",
        "degrees_east": "degrees east|degree east|deg east|degrees e|degree e|deg e|degrees-east|decimal degrees east|"
        "decimal_degrees_east|°e|° e|degrees_longitude|deg_east",
        "degrees_north": "degrees north|degree north|deg north|degrees n|degree n|deg n|degrees-north|"
        "decimal degrees north|decimal_degrees_north|°n|° n|degrees_latitude|deg_north",
        "degrees": "decimal degrees|decimal_degrees",
        "m": "meters|meter|metre|metres|mtr",
        "km": "kilometers|kilometer|kilometre|kilometres|kms",
        "mm": "millimeters|millimeter|millimetre|millimetres",
        "m s-1": "meter per second|meters per second|metres per second|meter/second",
        "mm h-1": "mm per hour|mm/hr.|mmh-1|mmh|mmhr|mm per hr|millimeters per hour",
        "dBZ": "dbz|db z|dbz.|decibel z",
        "1e-3": "psu|practical salinity units|practical salinity unit",
    }.items()
    for spelling in spellings.split("|")
}

# UDUNITS reads 'mm/5min' as (mm / 5) min, a depth times a time.
_AMOUNT_PER_MINUTES = re.compile(r"^(?P<amount>.*\S)\s*/\s*(?P<count>\d+)\s*(?P<unit>min|h|hr|s)$")


def normalise_units(text: str) -> str:
    """Return the spelling that CF and UDUNITS know for known misspellings, else the text without outer blanks."""
    stripped = text.strip()
    folded = " ".join(stripped.split()).lower()
    if folded in _SPELLINGS:
        return _SPELLINGS[folded]
    per = _AMOUNT_PER_MINUTES.match(stripped)
    if per is not None:
        return f"{normalise_units(per['amount'])} ({per['count']} {per['unit']})-1"
    return stripped


@functools.lru_cache(maxsize=256)
def _parse(text: str) -> Any:
    """Return the unit of a corrected spelling, None if UDUNITS does not know it."""
    import cf_units

    try:
        unit = cf_units.Unit(text)
    except ValueError:
        return None
    return None if unit.is_unknown() or unit.is_no_unit() else unit


def is_parsable(text: str) -> bool:
    """Return True if UDUNITS reads the spelling."""
    return _parse(text) is not None


def same_units(first: str, second: str) -> bool:
    """Return True if two spellings are the same unit."""
    one, other = _parse(first), _parse(second)
    return one is not None and other is not None and bool(one == other)


def are_convertible(first: str, second: str) -> bool:
    """Return True if units are convertible, after correction of the spellings."""
    one, other = _parse(normalise_units(first)), _parse(normalise_units(second))
    return one is not None and other is not None and bool(one.is_convertible(other))


@overload
def convert(values: float, source: str, target: str, *, difference: bool = False) -> float: ...
@overload
def convert(values: ArrayLike, source: str, target: str, *, difference: bool = False) -> NDArray[np.float64]: ...


def convert(values: ArrayLike, source: str, target: str, *, difference: bool = False) -> float | NDArray[np.float64]:
    """Return values in another unit, in float64; known misspellings of units are corrected.

    A `difference` or standard deviation is scaled without the offset of a temperature. ValueError if units do not fit.
    """
    one, other = _parse(normalise_units(source)), _parse(normalise_units(target))
    if one is None or other is None or not one.is_convertible(other):
        raise ValueError(f"cannot convert {source!r} to {target!r}")
    exact = np.asarray(values, dtype=np.float64)
    if difference:
        # By two distant points: near absolute zero a scale of 5/9 loses digits to the offset.
        span = float(one.convert(1.0, other)) - float(one.convert(0.0, other))
        result = exact * span
    else:
        result = np.asarray(one.convert(exact, other), dtype=np.float64)
    return float(result) if result.ndim == 0 else result


def length_factor(units: str) -> float | None:
    """Return the metres in one unit of length, None for other units."""
    return _factor(units, "m")


def _factor(units: str, target: str) -> float | None:
    unit = _parse(normalise_units(units))
    goal = _parse(target)
    if unit is None or not unit.is_convertible(goal):
        return None
    # UDUNITS leaves the last bit in doubt: it returns 0.12 as 0.12000000000000004.
    return float(f"{float(unit.convert(1.0, goal)):.14g}")


def rain_rate_factor(units: str, interval_seconds: float | None) -> float | None:
    """Return the factor from values of rain to mm h-1; None for other units, or an amount without interval.

    Units are a rate (``mm h-1``, ``0.01 mm (5 min)-1``), a mass flux (``kg m-2 s-1``, liquid water: 1000 kg m-3), or an
    amount over one interval (``mm``, ``1e-5 m``, ``kg m-2``).
    """
    rate = _factor(units, "mm h-1")
    if rate is not None:
        return rate
    flux = _factor(units, "kg m-2 h-1")
    if flux is not None:
        return flux * 1e3 / DENSITY_OF_LIQUID_WATER
    depth = _factor(units, "mm")
    if depth is None:
        mass = _factor(units, "kg m-2")
        depth = None if mass is None else mass * 1e3 / DENSITY_OF_LIQUID_WATER
    if depth is None or interval_seconds is None or not interval_seconds > 0:
        return None
    return depth * 3600.0 / interval_seconds


def units_of(array: xr.DataArray, units_override: str | None, faults: Faults) -> str | None:
    """Return the units of a variable, or those that the user states, as UDUNITS spells them; None with a fault."""
    given = units_override if units_override is not None else array.attrs.get("units")
    fixed, own = (normalise_units("" if text is None else str(text)) for text in (given, array.attrs.get("units")))
    if not fixed:
        add(faults, "units-missing", "no units attribute" if given is None else "empty units", array.name)
    elif not is_parsable(fixed):
        add(faults, "units-unreadable", f"units {str(given)!r}, which UDUNITS cannot read", array.name)
    elif units_override is not None and is_parsable(own) and not same_units(own, fixed):
        label = f"ds[{str(array.name)!r}]"
        rain = own == "dBZ" and rain_rate_factor(fixed, 1.0) is not None
        hint = f", reflectivity is analysed as it is; rain is xvar.rain_rate({label})" if rain else ""
        found = f"units={units_override!r} for a variable in {own!r}"
        add(faults, "units-contradicted", found, array.name, hint=hint, fixed=fixed)
    else:
        return fixed
    return None


def without_quantities(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset of plain arrays, with the units of pint quantities in their attributes; lazy data stay lazy."""
    plain = {}
    for name, variable in dataset.variables.items():
        held: Any = variable._data  # what is lazy stays so
        if hasattr(held, "magnitude") and hasattr(held, "units"):  # a pint.Quantity, without importing pint
            plain[name] = variable.copy(data=held.magnitude, deep=False)
            plain[name].attrs = {**variable.attrs, "units": spelled(held.units)}
    coordinates = {name: plain.pop(name) for name in list(plain) if name in dataset.coords}
    return dataset.assign(plain).assign_coords(coordinates) if plain or coordinates else dataset


def spelled(units: Any) -> str:
    """Return units of pint in a spelling that UDUNITS reads."""
    text = str(units).replace(" ** ", "^")
    return "1" if text == "dimensionless" else text
