"""Values that are no observations by themselves: rules for one value, and records that are refused for theirs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.kinds import ANYTHING, Kind, physical_limits
from xvar.cf.record import Record
from xvar.cf.units import rain_rate_factor
from xvar.errors import Faults

#: Values that files write for missing without declaring them.
UNDECLARED = (-9999.0, -999.0, -99.0, -32768.0, -32767.0, 9999.0, 32767.0, 65535.0, 9.96921e36, 1e20, 1e30)

#: Smallest share of the points at which a total of rain grows from frame to frame; rain that begins grows at fewer.
GROWING = 0.01

#: Values beyond the limits are those of another unit, and no gross errors, from this share of the values that are not
#: zero and this share of all values.
MOST, MANY = 0.5, 0.01

Floats = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Screen:
    """Properties of a variable by which its values are judged."""

    variable: str
    kind: Kind
    low: float = ANYTHING[0]  # physical limits, in the units of the variable
    high: float = ANYTHING[1]
    nodata: float | None = None  # value of the highest code of a packed image that declares no missing value
    amount: bool = False  # rain that fell over an interval, not a rate
    time: Hashable = "time"
    units: str = ""

    @classmethod
    def of(
        cls,
        variable: object,
        kind: Kind,
        units: str,
        interval: float | None,
        nodata: float | None = None,
        time: Hashable = "time",
    ) -> Screen:
        """Return the screen of a kind of variable; `interval` is that of an amount of rain, in seconds."""
        amount = kind == "rain" and rain_rate_factor(units, None) is None
        return cls(str(variable), kind, *physical_limits(kind, units, interval), nodata, amount, time, units)

    @classmethod
    def of_record(cls, record: Record) -> Screen:
        """Return the screen of a record."""
        return cls.of(record.name, record.kind, record.units, record.interval, record.nodata, record.axes.time)


def infinite(values: Floats, _: Screen) -> Mask:
    """Return which values are infinite."""
    return np.asarray(np.isinf(values))


def fill_value(values: Floats, _: Screen) -> Mask:
    """Return which values are an undeclared fill value, see `undeclared_fill`."""
    fill = undeclared_fill(values)
    return np.zeros(values.shape, dtype=bool) if fill is None else np.asarray(values == _own(fill, values.dtype))


def out_of_range(values: Floats, screen: Screen) -> Mask:
    """Return which values are beyond the physical limits."""
    low, high = (_own(limit, values.dtype) for limit in (screen.low, screen.high))
    return np.asarray((values < low) | (values > high))


def highest_code(values: Floats, screen: Screen) -> Mask:
    """Return which values are the highest code of a packed image that declares no missing value."""
    if screen.nodata is None:
        return np.zeros(values.shape, dtype=bool)
    return np.isclose(values, screen.nodata, rtol=1e-6, atol=0)


def undeclared_fill(values: Floats) -> float | None:
    """Return a usual fill value that several points have and all others stay far from; None without one."""
    valid = np.isfinite(values)
    if not valid.any():
        return None
    known = values[valid]
    for extreme in (float(known.min()), float(known.max())):
        for fill in UNDECLARED:
            own = _own(fill, values.dtype)
            same = known == own
            if own == extreme and np.count_nonzero(same) > 1 and _is_far(fill, known[~same]):
                return fill
    return None


def first_index(mask: Mask) -> tuple[int, ...]:
    """Return the index of the first true value."""
    return tuple(int(axis[0]) for axis in np.nonzero(mask))


def check_infinite(values: Floats, screen: Screen, faults: Faults) -> None:
    """Add a fault if values are infinite."""
    wrong = np.isinf(values)
    if wrong.any():
        faults.add(
            code="infinite-values",
            variable=screen.variable,
            index=first_index(wrong),
            found=f"{int(wrong.sum())} infinite values",
            expected="finite values, or NaN if nothing was observed (strict=True)",
            fix="strict=False takes them as missing",
        )


def check_plausible(values: Floats, screen: Screen, rules: frozenset[str], faults: Faults) -> bool:
    """Add the first fault, if any, of values (frame, y, x) that cannot be analysed; return True if there is one.

    `rules` are the names of the rules in use: without "fill_value" or "range" their faults are not looked for.
    """
    found = chain(_wrong_values(values, screen, rules), _wrong_quantity(values, screen, rules))
    fault = next(found, None)
    if fault is not None:
        faults.add(variable=screen.variable, **fault)
    return fault is not None


def check_left(values: Floats, kept: Floats, screen: Screen, faults: Faults) -> bool:
    """Add a fault and return False if the rules kept none of the finite values."""
    if np.isfinite(kept).any():
        return True
    valid, limits = np.count_nonzero(np.isfinite(values)), f"{screen.low:g} to {screen.high:g} {screen.units}"
    faults.add(
        code="no-values",
        variable=screen.variable,
        found=f"{valid} values in {len(values)} frames, and none within {limits}"
        if valid
        else f"no finite value in {len(values)} frames",
        expected="at least one observed value",
        fix="check the fill values of the file and the selection",
    )
    return False


def _wrong_values(values: Floats, screen: Screen, rules: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Yield the faults of single values: an undeclared fill value, negative rain."""
    label = f"ds[{screen.variable!r}]"
    fill = undeclared_fill(values) if "fill_value" in rules else None
    # Values beyond the limits of reflectivity are a radar's nodata and undetect: rejected, with a warning.
    if fill is not None and (screen.kind != "reflectivity" or screen.low <= fill <= screen.high):
        wrong = values == _own(fill, values.dtype)
        yield {
            "code": "fill-value",
            "index": first_index(wrong),
            "found": f"{int(wrong.sum())} values of {fill:g}: an undeclared _FillValue {fill:g}?",
            "expected": "NaN if nothing was observed",
            "fix": f"{label} = {label}.where({label} != {fill:g})",
        }
    wrong = np.isfinite(values) & (values < 0)
    if screen.kind == "rain" and wrong.any():
        yield {
            "code": "negative-rain",
            "index": first_index(wrong),
            "found": f"{int(wrong.sum())} negative values, the least {float(values[wrong].min()):g}",
            "expected": "rain of zero or more",
            "fix": f"{label} = {label}.clip(min=0), or {label} = {label}.where({label} >= 0) if they mean missing",
        }


def _wrong_quantity(values: Floats, screen: Screen, rules: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Yield the faults of all values together: those of another unit, rain accumulated since some time before."""
    label = f"ds[{screen.variable!r}]"
    known = values[np.isfinite(values) & (values != 0)].astype("float64")
    known = known[np.abs(known) < ANYTHING[1]]
    beyond = known[(known < screen.low) | (known > screen.high)]
    # One number at many points is an undeclared fill value.
    many = beyond.size >= max(2.0, MOST * known.size, MANY * values.size) and beyond.min() != beyond.max()
    if "range" in rules and many:
        yield {
            "code": "values-of-other-units",
            "found": f"{beyond.size} of {known.size} values other than zero beyond {screen.low:g} to "
            f"{screen.high:g} {screen.units}, the physical limits; their median is {float(np.median(known)):g}",
            "expected": f"values in {screen.units}",
            "fix": f"write the units that they are in, {label}.attrs['units'] = \"...\"",
        }
    if not screen.amount or len(values) < 3 or any((after < before).any() for before, after in pairwise(values)):
        return
    growing = min(float(np.mean(after > before)) for before, after in pairwise(values))
    if growing >= GROWING:  # a total does not move
        yield {
            "code": "accumulated-rain",
            "found": f"amounts that decrease at no point in {len(values)} frames, and grow at {growing:.0%} of the "
            "points or more in each: a total since some time before?",
            "expected": "rain between one frame and the next",
            "fix": f"{label} = {label}.diff({str(screen.time)!r})",
        }


def _own(fill: float, dtype: np.dtype[Any]) -> Any:
    """Return a number as values of a float type hold it; integers are compared with the number itself."""
    with np.errstate(over="ignore"):
        return dtype.type(fill) if dtype.kind == "f" else fill


def _is_far(fill: float, others: Floats) -> bool:
    """Return whether a suspected fill value is farther from the others than they are from one another."""
    if others.size == 0:
        return True
    low, high = float(others.min()), float(others.max())
    return min(abs(low - fill), abs(high - fill)) > max(high - low, 1.0)
