"""Variables and dimensions are found by what the file says, and what is wrong is said in words."""

from __future__ import annotations

import itertools
import pathlib
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.cf.outputs import FILES
from xvar.cf.axes import Axes, canonical, find_axes, find_variable
from xvar.errors import InputError, Problems


def opened(path: pathlib.Path) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        return xr.open_dataset(path)


def images(dims=("time", "y", "x"), shape=(3, 5, 6), **attrs) -> xr.DataArray:
    return xr.DataArray(np.arange(np.prod(shape), dtype=float).reshape(shape), dims=dims, name="rain", attrs=attrs)


def message(problems: Problems) -> str:
    with pytest.raises(InputError) as error:
        problems.refuse()
    return str(error.value)


@pytest.mark.parametrize("file", FILES)
def test_axes_of_real_files(file, shared_data):
    dataset = opened(shared_data / file)
    problems = Problems()
    axes = find_axes(dataset[FILES[file][0]], problems)
    assert not len(problems)
    assert axes is not None
    assert (axes.time, axes.y, axes.x) == dataset[FILES[file][0]].dims


@pytest.mark.parametrize("file", [name for name in FILES if name.startswith(("radar", "sst"))])
def test_the_only_variable_of_a_real_file_is_found(file, shared_data):
    problems = Problems()
    assert find_variable(opened(shared_data / file), None, problems) == FILES[file][0]
    assert not len(problems)


@pytest.mark.parametrize(
    ("file", "fix"),
    [
        ("ocean-arctic20-20160201.nc", 'assimilate("temperature")'),
        ("ocean-norkyst800-20160114.nc", 'assimilate("temperature")'),
        ("currents-duacs-ionian-202401.nc", 'assimilate("adt")'),
        ("currents-norkyst800-20151116.nc", 'rename({"u": "image"}).var4d.assimilate("image")'),
    ],
)
def test_several_variables_are_named_with_the_line_that_chooses(file, fix, shared_data):
    problems = Problems()
    assert find_variable(opened(shared_data / file), None, problems) is None
    assert fix in message(problems)


def test_velocities_are_left_aside_where_one_variable_remains():
    dataset = xr.Dataset({name: images() for name in ("u", "v", "sst")})
    assert find_variable(dataset, None, Problems()) == "sst"


def test_masks_bounds_text_and_ancillaries_are_no_candidates():
    dataset = images().to_dataset()
    dataset["rain"].attrs["ancillary_variables"] = "rain_error"
    dataset["rain_error"] = images()
    dataset["quality_flag"] = images().astype("i1")
    dataset["label"] = ("time", np.array(list("abc")))
    dataset["orography"] = (("y", "x"), np.zeros((5, 6)))
    assert find_variable(dataset, None, Problems()) == "rain"


def test_a_name_that_is_not_there_gets_the_closest():
    problems = Problems()
    assert find_variable(images().to_dataset(), "rian", problems) is None
    assert "'rian'" in message(problems)
    assert 'assimilate("rain")' in message(problems)


def test_no_variable_with_three_axes_says_what_there_is():
    problems = Problems()
    dataset = xr.Dataset({"profile": (("time", "depth"), np.zeros((3, 4)))})
    assert find_variable(dataset, None, problems) is None
    assert "'profile' has dimensions ('time', 'depth')" in message(problems)


@pytest.mark.parametrize(
    ("dtype", "word"),
    [("complex64", "complex64"), ("bool", "bool"), ("U3", "<U3"), ("datetime64[ns]", "datetime64"), ("O", "object")],
)
def test_values_that_are_no_numbers(dtype, word):
    """Fault 27."""
    array = images().astype("i8").astype(dtype)
    problems = Problems()
    assert canonical(array, Axes("time", "y", "x"), problems) is None
    assert word in message(problems)
    assert "'rain'" in message(problems)
    problems = Problems()
    assert find_variable(array.to_dataset(), None, problems) is None
    assert word in message(problems)


def test_packed_values_are_not_decoded():
    """Fault 38."""
    problems = Problems()
    array = images(scale_factor=0.01, add_offset=3.0).astype("i2")
    assert canonical(array, Axes("time", "y", "x"), problems) is None
    assert "not decoded: scale_factor, add_offset" in message(problems)
    assert "decode_cf" in message(problems)


def test_extra_dimension():
    """Fault 54."""
    problems = Problems()
    array = images(("band", "time", "y", "x"), (2, 3, 5, 6))
    assert canonical(array, Axes("time", "y", "x"), problems) is None
    assert "dimension 'band'" in message(problems)
    assert "isel(band=0)" in message(problems)


def test_a_single_level_becomes_a_scalar_coordinate():
    array = images(("time", "depth", "y", "x"), (3, 1, 5, 6)).assign_coords(depth=[2.5])
    axes = find_axes(array, Problems())
    assert axes == Axes("time", "y", "x")
    result = canonical(array, axes, Problems())
    assert result.dims == ("time", "y", "x")
    assert float(result.depth) == 2.5


@pytest.mark.parametrize(("shape", "dim"), [((3, 1, 6), "y"), ((3, 5, 3), "x")])
def test_tiny_grid(shape, dim):
    """Fault 55."""
    problems = Problems()
    assert canonical(images(shape=shape), Axes("time", "y", "x"), problems) is None
    assert f"dimension '{dim}'" in message(problems)
    assert "at least 4" in message(problems)


def test_several_faults_are_told_together():
    problems = Problems()
    canonical(images(("band", "time", "y", "x"), (2, 3, 2, 6)).astype(complex), Axes("time", "y", "x"), problems)
    assert len(problems) == 3


@given(st.permutations(["time", "y", "x"]), st.booleans())
def test_any_order_of_dimensions_is_the_same_images(order, named):
    """Fault 54."""
    straight = images().assign_coords(time=pd.date_range("2000", periods=3))
    array = straight.transpose(*order)
    if not named:
        names = {"time": "a", "y": "b", "x": "c"}
        array = array.rename(names).assign_coords(
            b=("b", np.arange(5.0), {"units": "degrees North"}), c=("c", np.arange(6.0), {"axis": "X"})
        )
    axes = find_axes(array, Problems())
    result = canonical(array, axes, Problems())
    np.testing.assert_array_equal(result.values, straight.values)
    assert result.dims == (axes.time, axes.y, axes.x)


@pytest.mark.parametrize(
    ("y", "x"),
    [("y", "x"), ("lat", "lon"), ("latitude", "longitude"), ("rlat", "rlon"), ("south_north", "west_east"), ("Y", "X")],
)
def test_names_of_dimensions_without_coordinates(y, x):
    assert find_axes(images(("Time", y, x)), Problems()) == Axes("Time", y, x)


def test_attributes_stand_above_names():
    array = images(("time", "x", "y")).assign_coords(
        x=("x", np.arange(5.0), {"units": "degrees North"}), y=("y", np.arange(6.0), {"units": "degrees East"})
    )
    assert find_axes(array, Problems()) == Axes("time", "x", "y")


def test_two_dimensions_of_time_are_ambiguous():
    array = images(("time", "valid_time", "y", "x"), (3, 2, 5, 6)).assign_coords(
        time=pd.date_range("2000", periods=3), valid_time=pd.date_range("2000", periods=2)
    )
    problems = Problems()
    assert find_axes(array, problems) is None
    assert "'time', 'valid_time'" in message(problems)
    assert "isel(valid_time=0)" in message(problems)


def test_unknown_dimensions_are_named():
    problems = Problems()
    assert find_axes(images(("a", "b", "c")), problems) is None
    assert len(problems) == 3
    assert "(a: 3, b: 5, c: 6)" in message(problems)


def test_odd_attributes_do_no_harm():
    array = images().assign_coords(
        time=pd.date_range("2000", periods=3), y=("y", np.arange(5.0), {"units": 1, "axis": 3, "standard_name": None})
    )
    assert find_axes(array, Problems()) == Axes("time", "y", "x")


def test_input_is_not_changed():
    array = images(("x", "depth", "time", "y"), (6, 1, 3, 5), units="mm h-1")
    before = array.copy(deep=True)
    for _ in itertools.repeat(None, 2):
        canonical(array, find_axes(array, Problems()), Problems())
    xr.testing.assert_identical(array, before)


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
def test_a_variable_with_one_dimension_twice_is_none():
    dataset = images().to_dataset().assign(twice=xr.Variable(("a", "a"), np.zeros((2, 2))))
    assert find_variable(dataset, None, Problems()) == "rain"
    problems = Problems()
    assert find_variable(dataset, "twice", problems) is None
    assert "'a') , one of them twice".replace(" ,", ",") in message(problems)


def test_images_of_several_members_are_chosen_by_position():
    for coords in ({}, {"member": ["a", "b"]}, {"member": [7, 8]}, {"member": [1.0, np.nan]}):
        array = xr.concat([images(), images()], "member").assign_coords(coords)
        problems = Problems()
        assert canonical(array, Axes("time", "y", "x"), problems) is None
        assert message(problems).endswith("fix: choose one, ds = ds.isel(member=0)")


@pytest.mark.parametrize(
    ("attrs", "values", "nearest", "said"),
    [
        ({"standard_name": "air_pressure"}, [500.0, 1000.0, 850.0], 1, "1000"),
        ({"units": "hPa"}, [1000.0, 500.0], 0, "1000 hPa"),
        ({"standard_name": "atmosphere_sigma_coordinate"}, [0.2, 0.9], 1, "0.9"),
        ({"positive": "down", "units": "m"}, [500.0, 0.5], 1, "0.5 m"),
        ({"positive": "up", "units": "m"}, [-500.0, -0.5], 1, "-0.5 m"),
        ({"axis": "Z"}, [3.0, 1.0], 1, "1"),
        ({"standard_name": "depth", "units": "m"}, [10.0, 5.0], 1, "5 m"),
    ],
)
def test_of_levels_that_nearest_the_surface_is_told(attrs, values, nearest, said):
    level = ("level", values, attrs)
    array = images(("time", "level", "y", "x"), (3, len(values), 5, 6)).assign_coords(level=level)
    problems = Problems()
    canonical(array, Axes("time", "y", "x"), problems)
    assert f"ds = ds.isel(level={nearest}) for that nearest the surface ({said})" in message(problems)


@pytest.mark.parametrize(
    "level", [None, ("level", ["a", "b"]), ("level", [1.0, np.nan], {"axis": "Z"}), ("level", [2.0, 1.0])]
)
def test_where_nothing_says_what_levels_are_the_first_is_proposed(level):
    array = images(("time", "level", "y", "x"), (3, 2, 5, 6))
    problems = Problems()
    canonical(array if level is None else array.assign_coords(level=level), Axes("time", "y", "x"), problems)
    assert message(problems).endswith("choose one, ds = ds.isel(level=0)")
