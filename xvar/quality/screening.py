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
from xvar.quality.rules import Rule, reject
from xvar.quality.stripes import stripe_notes
from xvar.quality.values import Floats, Mask, Screen, check_infinite, check_left, check_plausible, first_index


def screen_record(
    record: Record, dataset: xr.Dataset, rules: tuple[Rule, ...], faults: Faults, *, strict: bool = False
) -> Record:
    """Return a record with notes on its quality; values stay as they are, see `xvar.quality.control.QualityControl`.

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
    """Check the values (time, y, x) of a record in memory, and return notes on those taken as missing.

    Lazy values are not read. Rules for artefacts compare the frames of a window, and are not used here.
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
    kept, found = reject(values, [rule for rule in rules if not rule.artefact], screen)
    for rule, wrong in found.items():
        if not (strict and rule.name == "infinite"):
            text, fix = _described(rule, values, wrong, screen)
            notes.append(f"{text}: taken as missing")
            warnings.append(f"{text}, the first at index {first_index(wrong)}: taken as missing; {fix}")
    left = int(np.isfinite(kept).sum())
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
