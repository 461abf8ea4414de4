"""Over how long an amount fell: as it is stated, by the bounds of time, or by regular frames."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.faults.images import rainy
from xvar.cf.times import interval_of

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


@pytest.mark.parametrize(
    ("seconds", "fell"),
    [
        (REGULAR, 300),
        ([0, 300, 600, 1200], 300),  # one is missing
        ([0, 302, 600, 900], 300),
        ([0, 300, 600, 904], None),
        ([0, 300, 600, 1205], 300),  # to a hundredth of both
        ([0, 300, 600, 1208], None),
        ([0, 300, 600, 1495, 1795], 300),
        ([0, 300, 720, 900], None),
        ([0, 300, 310, 600], None),
        ([0, 300, 301, 601, 901], None),
        ([0, 600], 600),
    ],
)
def test_regular_frames_and_gaps(seconds, fell) -> None:
    assert interval(seconds) == fell


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("time: sum (interval: 10 minutes)", 600),
        ("time:sum(interval:10minutes)", 600),
        ("area: mean time: sum (interval: 1 hour)", 3600),
        ("valid_time: sum (interval: 1.5 h)", 5400),
        ("time: sum within days (interval: 1 day)", 86400),
        ("time: sum (interval: 10 spoons)", 300),
        ("time: sum (interval: 10)", 300),
        ("time: mean", 300),
        ("time: mean (interval: 10 minutes)", 300),
        ("area: sum (interval: 10 km)", 300),
    ],
)
@pytest.mark.parametrize("decoded", [False, True])
def test_what_is_stated_counts_first(text, seconds, decoded) -> None:
    record = rainy()
    kept = record["rain"].encoding if decoded else record["rain"].attrs
    kept["cell_methods"] = text
    assert interval_of(record["rain"], "time", REGULAR, record) == seconds


def test_bounds_say_it_where_they_are_all_as_wide() -> None:
    assert interval([0, 300, 720, 900], bounds=widths(10, 10, 10, 10)) == 600
    assert interval(bounds=widths(100, 101, 99, 100)) == 6000
    for unequal in ((100, 102, 100, 100), (100, 98, 100, 100), (10, 10, 5, 10), (0, 0, 0, 0), (-5, -5, -5, -5)):
        assert interval(bounds=widths(*unequal)) is None
    ends = widths(0, 0, 0, 0)[:, 1]
    assert interval(bounds=np.stack([ends - np.timedelta64(500, "ms"), ends], axis=1)) == 0.5
    missing = widths(10, 10, 10, 10)
    missing[2, 0] = "NaT"
    assert interval(bounds=missing) is None
    assert interval(bounds=np.zeros((4, 2))) is None
    assert interval(bounds=np.full((4, 2), "a", object)) is None


def test_bounds_as_files_have_them() -> None:
    record = rainy()
    days = xr.date_range("2001-02-27", periods=5, calendar="noleap", use_cftime=True).to_numpy()
    record["edges"] = (("time", "nv"), np.stack([days[:-1], days[1:]], axis=1))
    record["time"].encoding["bounds"] = "edges"  # where decoding leaves it
    assert interval_of(record["rain"], "time", REGULAR, record) == 86400
    edges = record["edges"]
    for shape in (edges[:, 0], edges[:, [0, 1, 1]], edges.expand_dims("a")):
        assert interval_of(record["rain"], "time", REGULAR, record.drop_vars("edges").assign(edges=shape)) is None
    # Bounds that are not there say nothing.
    assert interval_of(record["rain"], "time", REGULAR, record.drop_vars("edges")) == 300
    assert interval_of(record["rain"], "time", REGULAR) == 300


def test_without_a_coordinate_frames_alone_say_it() -> None:
    bare = xr.DataArray(np.zeros((4, 2, 2)), dims=("time", "y", "x"))
    assert interval_of(bare, "time", REGULAR) == 300
