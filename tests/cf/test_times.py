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

from tests.cf.places import places
from tests.cf.test_axes import images, message
from xvar.cf.axes import Axes
from xvar.cf.times import check_calendar, parse_duration, read_times
from xvar.errors import Faults

AXES = Axes("time", "y", "x")


def at(times, **attrs) -> xr.DataArray:
    return images(shape=(len(times), 5, 6)).assign_coords(time=("time", times, attrs))


def refusal(array, **options) -> str:
    faults = Faults()
    assert read_times(array, AXES, faults, **options) is None
    return message(faults)


DAYS = pd.date_range("2000-01-01", periods=5)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_seconds_since_the_first_frame(unit):
    times = read_times(at(DAYS.values.astype(f"M8[{unit}]")), AXES, Faults())
    np.testing.assert_array_equal(times.seconds, np.arange(5) * 86400.0)
    assert times.seconds.dtype == np.float64
    assert times.order is None


@pytest.mark.skipif(not hasattr(xr, "coders"), reason="before 2025 xarray held nanoseconds alone")
def test_a_millennium_does_not_overflow():
    times = read_times(at(np.array(["1000-01-01", "3000-01-01"], "M8[s]")), AXES, Faults())
    assert times.seconds[1] == 730485 * 86400.0


@pytest.mark.parametrize(("calendar", "days"), [("360_day", 30), ("noleap", 28), ("standard", 29)])
def test_other_calendars(calendar, days):
    """Fault 7: from 1 February to 1 March of a leap year."""
    dates = np.array([cftime.datetime(2000, month, 1, calendar=calendar) for month in (2, 3)])
    times = read_times(at(dates), AXES, Faults())
    np.testing.assert_array_equal(times.seconds, [0, days * 86400.0])
    assert times.values[0].calendar == calendar


@given(st.permutations(range(5)))
def test_sorting_restores_any_order(order):
    times = read_times(at(DAYS[list(order)]), AXES, Faults(), sort=True)
    np.testing.assert_array_equal(times.values, DAYS.values)
    if times.order is not None:
        np.testing.assert_array_equal(DAYS[list(order)][times.order], DAYS)


def gap(*indices: int) -> np.ndarray:
    values = DAYS.values.copy()
    values[list(indices)] = np.datetime64("NaT", "ns")
    return values


def numbers(*values: float, dtype: str = "i8", **attrs: str) -> xr.DataArray:
    return at(np.array(values, dtype), **attrs)


def cf_dates(*calendars: str | None) -> np.ndarray:
    dates = [None if c is None else cftime.datetime(2000, 1, 1, calendar=c) for c in calendars]
    return np.array(dates, dtype=object)


def zoned(first: object = None) -> xr.DataArray:
    times = pd.date_range("2000", periods=3, tz="Europe/Paris").as_unit("ns")
    times = times if first is None else times.insert(0, first)
    return images(shape=(len(times), 5, 6)).assign_coords(time=times)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (  # Fault 1
            at(DAYS[[0, 1, 1, 2, 2]]),
            [("time-repeated", "rain", "time", 2)],
        ),
        (at(DAYS[[0, 0]] + pd.Timedelta("0.25s")), [("time-repeated", "rain", "time", 1)]),
        *(
            (at(dates), [("time-repeated", "rain", "time", 1)])
            for dates in (DAYS[[0, 0]].values.astype("M8[s]"), cf_dates("noleap", "noleap"))
        ),
        (  # Fault 2
            at(DAYS[[0, 2, 1, 4, 3]]),
            [("time-unordered", "rain", "time", 2)],
        ),
        (  # Fault 3
            at(DAYS[::-1]),
            [("time-unordered", "rain", "time", 1)],
        ),
        (  # Fault 4
            at(gap(3, 4)),
            [("time-missing-value", "rain", "time", 3)],
        ),
        # Fault 5
        (numbers(0, 1), [("time-not-decoded", "rain", "time")]),
        (numbers(0, 1, dtype="f4"), [("time-not-decoded", "rain", "time")]),
        (numbers(0, 1, dtype="u2"), [("time-not-decoded", "rain", "time")]),
        (numbers(20240229235959, 20240301000000), [("time-not-decoded", "rain", "time")]),
        (numbers(202402292359, 202403010000, dtype="f8"), [("time-not-decoded", "rain", "time")]),
        *(  # Fault 6
            (numbers(0, 1, units=units, calendar=calendar), [("time-not-decoded", "rain", "time")])
            for units, calendar in (
                ("frames since yesterday", "standard"),
                ("months since 2000-01-01", "standard"),
                ("days since 2000-01-01", "of the moon"),
                ("days since 2000-01-01", ""),
                ("1", "standard"),
            )
        ),
        (numbers(0, 1, units="hours since 2000-01-01"), [("time-not-decoded", "rain", "time")]),
        *(
            (numbers(20240229, 20240301, units=units, calendar=calendar), [("time-not-decoded", "rain", "time")])
            for units, calendar in (("hours since 2000-01-01", "standard"), ("months since 2000-01-01", "360_day"))
        ),
        (at(np.array([1, 2], "m8[h]")), [("time-not-dates", "rain", "time")]),
        (
            at(np.array([1, 2], "m8[h]")).assign_coords(start=np.datetime64("2000", "ns"), level=5.0),
            [("time-not-dates", "rain", "time")],
        ),
        (
            at(np.array([1, 2], "m8[h]")).assign_coords(a=np.datetime64("2000", "ns"), b=np.datetime64("2001", "ns")),
            [("time-not-dates", "rain", "time")],
        ),
        # Fault 10
        (at(np.array(["2000-01-01", "2000-01-02"], dtype=object)), [("time-not-dates", "rain", "time")]),
        (
            at(np.array([datetime.datetime(2000, 1, d, tzinfo=datetime.timezone.utc) for d in (1, 2)], dtype=object)),
            [("time-not-dates", "rain", "time")],
        ),
        (at(cf_dates("noleap", "360_day")), [("time-not-dates", "rain", "time")]),
        (at(np.array([], dtype=object)), [("time-not-dates", "rain", "time")]),
        (at(cf_dates("noleap", None)), [("time-missing-value", "rain", "time", 1)]),
        (  # Fault 12
            at(DAYS[:1]),
            [("too-few-frames", "rain", "time")],
        ),
        (images(), [("time-missing", "rain", "time")]),
    ],
)
def test_faults_of_a_time_coordinate(array, expected):
    faults = Faults()
    assert read_times(array, AXES, faults) is None
    assert places(faults) == expected


@pytest.mark.skipif(not hasattr(xr, "coders"), reason="before 2025 xarray took types of pandas for objects")
@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (zoned(), [("time-not-dates", "rain", "time")]),
        (zoned(pd.NaT), [("time-not-dates", "rain", "time")]),
        (at(pd.period_range("2000", periods=3, freq="D")), [("time-not-dates", "rain", "time")]),
    ],
)
def test_types_of_pandas_are_named(array, expected):
    faults = Faults()
    assert read_times(array, AXES, faults) is None
    assert places(faults) == expected


def test_faults_are_told_of_the_coordinate_that_has_them():
    faults = Faults()
    read_times(images().assign_coords(when=("time", DAYS[[0, 1, 1]])), AXES, faults)
    assert message(faults).startswith("variable 'when', dimension 'time', index 2: found time 2000-01-02T00:00:00 ")


def test_frames_that_are_twice_and_out_of_order_are_told_together():
    faults = Faults()
    assert read_times(at(DAYS[[2, 1, 2]]), AXES, faults) is None
    assert len(faults) == 2
    faults = Faults()
    assert read_times(at(DAYS[[2, 1, 2]]), AXES, faults, sort=True) is None
    assert message(faults).startswith(
        "variable 'rain', dimension 'time', index 2: found time 2000-01-03T00:00:00 twice, at indices 0 and 2; "
    )


def test_sorting_is_recorded():
    times = read_times(at(DAYS[[0, 2, 1, 3, 4]]), AXES, Faults(), sort=True)
    np.testing.assert_array_equal(times.values, DAYS.values)
    np.testing.assert_array_equal(times.order, [0, 2, 1, 3, 4])
    np.testing.assert_array_equal(times.seconds, np.arange(5) * 86400.0)
    assert times.note == "frames sorted by time: 2 of 5 moved"
    assert read_times(at(DAYS), AXES, Faults(), sort=True).note == ""


@pytest.mark.parametrize(
    ("coordinates", "read"),
    [
        ({"when": ("time", DAYS[:3])}, "when"),
        ({"when": ("time", DAYS[:3]), "scalar": DAYS[0], "level": ("time", [1, 2, 3])}, "when"),
        ({"when": ("time", cf_dates("noleap", "noleap", "noleap") + np.arange(3) * datetime.timedelta(1))}, "when"),
        ({"one": ("time", DAYS[:3]), "other": ("time", DAYS[:3])}, None),
        ({"one": ("time", DAYS[:3]), "other": ("time", DAYS[1:4], {"standard_name": "time"})}, "other"),
        ({"one": ("time", DAYS[1:4], {"axis": "T"}), "other": ("time", DAYS[:3], {"axis": "Z"})}, "one"),
        ({"one": ("time", DAYS[1:4], {"axis": "T"}), "other": ("time", DAYS[:3], {"axis": "T"})}, None),
        ({"time": ("time", DAYS[2:]), "other": ("time", DAYS[:3], {"standard_name": "time"})}, "time"),
        ({"time": ("time", np.arange(3).astype("m8[D]")), "valid": ("time", DAYS[2:])}, "valid"),
        ({"when": ("y", DAYS)}, None),
    ],
)
def test_the_coordinate_that_dates_the_frames(coordinates, read):
    array, faults = images().assign_coords(coordinates), Faults()
    times = read_times(array, AXES, faults)
    if read is None:
        assert message(faults).startswith("variable 'rain', dimension 'time': found no time coordinate on dimension ")
    else:
        np.testing.assert_array_equal(times.values, array[read].values)


def kept(dtype: str | None, units: str | None, times: object = DAYS) -> xr.DataArray:
    array = at(times)
    array["time"].encoding = {"dtype": dtype, "units": units}
    return array


def seconds(*after: float) -> pd.DatetimeIndex:
    return pd.Timestamp("2000-01-01") + pd.to_timedelta(after, unit="s")


@pytest.mark.parametrize(
    ("dtype", "units", "times", "said"),
    [
        ("float32", "days since 2000-01-01", DAYS, None),
        ("float32", "seconds since 1800-01-01", DAYS, None),  # 512 s of a day
        ("float64", "seconds since 1800-01-01", seconds(0, 1), None),
        ("int32", "seconds since 1800-01-01", seconds(0, 1), None),
        ("float16", None, seconds(0, 1), None),
        (None, "seconds since 1800-01-01", seconds(0, 1), None),
        # From 2²³ to 2²⁴ the spacing is one.
        ("float32", "seconds since 2000-01-01", seconds(9e6, 9e6 + 100), None),
        ("float32", "seconds since 2000-01-01", seconds(9e6, 9e6 + 99), "rounded to 1 s,"),
        ("float32", "seconds since 2000-01-01", seconds(8e6, 9e6, 9e6 + 50), None),  # they are 500025 s apart
        *(
            (
                "float16",
                "days since 1900-01-01",
                DAYS.as_unit(unit),
                "rounded to 2.7648e+06 s,",
            )
            for unit in ("s", "ns")
        ),
        (
            "float16",
            "days since 1900-01-01",
            cf_dates("noleap", "noleap") + np.arange(2) * datetime.timedelta(1),
            "rounded to 2.7648e+06 s,",
        ),
        ("float32", "hours since 1900-01-01", seconds(0, 3600), "rounded to 225 s,"),
    ],
)
def test_times_that_a_file_keeps_to_too_few_digits(dtype, units, times, said):
    array, faults = at(times), Faults()
    array["time"].encoding = {"dtype": dtype, "units": units}
    read_times(array, AXES, faults)
    if said is None:
        assert not len(faults)
    else:
        (fault,) = faults
        assert (fault.code, fault.variable, fault.dimension) == ("time-rounded", "rain", "time")
        assert said in fault.found


NOLEAP = cftime.datetime(2020, 1, 1, calendar="noleap")


@pytest.mark.parametrize(
    ("coordinates", "record", "wrong"),
    [
        ({"when": np.datetime64("2020-01-01", "ns")}, DAYS.values, []),
        ({"when": cftime.datetime(2020, 1, 1, calendar="standard")}, DAYS.values, []),
        ({"when": cftime.datetime(2020, 1, 1, calendar="proleptic_gregorian")}, DAYS.values, []),
        ({"when": NOLEAP}, cf_dates("noleap"), []),
        (
            {"label": "noleap", "level": 5.0, "names": ("y", list("abcde")), "rows": ("y", np.arange(5))},
            DAYS.values,
            [],
        ),
        ({"when": NOLEAP}, DAYS.values, ["when"]),
        ({"when": ("y", [NOLEAP] * 5)}, DAYS.values, ["when"]),
        ({"one": NOLEAP, "other": ("x", [NOLEAP] * 6), "third": DAYS[0]}, DAYS.values, ["one", "other"]),
    ],
)
def test_a_field_is_of_the_calendar_of_the_record(coordinates, record, wrong):
    faults = Faults()
    check_calendar(images().isel(time=0).assign_coords(coordinates), record, faults, "background")
    expected = [("calendar-differs", "background", name) for name in wrong]
    assert sorted((fault.code, fault.variable, fault.dimension) for fault in faults) == sorted(expected)


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
    assert parse_duration(value, "lead", Faults()) == seconds


NO_DURATIONS = ("15", "", "soon", "inf s", ":", "NaT", 15, 1.5, None, True, pd.NaT, np.timedelta64("NaT", "s"))
COUNTS = (np.timedelta64(1, "M"), np.timedelta64(1, "Y"), *np.array([5]).astype("m8"))
NOT_POSITIVE = ("-5min", "0min", "00:00:00", datetime.timedelta(0), datetime.timedelta(-1), np.timedelta64(-1, "ns"))


@pytest.mark.parametrize("value", [*NO_DURATIONS, *COUNTS, *NOT_POSITIVE])
def test_no_durations(value):
    faults = Faults()
    assert parse_duration(value, "lead", faults) is None
    known = 'a positive duration such as "15min", "3D", datetime.timedelta or numpy.timedelta64'
    negative = ", which is not positive" if any(value is one for one in NOT_POSITIVE) else ""
    said = f'found lead={value!r}{negative}; expected {known}; fix: write it with its unit, lead="30min"'
    assert message(faults) == said


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
    np.testing.assert_array_equal(read_times(valid, AXES, Faults()).seconds, [0, 3600])
