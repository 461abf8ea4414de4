"""Over how long an amount fell: as it is stated, by the bounds of time, or by regular frames."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.faults.images import rainy
from xvar.cf.amounts import interval_of

REGULAR = np.arange(4) * 300.0


def interval(seconds=REGULAR, bounds=None, **attrs) -> float | None:
    record = rainy()
    record["rain"].attrs.update(attrs)
    if bounds is not None:
        record["time_bounds"] = (("time", "nv"), bounds)
        record["time"].attrs["bounds"] = "time_bounds"
    return interval_of(record["rain"], "time", np.asarray(seconds, float), record)


def widths(*minutes: int) -> np.ndarray:
    ends = np.datetime64("2018-01-03T22:45", "ns") + 5 * np.arange(4).astype("timedelta64[m]")
    return np.stack([ends - np.array(minutes).astype("timedelta64[m]"), ends], axis=1)


def test_regular_frames_and_gaps() -> None:
    assert interval() == 300
    assert interval([0, 300, 600, 1200]) == 300
    assert interval([0, 301, 600, 901]) == 300 or interval([0, 301, 600, 901]) == 301
    assert interval([0, 300, 720, 900]) is None
    assert interval([0, 300, 310, 600]) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("time: sum (interval: 10 minutes)", 600),
        ("area: mean time: sum (interval: 1 hour)", 3600),
        ("time: sum (interval: 10 spoons)", 300),
        ("time: mean", 300),
    ],
)
def test_what_is_stated_counts_first(text, seconds) -> None:
    assert interval(cell_methods=text) == seconds


def test_bounds_say_it_where_they_are_all_as_wide() -> None:
    assert interval([0, 300, 720, 900], bounds=widths(10, 10, 10, 10)) == 600
    assert interval(bounds=widths(10, 10, 5, 10)) is None
    assert interval(bounds=widths(0, 0, 0, 0)) is None
    assert interval(bounds=np.zeros((4, 2))) is None


def test_without_a_coordinate_frames_alone_say_it() -> None:
    bare = xr.DataArray(np.zeros((4, 2, 2)), dims=("time", "y", "x"))
    assert interval_of(bare, "time", REGULAR) == 300
