"""A frame that comes early or late, where all others keep to their cadence."""

from __future__ import annotations

import cftime
import numpy as np
import pytest
import xarray as xr

from tests.faults.images import warm
from xvar.cf.cadence import lateness
from xvar.errors import InputWarning


@pytest.mark.parametrize("count", [4, 5, 40])
@pytest.mark.parametrize("late", [60.0, -45.0, 140.0])
def test_one_frame_off_the_cadence_is_found_wherever_it_is(count, late) -> None:
    for frame in range(count):
        seconds = 300.0 * np.arange(count)
        seconds[frame] += late
        expected = np.where(np.arange(count) == frame, late, 0.0)
        # Of the first frame all others are told: where it is zero, time begins at the one that is off.
        np.testing.assert_allclose(lateness(seconds - seconds[0]), expected, atol=1e-9)


def test_what_is_no_shift() -> None:
    even = 300.0 * np.arange(12)
    generator = np.random.default_rng(0)
    months = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30]) * 86400.0
    for seconds in (
        even,
        np.array([0.0, 360.0, 600.0]),  # too few for a cadence
        even[[0, 1, 2, 5, 6, 9]],  # gaps
        even + generator.uniform(-4, 4, 12),  # seconds of rounding
        even + generator.uniform(-100, 100, 12),  # a radar that scans when it can
        even + 60.0 * (np.arange(12) % 2),  # two of them in turn
        months,
    ):
        assert not lateness(seconds).any()


def shifted(record: xr.Dataset, frame: int, seconds: int = 24) -> xr.Dataset:
    times = record["time"].values.copy()
    times[frame] += np.timedelta64(seconds, "s")
    return record.assign_coords(time=("time", times, record["time"].attrs))


@pytest.mark.parametrize("unit", ["ns", "s"])
@pytest.mark.parametrize("frame", range(4))
def test_the_warning_says_what_it_costs_and_mends_it(frame, unit) -> None:
    record = warm()
    record = record.assign_coords(time=("time", record["time"].values.astype(f"M8[{unit}]"), record["time"].attrs))
    with pytest.warns(InputWarning, match=rf"frame {frame} .* comes 24 s late.* off by 20%") as warned:
        result = shifted(record, frame).var4d.assimilate()
    assert "24 s late" in result.attrs["xvar_configuration"]
    scope = {"ds": shifted(record, frame), "numpy": np}
    exec(str(warned[0].message).partition("20%: ")[2], scope)
    xr.testing.assert_equal(scope["ds"], record)


def test_dates_of_other_calendars() -> None:
    seconds = [0, 120, 240, 384]
    times = cftime.num2date(seconds, "seconds since 2001-02-28", "noleap")
    with pytest.warns(InputWarning, match="frame 3 .* comes 24 s late.*: correct its time"):
        warm().assign_coords(time=("time", times)).var4d.assimilate()


@pytest.mark.parametrize("file", ["radar-fmi-20160928.nc", "radar-mch-20150515.nc", "radar-knmi-20100826.nc"])
def test_what_a_minute_costs_on_real_radars(shared_data, file) -> None:
    """In the second of four images little, in the newest two a fifth to a third of the motion: so it is told."""
    with xr.open_dataset(shared_data / file) as opened:
        record = opened.isel(time=slice(0, 4)).load()
    raining = record["rainfall_rate"].values[-1] > 0.1

    def motion(one: xr.Dataset) -> np.ndarray:
        last = one.var4d.assimilate("rainfall_rate").isel(window=0, step=-1)
        return np.stack([last["u"].values, last["v"].values])[:, raining]

    clean = motion(record)
    change = []
    for frame in (1, 2, 3):
        with pytest.warns(InputWarning, match=f"frame {frame} .* 60 s late"):
            moved = motion(shifted(record, frame, 60))
        change.append(np.hypot(*(moved - clean)).mean() / np.hypot(*clean).mean())
    assert change[0] < 0.05
    assert 0.15 < change[2] < 0.3
    assert 0.25 < change[1] < 0.4
