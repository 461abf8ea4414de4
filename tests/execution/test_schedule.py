from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xvar.execution.schedule import Length, Partial, Schedule, make_schedule

DAY = 86400.0


def lay(seconds: object, window: Length, stride: Length | None = None, partial: Partial = "drop") -> Schedule:
    schedule = make_schedule(np.asarray(seconds, dtype=float), window, stride, partial)
    assert schedule is not None
    return schedule


def rows(schedule: Schedule) -> list[list[int]]:
    return [[int(frame) for frame in row if frame >= 0] for row in schedule.frames]


def test_a_duration_includes_both_its_ends() -> None:
    assert rows(lay(np.arange(7) * DAY, 3 * DAY)) == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_windows_share_a_frame_by_default() -> None:
    assert rows(lay(np.arange(7), 4)) == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_a_stride_may_overlap_or_leave_frames_out() -> None:
    assert rows(lay(np.arange(6), 4, 1)) == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert rows(lay(np.arange(9), 2, 4)) == [[0, 1], [4, 5]]
    assert rows(lay(np.arange(7) * 300, 900.0, 900.0)) == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_a_partial_window_is_kept_or_dropped() -> None:
    assert rows(lay(np.arange(6), 4, 4)) == [[0, 1, 2, 3]]
    assert rows(lay(np.arange(6), 4, 4, "keep")) == [[0, 1, 2, 3], [4, 5]]


def test_a_kept_partial_window_is_not_within_another() -> None:
    assert rows(lay(np.arange(6), 4, 1, "keep")) == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]


def test_no_window_reaches_across_a_gap() -> None:
    seconds = np.r_[np.arange(5), 100 + np.arange(5)]
    assert rows(lay(seconds, 4)) == [[0, 1, 2, 3], [5, 6, 7, 8]]


def test_gaps_may_leave_no_window() -> None:
    assert make_schedule(np.array([0.0, 1, 50, 51, 100, 101]), 4) is None


@given(
    steps=st.lists(st.sampled_from([1.0, 1.0, 1.0, 1.5, 0.5, 40.0]), min_size=7, max_size=60),
    window=st.integers(2, 6),
    stride=st.one_of(st.none(), st.integers(1, 8)),
    partial=st.sampled_from(["drop", "keep"]),
)
def test_windows_of_frames(steps: list[float], window: int, stride: int | None, partial: Partial) -> None:
    seconds = np.r_[0, np.cumsum(steps)]
    schedule = make_schedule(seconds, window, stride, partial)
    if schedule is None:  # gaps that leave nothing: see above
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
    window=st.sampled_from([4.0, 5.0, 8.0]),
    stride=st.one_of(st.none(), st.sampled_from([2.0, 3.0, 9.0])),
)
def test_windows_of_durations(steps: list[float], window: float, stride: float | None) -> None:
    seconds = np.r_[0, np.cumsum(steps)]
    if seconds[-1] < window:
        return
    schedule = lay(seconds, window, stride, "keep")
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
