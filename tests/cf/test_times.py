"""Times by their own calendar, and every fault of a time coordinate."""

from __future__ import annotations

import datetime

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.cf.test_axes import images, message
from xvar.cf.axes import Axes
from xvar.cf.times import check_calendar, parse_duration, read_times
from xvar.errors import Problems

AXES = Axes("time", "y", "x")


def at(times, **attrs) -> xr.DataArray:
    return images(shape=(len(times), 5, 6)).assign_coords(time=("time", times, attrs))


def refusal(array, **options) -> str:
    problems = Problems()
    assert read_times(array, AXES, problems, **options) is None
    return message(problems)


DAYS = pd.date_range("2000-01-01", periods=5)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_seconds_since_the_first_frame(unit):
    times = read_times(at(DAYS.values.astype(f"M8[{unit}]")), AXES, Problems())
    np.testing.assert_array_equal(times.seconds, np.arange(5) * 86400.0)
    assert times.seconds.dtype == np.float64
    assert times.order is None


@pytest.mark.skipif(not hasattr(xr, "coders"), reason="before 2025 xarray held nanoseconds alone")
def test_a_millennium_does_not_overflow():
    times = read_times(at(np.array(["1000-01-01", "3000-01-01"], "M8[s]")), AXES, Problems())
    assert times.seconds[1] == 730485 * 86400.0


@pytest.mark.parametrize(("calendar", "days"), [("360_day", 30), ("noleap", 28), ("standard", 29)])
def test_other_calendars(calendar, days):
    """Fault 7: from 1 February to 1 March of a leap year."""
    dates = np.array([cftime.datetime(2000, month, 1, calendar=calendar) for month in (2, 3)])
    times = read_times(at(dates), AXES, Problems())
    np.testing.assert_array_equal(times.seconds, [0, days * 86400.0])
    assert times.values[0].calendar == calendar


def test_duplicates():
    """Fault 1."""
    text = refusal(at(DAYS[[0, 1, 2, 1]]), sort=True)
    assert "indices 1 and 3" in text
    assert "2000-01-02" in text
    assert "drop_duplicates('time')" in text
    assert "variable 'rain'" in text


def test_out_of_order():
    """Fault 2."""
    text = refusal(at(DAYS[[0, 2, 1, 3]]))
    assert "index 2" in text
    assert "2000-01-02" in text
    assert "sort=True" in text


def test_descending():
    """Fault 3."""
    text = refusal(at(DAYS[::-1]))
    assert "descending times" in text
    assert "index 1" in text


def test_sorting_is_recorded():
    times = read_times(at(DAYS[[0, 2, 1, 3]]), AXES, Problems(), sort=True)
    np.testing.assert_array_equal(times.values, DAYS[:4].values)
    np.testing.assert_array_equal(times.order, [0, 2, 1, 3])
    assert times.note == "frames sorted by time: 2 of 4 moved"


@given(st.permutations(range(5)))
def test_sorting_restores_any_order(order):
    times = read_times(at(DAYS[list(order)]), AXES, Problems(), sort=True)
    np.testing.assert_array_equal(times.values, DAYS.values)
    if times.order is not None:
        np.testing.assert_array_equal(DAYS[list(order)][times.order], DAYS)


def test_missing_time():
    """Fault 4."""
    values = DAYS.values.copy()
    values[3] = np.datetime64("NaT", "ns")
    text = refusal(at(values))
    assert "NaT" in text
    assert "index 3" in text


@pytest.mark.parametrize("dtype", ["i8", "f8"])
def test_numbers_without_units(dtype):
    """Fault 5."""
    text = refusal(at(np.arange(4).astype(dtype)))
    assert "time has no CF units; decode_times?" in text


def test_units_that_cannot_be_decoded():
    """Fault 6."""
    assert "'frames since yesterday'" in refusal(at(np.arange(4), units="frames since yesterday"))


def test_units_that_were_not_decoded():
    text = refusal(at(np.arange(4), units="hours since 2000-01-01"))
    assert "'hours since 2000-01-01'" in text
    assert "decode_cf" in text


@pytest.mark.parametrize(
    "times",
    [
        DAYS.astype(str).to_numpy(dtype=object),
        np.array([datetime.datetime(2000, 1, d, tzinfo=datetime.timezone.utc) for d in (1, 2)], dtype=object),
        pd.period_range("2000", periods=3, freq="D").to_numpy(),
    ],
    ids=["text", "zone", "period"],
)
def test_objects(times):
    """Fault 10."""
    array = images(shape=(len(times), 5, 6)).assign_coords(time=("time", times))
    text = refusal(array)
    assert "without a time zone" in text
    assert "2000" in text


@pytest.mark.parametrize("zone", ["UTC", "+01:00", "Europe/Paris"])
def test_time_zone_of_pandas(zone):
    """Fault 10; the first may be missing."""
    times = pd.date_range("2000", periods=3, tz=zone)
    for dates in (times, times.insert(0, pd.NaT)):
        array = images(shape=(len(dates), 5, 6)).assign_coords(time=dates)
        assert "times with a time zone" in refusal(array)


def test_two_calendars():
    dates = np.array([cftime.datetime(2000, 1, 1, calendar=c) for c in ("noleap", "360_day")])
    array = images(shape=(2, 5, 6)).assign_coords(time=("time", dates))
    assert "360_day, noleap" in refusal(array)


def test_one_frame():
    """Fault 12."""
    assert "needs >= 2 frames, got 1" in refusal(at(DAYS[:1]))


def test_no_coordinate():
    text = refusal(images())
    assert "no time coordinate" in text
    assert "assign_coords(time=" in text


def test_coordinate_of_another_name():
    array = images().assign_coords(when=("time", DAYS[:3]))
    np.testing.assert_array_equal(read_times(array, AXES, Problems()).values, DAYS[:3].values)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("15min", 900),
        ("3D", 259200),
        ("1h", 3600),
        ("00:05:00", 300),
        ("1.5h", 5400),
        (datetime.timedelta(minutes=5), 300),
        (np.timedelta64(5, "m"), 300),
        (np.timedelta64(1500, "ms"), 1.5),
        (pd.Timedelta("2h"), 7200),
    ],
)
def test_durations(value, seconds):
    assert parse_duration(value, "lead", Problems()) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("15", "", "soon", "-5min", "0min", "NaT", 15, 1.5, None, True),
        *(
            np.timedelta64(1, "M"),
            *np.array([5]).astype("m8"),
            np.timedelta64("NaT", "s"),
            datetime.timedelta(0),
            pd.NaT,
        ),
    ],
)
def test_no_durations(value):
    problems = Problems()
    assert parse_duration(value, "lead", problems) is None
    assert "lead=" in message(problems)
    assert "30min" in message(problems)


@pytest.mark.parametrize(
    ("times", "spelled"),
    [
        ([20240229, 20240301], "%Y%m%d"),
        ([2024022923, 2024030100], "%Y%m%d%H"),
        ([18991231.0, 19000101.0], "%Y%m%d"),
        ([20240229, 20240230], None),  # no such day
        ([20240229.5, 20240301.0], None),
        ([20240229, -1], None),
        ([20240229.0, np.nan], None),
        ([17891231, 17900101], None),  # as well a number of seconds
        ([2024, 2025], None),
        ([], None),
    ],
)
def test_numbers_that_spell_dates(times, spelled):
    text = refusal(at(np.array(times)))
    assert ("that spell dates" in text) is (spelled is not None)
    assert (f"format={spelled!r}" in text) is (spelled is not None)


def test_durations_are_dated_by_what_they_are_counted_from():
    steps = np.array([0, 1], "m8[h]")
    assert "fix: ds = ds.assign_coords(time=numpy.datetime64('2020-01-01') + ds['time']), or since" in refusal(
        at(steps)
    )
    array = at(steps).assign_coords(start=np.datetime64("2000-01-01", "ns"))
    assert refusal(array).endswith("fix: ds = ds.assign_coords(time=ds['start'] + ds['time'])")
    valid = array.assign_coords(valid=("time", array["start"].values + steps))
    np.testing.assert_array_equal(read_times(valid, AXES, Problems()).seconds, [0, 3600])


def test_times_that_a_file_keeps_to_enough_digits():
    array = at(DAYS)
    array["time"].encoding = {"dtype": "float32", "units": "days since 2000-01-01"}
    assert read_times(array, AXES, Problems()) is not None
    array["time"].encoding["units"] = "seconds since 1800-01-01"
    assert read_times(array, AXES, Problems()) is not None  # 512 s of a day
    array["time"].encoding["dtype"] = "float16"
    array["time"].encoding["units"] = "days since 1900-01-01"
    problems = Problems()
    read_times(array, AXES, problems)
    assert "rounded to" in message(problems)


def test_a_field_of_the_same_calendar_is_welcome():
    problems = Problems()
    for time in (np.datetime64("2020-01-01", "ns"), cftime.datetime(2020, 1, 1, calendar="standard")):
        check_calendar(images().isel(time=0).assign_coords(when=time), DAYS.values, problems, "background")
    assert not len(problems)
    check_calendar(
        images().assign_coords(when=cftime.datetime(2020, 1, 1, calendar="noleap")), DAYS.values, problems, "b"
    )
    assert "calendar 'noleap', where the record has 'standard'" in message(problems)
