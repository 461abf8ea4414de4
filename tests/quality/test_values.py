"""Values that are no observation: limits in the units of the variable, fill values, and the same rules where lazy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.records import storm
from xvar.errors import Faults, InputWarning
from xvar.quality.values import Screen, check_values, undeclared_fill


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
        faults = Faults()
        found = check_values(array, Screen.of("a", "other", "m", None), faults)
        assert [note.partition(" ")[0] for note in found] == notes
        assert not len(faults)


def test_frames_and_variables_are_named() -> None:
    values = np.full((4, 3, 3), np.nan)
    values[1] = np.arange(9.0).reshape(3, 3)
    array = xr.DataArray(values, dims=("t", "y", "x"), name="tracer")
    screen = Screen.of("tracer", "other", "m", None)
    assert check_values(array, screen, Faults()) == ["3 of 4 frames without any value"]
    faults = Faults()
    check_values(array.where(array.isnull()), screen, faults)
    assert str(faults.first) == (
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


def frames(values: object, shape: tuple[int, ...] = (3, 2, 4), dtype: str = "float64") -> np.ndarray:
    """Values in the order of the file, the last of them repeated to the end."""
    given = np.asarray(values, dtype=dtype).ravel()
    return np.concatenate([given, np.full(int(np.prod(shape)) - given.size, given[-1], dtype)]).reshape(shape)


RAIN, WARM, ECHO = (
    Screen.of("r", "rain", "mm h-1", None),
    Screen.of("t", "temperature", "K", None),
    Screen.of("z", "reflectivity", "dBZ", None),
)
DEPTH = Screen.of("d", "rain", "mm", 300.0)
OTHER = Screen.of("q", "other", "m", None)


def test_all_that_is_known_of_the_values_of_a_kind() -> None:
    assert Screen.of(7, "rain", "mm", 3600.0, 1.5, "t") == Screen("7", "rain", 0.0, 3000.0, 1.5, True, "t", "mm")
    assert Screen.of("r", "rain", "mm h-1", 300.0) == Screen("r", "rain", 0.0, 3000.0, None, False, "time", "mm h-1")
    assert Screen.of("z", "reflectivity", "K", None) == Screen("z", "reflectivity", -1e15, 1e15, units="K")
    assert Screen.of("t", "temperature", "m", None) == Screen("t", "temperature", -1e15, 1e15, units="m")
    assert Screen("a", "other") == Screen("a", "other", -1e15, 1e15, None, False, "time", "")


@pytest.mark.parametrize(
    ("screen", "values", "text"),
    [
        # Fill values: two at least, and all others far.
        (OTHER, [[0, -9999], [-9999, 1]],
         ("variable 'q', index (0, 0, 1): found 2 values of -9999: an undeclared _FillValue -9999?; expected NaN where "
         "nothing was observed; fix: ds['q'] = ds['q'].where(ds['q'] != -9999)")),
        (OTHER, [0, -9999, 1], None),
        (RAIN, [0, -999, -999, 3],
         ("variable 'r', index (0, 0, 1): found 2 values of -999: an undeclared _FillValue -999?; expected NaN where "
         "nothing was observed; fix: ds['r'] = ds['r'].where(ds['r'] != -999)")),
        (ECHO, [20, -99, -99, 30],
         ("variable 'z', index (0, 0, 1): found 2 values of -99: an undeclared _FillValue -99?; expected NaN where "
         "nothing was observed; fix: ds['z'] = ds['z'].where(ds['z'] != -99)")),
        (ECHO, [20, -999, -999, 30], None),  # beyond any dBZ: missing, with a warning
        (ECHO, [20, 9999, 9999, 30], None),
        # Negative rain
        (RAIN, [0, 1, -0.25, -0.5, 2],
         ("variable 'r', index (0, 0, 2): found 2 negative values, the least -0.5; expected rain of zero or more; fix: "
         "ds['r'] = ds['r'].clip(min=0), or ds['r'].where(ds['r'] >= 0) where they stand for missing")),
        (RAIN, [0, 1, -np.inf], None),
        (ECHO, [-1, 1], None),
        (OTHER, [-1, 1], None),
        # Another unit: most of the values that are not zero
        (WARM, [0, 1, 2, 3, 300, 300.5, 301, 301.5, 0],
         None),
        (WARM, [0, 1, 2, 3, 3.5, 300.5, 301, 301.5, 0],
         ("variable 't': found 4 of 7 values other than zero beyond 100 to 1000 K, which nothing reaches; their median "
         "is 3.5; expected values in K; fix: write the units that they are in, ds['t'].attrs['units'] = \"...\"")),
        (WARM, [0, 1, 2, 300, 300.5, 0],
         ("variable 't': found 2 of 4 values other than zero beyond 100 to 1000 K, which nothing reaches; their median "
         "is 151; expected values in K; fix: write the units that they are in, ds['t'].attrs['units'] = \"...\"")),
        (WARM, [0, 1, 0], None),  # one
        (WARM, [5, 5, 5, 0], None),  # one number at many points
        (WARM, [np.nan, 1, 2, np.inf, np.nan],
         ("variable 't': found 2 of 2 values other than zero beyond 100 to 1000 K, which nothing reaches; their median "
         "is 1.5; expected values in K; fix: write the units that they are in, ds['t'].attrs['units'] = \"...\"")),
        (RAIN, [3000, 3001, 3002, 0],
         ("variable 'r': found 2 of 3 values other than zero beyond 0 to 3000 mm h-1, which nothing reaches; their "
         "median is 3001; expected values in mm h-1; fix: write the units that they are in, ds['r'].attrs['units'] = "
         '"..."')),
        (RAIN, [3000, 2999, 0], None),
        (OTHER, [1e16, 2e16, 0], None),  # beyond anything
    ],
)  # fmt: skip
def test_what_is_refused_word_by_word(screen, values, text) -> None:
    cube = frames(values)
    problem = screen.problem(cube)
    assert (None if problem is None else str(problem)) == text
    assert screen.problem(cube, fill=False) is None
    array = xr.DataArray(np.where(np.isinf(cube), np.nan, cube), dims=("time", "y", "x"), name=screen.variable)
    faults = Faults()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        check_values(array, screen, faults)
    assert (None if faults.first is None else str(faults.first)) == text
    lazy = Faults()
    assert check_values(array.chunk(), screen, lazy) == []
    assert not len(lazy)


def test_a_hundredth_of_the_values_at_least_is_of_another_unit() -> None:
    few = np.zeros((4, 10, 10))
    few[0, 0, :3] = [1, 2, 3]
    assert WARM.problem(few) is None
    few[0, 0, 3] = 4
    assert "4 of 4 values" in str(WARM.problem(few))


def test_infinite_values_are_refused_where_it_is_asked_for() -> None:
    cube = frames([1, 2, np.inf, -np.inf, 3])
    text = (
        "variable 'q', index (0, 0, 2): found 2 infinite values; expected finite values, or NaN where nothing was "
        "observed (strict=True); fix: strict=False takes them as missing"
    )
    assert str(OTHER.problem(cube, strict=True)) == text
    faults = Faults()
    array = xr.DataArray(cube, dims=("time", "y", "x"), name="q")
    assert check_values(array, OTHER, faults, strict=True) == []  # and no warning beside it
    assert str(faults.first) == text
    assert OTHER.problem(cube) is None


MISSING = "taken as missing"


@pytest.mark.parametrize(
    ("screen", "values", "told"),
    [
        (OTHER, [1, np.inf, -np.inf, 2], [("2 infinite values", "(0, 0, 1)", "replace them by NaN to say so")]),
        (WARM, [300, 301, 302, 5000, 303, 304],
         [("1 values beyond 100 to 1000, which nothing reaches", "(0, 0, 3)",
           "an undeclared _FillValue 5000? ds['t'] = ds['t'].where(ds['t'] <= 1000)")]),
        (WARM, [300, 301, 302, 303, 5, 5000, 304],
         [("2 values beyond 100 to 1000, which nothing reaches", "(0, 1, 0)",
           "an undeclared _FillValue 5? ds['t'] = ds['t'].where(ds['t'] >= 100)")]),
        (Screen.of("z", "reflectivity", "dBZ", None, 95.5), [20, 95.5, 30, 95.5, 40],
         [("2 values of 95.5, the highest code of a packed file that declares neither nodata nor undetect", "(0, 0, 1)",
           "write the _FillValue of the file where they stand for missing")]),
        (WARM, [300, 301, np.inf, 5000, 303, 304],
         [("1 infinite values", "(0, 0, 2)", "replace them by NaN to say so"),
          ("1 values beyond 100 to 1000, which nothing reaches", "(0, 0, 3)",
           "an undeclared _FillValue 5000? ds['t'] = ds['t'].where(ds['t'] <= 1000)")]),
    ],
)  # fmt: skip
def test_what_is_taken_as_missing_is_told_word_by_word(screen, values, told) -> None:
    array = xr.DataArray(frames(values), dims=("time", "y", "x"), name=screen.variable)
    faults = Faults()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        notes = check_values(array, screen, faults)
    assert not len(faults)
    assert notes == [f"{what}: {MISSING}" for what, _, _ in told]
    variable = f"variable {screen.variable!r}: "
    assert [str(warning.message) for warning in caught] == [
        f"{variable}{what}, the first at index {place}: {MISSING}; {mend}" for what, place, mend in told
    ]
    assert all(warning.category is InputWarning for warning in caught)
    # What is told is what is left out.
    assert int(screen.rejected(array.values).sum()) == sum(int(what.split(" ")[0]) for what, _, _ in told)


def test_empty_frames_and_half_precision_are_told() -> None:
    cube = frames(np.arange(24.0), dtype="float16")
    cube[1] = np.nan
    cube[2, 0, 0] = np.nan
    array = xr.DataArray(cube, dims=("time", "y", "x"), name="q")
    half = "float16 values, computed in a wider type"
    assert check_values(array, OTHER, Faults()) == [half, "1 of 3 frames without any value"]
    assert check_values(array.chunk(), OTHER, Faults()) == [half]
    # What is refused is told alone, what is empty with it.
    filled = array.astype("f8").where(array.isnull() | (array > 3), -999.0)
    faults = Faults()
    assert check_values(filled, OTHER, faults) == ["1 of 3 frames without any value"]
    assert len(faults) == 1
    faults = Faults()
    assert check_values(array.where(False), OTHER, faults, strict=True) == [half]
    assert len(faults) == 1


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
        rejected = OTHER.rejected(cube)
    infinite = np.isinf(cube)
    given = np.zeros(cube.shape, dtype=bool) if fill is None else cube == np.asarray(fill, dtype=dtype)
    beyond = np.abs(cube.astype("f8")) > 1e15
    np.testing.assert_array_equal(rejected, infinite | given | beyond)


def test_the_highest_code_is_met_to_a_millionth_and_nothing_else_is() -> None:
    screen = Screen("z", "reflectivity", nodata=100.0)
    values = np.array([100 + 0.99e-4, 100 - 0.99e-4, 100 + 1.1e-4, 100 - 1.1e-4, np.nan, 0.0])
    np.testing.assert_array_equal(screen.at_nodata(values), [True, True, False, False, False, False])
    np.testing.assert_array_equal(Screen("z", "reflectivity", nodata=0.0).at_nodata(values), values == 0)
    assert Screen("z", "reflectivity").at_nodata(values[:2]).tolist() == [False, False]


def test_a_total_grows_at_a_hundredth_of_the_points_in_each_frame() -> None:
    total = np.zeros((3, 10, 10))
    total[1:, 0, 0] = 1.0
    assert DEPTH.problem(total) is None
    total[2, 0, 0] = 2.0
    assert "in 3 frames, and grow at 1% of the points or more in each" in str(DEPTH.problem(total))
    less = total.copy()
    less[1, 5, 5], less[2, 5, 5] = 2.0, 1.9
    assert DEPTH.problem(less) is None
    assert DEPTH.problem(total[:2]) is None
    assert RAIN.problem(total) is None
