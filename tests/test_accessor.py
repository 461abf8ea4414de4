"""The accessor forwards its calls and refuses unknown options."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
import xvar.analysis.forecast
import xvar.analysis.series
import xvar.analysis.verify
import xvar.assimilation
from tests.faults.codes import codes
from tests.records import analysis, storm
from xvar.errors import AnalysisWarning, InputError, InputWarning


def test_what_is_registered() -> None:
    assert isinstance(xr.Dataset().var4d, xvar.DatasetAccessor)
    assert isinstance(xr.DataArray().var4d, xvar.DataArrayAccessor)


def test_the_calls_are_the_functions() -> None:
    radar = storm()
    result = radar.var4d.assimilate("rain", window=4)
    expected = xvar.assimilation.assimilate(radar, "rain", window=4)
    xr.testing.assert_equal(result, expected)
    xr.testing.assert_equal(result.var4d.forecast("5min"), xvar.analysis.forecast.forecast(expected, "5min"))
    xr.testing.assert_equal(result.var4d.series(), xvar.analysis.series.series(expected))


@pytest.mark.parametrize(
    ("call", "option", "nearest"),
    [
        ("assimilate", "windows", "window"),
        ("check", "windows", "window"),
        ("assimilate", "std", None),
        ("to_pysteps", "leads", "lead"),
        ("forecast", "evry", "every"),
        ("verify", "threshold", "thresholds"),
        ("series", "share", "shared"),
    ],
)
def test_unknown_options_are_refused_with_the_closest_match(call, option, nearest) -> None:
    data = storm() if call in ("assimilate", "check") else analysis()
    with pytest.raises(InputError) as error:
        getattr(data.var4d, call)(**{option: 1})
    assert codes(error.value) == ["unknown-option"]
    assert nearest is None or nearest in error.value.faults[0].fix


def test_a_tree_is_its_one_group_with_data() -> None:
    tree = xr.DataTree.from_dict({"/radar": storm(), "/": xr.Dataset(attrs={"title": "a volume"})})
    xr.testing.assert_identical(tree.var4d.assimilate()["u"], storm().var4d.assimilate()["u"])
    with pytest.raises(InputError) as error:
        xr.DataTree.from_dict({"/low": storm(), "/high": storm()}).var4d.check()
    assert codes(error.value) == ["ambiguous-group"]


def test_the_summary_has_status_times_cost_and_speed() -> None:
    text = str(analysis().var4d.summary())
    words = ("2 windows of 4 frames\n", "\n2 converged\n", "2018-01-03T22:45:00", "a frame each 5 min", "m/s")
    for word in (*words, "evaluations in a window", "compared as its square root", "- grid:", "- land:"):
        assert word in text
    speed = np.hypot(analysis()["u_steady"], analysis()["v_steady"])
    assert f"speed of the steady motion: {float(speed.median()):.3g} m/s" in text
    assert repr(analysis().var4d.summary()) == text
    with pytest.raises(InputError) as error:
        storm().var4d.summary()
    assert codes(error.value) == ["not-an-analysis"]


def test_the_summary_leaves_the_cost_history_out() -> None:
    result = storm().var4d.assimilate(save=("cost_history",))
    assert "history" not in str(result.var4d.summary())


def test_the_summary_has_rejected_observations_and_remedies() -> None:
    record = storm(frames=7)
    record["rain"][3:] = 0.0  # of the second window
    with pytest.warns(InputWarning, match="dry_frames"):
        dry = str(record.var4d.assimilate().var4d.summary())
    assert "observations rejected in a window: 0 to 1,920\n  by the rule dry_frames: 0 to 1,920\n" in dry
    assert dry.count("by the rule") == 1
    assert "method: image_motion" in dry
    assert "1 converged (window 0)" in dry
    assert "1 background only (window 1): nothing was observed, or nothing varies" in dry
    with pytest.warns(AnalysisWarning, match="not converged"):
        short = storm().var4d.assimilate(dynamics="advection", minimizer=xvar.minimize.LBFGS(max_evaluations=3))
    text = str(short.var4d.summary())
    assert "1 not converged: evaluations used up: minimizer=xvar.minimize.LBFGS(max_evaluations=...)" in text
    ratio = 2 * float(short["cost"].isel(stage=1).item()) / int(short["number_of_observations"].item())
    assert f"2 J over the number of observations: {ratio:.3g} (" in text
    assert "strong constraint, model Advection" in text
    assert "square root" not in text  # a model compares rain itself


def test_an_unreadable_configuration_is_refused() -> None:
    other = analysis().assign_attrs(xvar_configuration='{"variable": "rain", "notes": []}')
    for call in (other.var4d.summary, other.var4d.plot.motion, lambda: other.var4d.forecast("15min")):
        with pytest.raises(InputError):
            call()
