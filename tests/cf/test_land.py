"""Land by a mask of the file, by the user's mask, or by what is never valid: the same for lazy and in-memory data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import xvar  # noqa: F401  (registers .var4d)
from tests.cf.test_axes import images
from tests.faults.codes import codes
from xvar.cf.axes import Axes
from xvar.cf.land import find_land
from xvar.errors import Faults, InputWarning

AXES = Axes("time", "y", "x")
PLANE = ("y", "x")
LAND = np.zeros((5, 6), bool)
LAND[:2, 1:4] = True
ONE_ON_LAND = LAND.astype("f4")


def sea(**variables) -> xr.Dataset:
    """Complete images, so that land comes from masks alone."""
    array = images(units="K").rename("sst").assign_coords(y=np.arange(5.0), x=np.arange(6.0))
    return array.to_dataset().assign(variables)


def masked() -> xr.Dataset:
    """Images without a value on land."""
    return sea().map(lambda array: array.where(~LAND), keep_attrs=True)


def land_of(dataset, land=None, variable="sst"):
    faults = Faults()
    found, statement = find_land(dataset, dataset[variable], AXES, land, faults)
    faults.raise_if_any()
    return found, statement


def mask(values, **attrs):
    return PLANE, values, attrs


def flags(meanings: str, **numbers) -> dict:
    return {"flag_meanings": meanings, **{f"flag_{key}": np.array(value) for key, value in numbers.items()}}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("on_land", "on_water", "attrs"),
    [
        (1, 0, {"standard_name": "land_binary_mask"}),
        (0.51, 0.5, {"standard_name": "land_area_fraction"}),
        (0, 1, {"standard_name": "sea_binary_mask"}),
        (0.5, 0.51, {"standard_name": "sea_area_fraction"}),
        (2, 1, flags("sea land", values=[1, 2])),
        (7, 1, flags("sea land_ice  ground lake", values=[1, 7, 2, 5])),
        (2, 1, flags("OPEN_SEA LAND", values=[1, 2])),
        (0, 1, flags("missing open_sea", values=[0, 1])),
        (1, 0, flags("land", values=1)),
        (2, 9, flags("water land sea_ice", masks=[1, 2, 8])),
        (4, 1, flags("water land terrestrial", masks=[1, 2, 4])),
        (2.0, np.nan, flags("water land", masks=[1, 2])),
        (2, 3, flags("water land", masks=[3, 3], values=[1, 2])),
        (0, 1, {"option_0": "land", "option_1": "water"}),
    ],
)
def test_flags_and_standard_names_state_the_land(on_land, on_water, attrs, named, lazy):
    dataset = sea(anything=mask(np.where(LAND, on_land, on_water), **attrs))
    found, statement = land_of(dataset.chunk() if lazy else dataset, "anything" if named else None)
    np.testing.assert_array_equal(found, LAND)
    assert statement == "6 of 30 points are land: variable 'anything'"


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("mask", mask(ONE_ON_LAND)),
        ("lsm", mask(ONE_ON_LAND)),
        ("stated", mask(ONE_ON_LAND, long_name="1 = land", comment="1 = land, 0 = sea")),
        ("stated", mask(ONE_ON_LAND, **flags("Greenland Chelsea", values=[1, 0]))),
        ("stated", mask(ONE_ON_LAND, **flags("land", values=[1, 0]))),
        ("stated", mask(ONE_ON_LAND, **flags("land sea", values=["1b", "0b"]))),
        ("stated", mask(ONE_ON_LAND, **flags("ice water", masks=[1, 2]))),
        ("stated", mask(np.ones((5, 6)), standard_name="land_binary_mask")),
        ("stated", mask(np.zeros((5, 6)), standard_name="land_binary_mask")),
        ("stated", mask(np.where(LAND, "land", "sea"))),
        ("stated", (("y",), np.ones(5), {"standard_name": "land_binary_mask"})),
        ("stated", (("level", *PLANE), np.stack([LAND, LAND]), {"standard_name": "land_binary_mask"})),
    ],
)
def test_a_variable_that_states_no_land_is_not_used(name, variable):
    assert land_of(sea(**{name: variable})) == (None, "no land: no mask in the file")


def test_a_variable_is_no_mask_of_its_own():
    dataset = sea()
    dataset["sst"].attrs["standard_name"] = "land_area_fraction"
    assert land_of(dataset)[0] is None


@pytest.mark.parametrize(
    ("dims", "values"),
    [
        (("x", "y"), LAND.T),
        (("level", "y", "x"), LAND[None]),
        (("level", "x", "y", "time"), LAND.T[None, ..., None].repeat(3, axis=-1)),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_land_of_a_mask_is_land_in_every_frame(dims, values, lazy):
    """Fault 58."""
    if "time" in dims:
        values = values.copy()
        values[0, 5, 4, 1] = True
    dataset = sea(wet=(dims, values.astype("i1"), flags("sea land", values=[0, 1])))
    for named in (None, "wet"):
        np.testing.assert_array_equal(land_of(dataset.chunk() if lazy else dataset, named)[0], LAND)


@pytest.mark.parametrize("lazy", [False, True])
def test_never_valid_pixels_are_land_on_request_alone(lazy):
    dataset = masked()
    dataset["sst"][:, 4, 5] = [np.nan, np.inf, np.nan]
    dataset["sst"][2, 0, 0] = np.nan  # valid in other frames
    expected = LAND.copy()
    expected[4, 5] = True
    if lazy:
        dataset = dataset.chunk(time=1, y=2, x=4)
        found, note = land_of(dataset)
    else:
        with pytest.warns(InputWarning, match='7 of 30 pixels .*land="never_valid"'):
            found, note = land_of(dataset)
    assert found is None
    assert "never valid" in note
    np.testing.assert_array_equal(land_of(dataset, "never_valid")[0], expected)
    stated = dataset.assign(wet=mask(LAND, standard_name="land_binary_mask"))
    np.testing.assert_array_equal(land_of(stated)[0], LAND)  # without a warning


def test_never_valid_without_land():
    assert land_of(sea(), "never_valid")[0] is None
    assert land_of(sea().where(False), "never_valid")[0] is None
    assert land_of(sea().where(False))[0] is None  # a fault of its own


@pytest.mark.parametrize("units", ["mm h-1", "dBZ"])
def test_radar_echoes_have_no_land_by_default(units):
    dataset = masked().assign(mask=mask(LAND, standard_name="land_binary_mask"))
    dataset["sst"].attrs = {"units": units}
    assert land_of(dataset)[0] is None
    for land in ("mask", "never_valid"):
        np.testing.assert_array_equal(land_of(dataset, land)[0], LAND)


def test_a_variable_may_have_the_name_of_the_rule():
    assert land_of(sea(never_valid=mask(LAND)), "never_valid")[1].endswith("variable 'never_valid'")


def given(values, dims=PLANE, name=None, **coords) -> xr.DataArray:
    return xr.DataArray(values, dims=dims, name=name, coords=coords)


@pytest.mark.parametrize(
    "land",
    [
        given(LAND, y=np.arange(5.0), x=np.arange(6.0)),
        given(LAND.T, ("x", "y")),
        given(LAND[::-1], y=np.arange(5.0)[::-1]),
        given(LAND[[3, 0, 4, 1, 2]], y=np.array([3, 0, 4, 1, 2.0]) + 1e-7),
        given(LAND, x=list("abcdef")),
        given(ONE_ON_LAND, name="LSM"),
        given(np.where(LAND, 0.0, 1.0), name="mask_rho"),
        given(np.where(LAND, 1.0, np.nan), name="land_mask"),
        "land",
    ],
)
def test_a_mask_of_the_user_lies_on_the_points_of_the_variable(land):
    np.testing.assert_array_equal(land_of(sea(land=mask(LAND)), land)[0], LAND)


@pytest.mark.parametrize(
    ("land", "code", "variable", "dimension"),
    [
        ("msk", "land-unknown", "msk", None),
        (5, "land-unknown", "5", None),
        ("mask", "land-mask-unclear", "mask", None),
        (given(ONE_ON_LAND), "land-mask-unclear", None, None),
        (given(ONE_ON_LAND * 3, name="lsm"), "land-mask-unclear", "lsm", None),
        (given(np.where(LAND, "land", "sea")), "land-mask-unclear", None, None),
        ("full", "land-everywhere", "full", None),
        (given(LAND[:4], name="m"), "other-size", "m", "y"),
        (given(LAND, ("y", "b"), "m"), "missing-dimension", "m", None),
        (given(LAND, name="m", y=np.arange(5) + 0.5), "other-points", "m", "y"),
        (given(LAND, name="m", x=[0, 1, 2, 3, 4, np.nan]), "other-points", "m", "x"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_faults_of_a_mask_of_the_user(land, code, variable, dimension, lazy):
    """Faults 53 and 58."""
    dataset = sea(mask=mask((~LAND).astype("i1")), full=mask(np.ones((5, 6), bool)))
    faults = Faults()
    dataset = dataset.chunk() if lazy else dataset
    assert find_land(dataset, dataset["sst"], AXES, land, faults) == (None, "no land")
    assert codes(faults) == [code]
    assert (faults.first.variable, faults.first.dimension) == (variable, dimension)


@pytest.mark.parametrize(
    ("file", "name", "land", "count"),
    [
        ("sst-alboran-avhrr-201705.nc", "SST", lambda dataset: dataset["mask"] == 0, 38315),
        ("ocean-arctic20-20160201.nc", "temperature", lambda _: None, 363),
        ("ocean-norkyst800-20160114.nc", "temperature", lambda _: "never_valid", 23955),
        ("currents-duacs-ionian-202401.nc", "adt", lambda _: "never_valid", 902),
        ("radar-fmi-20160928.nc", "rainfall_rate", lambda _: None, None),
        ("radar-meteonet_rain_NW_20160828_1000.nc", "rainfall", lambda _: None, None),
    ],
)
def test_real_files(file, name, land, count, shared_data):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        dataset = xr.open_dataset(shared_data / file)
    found, _ = find_land(dataset, dataset[name], Axes(*dataset[name].dims), land(dataset), Faults())
    assert (None if found is None else int(found.sum())) == count


# ---- lazy and in-memory records


def record() -> xr.Dataset:
    """A drifting sea surface temperature with a block that is never valid and a cloud."""
    y, x = np.mgrid[:24, :28]
    field = sum(np.sin(0.3 * k * (x * np.cos(k) + y * np.sin(k)) + k) for k in range(1, 6))
    frames = 290 + np.stack([np.roll(field, shift, axis=1) for shift in range(5)])
    frames[:, 4:8, 5:10] = np.nan
    frames[2, 15:20, 10:18] = np.nan
    coords = {
        name: (name, 2000.0 * np.arange(size), {"units": "m", "standard_name": f"projection_{name}_coordinate"})
        for name, size in (("y", 24), ("x", 28))
    }
    time = np.datetime64("2024-01-01", "ns") + np.arange(5) * np.timedelta64(6, "h").astype("m8[ns]")
    attrs = {"units": "K", "standard_name": "sea_surface_temperature"}
    return xr.Dataset({"sst": (("time", "y", "x"), frames.astype("f4"), attrs)}, {"time": time, **coords})


@pytest.mark.filterwarnings("ignore:.*pixels have no value in any frame:xvar.errors.InputWarning")
@pytest.mark.parametrize("land", [None, "never_valid", "mask"])
def test_lazy_and_in_memory_records_give_the_same_bits(land):
    dataset = record().assign(mask=(PLANE, record()["sst"].isnull().all("time").values, {}))
    results = []
    for data in (dataset, dataset.chunk(time=2, y=10, x=9)):
        analysis = data.var4d.assimilate("sst", land=land, window=3)
        results.append((analysis.compute(), analysis.var4d.forecast("12h").compute()))
    for one, other in zip(*results, strict=True):
        assert set(one.variables) == set(other.variables)
        for name in one.data_vars:
            np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))
    motion = results[0][0]["u"].isel(window=0, step=0)
    assert bool(motion.isel(y=slice(4, 8), x=slice(5, 10)).isnull().all()) == (land is not None)
    assert bool(motion.notnull().all()) == (land is None)
