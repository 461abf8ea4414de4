from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.faults.codes import codes
from xvar.errors import Faults
from xvar.execution.schedule import Schedule
from xvar.plan.options import Options
from xvar.plan.windows import read_windows

DAY = 86400.0


def read(
    seconds: object,
    window: object = None,
    stride: object = None,
    partial: str = "drop",
    gaps: str | None = None,
    **how: bool,
) -> tuple[Schedule | None, list[str]]:
    faults = Faults()
    times = np.asarray(seconds, dtype=float)
    options = Options.read({"window": window, "stride": stride, "partial": partial, "gaps": gaps}, faults)
    windows = read_windows(times, "time", options, faults, **how)
    return None if windows is None else windows.schedule, codes(faults)


@pytest.mark.parametrize(
    ("seconds", "window", "stride", "expected"),
    [
        (np.arange(7) * DAY, "3D", None, [[0, 1, 2, 3], [3, 4, 5, 6]]),
        (np.arange(7) * DAY, np.timedelta64(3, "D"), "4D", [[0, 1, 2, 3]]),
        (np.arange(7), None, None, [[0, 1, 2, 3], [3, 4, 5, 6]]),
        (np.arange(3), None, None, [[0, 1, 2]]),  # a record shorter than the default
        (np.arange(7), np.int64(3), 4, [[0, 1, 2], [4, 5, 6]]),
    ],
)
def test_frames_and_durations(seconds: object, window: object, stride: object, expected: list[list[int]]) -> None:
    schedule, faults = read(seconds, window, stride)
    assert faults == []
    assert schedule is not None
    assert schedule.frames.tolist() == expected


def test_cycled_windows_share_no_frame() -> None:
    schedule, _ = read(np.arange(6) * DAY, "3D", cycled=True)
    assert schedule is not None
    assert schedule.frames.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read(np.arange(6) * DAY, "3D", "2D", cycled=True)[1] == ["overlapping-cycled-windows"]


@pytest.mark.parametrize("window", [5, "10min"])
def test_a_window_longer_than_the_record_is_refused(window: object) -> None:
    assert read(np.arange(4), window)[1] == ["window-too-long"]


@pytest.mark.parametrize("window", [1, 0, -3, "1s", "-1min", True, 2.5])
def test_a_window_of_less_than_two_frames_is_refused(window: object) -> None:
    schedule, faults = read(np.arange(6) * 60, window)
    assert schedule is None
    assert len(faults) == 1


def test_gaps_that_leave_no_window_are_refused() -> None:
    assert read([0, 1, 50, 51, 100, 101], 4)[1] == ["no-window-between-gaps"]


def rows(schedule: Schedule | None) -> list[list[int]]:
    assert schedule is not None
    return [[int(frame) for frame in row if frame >= 0] for row in schedule.frames]


MISSING = np.r_[np.arange(8), 9 + np.arange(8)]  # a regular record without its frame 8


def test_no_window_goes_across_a_gap_of_a_regular_record() -> None:
    assert rows(read(MISSING)[0]) == [[0, 1, 2, 3], [3, 4, 5, 6], [8, 9, 10, 11], [11, 12, 13, 14]]
    assert rows(read(MISSING, 4, 1)[0])[4:6] == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert rows(read(MISSING, gaps="cross")[0])[2] == [6, 7, 8, 9]
    assert rows(read(MISSING, 4, 4, "keep", cycled=True)[0]) == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]
    ]  # fmt: skip


def test_cycled_windows_continue_across_a_gap_that_is_not_longer_than_a_window() -> None:
    split, _ = read(MISSING, 4, partial="keep", cycled=True)
    assert split is not None
    np.testing.assert_array_equal(split.lead, [np.nan, 1, 2, 1])
    far, _ = read(np.r_[np.arange(8), 20 + np.arange(8)], 4, cycled=True)
    assert far is not None
    np.testing.assert_array_equal(far.lead, [np.nan, 1, np.nan, 1])


def test_a_state_is_carried_across_gaps() -> None:
    assert rows(read(MISSING, has_state=True)[0])[2] == [6, 7, 8, 9]
    assert rows(read(MISSING, has_state=True, gaps="split")[0])[2] == [8, 9, 10, 11]


@pytest.mark.parametrize(
    "seconds",
    [
        np.cumsum([0, 1, 2, 1, 2, 1, 1, 2, 1, 2, 2, 1]) * DAY,  # days of which every third is missing
        np.cumsum([0, 100, 620, 100, 620, 100, 620, 100, 620]) * 60,  # two overpasses in the morning, two at night
        [0, 1, 2, 4, 5, 6],
    ],
)
def test_an_irregular_record_is_not_cut_into_pieces(seconds: object) -> None:
    found, faults = read(seconds)
    assert faults == []
    assert rows(found)[0] == [0, 1, 2, 3]
    assert read(seconds, gaps="split")[1] == ["no-window-between-gaps"]


@pytest.mark.parametrize("name", ["fmi-20160928", "mch-20150515", "knmi-20100826"])
@pytest.mark.parametrize("seed", range(3))
def test_events_with_missing_frames(shared_data, name: str, seed: int) -> None:
    with xr.open_dataset(shared_data / f"radar-{name}.nc") as event:
        seconds = (event["time"].values - event["time"].values[0]) / np.timedelta64(1, "s")
    lost = np.random.default_rng(seed).choice(np.arange(1, len(seconds) - 1), 2, replace=False)
    kept = np.delete(seconds, lost)
    found = rows(read(kept)[0])
    assert all(np.diff(kept[row]).max() == 300 for row in found)
    assert len({frame for row in found for frame in row}) >= 0.75 * len(kept)


def test_no_day_of_alboran_is_lost_since_one_is_missing(shared_data) -> None:
    with xr.open_dataset(shared_data / "sst-alboran-avhrr-201705.nc") as sst:
        days = (sst["time"].values - sst["time"].values[0]) / np.timedelta64(1, "D")
    assert np.diff(days).max() == 2
    assert rows(read(days * DAY, gaps="split")[0]) == [[0, 1, 2, 3], [3, 4, 5, 6]]
    assert rows(read(days * DAY)[0]) == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]  # else three of ten days are lost


def test_every_fault_is_named_at_once() -> None:
    assert len(read(np.arange(6), 3, -1, "some")[1]) == 2
