"""A call whose data are read: its record, its windows and its options."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import xarray as xr

from xvar.cf.record import Record, as_dataset, read_record
from xvar.errors import Faults
from xvar.execution.schedule import Schedule
from xvar.plan.configuration import Configuration
from xvar.plan.experiment.record import read_point_record
from xvar.plan.experiment.table import is_table
from xvar.plan.options import Options
from xvar.plan.windows import windows_of
from xvar.quality.control import screen_record
from xvar.quality.rules import read_quality


@dataclass(frozen=True)
class Call:
    """Record, windows and options of a call, with the faults and notes that planning adds."""

    record: Record
    schedule: Schedule
    configuration: Configuration
    options: Options
    background: xr.Dataset | None
    faults: Faults
    notes: list[str]

    @property
    def name(self) -> str:
        """Name of the variable."""
        return self.configuration.variable

    @property
    def cycled(self) -> bool:
        """True if each window begins from the forecast of the window before."""
        return self.configuration.cycled

    @cached_property
    def windows(self) -> list[tuple[float, float]]:
        """Beginning and length of each window, see `windows_of`."""
        return windows_of(self.schedule, self.record)


def read_source(
    data: xr.Dataset | xr.DataArray, variable: Hashable | None, options: Options, faults: Faults
) -> tuple[xr.Dataset, Record | None]:
    """Return the data as a Dataset, and the record of images in it; None if a fault was added.

    The Dataset of a table of points is its background, which has the grid.
    """
    if is_table(data):
        return read_point_record(data, variable, options, faults)
    dataset, name = as_dataset(data, faults)
    record = read_record(
        dataset,
        variable if name is None else name,
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
