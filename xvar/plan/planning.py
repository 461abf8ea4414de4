"""Record of a call, and its plan: the windows, the method, its solver and the choices that the output records."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import xarray as xr

from xvar.cf.axes import without_flags
from xvar.cf.lattice import lattice_variable, read_lattice
from xvar.cf.record import Record, as_dataset, read_record
from xvar.cf.times import date_text
from xvar.cf.units import without_quantities
from xvar.errors import Faults
from xvar.plan.call import Call, Plan
from xvar.plan.configuration import Configuration
from xvar.plan.control import read_background
from xvar.plan.experiment.record import PointRecord, read_point_record
from xvar.plan.experiment.rows import is_table
from xvar.plan.images import plan_images
from xvar.plan.memory import tile_of
from xvar.plan.method import choose_method, is_own_model
from xvar.plan.option import STATES
from xvar.plan.options import Options
from xvar.plan.windows import Windows, count_across, find_gaps, read_windows
from xvar.quality.control import screen_record
from xvar.quality.rules import read_quality


def read_source(
    data: xr.Dataset | xr.DataArray, variable: Hashable | None, options: Options, faults: Faults
) -> tuple[xr.Dataset, Record | None]:
    """Return the data as a Dataset, and the record of images in it; None if a fault was added.

    The Dataset of a table of points is its background, which has the grid.
    """
    if is_table(data):
        return read_point_record(data, variable, options, faults)
    dataset, name = as_dataset(data, faults)
    variable = variable if name is None else name
    if is_own_model(options.dynamics) and (found := lattice_variable(dataset, variable)) is not None:
        options.refuse_on_lattice(faults)
        return dataset, _read_lattice(dataset, found, options, faults)
    record = read_record(
        dataset,
        variable,
        faults,
        land=options.land,
        units=options.units,
        dx=options.dx,
        dy=options.dy,
        sort=options.sort,
        own_model=options.dynamics is not None,
    )
    if record is not None:
        rules = read_quality(options.quality, record.kind, faults)
        record = screen_record(record, dataset, rules, faults, strict=options.strict)
    return dataset, record


def _read_lattice(dataset: xr.Dataset, name: Hashable, options: Options, faults: Faults) -> Record | None:
    """Return the record of states on a grid other than (y, x), its values screened."""
    record = read_lattice(dataset, name, faults, units=options.units, sort=options.sort)
    if record is None:
        return None
    rules = read_quality(options.quality, record.kind, faults, images=False)
    return screen_record(record, dataset, rules, faults, strict=options.strict)


def make_plan(record: Record, options: Options, faults: Faults) -> Plan | None:
    """Return the plan of the analysis of a record; None if a fault was added."""
    count = len(faults)
    cycled, background = read_background(options.background)
    stated = record.schedule if isinstance(record, PointRecord) else None
    method = choose_method(options, None if stated else record.kind, faults)
    how = {"cycled": cycled, "has_state": method in STATES}
    windows = (
        Windows(stated) if stated else read_windows(record.times.seconds, record.axes.time, options, faults, **how)
    )
    if method is None or windows is None or len(faults) > count:
        return None
    schedule = windows.schedule
    tile = tile_of(record, method, schedule.frames.shape[1], options, faults)
    if len(faults) > count:
        return None
    configuration = Configuration(
        variable=str(record.name),
        kind=record.kind,
        method=method,
        frame=record.cadence,
        interval=record.interval,
        tile=tile,
        dx=options.dx,
        dy=options.dy,
        dtype=options.dtype or "float32",
        device=options.device,
        gaps=windows.gaps,
        cycled=cycled,
    )
    background = None if background is None else without_flags(without_quantities(background))
    notes = [*record.notes, *_about_gaps(record, windows), *_about_tiles(tile)]
    call = Call(record, schedule, configuration, options, background, faults, notes)
    if configuration.has_state:
        from xvar.plan.experiment.plan import plan_experiment  # imports torch

        plan = plan_experiment(call)
    else:
        plan = plan_images(call)
    if plan is None:
        return None
    # Faults of the option were reported when the record was screened.
    rules = read_quality(options.quality, record.kind, Faults(), images=not configuration.has_state)
    return replace(plan, rules=rules, configuration=replace(plan.configuration, notes=tuple(notes)))


def _about_tiles(tile: int | None) -> list[str]:
    """Return a note about tiles."""
    words = f"the finest grid was minimised in tiles of at most {tile} by {tile} points: see memory="
    return [] if tile is None else [words]


def _about_gaps(record: Record, windows: Windows) -> list[str]:
    """Return notes about gaps, and about frames that are in no window."""
    times, schedule, gaps = record.times.values, windows.schedule, find_gaps(record.times.seconds, record.cadence)
    across = count_across(schedule, gaps) > 0
    notes = []
    reason = f" ({windows.reason})" if windows.reason else ""
    for some, words in ((gaps[~across], "that no window covers"), (gaps[across], f"that windows go across{reason}")):
        if some.size:
            listed = ", ".join(f"{date_text(times[i])} to {date_text(times[i + 1])}" for i in some[:5].tolist())
            notes.append(f"{some.size} gaps {words}: {listed}{', ...' if some.size > 5 else ''}")
    missing = len(times) - np.unique(schedule.frames[schedule.frames >= 0]).size
    if missing:
        notes.append(f"{missing} of {len(times)} frames in no window")
    return notes
