"""Quality control: of values, flags and times of a record when it is read, of windows before they are solved."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, attribute, in_memory, is_lazy
from xvar.cf.record import Record
from xvar.cf.times import Times, date_text
from xvar.errors import Faults, InputWarning, warn
from xvar.quality.artefacts import Floats, Mask, stripe_notes
from xvar.quality.rules import Rule, Screen, check_infinite, check_left, check_plausible, first_index, reject

#: Shares of the cadence by which a frame may be early or late, and of shifted frames above which a record has none.
PUNCTUAL, FEW = 0.02, 0.1
#: Fewest frames of a record with a cadence.
FEWEST = 4

_NAMES = re.compile(r"(^|_)(quality|qc)(_|$)", re.IGNORECASE)
_GOOD = re.compile(r"(^|_)(good|best|acceptable|high|valid|ok|nominal)(_|$)", re.IGNORECASE)
_BAD = re.compile(r"(^|_)(no|not|bad|worst|low|invalid|suspect|doubtful|probably)(_|$)", re.IGNORECASE)


def screen_record(
    record: Record, dataset: xr.Dataset, rules: tuple[Rule, ...], faults: Faults, *, strict: bool = False
) -> Record:
    """Return a record with notes on its quality; values stay as they are, see `QualityControl`.

    `dataset` is the input, with quality flags beside the variable. Faults of values in memory are added to `faults`,
    infinite values among them if `strict`.
    """
    notes = (
        *quality_notes(dataset, dataset[record.name], record.axes),
        *check_values(record.array, Screen.of_record(record), rules, faults, strict=strict),
        *stripe_notes(record.array, record.axes, record.kind),
        *shifted_frames(record.times, record.axes.time),
    )
    return replace(record, notes=(*record.notes, *notes))


def check_values(
    array: xr.DataArray, screen: Screen, rules: tuple[Rule, ...], faults: Faults, *, strict: bool = False
) -> list[str]:
    """Check values (time, y, x) in memory, but for artefacts, and return notes on those taken as missing."""
    notes = [] if array.dtype != np.float16 else ["float16 values, computed in a wider type"]
    if is_lazy(array):
        return notes
    values = in_memory(array)
    finite = np.isfinite(values)
    if strict:
        check_infinite(values, screen, faults)
    if not check_left(values, values, screen, faults):
        return notes
    empty = int((~finite.reshape(len(finite), -1).any(axis=1)).sum())
    if empty:
        notes.append(f"{empty} of {len(values)} frames without any value")
    if check_plausible(values, screen, frozenset(rule.name for rule in rules), faults):
        return notes
    warnings = []
    kept, found = reject(values, [rule for rule in rules if not rule.artefact], screen)
    for rule, wrong in found.items():
        if not (strict and rule.name == "infinite"):
            text, fix = _described(rule, values, wrong, screen)
            notes.append(f"{text}: taken as missing")
            warnings.append(f"{text}, the first at index {first_index(wrong)}: taken as missing; {fix}")
    if check_left(values, kept, screen, faults):
        for text in warnings:
            warn(f"variable {array.name!r}: {text}", InputWarning)
    return notes


def _described(rule: Rule, values: Floats, wrong: Mask, screen: Screen) -> tuple[str, str]:
    """Return the values that a rule rejected in words, and the fix."""
    count, first = int(wrong.sum()), float(values[wrong][0])
    label, keep = f"ds[{screen.variable!r}]", f'quality={{"{rule.name}": False}} keeps them'
    if rule.name == "range":
        kept = f"{label} <= {screen.high:g}" if first > screen.high else f"{label} >= {screen.low:g}"
        text = f"{count} values beyond {screen.low:g} to {screen.high:g}, the physical limits"
        return text, f"an undeclared _FillValue {first:g}? {label} = {label}.where({kept}); {keep}"
    if rule.name == "fill_value":
        text = f"{count} values of {first:g}, an undeclared _FillValue"
        return text, f"{label} = {label}.where({label} != {first:g}); {keep}"
    if rule.name == "highest_code":
        text = f"{count} values of {screen.nodata}, the highest code of a packed file that declares no missing value"
        return text, f"write the _FillValue of the file if they mean missing; {keep}"
    return f"{count} {rule.doc}", "replace them by NaN"


def quality_notes(dataset: xr.Dataset, array: xr.DataArray, axes: Axes) -> list[str]:
    """Return a note for each quality variable on the grid of a variable, with the line that keeps its good values."""
    linked = str(attribute(array, "ancillary_variables") or "").split()
    notes = []
    for name, flags in dataset.data_vars.items():
        if name == array.name or not set(axes.space) <= set(flags.dims):
            continue
        standard = str(flags.attrs.get("standard_name", ""))
        named = "quality_flag" in standard or bool(_NAMES.search(str(name)))
        if named or (str(name) in linked and "flag_meanings" in flags.attrs):
            label = f"ds[{str(array.name)!r}]"
            notes.append(f"quality: {str(name)!r} is not applied; {label} = {label}.where({_chosen(str(name), flags)}")
    return notes


def _chosen(name: str, flags: xr.DataArray) -> str:
    """Return the condition that keeps the values which the meanings of the flags call good."""
    words = str(flags.attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(flags.attrs.get("flag_values", ()))
    if not words or len(words) != len(values):
        return f"ds[{name!r}] == ...) keeps its good values"
    good = {value.item(): w for value, w in zip(values, words, strict=True) if _GOOD.search(w) and not _BAD.search(w)}
    if not good:
        meanings = ", ".join(f"{value:g} = {word}" for value, word in zip(values, words, strict=True))
        return f"ds[{name!r}] == ...) keeps one of {meanings}"
    return f"ds[{name!r}].isin({list(good)})) keeps {' and '.join(good.values())}"


def shifted_frames(times: Times, dim: Hashable) -> list[str]:
    """Warn of each frame that is off the cadence, and return notes for the attributes of the output.

    A clock that is a minute off in one of four radar images, five minutes apart, changes the steady motion by 1 to 3 %
    (the images before and after compensate). In one of the newest two it changes the motion that the forecast starts
    from by a fifth to a third, and the error of a forecast of 5 minutes by up to a quarter.
    """
    late = lateness(times.seconds)
    cadence = float(np.median(np.diff(times.seconds)))
    notes = []
    for frame in np.flatnonzero(late):
        given = times.values[frame]
        when = f"{abs(late[frame]):g} s {'late' if late[frame] > 0 else 'early'}"
        text = f"frame {frame} ({date_text(given)}) comes {when}; the others keep to {cadence:g} s"
        notes.append(text)
        fix = "correct its time"
        if times.values.dtype.kind == "M":
            right = given - np.timedelta64(round(late[frame] * 1e9), "ns")
            wrong, due = (f"numpy.datetime64('{date_text(moment)}')" for moment in (given, right))
            fix = f"ds = ds.assign_coords({dim}=ds[{str(dim)!r}].where(ds[{str(dim)!r}] != {wrong}, {due}))"
        effect = f"if its clock is wrong, the motion beside it is off by {abs(late[frame]) / cadence:.0%}"
        warn(f"dimension {str(dim)!r}: {text}; {effect}: {fix}", InputWarning)
    return notes


def lateness(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the seconds by which each frame is off the cadence of all others; zeros without a cadence."""
    none = np.zeros(seconds.size)
    if seconds.size < FEWEST:
        return none
    cadence = float(np.median(np.diff(seconds)))
    for first in seconds[:2]:  # one of them keeps to the cadence if all others do
        off = (seconds - first + cadence / 2) % cadence - cadence / 2
        off = np.where(np.abs(off) > PUNCTUAL * cadence, off, 0.0)
        if np.count_nonzero(off) <= max(1.0, FEW * seconds.size):
            return off
    return none


@dataclass(frozen=True)
class QualityControl:
    """Quality control of windows, each by itself: values that are no observations become NaN."""

    screen: Screen
    rules: tuple[Rule, ...]  # in their order
    refuse: bool = False  # raise for values that `screen_record` refuses in memory: lazy data were not read there
    strict: bool = False  # raise for infinite values
    required: bool = False  # raise for a window of whose values the rules leave none

    def __call__(self, frames: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Return windows (window, frame, y, x) with NaN for rejected values, and their number (window, rule).

        A value counts for the first rule that rejects it. Windows are not changed; without rejected values they are
        returned as they are. Raise InputError if values are refused.
        """
        counts = np.zeros((len(frames), len(self.rules)), dtype=np.int32)
        windows = [self._window(window, count) for window, count in zip(frames, counts, strict=True)]
        if not counts.any():
            return frames, counts
        dtype = frames.dtype if frames.dtype.kind == "f" else np.dtype(float)
        return np.stack(windows).astype(dtype, copy=False), counts

    def _window(self, window: NDArray[Any], count: NDArray[np.int32]) -> NDArray[Any]:
        """Return one window without rejected values, and write their numbers by rule."""
        faults = Faults()
        if self.strict:
            check_infinite(window, self.screen, faults)
        if self.refuse:
            check_plausible(window, self.screen, frozenset(rule.name for rule in self.rules), faults)
        faults.raise_if_any()
        clean, found = reject(window, self.rules, self.screen)
        for rule, wrong in found.items():
            count[self.rules.index(rule)] = np.count_nonzero(wrong)
        rejected = self.required and count.any()
        if rejected and np.isfinite(window).any():  # a window without any value is a cloudy day, and no fault
            check_left(window, clean, self.screen, faults)
            faults.raise_if_any()
        return clean


def warn_of_artefacts(counts: NDArray[Any], rules: tuple[Rule, ...], window_name: Callable[[int], str]) -> None:
    """Warn of artefacts by counts (window, rule) in memory; single values are reported on reading."""
    texts, names = [], []
    for rule, column in zip(rules, counts.T, strict=True):
        windows = np.flatnonzero(column)
        if rule.artefact and windows.size:
            names.append(rule.name)
            texts.append(
                f"{rule.name} rejected {column.sum()} values ({rule.doc}) in {windows.size} of {len(column)} windows, "
                f"the first {window_name(int(windows[0]))}"
            )
    if texts:
        switches = ", ".join(f'"{name}": False' for name in names)
        warn(f"{'; '.join(texts)}: taken as missing; quality={{{switches}}} keeps them", InputWarning)
