from __future__ import annotations

import numpy as np
import pytest

from tests.faults.codes import codes
from xvar.errors import Faults
from xvar.execution.schedule import Schedule
from xvar.plan.options import Options
from xvar.plan.windows import read_windows

DAY = 86400.0


def read(
    seconds: object, window: object = None, stride: object = None, partial: str = "drop", *, cycled: bool = False
) -> tuple[Schedule | None, list[str]]:
    faults = Faults()
    times = np.asarray(seconds, dtype=float)
    options = Options.read({"window": window, "stride": stride, "partial": partial}, faults)
    schedule = read_windows(times, "time", options, faults, cycled=cycled)
    return schedule, codes(faults)


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


def test_every_fault_is_named_at_once() -> None:
    assert len(read(np.arange(6), 3, -1, "some")[1]) == 2
