"""Values that are no observation: limits in the units of the variable, fill values, and the same rules where lazy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.records import storm
from xvar.cf.values import Screen, undeclared_fill


@pytest.mark.parametrize(
    ("kind", "units", "interval", "low", "high"),
    [
        ("rain", "mm h-1", None, 0.0, 3000.0),
        ("rain", "mm", 300.0, 0.0, 250.0),
        ("rain", "mm", None, -1e15, 1e15),  # an amount over nobody knows what
        ("reflectivity", "dBZ", None, -130.0, 130.0),
        ("reflectivity", "1", None, -1e15, 1e15),
        ("temperature", "K", None, 100.0, 1000.0),
        ("temperature", "degree_Celsius", None, -173.15, 726.85),
        ("other", "m", None, -1e15, 1e15),
    ],
)
def test_limits_are_in_the_units_of_the_variable(kind, units, interval, low, high) -> None:
    screen = Screen.of("a", kind, units, interval)
    assert (screen.low, screen.high) == (pytest.approx(low), pytest.approx(high))
    beyond = np.array([low - abs(low) * 1e-3 - 1e-3, low + 1e-9, high - 1e-9, high * 1.001])
    np.testing.assert_array_equal(screen.rejected(beyond), [True, False, False, True])


def test_a_lazy_window_has_the_same_rules_as_a_record_in_memory() -> None:
    rain = Screen.of("rain", "rain", "mm h-1", None)
    good = np.arange(12.0).reshape(3, 2, 2)
    assert rain.problem(good) is None
    assert "1 negative values, the least -2" in str(rain.problem(np.where(good == 5, -2.0, good)))
    filled = np.where(good < 3, -999.0, good)
    assert "3 values of -999" in str(rain.problem(filled))
    assert rain.problem(filled, fill=False) is None
    infinite = np.where(good == 4, np.inf, good)
    assert rain.problem(infinite) is None
    assert "1 infinite values" in str(rain.problem(infinite, strict=True))
    assert rain.problem(good, strict=True) is None
    assert "index (1, 0, 0)" in str(rain.problem(infinite, strict=True))


def test_the_highest_code_of_a_packed_file_that_declares_nothing() -> None:
    screen = Screen.of("DBZH", "reflectivity", "dBZ", None, 95.5)
    np.testing.assert_array_equal(screen.rejected(np.array([95.5, 95.0, np.nan], "float32")), [True, False, False])
    assert not Screen.of("DBZH", "reflectivity", "dBZ", None).rejected(np.array([95.5])).any()


def test_a_fill_value_stands_apart() -> None:
    assert undeclared_fill(np.array([-99.0, -99.0, 5.0, 6.0])) == -99
    assert undeclared_fill(np.array([-99.0, -99.0, -98.5, 6.0])) is None  # a value among others
    assert undeclared_fill(np.array([-99.0, -99.0])) == -99
    assert undeclared_fill(np.array([65535, 65535, 3], dtype="uint16")) == 65535
    assert undeclared_fill(np.array([np.nan])) is None


def _amounts(total: bool) -> xr.Dataset:
    radar = storm()
    depth = radar["rain"].clip(min=0) / 12
    return radar.assign(rain=(depth.cumsum("time") if total else depth).assign_attrs(units="mm"))


def test_rain_that_was_summed_up_since_the_start_is_refused() -> None:
    assert _amounts(total=False).var4d.assimilate()["status"].item() in (1, 2)
    for radar in (_amounts(total=True), _amounts(total=True).rename(time="t")):
        with pytest.raises(xvar.InputError, match=r"decrease at no point in 4 frames") as caught:
            radar.var4d.assimilate()
        time = radar["rain"].dims[0]
        assert f"ds['rain'] = ds['rain'].diff('{time}')" in str(caught.value)
    with pytest.raises(xvar.InputError, match=r"decrease at no point in 4 frames"):
        _amounts(total=True).chunk(time=2).var4d.assimilate().compute()


def test_rain_that_only_begins_is_no_total() -> None:
    screen = Screen.of("rain", "rain", "mm", 300.0)
    frames = np.zeros((4, 20, 20))
    frames[:, 3, 3:5] = np.array([0.0, 0.1, 0.2, 0.3])[:, None]  # half a percent of the points
    assert screen.problem(frames) is None
    frames[:, 3:9, 3:9] = np.array([0.0, 0.1, 0.2, 0.3])[:, None, None]
    assert "decrease at no point" in str(screen.problem(frames))
    assert Screen.of("rain", "rain", "mm h-1", None).problem(frames) is None
    assert screen.problem(frames[:2]) is None
