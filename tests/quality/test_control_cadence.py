"""A frame that comes early or late, where all others keep to their cadence."""

from __future__ import annotations

import cftime
import numpy as np
import pytest
import xarray as xr

from tests.faults.images import warm
from xvar.cf.times import Times
from xvar.errors import InputWarning
from xvar.quality.control import lateness, shifted_frames


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


@pytest.mark.parametrize(
    ("off", "told"),
    [
        ({7: 6.0}, False),  # two hundredths of the time between frames
        ({7: 6.5}, True),
        ({7: -6.5}, True),
        ({7: 60.0, 11: -60.0}, True),  # a tenth of 20
        ({7: 60.0, 11: -60.0, 15: 60.0}, False),
        ({1: 5.0, 7: -5.0}, False),  # which the first, not the second, has to tell
        ({0: 60.0, 7: 60.0}, True),
    ],
)
def test_what_is_off_a_cadence_of_twenty_frames(off, told) -> None:
    seconds = 300.0 * np.arange(20)
    late = np.zeros(20)
    for frame, by in off.items():
        late[frame] = by
    expected = late if told else np.zeros(20)
    np.testing.assert_allclose(lateness(seconds + late - late[0]), expected, atol=1e-9)
    if len(off) == 2:  # more than a tenth of 19
        np.testing.assert_array_equal(lateness((seconds + late - late[0])[:19]), 0)


def since(start: str, seconds: list[float]) -> np.ndarray:
    return np.datetime64(start, "ns") + np.round(np.array(seconds) * 1e9).astype("m8[ns]")


@pytest.mark.parametrize(
    ("seconds", "times", "note", "share", "mend"),
    [
        (
            [0, 120, 240, 384],
            since("2020-01-01", [0, 120, 240, 384]),
            "frame 3 (2020-01-01T00:06:24) comes 24 s late; the others keep to 120 s",
            "20%",
            (
                "ds = ds.assign_coords(when=ds['when'].where(ds['when'] != numpy.datetime64('2020-01-01T00:06:24'), "
                "numpy.datetime64('2020-01-01T00:06:00')))"
            ),
        ),
        (
            [0, 2, 3.5, 6, 8],
            since("2020-01-01", [0, 2, 3.5, 6, 8]),
            "frame 2 (2020-01-01T00:00:03.5) comes 0.5 s early; the others keep to 2 s",
            "25%",
            (
                "ds = ds.assign_coords(when=ds['when'].where(ds['when'] != numpy.datetime64('2020-01-01T00:00:03.5'), "
                "numpy.datetime64('2020-01-01T00:00:04')))"
            ),
        ),
        (
            [0, 120, 240, 384],
            cftime.num2date([0, 120, 240, 384], "seconds since 2001-02-28", "noleap"),
            "frame 3 (2001-02-28 00:06:24) comes 24 s late; the others keep to 120 s",
            "20%",
            "correct its time",
        ),
    ],
)
def test_a_shifted_frame_is_told_word_by_word(seconds, times, note, share, mend) -> None:
    with pytest.warns(InputWarning) as warned:
        notes = shifted_frames(Times(np.asarray(times), np.array(seconds, float)), "when")
    assert notes == [note]
    (warning,) = warned
    assert str(warning.message) == (
        f"dimension 'when': {note}; if its clock is wrong, the motion beside it is off by {share}: {mend}"
    )


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
