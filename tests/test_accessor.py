"""The accessor forwards, and refuses what no call knows."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import xarray as xr

import xvar
import xvar.analysis.forecast
import xvar.analysis.series
import xvar.analysis.verify
import xvar.assimilation
from tests.records import analysis, storm
from xvar.errors import AnalysisWarning, InputError


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
    ("call", "option", "meant"),
    [
        ("assimilate", "windows", "window"),
        ("assimilate", "std", None),
        ("forecast", "evry", "every"),
        ("verify", "threshold", "thresholds"),
        ("series", "share", "shared"),
    ],
)
def test_unknown_options_are_refused_with_the_closest_match(call, option, meant) -> None:
    data = storm() if call == "assimilate" else analysis()
    with pytest.raises(InputError, match=f"no option '{option}' of {call}") as report:
        getattr(data.var4d, call)(**{option: 1})
    assert (f"did you mean {meant!r}?" if meant else "") in str(report.value)


def test_the_signature_is_the_one_that_was_designed() -> None:
    names = (
        "data variable window stride partial constraint dynamics background background_error observation "
        "observation_error model_error parameters penalties land coast units dx dy sort strict errors batch dtype "
        "device minimizer save"
    )
    assert list(inspect.signature(xvar.assimilation.assimilate).parameters) == names.split()


def test_the_summary_says_what_became_of_the_windows() -> None:
    text = str(analysis().var4d.summary())
    words = ("2 windows of 4 frames\n", "\n2 converged\n", "2018-01-03T22:45:00", "a frame each 5 min", "m/s")
    for word in (*words, "evaluations in a window", "compared as its square root", "- grid:", "- land:"):
        assert word in text
    speed = np.hypot(analysis()["u"], analysis()["v"])
    assert f"speed: {float(speed.median()):.3g} m/s" in text
    assert repr(analysis().var4d.summary()) == text
    with pytest.raises(InputError, match="no analysis"):
        storm().var4d.summary()


def test_the_summary_of_windows_that_did_not_end_well_says_what_to_do() -> None:
    record = storm(frames=7)
    record["rain"][3:] = 0.0  # of the second window
    dry = str(record.var4d.assimilate().var4d.summary())
    assert "1 converged (window 0)" in dry
    assert "1 background only (window 1): nothing was observed, or nothing varies" in dry
    with pytest.warns(AnalysisWarning, match="not converged"):
        short = storm().var4d.assimilate(dynamics="advection", minimizer=xvar.minimize.LBFGS(max_evaluations=3))
    text = str(short.var4d.summary())
    assert "1 not converged: the evaluations were used up: minimizer=xvar.minimize.LBFGS(max_evaluations=...)" in text
    ratio = 2 * float(short["cost"].isel(stage=1).item()) / int(short["number_of_observations"].item())
    assert f"2 J over the number of observations: {ratio:.3g} (" in text
    assert "strong constraint, model Advection" in text
    assert "square root" not in text  # rain itself is what the model of the user's choice is compared in


def test_a_file_of_another_version_is_refused() -> None:
    other = analysis().assign_attrs(xvar_configuration='{"variable": "rain", "colour": "blue", "notes": []}')
    for call in (other.var4d.summary, other.var4d.plot.motion, lambda: other.var4d.forecast("15min")):
        with pytest.raises(InputError, match="xvar_configuration that cannot be read"):
            call()
