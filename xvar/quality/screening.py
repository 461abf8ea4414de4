"""Quality control of a record when it is read: refused values, and notes and warnings of those taken as missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from xvar.cf.axes import in_memory, is_lazy
from xvar.cf.record import Record
from xvar.errors import Faults, InputWarning, warn
from xvar.quality.cadence import shifted_frames
from xvar.quality.flags import quality_notes
from xvar.quality.rules import Rule
from xvar.quality.stripes import stripe_notes
from xvar.quality.values import Floats, Mask, Screen, check_infinite, check_left, check_plausible, first_index


def screen_record(
    record: Record, dataset: xr.Dataset, rules: tuple[Rule, ...], faults: Faults, *, strict: bool = False
) -> Record:
    """Return a record with notes on its quality; values stay as they are, see `xvar.quality.control.QualityControl`.

    Parameters
    ----------
    record : Record
        The record as `xvar.cf.record.read_record` returns it.
    dataset : Dataset
        The input, with quality flags beside the variable.
    rules : tuple of Rule
        Rules in use.
    faults : Faults
        Receives the faults of values in memory. Lazy values are not read.
    strict : bool
        Refuse infinite values instead of taking them as missing.
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
    """Check the values of a record in memory, and return notes on those taken as missing.

    Parameters
    ----------
    array : DataArray (time, y, x)
        The record; lazy values are not read.
    screen : Screen
        The variable.
    rules : tuple of Rule
        Rules in use; those for artefacts compare the frames of a window, and are not used here.
    faults : Faults
        Receives a record without values, undeclared fill values, negative or accumulated rain, values of another unit,
        and infinite values if `strict`.
    strict : bool
        Refuse infinite values instead of taking them as missing.
    """
    notes = [] if array.dtype != np.float16 else ["float16 values, computed in a wider type"]
    if is_lazy(array):
        return notes
    values = in_memory(array)
    finite = np.isfinite(values)
    if strict:
        check_infinite(values, screen, faults)
    if not finite.any():
        check_left(0, 0, len(values), screen, faults)
        return notes
    empty = int((~finite.any(axis=(1, 2))).sum())
    if empty:
        notes.append(f"{empty} of {len(values)} frames without any value")
    if check_plausible(values, screen, frozenset(rule.name for rule in rules), faults):
        return notes
    warnings = []
    for rule in rules:
        wrong = np.zeros(values.shape, dtype=bool) if rule.artefact else rule.rejected(values, screen)
        if not wrong.any():
            continue
        if not (strict and rule.name == "infinite"):
            text, fix = _described(rule, values, wrong, screen)
            notes.append(f"{text}: taken as missing")
            warnings.append(f"{text}, the first at index {first_index(wrong)}: taken as missing; {fix}")
        values = np.where(wrong, np.nan, values)
    left = int(np.isfinite(values).sum())
    check_left(int(finite.sum()), left, len(values), screen, faults)
    if left:
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
