"""Values that are no observation: limits in the units of the variable, fill values, and the same rules where lazy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.records import storm
from xvar.cf.values import Screen, check_values, undeclared_fill
from xvar.errors import Problems


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


def test_a_fill_value_as_far_as_the_others_reach_is_one_of_them() -> None:
    assert undeclared_fill(np.array([0.0, 9999.0, -9999.0, -9999.0])) is None
    assert undeclared_fill(np.array([0.0, 9998.0, -9999.0, -9999.0])) == -9999


@pytest.mark.parametrize(
    ("dtype", "notes"), [("float32", []), ("float64", []), ("int16", []), ("float16", ["float16"])]
)
def test_of_usual_values_nothing_is_noted(dtype, notes) -> None:
    values = np.arange(48.0).reshape(3, 4, 4).astype(dtype)
    for array in (xr.DataArray(values, dims=("t", "y", "x")), xr.DataArray(values, dims=("t", "y", "x")).chunk()):
        problems = Problems()
        found = check_values(array, Screen.of("a", "other", "m", None), problems)
        assert [note.partition(" ")[0] for note in found] == notes
        assert not len(problems)


def test_frames_and_variables_are_named() -> None:
    values = np.full((4, 3, 3), np.nan)
    values[1] = np.arange(9.0).reshape(3, 3)
    array = xr.DataArray(values, dims=("t", "y", "x"), name="tracer")
    screen = Screen.of("tracer", "other", "m", None)
    assert check_values(array, screen, Problems()) == ["3 of 4 frames without any value"]
    problems = Problems()
    check_values(array.where(array.isnull()), screen, problems)
    assert str(problems.first) == (
        "variable 'tracer': found no finite value in 4 frames; expected at least one observed value; "
        "fix: check the fill values of the file and the selection"
    )


def test_what_is_refused_names_the_variable() -> None:
    total = np.zeros((4, 20, 20))
    total[:, 3:9, 3:9] = np.array([0.0, 0.1, 0.2, 0.3])[:, None, None]
    amounts = Screen.of("depth", "rain", "mm", 300.0, time="t")
    assert str(amounts.problem(total)) == (
        "variable 'depth': found amounts that decrease at no point in 4 frames, and grow at 9% of the points or more "
        "in each: a total since some time before?; expected what fell between one frame and the next; "
        "fix: ds['depth'] = ds['depth'].diff('t')"
    )
    kelvin = Screen.of("temp", "temperature", "K", None)
    assert str(kelvin.problem(np.linspace(1, 30, 48).reshape(3, 4, 4))) == (
        "variable 'temp': found 48 of 48 values other than zero beyond 100 to 1000 K, which nothing reaches; "
        "their median is 15.5; expected values in K; fix: write the units that they are in, "
        "ds['temp'].attrs['units'] = \"...\""
    )
