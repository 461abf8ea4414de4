"""Reading of the data of a call."""

from __future__ import annotations

from collections.abc import Hashable

import xarray as xr

from xvar.cf.record import Record, as_dataset, read_record
from xvar.errors import Faults
from xvar.plan.experiment.record import read_point_record
from xvar.plan.experiment.table import is_table
from xvar.plan.options import Options
from xvar.quality.rules import read_quality
from xvar.quality.screening import screen_record


def read_source(
    data: xr.Dataset | xr.DataArray, variable: Hashable | None, options: Options, faults: Faults
) -> tuple[xr.Dataset, Record | None]:
    """Return the data as a Dataset, and the record of images in it; None if a fault was added.

    The Dataset of a table of points is its background, which has the grid.
    """
    if isinstance(data, xr.Dataset) and is_table(data):
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
