from __future__ import annotations

import pytest

from tests.core.problems import STEPS, linear, observed
from xvar.core.problem import frame_steps


def test_steps_that_meet_the_frames() -> None:
    assert frame_steps((0.0, 300.0, 900.0)) == (300.0, 600.0)
    assert frame_steps((0.0, 300.0, 900.0), 300.0) == (300.0,) * 3
    assert frame_steps((0.0, 300.0, 900.0), 250.0) == (150.0, 150.0, 200.0, 200.0, 200.0)
    assert frame_steps((0.0, -300.0, -400.0), 150.0) == (-150.0, -150.0, -100.0)
    assert frame_steps((0.0,)) == ()
    for longest in (7.0, 100.0, 299.0, 301.0, 1e9):
        steps = frame_steps((0.0, 300.0, 1000.0), longest)
        assert max(steps) <= longest * (1 + 1e-12)
        assert sum(steps) == pytest.approx(1000)


@pytest.mark.parametrize("time", [-0.1, -1e-3, 0.76, 10.0])
def test_an_observation_outside_the_window_is_refused(time: float) -> None:
    with pytest.raises(ValueError, match="outside the window"):
        linear((observed(time),)).observations_by_step()
    with pytest.raises(ValueError, match="outside the window"):
        linear((observed(-time),), steps=tuple(-step for step in STEPS)).observations_by_step()
