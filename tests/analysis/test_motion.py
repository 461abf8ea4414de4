"""The steady motion of an analysis, and its total."""

from __future__ import annotations

import numpy as np
import pytest

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from tests.records import analysis, drifting
from xvar.analysis.outputs import motion_of
from xvar.errors import InputError


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_total_at_the_last_step_is_the_steady_and_the_transient_motion(dtype) -> None:
    found = analysis(dtype)
    tolerance = 4 * np.finfo(dtype).eps * 100  # of speeds up to 100 m/s
    for name in "uv":
        assert found[f"{name}_steady"].dims == ("window", "y", "x")
        assert found[f"{name}_steady"].dtype == dtype
        total = found[f"{name}_steady"] + found[f"{name}_transient"]
        np.testing.assert_allclose(total, found[name].isel(step=-1), atol=tolerance)
        # At earlier steps there is less of the transient part.
        apart = [float(abs(found[name].isel(step=step) - found[f"{name}_steady"]).mean()) for step in range(4)]
        assert apart == sorted(apart)


def test_the_steady_motion_is_strict_cf(tmp_path) -> None:
    analysis()[["rain", "u_steady", "v_steady"]].to_netcdf(tmp_path / "motion.nc")
    code, report = strict_cf(tmp_path / "motion.nc")
    assert code == 0, report
    assert analysis()["v_steady"].attrs["long_name"] == "steady motion of rain, towards increasing y"


def test_the_steady_motion_is_chosen_if_there_is_one() -> None:
    assert [part.name for part in motion_of(analysis())] == ["u_steady", "v_steady"]
    assert [part.name for part in motion_of(analysis(), "total")] == ["u", "v"]
    currents = drifting().var4d.assimilate()
    assert "u_steady" not in currents
    assert [part.name for part in motion_of(currents)] == ["u", "v"]
    with pytest.raises(InputError) as error:
        motion_of(currents, "mean")
    assert codes(error.value) == ["unknown-choice"]


def test_the_summary_has_speeds_of_the_steady_motion() -> None:
    found = analysis().assign(u_steady=0 * analysis()["u_steady"] + 3, v_steady=0 * analysis()["v_steady"] + 4)
    assert "speed of the steady motion: 5 m/s" in found.var4d.summary()
    assert "speed: 5 m/s" not in found.var4d.summary(part="total")
    assert "speed: " in found.var4d.summary(part="total")


def test_a_forecast_has_no_need_of_the_steady_motion() -> None:
    without = analysis().drop_vars(["u_steady", "v_steady"])  # as version 0.1 wrote it
    assert without.var4d.forecast("10min").equals(analysis().var4d.forecast("10min"))
    assert [part.name for part in motion_of(without)] == ["u", "v"]
    assert xvar.analysis.summary.summary(without, part="steady")
