"""Values that no analysis can be made of: what is refused, what is taken as missing, and how both are told."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import in_memory, is_lazy
from xvar.cf.units import Kind, are_convertible, convert, rain_rate_factor
from xvar.errors import Fault, Faults, InputWarning, warn

#: What files write for missing and do not declare.
UNDECLARED = (-9999.0, -999.0, -99.0, -32768.0, -32767.0, 9999.0, 32767.0, 65535.0, 9.96921e36, 1e20, 1e30)

#: What nothing on Earth exceeds: rain in mm h-1 (38 mm fell within a minute once), dBZ, K.
RAIN_RATE, REFLECTIVITY, TEMPERATURE = (0.0, 3000.0), (-130.0, 130.0), (100.0, 1000.0)
ANYTHING = (-1e15, 1e15)

#: Share of the points at which a total of rain grows from frame to frame, at least, to be told from rain that begins.
GROWING = 0.01

#: Share of the values that are not zero, and of all values, of which so many beyond what anything reaches are no gross
#: errors.
MOST, MANY = 0.5, 0.01

Floats = NDArray[Any]


@dataclass(frozen=True)
class Screen:
    """What of the values of a window is no observation.

    Attributes
    ----------
    variable : str
        Its name.
    kind : str
        What it measures.
    low, high : float
        What no value exceeds, in the units of the variable.
    nodata : float, optional
        What the highest code of a packed image stands for, where the file declares no missing value.
    amount : bool
        Rain that fell over an interval, and no rate.
    time : hashable
        Its dimension of time.
    units : str
        Of the variable, for messages.
    """

    variable: str
    kind: Kind
    low: float = ANYTHING[0]
    high: float = ANYTHING[1]
    nodata: float | None = None
    amount: bool = False
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
        """The limits of a kind of variable, in its own units; `interval` is that of an amount of rain, in seconds."""
        low, high = ANYTHING
        amount = kind == "rain" and rain_rate_factor(units, None) is None
        if kind == "rain":
            factor = rain_rate_factor(units, interval)
            if factor is not None:
                low, high = (limit / factor for limit in RAIN_RATE)
        elif kind == "reflectivity" and units == "dBZ":
            low, high = REFLECTIVITY
        elif kind == "temperature" and are_convertible(units, "K"):
            low, high = (convert(limit, "K", units) for limit in TEMPERATURE)
        return cls(str(variable), kind, low, high, nodata, amount, time, units)

    def rejected(self, values: Floats) -> NDArray[np.bool_]:
        """Values (..., y, x) that are none: infinite, beyond the limits, or a fill value that nobody declared."""
        beyond = np.isinf(values) | self.beyond(values) | self.at_nodata(values)
        fill = undeclared_fill(values)
        return np.asarray(beyond if fill is None else beyond | (values == _own(fill, values.dtype)))

    def beyond(self, values: Floats) -> NDArray[np.bool_]:
        """Values that nothing reaches, infinite ones among them."""
        low, high = (_own(limit, values.dtype) for limit in (self.low, self.high))
        return np.asarray((values < low) | (values > high))

    def at_nodata(self, values: Floats) -> NDArray[np.bool_]:
        """Values at the highest code of a packed image that declares no missing value."""
        if self.nodata is None:
            return np.zeros(values.shape, dtype=bool)
        return np.isclose(values, self.nodata, rtol=1e-6, atol=0)

    def problem(self, values: Floats, *, strict: bool = False, fill: bool = True) -> Fault | None:
        """What is wrong with values that nobody has looked at yet.

        Infinities where `strict`, and where `fill` what `check_values` refuses.
        """
        faults = Faults()
        if strict:
            _refuse_infinite(values, self.variable, faults)
        if fill:
            _refuse_any(values, self, faults)
        return faults.first


def check_values(array: xr.DataArray, screen: Screen, faults: Faults, *, strict: bool = False) -> list[str]:
    """Look at the values of a record in memory.

    Parameters
    ----------
    array : DataArray (time, y, x)
        The record. Lazy values are not looked at: what is wrong with them shows when they are computed.
    screen : Screen
        What is no observation.
    faults : Faults
        Takes a record without any value, undeclared fill values, negative rain, and infinities where `strict`.
    strict : bool
        Refuse infinite values instead of taking them as missing.

    Returns
    -------
    list of str
        What was found and handled, for the attributes of the output.
    """
    notes = [] if array.dtype != np.float16 else ["float16 values, computed in a wider type"]
    if is_lazy(array):
        return notes
    values = in_memory(array)
    valid = np.isfinite(values)
    if strict:
        _refuse_infinite(values, array.name, faults)
    if not valid.any():
        faults.add(
            variable=array.name,
            found=f"no finite value in {len(values)} frames",
            expected="at least one observed value",
            fix="check the fill values of the file and the selection",
        )
        return notes
    empty = int((~valid.any(axis=(1, 2))).sum())
    if empty:
        notes.append(f"{empty} of {len(values)} frames without any value")
    if _refuse_any(values, screen, faults):
        return notes
    infinite = np.isinf(values)
    gross = valid & screen.beyond(values)
    beyond = f"values beyond {screen.low:g} to {screen.high:g}, which nothing reaches"
    codes = f"values of {screen.nodata}, the highest code of a packed file that declares neither nodata nor undetect"
    for wrong, what, mend in (
        (infinite, "infinite values", "replace them by NaN to say so"),
        (gross, beyond, _hint(values, gross, screen)),
        (screen.at_nodata(values), codes, "write the _FillValue of the file where they stand for missing"),
    ):
        count = int(wrong.sum())
        if count and not (strict and wrong is infinite):
            text = f"{count} {what}, the first at index {_first(wrong)}"
            warn(f"variable {array.name!r}: {text}: taken as missing; {mend}", InputWarning)
            notes.append(f"{count} {what}: taken as missing")
    return notes


def _hint(values: Floats, wrong: NDArray[np.bool_], screen: Screen) -> str:
    """What may stand behind values that nothing reaches, and how they are taken out."""
    if not wrong.any():
        return ""
    first = float(values[wrong][0])
    label = f"ds[{screen.variable!r}]"
    kept = f"{label} <= {screen.high:g}" if first > screen.high else f"{label} >= {screen.low:g}"
    return f"an undeclared _FillValue {first:g}? {label} = {label}.where({kept})"


def _first(wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(axis[0]) for axis in np.nonzero(wrong))


def _refuse_infinite(values: Floats, name: object, faults: Faults) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        faults.add(
            variable=name,
            index=_first(infinite),
            found=f"{int(infinite.sum())} infinite values",
            expected="finite values, or NaN where nothing was observed (strict=True)",
            fix="strict=False takes them as missing",
        )


def _refuse_any(values: Floats, screen: Screen, faults: Faults) -> bool:
    """Refuse values that no analysis should be made of, for the first reason that there is."""
    return any(
        refuse(values, screen, faults) for refuse in (_refuse_fill, _refuse_negative, _refuse_units, _refuse_total)
    )


def _refuse_units(values: Floats, screen: Screen, faults: Faults) -> bool:
    """Refuse values of which most are what nothing reaches: those of another unit, with none of their motion left."""
    known = values[np.isfinite(values) & (values != 0)].astype("float64")
    known = known[np.abs(known) < ANYTHING[1]]
    beyond = known[(known < screen.low) | (known > screen.high)]
    # One number at many points is a fill value that nobody declared.
    if beyond.size < max(2.0, MOST * known.size, MANY * values.size) or beyond.min() == beyond.max():
        return False
    faults.add(
        variable=screen.variable,
        found=f"{beyond.size} of {known.size} values other than zero beyond {screen.low:g} to {screen.high:g} "
        f"{screen.units}, which nothing reaches; their median is {float(np.median(known)):g}",
        expected=f"values in {screen.units}",
        fix=f"write the units that they are in, ds[{screen.variable!r}].attrs['units'] = \"...\"",
    )
    return True


def _refuse_fill(values: Floats, screen: Screen, faults: Faults) -> bool:
    fill = undeclared_fill(values)
    # Radars write numbers beyond any dBZ for nodata and for undetect, and often declare neither: those are missing,
    # with a warning.
    if fill is None or (screen.kind == "reflectivity" and not screen.low <= fill <= screen.high):
        return False
    wrong = values == _own(fill, values.dtype)
    label = f"ds[{screen.variable!r}]"
    faults.add(
        variable=screen.variable,
        index=_first(wrong),
        found=f"{int(wrong.sum())} values of {fill:g}: an undeclared _FillValue {fill:g}?",
        expected="NaN where nothing was observed",
        fix=f"{label} = {label}.where({label} != {fill:g})",
    )
    return True


def _refuse_negative(values: Floats, screen: Screen, faults: Faults) -> bool:
    wrong = np.isfinite(values) & (values < 0)
    if screen.kind != "rain" or not wrong.any():
        return False
    label = f"ds[{screen.variable!r}]"
    faults.add(
        variable=screen.variable,
        index=_first(wrong),
        found=f"{int(wrong.sum())} negative values, the least {float(values[wrong].min()):g}",
        expected="rain of zero or more",
        fix=f"{label} = {label}.clip(min=0), or {label}.where({label} >= 0) where they stand for missing",
    )
    return True


def _refuse_total(values: Floats, screen: Screen, faults: Faults) -> bool:
    """Refuse rain that has been summed up since the start of a run: its motion is that of no echo."""
    if not screen.amount or len(values) < 3:
        return False
    growing = 1.0
    for before, after in pairwise(values):
        if bool((after < before).any()):
            return False
        growing = min(growing, float(np.mean(after > before)))
    if growing < GROWING:
        return False
    label = f"ds[{screen.variable!r}]"
    faults.add(
        variable=screen.variable,
        found=f"amounts that decrease at no point in {len(values)} frames, and grow at {growing:.0%} of the points or "
        "more in each: a total since some time before?",
        expected="what fell between one frame and the next",
        fix=f"ds[{screen.variable!r}] = {label}.diff({str(screen.time)!r})",
    )
    return True


def undeclared_fill(values: Floats) -> float | None:
    """A value that files write for missing, where several points have it and all others stay far from it.

    Parameters
    ----------
    values : array
        Of one window, or of a record.

    Returns
    -------
    float or None
        None where there is no such value.
    """
    valid = np.isfinite(values)
    if not valid.any():
        return None
    ends: list[Callable[..., Any]] = [np.min, np.max]
    # Integers take no infinity to begin with.
    info = np.iinfo(values.dtype) if values.dtype.kind in "iu" else None
    for end, initial in zip(ends, (np.inf, -np.inf) if info is None else (info.max, info.min), strict=True):
        extreme = float(end(values, initial=initial, where=valid))
        for fill in UNDECLARED:
            if _own(fill, values.dtype) == extreme:
                same = values == _own(fill, values.dtype)
                if np.count_nonzero(same) > 1 and _stands_apart(values[valid & ~same], fill):
                    return fill
    return None


def _own(fill: float, dtype: np.dtype[Any]) -> Any:
    """A fill value as values of a type hold it; integers are compared with the number itself."""
    with np.errstate(over="ignore"):
        return dtype.type(fill) if dtype.kind == "f" else fill


def _stands_apart(others: Floats, fill: float) -> bool:
    """Whether the other values stay far from a suspected fill value."""
    if others.size == 0:
        return True
    low, high = float(others.min()), float(others.max())
    return min(abs(low - fill), abs(high - fill)) > max(high - low, 1.0)
