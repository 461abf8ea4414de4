"""Reading of the data of a call."""

from __future__ import annotations

from collections.abc import Hashable

import xarray as xr

from xvar.errors import Faults
from xvar.plan.experiment.table import is_table
from xvar.plan.options import Options
from xvar.plan.record import Record, as_dataset, read_record


def read_source(
    data: xr.Dataset | xr.DataArray, variable: Hashable | None, options: Options, faults: Faults
) -> tuple[xr.Dataset, Record | None]:
    """Return the data as a Dataset, and the record of images in it; None if a fault was added.

    The Dataset of a table of points is its background, which has the grid.
    """
    if isinstance(data, xr.Dataset) and is_table(data):
        from xvar.plan.experiment.record import read_point_record  # imports torch

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
        strict=options.strict,
        own_model=options.dynamics is not None,
    )
    return dataset, record
