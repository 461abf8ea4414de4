"""Variables and dimensions are found by what the file states; faults by code and place."""

from __future__ import annotations

import itertools
import pathlib
import warnings

import cftime
import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.cf.outputs import FILES
from tests.cf.places import places
from xvar.cf.axes import Axes, canonical, find_axes, find_variable, in_memory, is_date, plane_of
from xvar.errors import Faults, InputError


def opened(path: pathlib.Path) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        return xr.open_dataset(path)


def images(dims=("time", "y", "x"), shape=(3, 5, 6), **attrs) -> xr.DataArray:
    return xr.DataArray(np.arange(np.prod(shape), dtype=float).reshape(shape), dims=dims, name="rain", attrs=attrs)


def message(faults: Faults) -> str:
    with pytest.raises(InputError) as error:
        faults.raise_if_any()
    return str(error.value)


@pytest.mark.parametrize("file", FILES)
def test_axes_of_real_files(file, shared_data):
    dataset = opened(shared_data / file)
    faults = Faults()
    axes = find_axes(dataset[FILES[file][0]], faults)
    assert not len(faults)
    assert axes is not None
    assert (axes.time, axes.y, axes.x) == dataset[FILES[file][0]].dims


@pytest.mark.parametrize("file", [name for name in FILES if name.startswith(("radar", "sst"))])
def test_the_only_variable_of_a_real_file_is_found(file, shared_data):
    faults = Faults()
    assert find_variable(opened(shared_data / file), None, faults) == FILES[file][0]
    assert not len(faults)


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
    faults = Faults()
    assert find_variable(opened(shared_data / file), None, faults) is None
    assert fix in message(faults)


def test_velocities_are_left_aside_where_one_variable_remains():
    dataset = xr.Dataset({name: images() for name in ("u", "v", "sst")})
    assert find_variable(dataset, None, Faults()) == "sst"


def test_masks_bounds_text_and_ancillaries_are_no_candidates():
    dataset = images().to_dataset()
    dataset["rain"].attrs["ancillary_variables"] = "rain_error"
    dataset["rain_error"] = images()
    dataset["quality_flag"] = images().astype("i1")
    dataset["label"] = ("time", np.array(list("abc")))
    dataset["orography"] = (("y", "x"), np.zeros((5, 6)))
    assert find_variable(dataset, None, Faults()) == "rain"


@pytest.mark.parametrize("dtype", ["complex64", "bool", "U3", "datetime64[ns]", "O"])
def test_values_that_are_no_numbers(dtype):
    """Fault 27."""
    array = images().astype("i8").astype(dtype)
    faults = Faults()
    assert canonical(array, Axes("time", "y", "x"), faults) is None
    assert places(faults) == [("not-numeric", "rain")]
    faults = Faults()
    assert find_variable(array.to_dataset(), None, faults) is None
    assert places(faults) == [("variable-missing",)]


def test_a_single_level_becomes_a_scalar_coordinate():
    array = images(("time", "depth", "y", "x"), (3, 1, 5, 6)).assign_coords(depth=[2.5])
    axes = find_axes(array, Faults())
    assert axes == Axes("time", "y", "x")
    result = canonical(array, axes, Faults())
    assert result.dims == ("time", "y", "x")
    assert float(result.depth) == 2.5


def test_several_faults_are_told_together():
    faults = Faults()
    canonical(images(("band", "time", "y", "x"), (2, 3, 2, 6)).astype(complex), Axes("time", "y", "x"), faults)
    assert len(faults) == 3


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
    axes = find_axes(array, Faults())
    result = canonical(array, axes, Faults())
    np.testing.assert_array_equal(result.values, straight.values)
    assert result.dims == (axes.time, axes.y, axes.x)


def test_attributes_stand_above_names():
    array = images(("time", "x", "y")).assign_coords(
        x=("x", np.arange(5.0), {"units": "degrees North"}), y=("y", np.arange(6.0), {"units": "degrees East"})
    )
    assert find_axes(array, Faults()) == Axes("time", "x", "y")


def test_unknown_dimensions_are_named():
    faults = Faults()
    assert find_axes(images(("a", "b", "c")), faults) is None
    assert places(faults) == [("axis-missing", "rain")] * 3


def test_odd_attributes_do_no_harm():
    array = images().assign_coords(
        time=pd.date_range("2000", periods=3), y=("y", np.arange(5.0), {"units": 1, "axis": 3, "standard_name": None})
    )
    assert find_axes(array, Faults()) == Axes("time", "y", "x")


def test_input_is_not_changed():
    array = images(("x", "depth", "time", "y"), (6, 1, 3, 5), units="mm h-1")
    before = array.copy(deep=True)
    for _ in itertools.repeat(None, 2):
        canonical(array, find_axes(array, Faults()), Faults())
    xr.testing.assert_identical(array, before)


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
def test_a_variable_with_one_dimension_twice_is_none():
    dataset = images().to_dataset().assign(twice=xr.Variable(("a", "a"), np.zeros((2, 2))))
    assert find_variable(dataset, None, Faults()) == "rain"
    faults = Faults()
    assert find_variable(dataset, "twice", faults) is None
    assert places(faults) == [("repeated-dimension", "twice")]


@pytest.mark.parametrize(
    ("attrs", "values", "proposed"),
    [
        ({"standard_name": "air_pressure"}, [500.0, 1000.0, 850.0], 1),
        ({"units": "hPa"}, [1000.0, 500.0], 0),
        ({"standard_name": "atmosphere_sigma_coordinate"}, [0.2, 0.9], 1),
        ({"positive": "down", "units": "m"}, [500.0, 0.5], 1),
        ({"positive": "up", "units": "m"}, [-500.0, -0.5], 1),
        ({"axis": "Z"}, [3.0, 1.0], 1),
        ({"standard_name": "depth", "units": "m"}, [10.0, 5.0], 1),
        ({"standard_name": "atmosphere_ln_pressure_coordinate"}, [-2.0, 0.0, -1.0], 1),
        ({"standard_name": "sea_water_pressure_due_to_air", "units": "dbar"}, [1.0, 3.0], 1),
        ({"units": "mbar"}, [850.0, 1000.0], 1),
        ({"positive": "down"}, [-10.0, 5.0], 1),
        ({"positive": "sideways", "axis": "Z"}, [7.0, 5.0], 1),
        *(
            ({"standard_name": name, "units": "m"}, [10.0, -5.5], 1)
            for name in ("depth", "height", "altitude", "depth_below_geoid")
        ),
        ({"standard_name": "depth"}, [10, 5], 1),
        (None, None, 0),
        ({}, ["a", "b"], 0),
        ({"axis": "Z"}, [1.0, np.nan], 0),
        ({}, [2.0, 1.0], 0),
        ({"positive": "sideways"}, [2.0, 1.0], 0),
        ({"axis": "E"}, [2.0, 1.0], 0),
        ({"standard_name": "realization"}, [2.0, 1.0], 0),
    ],
)  # fmt: skip
def test_the_level_nearest_the_surface_is_proposed_else_the_first(attrs, values, proposed):
    size = 2 if values is None else len(values)
    array = images(("time", "level", "y", "x"), (3, size, 5, 6))
    if values is not None:
        array = array.assign_coords(level=("level", values, attrs))
    faults = Faults()
    assert canonical(array, Axes("time", "y", "x"), faults) is None
    assert places(faults) == [("extra-dimension", "rain", "level")]
    assert f"ds = ds.isel(level={proposed})" in faults.first.fix


ANGULAR = ("projection_{}_coordinate", "projection_{}_angular_coordinate")
STATED = {
    "time": [
        *({"axis": "T"}, {"axis": "t"}, {"standard_name": "time"}, {"units": "hours since 2000-01-01"}),
        {"cartesian_axis": "T"},
    ],
    "y": [
        *({"axis": "Y"}, {"axis": "y"}, {"standard_name": "latitude"}, {"standard_name": "grid_latitude"}),
        *({"standard_name": name.format("y")} for name in ANGULAR),
        *(
            {"units": units}
            for units in ("degrees_north", "degree_north", "degree_N", "degrees_N", "degreeN", "degreesN")
        ),
        *({"units": "degrees North"}, {"_CoordinateAxisType": "Lat"}, {"_CoordinateAxisType": "GeoY"}),
    ],
    "x": [
        *({"axis": "X"}, {"axis": "x"}, {"standard_name": "longitude"}, {"standard_name": "grid_longitude"}),
        *({"standard_name": name.format("x")} for name in ANGULAR),
        *(
            {"units": units}
            for units in ("degrees_east", "degree_east", "degree_E", "degrees_E", "degreeE", "degreesE")
        ),
        *({"units": "degrees East"}, {"_CoordinateAxisType": "Lon"}, {"_CoordinateAxisType": "GeoX"}),
    ],
}


@pytest.mark.parametrize(
    ("axis", "attrs", "own"),
    [
        (axis, attrs, own)
        for axis, many in STATED.items()
        for attrs in many
        for own in (True, False)
        if own or not {"cartesian_axis", "_CoordinateAxisType"} & set(attrs)  # of other coordinates no one reads these
    ],
)
def test_attributes_that_state_an_axis(axis, attrs, own):
    """Of the coordinate of a dimension, or of another one along it."""
    dims = {"time": "a", "y": "b", "x": "c"}
    sizes = {"a": 3, "b": 5, "c": 6}
    coords = {
        dim: (dim, np.arange(sizes[dim]), {"axis": name[0].upper()}) for name, dim in dims.items() if name != axis
    }
    name = dims[axis] if own else "position"
    coords[name] = (dims[axis], np.arange(sizes[dims[axis]]), attrs)
    assert find_axes(images(("a", "b", "c")).assign_coords(coords), Faults()) == Axes("a", "b", "c")


def test_dates_state_the_axis_of_time():
    array = images(("a", "y", "x"))
    days = pd.date_range("2000", periods=3)
    dates = xr.date_range("2000", periods=3, calendar="noleap", use_cftime=True)
    for coordinate in (("a", days), ("a", dates), ("a", np.arange(3).astype("m8[h]"))):
        assert find_axes(array.assign_coords(a=coordinate), Faults()) == Axes("a", "y", "x")
    for coordinate in (("a", days), ("a", dates)):
        assert find_axes(array.assign_coords(when=coordinate), Faults()) == Axes("a", "y", "x")
    for texts in (("a", np.array(list("abc"), dtype=object)), ("a", np.array([1.5, None, 2], dtype=object))):
        faults = Faults()
        assert find_axes(array.assign_coords(a=texts), faults) is None
        assert places(faults) == [("axis-missing", "rain")]


@pytest.mark.parametrize(
    ("values", "dates"),
    [
        (np.datetime64("2000-01-01", "ns"), True),
        (cftime.datetime(2000, 1, 1, calendar="noleap"), True),
        (("a", np.array([], "M8[ns]")), True),
        (("a", np.array([], object)), False),
        (("a", np.array(["2000-01-01"], object)), False),
        (2000.0, False),
        (np.timedelta64(1, "ns"), False),
    ],
)
def test_what_holds_dates(values, dates):
    assert is_date(xr.Dataset(coords={"when": values})["when"]) is dates


def test_what_counts_first_of_what_states_an_axis():
    array = images(("a", "b", "c")).assign_coords(
        a=("a", np.arange(3), {"axis": "T", "units": "degrees_north"}),
        b=("b", np.arange(5), {"standard_name": "latitude", "units": "degrees_east"}),
        c=("c", np.arange(6), {"axis": "X"}),
        d=("c", np.arange(6), {"axis": "Y"}),
    )
    assert find_axes(array, Faults()) == Axes("a", "b", "c")
    # A coordinate of its own that states nothing leaves it to others.
    array = images(("a", "b", "x")).assign_coords(
        a=np.arange(3),
        b=np.arange(5),
        when=("a", pd.date_range("2000", periods=3)),
        row=("b", np.arange(5), {"axis": "Y"}),
    )
    assert find_axes(array, Faults()) == Axes("a", "b", "x")
    # A step of a forecast is time where nothing else is.
    steps = images(("step", "time", "y", "x"), (2, 3, 5, 6)).assign_coords(step=np.arange(2).astype("m8[h]"))
    assert find_axes(steps, Faults()) == Axes("time", "y", "x")


def test_a_dimension_whose_attributes_state_another_axis_is_none_by_its_name():
    upright = images().assign_coords(y=("y", np.arange(5), {"axis": "Z"}))
    faults = Faults()
    assert find_axes(upright, faults) is None
    assert places(faults) == [("axis-missing", "rain")]
    steps = images().assign_coords(time=("time", np.arange(3).astype("m8[h]"), {"axis": "Z"}))
    assert find_axes(steps, Faults()) is None


CUSTOMARY = {
    "time": "time t times date datetime ocean_time valid_time time_counter xtime",
    "y": "y lat latitude rlat south_north yc nj j row rows northing eta_rho nav_lat y_c yt_ocean jmax north ny",
    "x": "x lon longitude rlon west_east xc ni i col cols column columns easting xi_rho nav_lon x_c xt_ocean imax east "
    "nx long",
}


@pytest.mark.parametrize(("axis", "name"), [(axis, name) for axis in CUSTOMARY for name in CUSTOMARY[axis].split()])
def test_customary_names(axis, name):
    names = {"time": "time", "y": "y", "x": "x", axis: name.upper()}
    assert find_axes(images(tuple(names.values())), Faults()) == Axes(*names.values())


def test_a_dimension_of_one_value_is_not_what_images_run_along():
    array = images(("time", "valid_time", "lat", "y", "x"), (1, 3, 1, 5, 6))
    assert find_axes(array, Faults()) == Axes("valid_time", "y", "x")
    faults = Faults()
    assert find_axes(images(("time", "valid_time", "y", "x"), (1, 1, 5, 6)), faults) is None
    assert places(faults) == [("axis-ambiguous", "rain")]


@pytest.mark.parametrize(
    ("dims", "said"),
    [
        (("time", "lat", "y", "x"), [("axis-ambiguous", "rain")]),
        (("a", "y", "x", "b"), [("axis-missing", "rain")]),
        (("time", "a", "x", "b"), [("axis-missing", "rain")]),
        (("time", "y", "a", "b"), [("axis-missing", "rain")]),
    ],
)
def test_missing_and_ambiguous_dimensions(dims, said):
    faults = Faults()
    assert find_axes(images(dims, (2, 3, 4, 5)), faults) is None
    assert places(faults) == said


@pytest.mark.parametrize(
    ("dims", "plane"),
    [
        (("y", "x"), ("y", "x")),
        (("x", "lat"), ("lat", "x")),
        (("time", "y", "x"), ("y", "x")),
        (("y", "a"), None),
        (("a", "x"), None),
        (("lat", "y", "x"), None),
        (("a", "b"), None),
    ],
)
def test_the_plane_of_a_field_without_time(dims, plane):
    assert plane_of(images(dims, range(2, 2 + len(dims)))) == plane


LINKS = ("grid_mapping", "bounds", "climatology", "ancillary_variables", "cell_measures", "formula_terms", "mesh")


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("text", ["second", "area: second", "third second", "a:second b:third", "\tsecond "])
@pytest.mark.parametrize("decoded", [False, True])
def test_what_another_variable_points_at_is_no_candidate(link, text, decoded):
    dataset = xr.Dataset({"rain": images(), "second": images()})
    kept = dataset["rain"].encoding if decoded else dataset["rain"].attrs
    assert find_variable(dataset, None, Faults()) is None
    kept[link] = text
    assert find_variable(dataset, None, Faults()) == "rain"
    kept[link] = text.replace("second", "seconds")
    assert find_variable(dataset, None, Faults()) is None


MASKS = "mask land_mask landmask MASK lsm flag flags quality qc valid is_valid rain_qc quality_of_rain seamask"
VELOCITIES = (
    "u v uo vo u10 v10 ugos vgos ugosa vgosa us vs uu vv water_u water_v u_eastward v_northward uvel v_vel uwind U "
    "v_wind_10m"
)
NEITHER = "masked flagged lsm2 qcd valida equality w u1 wind vel uv water_w eastward"
STANDARD_NAMES = {
    True: "area_type land_binary_mask sea_binary_mask status_flag quality_flag region "
    "eastward_sea_water_velocity northward_wind sea_water_velocity_due_to_tides",
    False: "air_temperature wind_speed",
}


@pytest.mark.parametrize(
    ("name", "attrs", "left_out"),
    [
        *((name, {}, True) for name in (MASKS + " " + VELOCITIES).split()),
        *((name, {}, False) for name in NEITHER.split()),
        *(
            ("second", {"standard_name": name}, left)
            for left in STANDARD_NAMES
            for name in STANDARD_NAMES[left].split()
        ),
        ("second", {"flag_values": [0, 1]}, True),
        ("second", {"flag_masks": [1, 2]}, True),
        ("u", {"standard_name": "air_temperature"}, False),  # what it is called says no more than what it is
    ],
)
def test_masks_and_velocities_leave_one_variable(name, attrs, left_out):
    dataset = xr.Dataset({name: images().assign_attrs(attrs), "rain": images()})
    assert find_variable(dataset, None, Faults()) == ("rain" if left_out else None)


def several(*names: str, **others: xr.DataArray) -> xr.Dataset:
    return xr.Dataset({name: images() for name in names} | others)


PLAIN = xr.DataArray(np.zeros((5, 6)), dims=("y", "x"))


@pytest.mark.parametrize(
    ("dataset", "name", "said"),
    [
        (several("rain", "snow"), "RIAN", [("unknown-variable", "RIAN")]),
        (several("Rain"), "rain", [("unknown-variable", "rain")]),
        (several("rain"), "zzz", [("unknown-variable", "zzz")]),
        (several(), "rain", [("unknown-variable", "rain")]),
        (several("rain", "snow"), None, [("variable-ambiguous",)]),
        (several("u", "v", "rain", "snow"), None, [("variable-ambiguous",)]),
        (several("u", "v"), None, [("variable-ambiguous",)]),
        (several("u", "ugos", "v"), None, [("variable-ambiguous",)]),
        (several(), None, [("variable-missing",)]),
        (
            several(rain=images(("a", "y", "x")), text=images().astype(str), label=PLAIN.astype(str)),
            None,
            [("variable-missing",)],
        ),
        (several(**{name: images(("a", "b", "c")) for name in "pqrstu"}), None, [("variable-missing",)]),
        (several(label=PLAIN.astype(str), rain=PLAIN, snow=PLAIN), None, [("variable-missing",)]),
        (
            several(section=PLAIN.rename(x="time"), row=PLAIN.rename(y="a"), column=PLAIN.rename(x="b")),
            None,
            [("variable-missing",)],
        ),
    ],
)
def test_no_variable_or_several(dataset, name, said):
    faults = Faults()
    assert find_variable(dataset, name, faults) is None
    assert places(faults) == said


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (images(shape=(3, 4, 4)), []),
        (images(shape=(1, 3, 4)), [("grid-too-small", "rain", "y")]),
        (images(shape=(1, 4, 3)), [("grid-too-small", "rain", "x")]),
        (
            images(("time", "member", "y", "x", "band"), (3, 2, 5, 6, 4)),
            [("extra-dimension", "rain", "member"), ("extra-dimension", "rain", "band")],
        ),
        (images().astype("c8"), [("not-numeric", "rain")]),
        *(
            (images(**dict.fromkeys(keys, 1)).astype(dtype), [("not-decoded", "rain")])
            for dtype, keys in (
                ("int16", ["scale_factor"]),
                ("uint8", ["add_offset"]),
                ("int32", ["_FillValue"]),
                ("uint16", ["scale_factor", "missing_value"]),
            )
        ),
        (images(scale_factor=1, _FillValue=1.0).astype("f4"), []),
        (images().astype("u1"), []),
    ],
)
def test_faults_of_images(array, said):
    faults = Faults()
    result = canonical(array, Axes("time", "y", "x"), faults)
    assert (result is None) is bool(said)
    assert places(faults) == said


def test_coordinates_and_masks_are_read_past_the_scheduler():
    def refuse(*args, **kwargs):
        raise AssertionError("this one runs the windows")

    with dask.config.set(scheduler=refuse):
        np.testing.assert_array_equal(in_memory(images().chunk()), images().values)
