"""Values that are no observations by themselves, and records that are refused for theirs, in memory and lazy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.codes import codes
from tests.records import storm
from xvar.errors import Fault, Faults, InputError
from xvar.quality.control import QualityControl, check_values
from xvar.quality.rules import Rule, Screen, check_plausible, highest_code, out_of_range, read_quality, undeclared_fill


def default(screen: Screen, option: object = None) -> tuple[Rule, ...]:
    return read_quality(option, screen.kind, Faults())


def fault_of(
    screen: Screen, frames: np.ndarray, *, option: object = None, refuse: bool = True, strict: bool = False
) -> Fault | None:
    """The fault of one lazy window."""
    try:
        QualityControl(screen, default(screen, option), refuse=refuse, strict=strict, required=refuse)(frames[None])
    except InputError as error:
        (fault,) = error.faults
        return fault
    return None


def code_of(screen: Screen, frames: np.ndarray, **options: object) -> str | None:
    fault = fault_of(screen, frames, **options)
    return None if fault is None else fault.code


def as_array(frames: np.ndarray, screen: Screen) -> xr.DataArray:
    return xr.DataArray(frames, dims=("time", "y", "x"), name=screen.variable)


def rejected(values: np.ndarray, screen: Screen) -> np.ndarray:
    """Values of one window that are taken as missing."""
    clean, _ = QualityControl(screen, default(screen))(values.reshape(1, 1, 1, -1))
    return (np.isnan(clean) & ~np.isnan(values)).ravel()


@pytest.mark.parametrize(
    ("kind", "units", "interval", "low", "high"),
    [
        ("rain", "mm h-1", None, 0.0, 3000.0),
        ("rain", "mm", 300.0, 0.0, 250.0),
        ("rain", "mm", None, -1e15, 1e15),  # an amount over an unknown interval
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
    np.testing.assert_array_equal(out_of_range(beyond, screen), [True, False, False, True])


def test_properties_of_a_kind() -> None:
    assert Screen.of(7, "rain", "mm", 3600.0, 1.5, "t") == Screen("7", "rain", 0.0, 3000.0, 1.5, True, "t", "mm")
    assert Screen.of("r", "rain", "mm h-1", 300.0) == Screen("r", "rain", 0.0, 3000.0, None, False, "time", "mm h-1")
    assert Screen("a", "other") == Screen("a", "other", -1e15, 1e15, None, False, "time", "")


def test_faults_of_a_lazy_window() -> None:
    rain = Screen.of("rain", "rain", "mm h-1", None)
    good = np.arange(12.0).reshape(3, 2, 2)
    assert code_of(rain, good) is None
    assert code_of(rain, np.where(good == 5, -2.0, good)) == "negative-rain"
    filled = np.where(good < 3, -999.0, good)
    assert code_of(rain, filled) == "fill-value"
    assert code_of(rain, filled, refuse=False) is None
    infinite = np.where(good == 4, np.inf, good)
    assert code_of(rain, infinite) is None
    fault = fault_of(rain, infinite, strict=True)
    assert (fault.code, fault.variable, fault.index) == ("infinite-values", "rain", (1, 0, 0))
    assert code_of(rain, good, strict=True) is None


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


def test_accumulated_rain_is_refused() -> None:
    assert _amounts(total=False).var4d.assimilate()["status"].item() in (1, 2)
    for radar in (_amounts(total=True), _amounts(total=True).rename(time="t")):
        with pytest.raises(xvar.InputError) as caught:
            radar.var4d.assimilate()
        assert codes(caught.value) == ["accumulated-rain"]
        assert caught.value.faults[0].fix == f"ds['rain'] = ds['rain'].diff('{radar['rain'].dims[0]}')"
    with pytest.raises(xvar.InputError) as caught:
        _amounts(total=True).chunk(time=2).var4d.assimilate().compute()
    assert codes(caught.value) == ["accumulated-rain"]


def test_a_fill_value_as_far_as_the_others_reach_is_one_of_them() -> None:
    assert undeclared_fill(np.array([0.0, 9999.0, -9999.0, -9999.0])) is None
    assert undeclared_fill(np.array([0.0, 9998.0, -9999.0, -9999.0])) == -9999


def frames(values: object, shape: tuple[int, ...] = (3, 2, 4), dtype: str = "float64") -> np.ndarray:
    """Values in the order of the file, the last of them repeated to the end."""
    given = np.asarray(values, dtype=dtype).ravel()
    return np.concatenate([given, np.full(int(np.prod(shape)) - given.size, given[-1], dtype)]).reshape(shape)


RAIN, WARM, ECHO = (
    Screen.of("r", "rain", "mm h-1", None),
    Screen.of("t", "temperature", "K", None),
    Screen.of("z", "reflectivity", "dBZ", None),
)
SEA, KELVIN = (Screen.of("s", "sea_temperature", units, None) for units in ("degree_Celsius", "K"))
DEPTH = Screen.of("d", "rain", "mm", 300.0)
OTHER = Screen.of("q", "other", "m", None)


@pytest.mark.filterwarnings("ignore::xvar.errors.InputWarning")
@pytest.mark.parametrize(
    ("screen", "values", "code", "index", "found"),
    [
        # Fill values: two at least, and all others far.
        (OTHER, [[0, -9999], [-9999, 1]], "fill-value", (0, 0, 1), "2 values of -9999"),
        (OTHER, [0, -9999, 1], None, None, ""),
        (RAIN, [0, -999, -999, 3], "fill-value", (0, 0, 1), "2 values of -999"),
        (ECHO, [20, -99, -99, 30], "fill-value", (0, 0, 1), "2 values of -99"),
        (ECHO, [20, -999, -999, 30], None, None, ""),  # beyond any dBZ: missing, with a warning
        (ECHO, [20, 9999, 9999, 30], None, None, ""),
        (RAIN, [0, 1, -0.25, -0.5, 2], "negative-rain", (0, 0, 2), "2 negative values, the least -0.5"),
        (RAIN, [0, 1, -np.inf, 0], None, None, ""),
        (ECHO, [-1, 1], None, None, ""),
        (OTHER, [-1, 1], None, None, ""),
        # Another unit: most of the values that are not zero.
        (WARM, [0, 1, 2, 3, 300, 300.5, 301, 301.5, 0], None, None, ""),
        (WARM, [0, 1, 2, 3, 3.5, 300.5, 301, 301.5, 0], "values-of-other-units", None, "4 of 7 values"),
        (WARM, [0, 1, 2, 300, 300.5, 0], "values-of-other-units", None, "2 of 4 values"),
        (WARM, [np.nan, 1, 2, np.inf, np.nan], "values-of-other-units", None, "2 of 2 values"),
        (SEA, [280, 300, np.nan, 0], "values-of-other-units", None, "from 280 to 300 degree_Celsius: values in K?"),
        (SEA, [280, 300, 15], None, None, ""),  # one value is possible as stated
        (SEA, [280, 340], None, None, ""),  # one is not in K
        (SEA, [[-1.9, 35], [0, np.nan]], None, None, ""),
        (SEA, [-30, -20], None, None, ""),  # of ice, in no other units
        (Screen.of("a", "temperature", "degree_Celsius", None), [280, 300], None, None, ""),  # of an oven
        (KELVIN, [5, 30], "values-of-other-units", None, "from 5 to 30 K: values in degree_Celsius?"),
        (KELVIN, [271.3, 308], None, None, ""),
        (KELVIN, [150, 200], None, None, ""),
        (RAIN, [3000, 3001, 3002, 0], "values-of-other-units", None, "2 of 3 values"),
        (RAIN, [3000, 2999, 0], None, None, ""),
        # Nothing is left.
        (WARM, [0, 1, 0], "no-values", None, "24 values in 3 frames, and none within 100 to 1000 K"),
        (WARM, [5, 5, 5, 0], "no-values", None, "24 values in 3 frames"),
        (OTHER, [1e16, 2e16, 3e16], "no-values", None, "24 values in 3 frames"),
        (ECHO, [-999, -999], "no-values", None, "24 values in 3 frames"),
        (OTHER, [1e16, 2e16, 0], None, None, ""),
    ],
)
def test_values_that_are_refused_in_memory_and_lazy(screen, values, code, index, found) -> None:
    cube = frames(values)
    memory, lazy = Faults(), Faults()
    check_values(as_array(cube, screen), screen, default(screen), memory)
    assert check_values(as_array(cube, screen).chunk(), screen, default(screen), lazy) == []
    assert not len(lazy)
    fault = fault_of(screen, cube)
    assert list(memory) == ([] if fault is None else [fault])
    assert code_of(screen, cube, refuse=False) is None
    if code is None:
        assert fault is None
    else:
        assert (fault.code, fault.variable, fault.index) == (code, screen.variable, index)
        assert found in fault.found


def test_a_window_without_any_value_is_no_fault_and_a_record_is() -> None:
    empty = np.full((3, 2, 4), np.nan)
    assert fault_of(OTHER, empty) is None
    faults = Faults()
    assert check_values(as_array(empty, OTHER), OTHER, default(OTHER), faults) == []
    assert codes(faults) == ["no-values"]
    assert faults.first.found == "no finite value in 3 frames"


def test_a_rule_that_is_left_out_refuses_nothing() -> None:
    filled, celsius = frames([0, -9999, -9999, 1]), np.linspace(1, 30, 48).reshape(3, 4, 4)
    for screen, cube, rule in (
        (OTHER, filled, "fill_value"),
        (WARM, celsius, "range"),
        (SEA, celsius + 273.15, "range"),
    ):
        assert code_of(screen, cube) is not None
        assert code_of(screen, cube, option={rule: False}) is None
        faults = Faults()
        assert check_values(as_array(cube, screen), screen, default(screen, {rule: False}), faults) == []
        assert not len(faults)


def test_a_hundredth_of_the_values_at_least_is_of_another_unit() -> None:
    few = np.full((4, 10, 10), 0.0)
    few[0, 0, :3] = [1, 2, 3]
    few[1, 0, 0] = 300.0
    faults = Faults()
    assert not check_plausible(few, WARM, frozenset({"range"}), faults)
    few[0, 0, 3] = 4
    assert check_plausible(few, WARM, frozenset({"range"}), faults)
    assert codes(faults) == ["values-of-other-units"]


def test_a_total_grows_at_a_hundredth_of_the_points_in_each_frame() -> None:
    total = np.zeros((3, 10, 10))
    total[1:, 0, 0] = 1.0
    assert code_of(DEPTH, total) is None
    total[2, 0, 0] = 2.0
    assert code_of(DEPTH, total) == "accumulated-rain"
    less = total.copy()
    less[1, 5, 5], less[2, 5, 5] = 2.0, 1.9
    assert code_of(DEPTH, less) is None
    assert code_of(DEPTH, total[:2]) is None
    assert code_of(RAIN, total) is None


@pytest.mark.parametrize(
    ("values", "dtype", "fill"),
    [
        *(([fill, fill, 0, 1], "f8", fill) for fill in (-9999.0, -999.0, -99.0, -32768.0, -32767.0, 9999.0, 32767.0)),
        *(([fill, fill, 0, 1], "f8", fill) for fill in (65535.0, 9.96921e36, 1e20, 1e30)),
        *(([fill, fill, 0, 1], "f4", fill) for fill in (-9999.0, 9.96921e36, 1e20, 1e30)),
        *(([fill, fill, 0, 1], "i2", fill) for fill in (-32768, 32767, -99, 9999)),
        *(([fill, fill, 0, 1], "u2", fill) for fill in (65535, 9999)),
        ([-9999, 0, 1], "f8", None),
        ([-9998, -9998, 0, 1], "f8", None),
        ([-9999, -9999, np.nan, 1], "f8", -9999.0),
        ([-9999, -9999, -np.inf, 1], "f8", -9999.0),
        ([-99, -99, -98], "f8", None),  # a step away is no distance
        ([-99, -99, -97.5], "f8", -99.0),
        ([9999, 9999, 9997.5, 9997], "f8", 9999.0),
        ([9999, 9999, 9997, 9998], "f8", None),
        ([-99, -99, 0, 99], "f8", None),
        ([-9999, -9999, 9999, 9999, 0], "f8", None),  # neither stands apart
        ([-9999, 9999, 9999, 0], "f8", None),
        ([-9999, 9999, 9999, 9000], "f8", None),
        ([np.inf, np.nan], "f8", None),
    ],
)
def test_fill_values_by_type(values, dtype, fill) -> None:
    cube = np.array(values, dtype=dtype)
    with np.errstate(all="raise"):
        assert undeclared_fill(cube) == fill
        found = rejected(cube, OTHER)
    infinite = np.isinf(cube)
    given = np.zeros(cube.shape, dtype=bool) if fill is None else cube == np.asarray(fill, dtype=dtype)
    beyond = np.abs(cube.astype("f8")) > 1e15
    np.testing.assert_array_equal(found, infinite | given | beyond)


def test_the_highest_code_is_met_to_a_millionth_and_nothing_else_is() -> None:
    screen = Screen("z", "reflectivity", nodata=100.0)
    values = np.array([100 + 0.99e-4, 100 - 0.99e-4, 100 + 1.1e-4, 100 - 1.1e-4, np.nan, 0.0])
    np.testing.assert_array_equal(highest_code(values, screen), [True, True, False, False, False, False])
    np.testing.assert_array_equal(highest_code(values, Screen("z", "reflectivity", nodata=0.0)), values == 0)
    assert highest_code(values[:2], Screen("z", "reflectivity")).tolist() == [False, False]
    packed = Screen.of("DBZH", "reflectivity", "dBZ", None, 95.5)
    np.testing.assert_array_equal(rejected(np.array([95.5, 95.0, np.nan], "float32"), packed), [True, False, False])
