"""The rules of quality control, each declared once: name, documentation, kinds of variables, default.

The option ``quality=``, its faults, the flags of the output and the table of the documentation are made from `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, get_args

import numpy as np

from xvar.cf.faults import add
from xvar.cf.kinds import ANYTHING, Kind, physical_limits, sea_units
from xvar.cf.record import Record
from xvar.cf.units import rain_rate_factor
from xvar.errors import Faults, nearest
from xvar.quality import artefacts
from xvar.quality.artefacts import FRAMES, Floats, Mask

KINDS: tuple[Kind, ...] = get_args(Kind)
ECHOES: tuple[Kind, ...] = ("rain", "reflectivity")
LIMITS = "0 to 3000 mm/h, -130 to 130 dBZ, 100 to 1000 K"
PACKED = "a packed radar image that declares no missing value"

#: Values that files write for missing without declaring them.
UNDECLARED = (-9999.0, -999.0, -99.0, -32768.0, -32767.0, 9999.0, 32767.0, 65535.0, 9.96921e36, 1e20, 1e30)

#: Smallest share of the points at which a total of rain grows from frame to frame; rain that begins grows at fewer.
GROWING = 0.01

#: Values beyond the limits are those of another unit, and no gross errors, from this share of the values that are not
#: zero and this share of all values.
MOST, MANY = 0.5, 0.01


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
    known = values if valid.all() else values[valid]
    extremes = known.min(), known.max()
    for fill in UNDECLARED:
        own = _own(fill, values.dtype)
        if own in extremes:
            same = known == own
            if np.count_nonzero(same) > 1 and _is_far(fill, known[~same]):
                return fill
    return None


def first_index(mask: Mask) -> tuple[int, ...]:
    """Return the index of the first true value."""
    return tuple(int(axis[0]) for axis in np.nonzero(mask))


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


@dataclass(frozen=True)
class Rule:
    """A rule by which values of a window are rejected: taken as missing."""

    name: str
    doc: str  # the rejected values, in one line
    find: Callable[[Floats, Screen], Mask]  # of frames (frame, y, x); its mask is broadcast to them
    kinds: tuple[Kind, ...] = KINDS
    artefact: bool = False  # compares frames that move: not in the default set of a user's own model
    required: bool = False

    def rejected(self, frames: Floats, screen: Screen) -> Mask:
        """Return the values (frame, y, x) of one window that the rule rejects."""
        if self.artefact:
            if len(frames) < FRAMES or not np.isfinite(frames).any():
                return np.zeros(frames.shape, dtype=bool)
            frames = frames.astype(np.result_type(frames, "float32"), copy=False)
        wrong = np.broadcast_to(self.find(frames, screen), frames.shape)
        return wrong & ~np.isnan(frames) if wrong.any() else wrong

    def __reduce__(self) -> tuple[Callable[[str], Rule], tuple[str]]:
        return rule, (self.name,)


def _artefact(name: str, doc: str, find: Callable[[Floats], Mask], *kinds: Kind) -> Rule:
    return Rule(name, doc, lambda frames, _: find(frames), kinds, artefact=True)


#: In the order in which they are used: each sees the values that those before it kept. The order is also the code of a
#: rule in files: new rules go to the end.
RULES = (
    Rule("infinite", "infinite values", lambda values, _: np.isinf(values), required=True),
    Rule("fill_value", "an undeclared fill value, such as -9999, far from all other values", fill_value),
    Rule("range", f"values beyond the physical limits: {LIMITS}", out_of_range),
    Rule("highest_code", f"the highest code of {PACKED}", highest_code, ECHOES),
    _artefact("dry_frames", "frames without any echo between frames of rain", artefacts.dry_frames, *ECHOES),
    _artefact("ground_echoes", "isolated echoes that stand still while others move", artefacts.ground_echoes, *ECHOES),
    _artefact(
        "blocked_sectors",
        "pixels that are always dry, beside heavy rain that ends at the same line in every frame",
        artefacts.blocked_sectors,
        *ECHOES,
    ),
    _artefact(
        "cloud_rims",
        "pixels beside a cloud that are far colder than usual and than all clear pixels around",
        artefacts.cloud_rims,
        "sea_temperature",
    ),
    _artefact(
        "broken_lines",
        "rows and columns that exceed, or fall below, both lines beside them in one frame only",
        artefacts.broken_lines,
        "sea_temperature",
    ),
)
NAMES = tuple(rule.name for rule in RULES)


def rule(name: str) -> Rule:
    """Return a rule by its name."""
    return RULES[NAMES.index(name)]


def reject(frames: Floats, rules: Iterable[Rule], screen: Screen) -> tuple[Floats, dict[Rule, Mask]]:
    """Return frames (frame, y, x) with NaN for rejected values, and the mask of each rule that rejected any."""
    found = {}
    for one in rules:
        wrong = one.rejected(frames, screen)
        if wrong.any():
            found[one] = wrong
            frames = np.where(wrong, np.nan, frames)
    return frames, found


def read_quality(option: Any, kind: Kind, faults: Faults, *, images: bool = True) -> tuple[Rule, ...]:
    """Return the rules that the option ``quality=`` asks for, in the order of `RULES`.

    None and "default" are the default set, without artefacts if not `images`. Names are exactly these rules; names that
    begin with "-" are left out of the default set. A mapping switches rules on (True) and off (False).
    """
    switches = _switches(option, faults)
    if switches is None:
        return ()
    own = [one.name for one in RULES if kind in one.kinds]
    for name, used in switches.items():
        code, expected, fix = "", f"rules among {', '.join(own)}", f"leave {name!r} out"
        if name not in NAMES:
            code, expected = "unknown-rule", f"rules among {', '.join(NAMES)}"
            fix = nearest(name, NAMES, f"quality={{{NAMES[2]!r}: False}}")
        elif used and name not in own:
            code = "rule-of-other-kind"
        elif not used and rule(name).required:
            code, expected = "required-rule", f"rules without {name!r}, which is always in use"
            fix += f"; strict=True raises if there are {rule(name).doc}"
        if code:
            found = f"quality={option!r} {'with' if used else 'without'} the rule {name!r}, for kind {kind!r}"
            faults.add(code=code, found=found, expected=expected, fix=fix)
    whole = option is None or isinstance(option, Mapping) or not any(switches.values())
    return tuple(
        one
        for one in RULES
        if kind in one.kinds and (one.required or switches.get(one.name, whole and (images or not one.artefact)))
    )


def _switches(option: Any, faults: Faults) -> dict[str, bool] | None:
    """Return the option as rules that are switched on and off; None, with a fault, if it is none."""
    if option is None or (isinstance(option, str) and option == "default"):
        return {}
    if isinstance(option, Mapping) and all(isinstance(used, (bool, np.bool_)) for used in option.values()):
        return {str(name): bool(used) for name, used in option.items()}
    names = [option] if isinstance(option, str) else option
    if not isinstance(names, Mapping) and isinstance(names, Iterable):
        names = list(names)
        if all(isinstance(name, str) for name in names):
            return {name.removeprefix("-"): not name.startswith("-") for name in names}
    faults.add(
        code="quality-type",
        found=f"quality={option!r}",
        expected="names of rules, or a mapping of names to True or False",
        fix='quality={"range": False}',
    )
    return None


def check_infinite(values: Floats, screen: Screen, faults: Faults) -> None:
    """Add a fault if values are infinite."""
    wrong = np.isinf(values)
    if wrong.any():
        found = f"{int(wrong.sum())} infinite values"
        add(faults, "infinite-values", found, screen.variable, index=first_index(wrong))


def check_plausible(values: Floats, screen: Screen, rules: frozenset[str], faults: Faults) -> bool:
    """Add the first fault, if any, of values (frame, y, x) that cannot be analysed; return True if there is one.

    `rules` are the names of the rules in use: without "fill_value" or "range" their faults are not looked for.
    """
    for code, found, words in chain(_wrong_values(values, screen, rules), _wrong_quantity(values, screen, rules)):
        add(faults, code, found, screen.variable, **words)
        return True
    return False


def check_left(values: Floats, kept: Floats, screen: Screen, faults: Faults) -> bool:
    """Add a fault and return False if the rules kept none of the finite values."""
    if np.isfinite(kept).any():
        return True
    valid, found = np.count_nonzero(np.isfinite(values)), f"no finite value in {len(values)} frames"
    if valid:
        limits = f"{screen.low:g} to {screen.high:g} {screen.units}"
        found = f"{valid} values in {len(values)} frames, and none within {limits}"
    add(faults, "no-values", found, screen.variable)
    return False


def _wrong_values(values: Floats, screen: Screen, rules: frozenset[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the faults of single values: an undeclared fill value, negative rain."""
    fill = undeclared_fill(values) if "fill_value" in rules else None
    # Values beyond the limits of reflectivity are a radar's nodata and undetect: rejected, with a warning.
    if fill is not None and (screen.kind != "reflectivity" or screen.low <= fill <= screen.high):
        wrong = values == _own(fill, values.dtype)
        found = f"{int(wrong.sum())} values of {fill:g}: an undeclared _FillValue {fill:g}?"
        yield "fill-value", found, {"index": first_index(wrong), "fill": fill}
    wrong = np.isfinite(values) & (values < 0)
    if screen.kind == "rain" and wrong.any():
        found = f"{int(wrong.sum())} negative values, the least {float(values[wrong].min()):g}"
        yield "negative-rain", found, {"index": first_index(wrong)}


def _wrong_quantity(values: Floats, screen: Screen, rules: frozenset[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the faults of all values together: those of another unit, rain accumulated since some time before."""
    known, right = np.zeros(0), None
    if "range" in rules and screen.kind == "sea_temperature":
        right = _units_of_sea(values, screen.units)
    if right is not None or ("range" in rules and out_of_range(values, screen).any()):
        known = values[np.isfinite(values) & (values != 0)].astype("float64")
        known = known[np.abs(known) < ANYTHING[1]]
    if right is not None:
        found = f"temperatures of a sea from {known.min():g} to {known.max():g} {screen.units}: values in {right}?"
        yield "values-of-other-units", found, {"units": screen.units, "right": right}
    beyond = known[(known < screen.low) | (known > screen.high)]
    # One number at many points is an undeclared fill value.
    if beyond.size >= max(2.0, MOST * known.size, MANY * values.size) and beyond.min() != beyond.max():
        found = (
            f"{beyond.size} of {known.size} values other than zero beyond {screen.low:g} to {screen.high:g} "
            f"{screen.units}, the physical limits; their median is {float(np.median(known)):g}"
        )
        yield "values-of-other-units", found, {"units": screen.units, "right": "..."}
    if not screen.amount or len(values) < 3 or any((after < before).any() for before, after in pairwise(values)):
        return
    growing = min(float(np.mean(after > before)) for before, after in pairwise(values))
    if growing >= GROWING:  # a total does not move
        found = (
            f"amounts that decrease at no point in {len(values)} frames, and grow at {growing:.0%} of the points or "
            "more in each: a total since some time before?"
        )
        yield "accumulated-rain", found, {"time": str(screen.time)}


def _units_of_sea(values: Floats, units: str) -> str | None:
    """Return the units in which all values but zeros are temperatures of a sea, if none is one as stated; else None."""
    found = set()
    for frame in values:  # the first one decides, unless its values are of other units
        known = frame[np.isfinite(frame) & (frame != 0)]
        if known.size:
            found.add(sea_units(float(known.min()), float(known.max()), units))
            if None in found:
                return None
    return found.pop() if len(found) == 1 else None
