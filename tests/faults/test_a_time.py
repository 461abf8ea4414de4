"""A. Time."""

from __future__ import annotations

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.faults.codes import raised
from tests.faults.images import small, warm, with_times
from tests.faults.table import fault, note


@fault(1, "duplicate timestamps", "refused; nothing is averaged")
def test_duplicate_timestamps() -> str:
    record = warm().isel(time=[0, 1, 1, 2])
    return raised(record.var4d.assimilate, "time-repeated", variable="sst", dimension="time", index=2)


@fault(2, "times out of order", "refused; `sort=True` sorts, and says so")
def test_times_out_of_order() -> str:
    record = warm().isel(time=[0, 2, 1, 3])
    assert "2 of 4 moved" in note(record.var4d.assimilate(sort=True), "sorted")
    xr.testing.assert_equal(record.var4d.assimilate(sort=True)["u"], warm().var4d.assimilate()["u"])
    return raised(record.var4d.assimilate, "time-unordered", variable="sst", dimension="time", index=2)


@fault(3, "descending times", "refused; `sort=True` sorts")
def test_descending_times() -> str:
    record = warm().isel(time=slice(None, None, -1))
    xr.testing.assert_equal(record.var4d.assimilate(sort=True)["u"], warm().var4d.assimilate()["u"])
    return raised(record.var4d.assimilate, "time-unordered", variable="sst", dimension="time", index=1)


@fault(4, "missing times (NaT)", "refused")
def test_nat() -> str:
    times = warm()["time"].values.copy()
    times[2] = "NaT"
    return raised(
        with_times(warm(), times).var4d.assimilate, "time-missing-value", variable="sst", dimension="time", index=2
    )


@fault(5, "whole numbers as times, without units", "refused")
def test_integers_without_units() -> str:
    return raised(
        with_times(warm(), [0, 120, 240, 360]).var4d.assimilate, "time-not-decoded", variable="sst", dimension="time"
    )


@fault(6, "units of time that mean nothing", "refused, and quoted")
def test_undecodable_units() -> str:
    record = with_times(warm(), [0, 1, 2, 3], units="frames since yesterday")
    return raised(record.var4d.assimilate, "time-not-decoded", variable="sst", dimension="time")


@fault(7, "calendars of models (360_day, noleap)", "handled: intervals by the calendar, which the output keeps")
@pytest.mark.parametrize("calendar", ["360_day"])
def test_calendars(calendar) -> str:
    times = [cftime.datetime(2001, 2, 30, 0, 2 * k, calendar=calendar) for k in range(4)]
    result = with_times(warm(), times).var4d.assimilate()
    np.testing.assert_array_equal(result["u"], warm().var4d.assimilate()["u"])
    last = result["time"].values[0, -1]
    assert (last.calendar, last.minute) == (calendar, 6)
    forecast = result.var4d.forecast("4min")
    assert forecast["time"].values[0, 0].calendar == calendar
    return f"time: {last} ({last.calendar})"


@fault(8, "observations and background of two calendars", "refused, both named")
def test_two_calendars() -> str:
    background = warm()["sst"].isel(time=0).to_dataset()
    background = background.assign_coords(time=cftime.datetime(2020, 1, 1, calendar="noleap"))
    return raised(
        lambda: warm().var4d.assimilate(dynamics="advection", background=background, observation_error=0.1),
        "calendar-differs",
        variable="background sst",
        dimension="time",
    )


@small
@fault(
    9, "frames off the steps of the model", "handled: steps are cut so that they meet every frame, no time is shifted"
)
def test_irregular_times() -> str:
    times = np.datetime64("2020-01-01", "ns") + np.array([0, 110, 247, 360]) * np.timedelta64(10**9, "ns")
    result = with_times(warm(), times).var4d.assimilate(dynamics="advection")
    np.testing.assert_array_equal(result["time"].values[0], times)
    assert np.isfinite(result["u"]).all()
    return f"time of the last step: {str(result['time'].values[0, -1])[:19]}"


@fault(10, "times with a time zone, or as text", "refused")
def test_time_zones_and_text() -> str:
    text = with_times(warm(), [f"2020-01-01 00:0{2 * k}" for k in range(4)])
    raised(text.var4d.assimilate, "time-not-dates", variable="sst", dimension="time")
    zoned = np.array(list(pd.date_range("2020-01-01", periods=4, freq="2min", tz="Europe/Paris")), dtype=object)
    return raised(with_times(warm(), zoned).var4d.assimilate, "time-not-dates", variable="sst", dimension="time")


@fault(
    11,
    "gaps of a record",
    "handled: no window reaches across one, and gaps are listed; across those of an irregular record, if they are not "
    "longer than a window; refused where no window is left",
)
def test_gaps() -> str:
    record = warm(frames=8)
    late = record["time"].values + np.where(np.arange(8) < 4, 0, 3600) * np.timedelta64(10**9, "ns")
    gapped = with_times(record, late)
    result = gapped.var4d.assimilate()
    assert result.sizes["window"] == 2
    alone = with_times(record, late).isel(time=[0, 4])
    every_hour = with_times(record.isel(time=[0, 1, 4, 5]), late[[0, 1, 4, 5]])
    raised(every_hour.var4d.assimilate, "no-window-between-gaps", dimension="time")
    assert alone.sizes["time"] == 2
    return note(result, "1 gaps that no window covers", "2020-01-01T00:06:00", "2020-01-01T01:08:00")


@fault(12, "one frame", "refused")
def test_one_frame() -> str:
    return raised(warm().isel(time=[0]).var4d.assimilate, "too-few-frames", variable="sst", dimension="time")


@fault(13, "frames that fill no window", 'left out and counted; `partial="keep"` takes them')
def test_frames_in_no_window() -> str:
    result = warm(frames=6).var4d.assimilate(partial="keep")
    assert result.sizes["window"] == 2
    return note(warm(frames=6).var4d.assimilate(), "2 of 6 frames in no window")


@fault(
    14,
    "seconds of an epoch far away",
    "handled: intervals by the calendar, in float64; refused where the file itself rounded them",
)
def test_times_far_from_the_epoch() -> str:
    seconds = (warm()["time"].values - np.datetime64("1970-01-01")) / np.timedelta64(1, "s")
    record = with_times(warm(), seconds, units="seconds since 1970-01-01")
    result = xr.decode_cf(record).var4d.assimilate()
    xr.testing.assert_equal(result["u"], warm().var4d.assimilate()["u"])
    # In float32 such seconds are 128 s apart.
    single = xr.decode_cf(with_times(warm(), seconds.astype("float32"), units="seconds since 1970-01-01"))
    return raised(single.var4d.assimilate, "time-rounded", variable="sst", dimension="time")
