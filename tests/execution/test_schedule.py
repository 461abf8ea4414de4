from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xvar.errors import Faults, InputError
from xvar.execution.schedule import Schedule, make_schedule

DAY = 86400.0


def lay(seconds: object, window: object = None, stride: object = None, partial: str = "drop") -> Schedule:
    faults = Faults()
    schedule = make_schedule(np.asarray(seconds, dtype=float), "time", window, stride, partial, faults)  # type: ignore[arg-type]
    faults.raise_if_any()
    assert schedule is not None
    return schedule


def rows(schedule: Schedule) -> list[list[int]]:
    return [[int(frame) for frame in row if frame >= 0] for row in schedule.frames]


def test_a_duration_includes_both_its_ends() -> None:
    assert rows(lay(np.arange(7) * DAY, "3D")) == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_windows_share_a_frame_by_default() -> None:
    assert rows(lay(np.arange(7))) == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_a_short_record_is_one_window() -> None:
    assert rows(lay(np.arange(3))) == [[0, 1, 2]]


def test_a_stride_may_overlap_or_leave_frames_out() -> None:
    assert rows(lay(np.arange(6), 4, 1)) == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert rows(lay(np.arange(9), 2, 4)) == [[0, 1], [4, 5]]
    assert rows(lay(np.arange(7) * 300, "15min", "15min")) == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_a_partial_window_is_kept_or_dropped() -> None:
    assert rows(lay(np.arange(6), 4, 4)) == [[0, 1, 2, 3]]
    assert rows(lay(np.arange(6), 4, 4, "keep")) == [[0, 1, 2, 3], [4, 5]]


def test_a_kept_partial_window_is_not_within_another() -> None:
    assert rows(lay(np.arange(6), 4, 1, "keep")) == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]


def test_no_window_reaches_across_a_gap() -> None:
    seconds = np.r_[np.arange(5), 100 + np.arange(5)]
    assert rows(lay(seconds, 4)) == [[0, 1, 2, 3], [5, 6, 7, 8]]


def test_gaps_that_leave_no_window_are_refused() -> None:
    with pytest.raises(InputError, match="gaps that leave no 4 frames"):
        lay([0, 1, 50, 51, 100, 101], 4)


@pytest.mark.parametrize("window", [5, "10min"])
def test_a_window_longer_than_the_record_is_refused(window: object) -> None:
    with pytest.raises(InputError, match="longer than the record of 4 frames"):
        lay(np.arange(4), window)


@pytest.mark.parametrize("window", [1, 0, -3, "1s", "-1min", True, 2.5])
def test_a_window_of_less_than_two_frames_is_refused(window: object) -> None:
    with pytest.raises(InputError):
        lay(np.arange(6) * 60, window)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InputError, match=r"(?s)partial='some'.*stride=-1"):
        lay(np.arange(6), 3, -1, "some")


@given(
    steps=st.lists(st.sampled_from([1.0, 1.0, 1.0, 1.5, 0.5, 40.0]), min_size=7, max_size=60),
    window=st.integers(2, 6),
    stride=st.one_of(st.none(), st.integers(1, 8)),
    partial=st.sampled_from(["drop", "keep"]),
)
def test_windows_of_frames(steps: list[float], window: int, stride: int | None, partial: str) -> None:
    seconds = np.r_[0, np.cumsum(steps)]
    try:
        schedule = lay(seconds, window, stride, partial)
    except InputError:  # gaps that leave nothing: see above
        return
    found = rows(schedule)
    limit = (window - 1) * np.median(np.diff(seconds))
    for row in found:
        assert row == list(range(row[0], row[-1] + 1))  # consecutive frames
        assert 2 <= len(row) <= window
        assert len(row) == window or partial == "keep"
        assert np.diff(seconds[row]).max() <= limit * (1 + 1e-5)  # no gap inside
    begins = [row[0] for row in found]
    assert begins == sorted(set(begins))
    assert len({tuple(row) for row in found}) == len(found)
    # Times count from the first frame of each window, and fill is fill in both tables.
    assert (np.isnan(schedule.seconds) == (schedule.frames < 0)).all()
    for row, since in zip(found, schedule.seconds, strict=True):
        np.testing.assert_allclose(since[: len(row)], seconds[row] - seconds[row[0]])


@given(
    steps=st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=6, max_size=40),
    window=st.sampled_from([4, 5, 8]),
    stride=st.one_of(st.none(), st.sampled_from([2, 3, 9])),
)
def test_windows_of_durations(steps: list[float], window: int, stride: int | None) -> None:
    seconds = np.r_[0, np.cumsum(steps)]
    if seconds[-1] < window:
        return
    schedule = lay(seconds, f"{window}s", None if stride is None else f"{stride}s", "keep")
    for row in rows(schedule):
        span = seconds[row[-1]] - seconds[row[0]]
        assert span <= window + 1e-3  # both ends included, nothing beyond
        following = row[-1] + 1
        assert following == len(seconds) or seconds[following] - seconds[row[0]] > window  # and nothing left out
    if stride is None or stride <= window:
        covered = {frame for row in rows(schedule) for frame in row}
        assert len(covered) >= len(seconds) - 1  # one frame alone at the end makes no window


@given(st.lists(st.sampled_from([1.0, 1.0, 2.0]), min_size=6, max_size=30))
def test_groups_hold_each_window_once(steps: list[float]) -> None:
    schedule = lay(np.r_[0, np.cumsum(steps)], 3, 1)
    seen = np.sort(np.concatenate([windows for windows, _ in schedule.groups()]))
    np.testing.assert_array_equal(seen, np.arange(len(schedule.frames)))
    for windows, times in schedule.groups():
        for window in windows:
            np.testing.assert_allclose(schedule.seconds[window][: len(times)], times)
