"""Land by the rule of the call, checked against the data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from tests.cf.test_axes import images, message
from xvar.cf.axes import Axes
from xvar.cf.land import find_land
from xvar.errors import Faults, InputError

AXES = Axes("time", "y", "x")
LAND = np.zeros((5, 6), bool)
LAND[:2, 1:4] = True


def sea(**variables) -> xr.Dataset:
    array = images(units="K").rename("sst").assign_coords(y=np.arange(5.0), x=np.arange(6.0))
    return array.where(~LAND).assign_attrs(units="K").to_dataset().assign(variables)


def land_of(dataset, land=None, lazy=False):
    faults = Faults()
    if lazy:
        dataset = dataset.chunk()
    mask, statement = find_land(dataset, dataset["sst"], AXES, land, faults)
    faults.raise_if_any()
    return mask, statement


def mask(values, **attrs):
    return ("y", "x"), values, attrs


def flags(meanings: str, **numbers) -> dict:
    return {"flag_meanings": meanings, **{f"flag_{key}": np.array(value) for key, value in numbers.items()}}


#: What a mask holds on land and on water, its attributes, and how they are understood.
MEANINGS = [
    (1, 0, {"standard_name": "land_binary_mask"}, "land where above 0.5"),
    (0.51, 0.5, {"standard_name": "land_area_fraction"}, "land where above 0.5"),
    (0, 1, {"standard_name": "sea_binary_mask"}, "land where not above 0.5"),
    (0.5, 0.51, {"standard_name": "sea_area_fraction"}, "land where not above 0.5"),
    (2, 1, flags("sea land", values=[1, 2]), "2 = land"),
    (7, 1, flags("sea land_ice ground lake", values=[1, 7, 2, 5]), "2, 7 = land"),
    (2, 1, flags("OPEN_SEA LAND", values=[1, 2]), "2 = land"),
    (0, 1, flags("missing open_sea", values=[0, 1]), "1 = water"),
    (2, 9, flags("water land sea_ice", masks=[1, 2, 8]), "land where bit 2 is set"),
    (4, 1, flags("water land terrestrial", masks=[1, 2, 4]), "land where bit 6 is set"),
    (2, np.nan, flags("water land", masks=[1, 2]), "land where bit 2 is set"),
    (2, 3, flags("sea land", masks=[3, 3], values=[1, 2]), "2 = land"),
    (1, 0, flags("sea", values=[0, 1]) | {"comment": "1 = land"}, "1 = land"),
    (1, 0, flags("sea", masks=[1, 2]) | {"comment": "1 = land"}, "1 = land"),
    (1, 0, flags("sea land", values=["0b", "1b"]) | {"comment": "1 = land"}, "1 = land"),
    (2, 1, flags("sea land", masks=["1b", "2b"]) | {"comment": "2 = land"}, "2 = land"),
    (0, 1, {"option_0": "land", "option_1": "water"}, "0 = land"),
    (12, 1, {"option_12": "LAND", "option_1": "Water"}, "12 = land"),
    (1, 0, {"long_name": "mask (1 = land, 0 = sea)"}, "1 = land"),
    (1, 0, {"description": "Land: 1; Sea: 0"}, "1 = land"),
    (2, 0, {"comment": "0 for water, 2 for land"}, "2 = land"),
    (0, 1, {"units": "1 is wet"}, "1 = water"),
    (1, 0, {"long_name": "mask of", "comment": "land:1, sea:0"}, "1 = land"),
]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("on_land", "on_water", "attrs", "says"), MEANINGS)
def test_masks_that_say_what_they_mean(on_land, on_water, attrs, says, lazy):
    found, statement = land_of(sea(anything=mask(np.where(LAND, on_land, on_water), **attrs)), lazy=lazy)
    np.testing.assert_array_equal(found, LAND)
    unchecked = ", not checked against lazy data" if lazy else ""
    assert statement == f"6 of 30 points are land: variable 'anything' ({says}{unchecked})"
    # Where it is asked for it is taken at its word.
    full = sea(anything=mask(np.where(LAND, on_land, on_water), **attrs)).fillna({"sst": 1.0})
    found, statement = land_of(full, "anything", lazy=lazy)
    np.testing.assert_array_equal(found, LAND)
    assert statement == f"6 of 30 points are land: variable 'anything' ({says})"


NEVER_VALID = "6 of 30 points are land: never valid over the frames of the call"
ONE_ON_LAND = LAND.astype("f4")
PLANE = ("y", "x")


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("anything", (PLANE, ONE_ON_LAND)),
        ("masked", (PLANE, ONE_ON_LAND)),
        ("my_mask", (PLANE, ONE_ON_LAND)),
        ("anything", (PLANE, ONE_ON_LAND, {"long_name": "Greenland=1, Chelsea=0"})),
        ("anything", (PLANE, ONE_ON_LAND, {"title": "1 = land"})),
        ("anything", (PLANE, ONE_ON_LAND, flags("ice water", masks=[1, 2]) | {"comment": "1 = land"})),
        ("anything", (PLANE, ONE_ON_LAND, {"an_option_1": "land", "option_1_": "land"})),
        ("mask", (PLANE, np.where(LAND, "land", "sea"))),
        ("mask", (PLANE, ONE_ON_LAND.astype("c8"))),
        ("mask", (("y",), np.ones(5))),
        ("mask", (("time", "y"), np.ones((3, 5)))),
        ("mask", (("level", "y", "x"), np.stack([~LAND, ~LAND]))),
        ("mask", (("level", "time", "y", "x"), np.zeros((2, 3, 5, 6)))),
    ],
)
def test_what_is_no_mask_is_not_looked_at(name, variable):
    assert land_of(sea(**{name: variable}))[1] == NEVER_VALID


def test_a_variable_is_no_mask_of_its_own():
    dataset = sea().rename(sst="mask")
    assert find_land(dataset, dataset["mask"], AXES, None, Faults())[1] == NEVER_VALID


@pytest.mark.parametrize(
    ("dims", "values"),
    [
        (("x", "y"), LAND.T),
        (("level", "y", "x"), LAND[None]),
        (("y", "level", "x"), LAND[:, None]),
        (("time", "y", "x"), LAND[None].repeat(3, axis=0)),
        (("level", "x", "y", "time"), LAND.T[None, ..., None].repeat(3, axis=-1)),
    ],
)
def test_masks_of_any_order_of_dimensions(dims, values):
    for named in (None, "land"):
        found, statement = land_of(sea(land=(dims, values)), named)
        np.testing.assert_array_equal(found, LAND)
        assert statement == "6 of 30 points are land: variable 'land' (1 = land)"


def test_a_lazy_mask_of_one_time_is_read():
    dataset = sea().isel(time=[0]).assign(land=(("time", "y", "x"), LAND[None]))
    statement = land_of(dataset, lazy=True)[1]
    assert statement == "6 of 30 points are land: variable 'land' (1 = land, not checked against lazy data)"


def test_masks_that_say_what_they_mean_come_first():
    stated = mask(LAND.astype("f4"), comment="1 = land")
    assert "variable 'stated'" in land_of(sea(mask=mask(~LAND), stated=stated, land=mask(LAND)))[1]
    assert "variable 'land'" in land_of(sea(mask=mask(LAND.astype(float) + 1), land=mask(LAND)))[1]


def test_what_is_not_used_is_said_mask_by_mask():
    dataset = sea(land=(("time", "y", "x"), LAND[None].repeat(3, axis=0)), mask=mask(np.ones((5, 6))))
    unused = "not used: the variable has values on its land, or it has none"
    assert land_of(dataset)[1] == "6 of 30 points are land: variable 'land' (1 = land)"
    assert land_of(dataset.assign(land=mask(~LAND, comment="1 = land")))[1] == (
        f"{NEVER_VALID} (mask 'land' {unused}) (mask 'mask' {unused})"
    )
    assert land_of(dataset.isel(time=slice(2)), lazy=True)[1] == (
        "no land: no mask in the file, and the data are lazy (mask 'land' changes in time and is lazy: not used)"
        f" (mask 'mask' {unused})"
    )


@pytest.mark.parametrize(
    ("name", "on_land", "on_water", "says"),
    [
        ("mask", 0, 1, "1 = water"),
        ("mask", 1, 0, "1 = land"),
        ("MASK", False, True, "1 = water"),
        ("lsm", 1.0, 0.0, "1 = land"),
        ("lsm", 0, 1, "1 = water"),
        ("LSM", 0.6, 0.4, "land where above 0.5"),
        ("LandMask", True, False, "1 = land"),
        ("land_sea_mask", 2, 0, "land where above 0.5"),
        ("sea_mask", 2, 0, None),  # of a mask whose one is water nothing else is customary
        ("mask", 0.6, 0.4, None),
        ("lsm", 0.4, 0.6, None),
    ],
)
def test_masks_without_attributes_are_read_by_custom_and_as_the_data_have_it(name, on_land, on_water, says):
    statement = land_of(sea(**{name: mask(np.where(LAND, on_land, on_water))}))[1]
    assert statement.startswith(f"{NEVER_VALID} (" if says is None else f"6 of 30 points are land: variable '{name}' (")
    assert says is None or statement.endswith(f" ({says})")


@pytest.mark.parametrize(("name", "says"), [("mask", "1 = water"), ("lsm", "1 = land")])
def test_where_no_value_tells_custom_does(name, says):
    dataset = sea(**{name: mask(LAND.astype("i1"))})
    dataset["sst"] = dataset["sst"].where(False)
    for named in (None, name):
        assert land_of(dataset, named)[1].endswith(f" are land: variable '{name}' ({says})")


@pytest.mark.parametrize(("wrong", "left_out"), [(0, ""), (2, ", 2 of them with values that are left out"), (3, None)])
def test_a_hundredth_of_a_coast_may_be_drawn_a_pixel_off(wrong, left_out):
    coast = np.zeros((20, 20), bool)
    coast[:10] = True
    array = xr.DataArray(np.ones((3, 20, 20)), dims=("time", "y", "x"), name="sst").where(~coast)
    array[1, 0, :wrong] = 1.0
    land = land_of(array.to_dataset().assign(mask=mask(coast, comment="1 = land")))[1]
    if left_out is None:
        assert land.startswith(f"{200 - wrong} of 400 points are land: never valid over the frames of the call (mask")
    else:
        assert land == f"200 of 400 points are land: variable 'mask' (1 = land{left_out})"


def test_what_is_said_where_there_is_no_land():
    assert land_of(sea().fillna(1.0)) == (None, "no land: every point has a value in some frame")
    assert land_of(sea().where(False)) == (None, "no land: no point has a value")
    assert land_of(sea(), lazy=True) == (None, "no land: no mask in the file, and the data are lazy")
    assert land_of(sea(), "never_valid")[1] == land_of(sea())[1] == NEVER_VALID
    for kind in ({"units": "mm h-1"}, {"units": "dBZ"}):
        dataset = sea(mask=mask(LAND, comment="1 = land"))
        dataset["sst"].attrs = kind
        assert land_of(dataset) == (None, "no land: radar echoes move over it")
        assert land_of(dataset, "mask")[1] == "6 of 30 points are land: variable 'mask' (1 = land)"
        assert land_of(dataset, "never_valid")[1] == NEVER_VALID


def test_land_is_what_has_a_value_in_no_frame():
    dataset = sea()
    dataset["sst"][:, 4, 5] = [np.nan, np.inf, np.nan]
    dataset["sst"][2, 0, 0] = np.nan  # seen in others
    assert land_of(dataset)[1].startswith("7 of 30 points are land")


def test_a_variable_may_have_the_name_of_the_rule():
    assert land_of(sea(never_valid=mask(LAND)), "never_valid")[1].endswith("variable 'never_valid' (1 = land)")


def test_the_land_of_a_mask_that_changes_is_land_in_every_frame():
    values = LAND[None].repeat(3, axis=0)
    values[1, 0, 1] = False
    for chosen in ("land", sea(land=(("time", "y", "x"), values))["land"]):
        for lazy in (False, True):  # which was asked for is read
            found = land_of(sea(land=(("time", "y", "x"), values)), chosen, lazy=lazy)[0]
            np.testing.assert_array_equal(found, values.all(axis=0))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("name", "one_is_land"), [("mask", False), ("mask_rho", False), ("tmask", False), ("landmask", True), ("lsm", True)]
)
def test_masks_of_customary_names(name, one_is_land, lazy):
    values = LAND if one_is_land else ~LAND
    np.testing.assert_array_equal(land_of(sea(**{name: mask(values.astype("f4"))}), lazy=lazy)[0], LAND)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_that_is_all_land_or_all_sea_says_nothing(value):
    found, statement = land_of(sea(mask=mask(np.full(LAND.shape, value))))
    np.testing.assert_array_equal(found, LAND)
    assert "mask 'mask' not used" in statement


def test_a_mask_that_is_named_is_read_by_custom_where_the_data_are_lazy():
    np.testing.assert_array_equal(land_of(sea(mask_rho=mask((~LAND).astype("f4"))), "mask_rho", lazy=True)[0], LAND)
    with pytest.raises(InputError, match="nothing that says which are land"):
        land_of(sea(odd=mask((~LAND).astype("f4"))), "odd", lazy=True)


def test_a_mask_that_is_named_is_read_as_the_data_have_it():
    """Whichever way round it is, the data decide: no value lies on land."""
    for values in (LAND, ~LAND):
        np.testing.assert_array_equal(land_of(sea(odd=mask(values.astype("f4"))), "odd")[0], LAND)
    with pytest.raises(InputError, match="nothing that says which are land"):
        land_of(sea(odd=mask(np.roll(LAND, 3, axis=0).astype("f4"))), "odd")


def test_radar_validity_is_no_land():
    dataset = sea(valid=mask((~LAND).astype("i1"), flag_values=np.array([0, 1], "i1"), flag_meanings="no_data valid"))
    assert "never valid" in land_of(dataset)[1]
    rain = dataset.rename(sst="rain")
    rain["rain"].attrs = {"units": "mm h-1"}
    rain["mask"] = rain["valid"]
    found, statement = find_land(rain, rain["rain"], AXES, None, Faults())
    assert found is None
    assert "radar" in statement


def test_mask_that_changes_in_time():
    """Fault 58: land is what is land in every frame."""
    values = np.broadcast_to(LAND, (3, 5, 6)).copy()
    values[1, 4, 5] = True
    dataset = sea(land_mask=(("time", "y", "x"), values.astype("i1")))
    np.testing.assert_array_equal(land_of(dataset)[0], LAND)
    found, statement = land_of(dataset, lazy=True)
    assert found is None
    assert "'land_mask' changes in time and is lazy" in statement


def test_given_masks():
    dataset = sea(mask=mask((~LAND).astype("i1")))
    given = xr.DataArray(LAND, dims=("y", "x"), coords={"y": dataset.y, "x": dataset.x})
    for choice in (given, given.transpose("x", "y"), given.isel(y=slice(None, None, -1)), "mask", dataset["mask"]):
        np.testing.assert_array_equal(land_of(dataset, choice)[0], LAND)
    # What the user says stands also where the data have values.
    np.testing.assert_array_equal(land_of(sea().fillna(1.0), given)[0], LAND)


def given(values, dims=PLANE, name=None, **coords) -> xr.DataArray:
    return xr.DataArray(values, dims=dims, name=name, coords=coords)


GRID = "fix: give the mask on the grid of the variable"
UNCLEAR = (
    "and nothing that says which are land; expected booleans, True on land, or flag_values and flag_meanings; "
    "fix: land=ds[name] == 0 (or whatever value is land)"
)
ALL_LAND = "expected some water; fix: check what the values mean: land=~mask"
WHICH = 'no variable of the dataset; expected the name of a mask variable, a DataArray, or "never_valid"; fix:'
ELSEWHERE = f"to 1e-3 of a step; {GRID} (mask.interp_like)"
DIMENSIONS = "expected dimensions 'y' and 'x'; fix: rename the dimensions of the mask"


@pytest.mark.parametrize(
    ("land", "said"),
    [
        ("msk", f"variable 'msk': found land='msk', {WHICH} did you mean 'mask'?"),
        ("never", f"variable 'never': found land='never', {WHICH} did you mean 'never_valid'?"),
        (5, f"variable '5': found land='5', {WHICH} land=\"never_valid\""),
        (
            given(LAND[:4], name="m"),
            f"variable 'm', dimension 'y': found size 4 of the mask; expected size 5 of 'sst'; {GRID}",
        ),
        (given(LAND[:, :4]), f"dimension 'x': found size 4 of the mask; expected size 6 of 'sst'; {GRID}"),
        (
            given(LAND, ("y", "b"), "m"),
            f"variable 'm', dimension 'x': found a mask with dimensions ('y', 'b'); {DIMENSIONS}",
        ),
        (given(LAND, ("a", "x")), f"dimension 'y': found a mask with dimensions ('a', 'x'); {DIMENSIONS}"),
        (
            given(LAND, name="m", y=np.arange(5) + 0.5),
            (
                "variable 'm', dimension 'y': found coordinates 0.5 to 4.5 of the mask; "
                f"expected those of 'sst', 0 to 4, {ELSEWHERE}"
            ),
        ),
        (
            given(LAND, x=np.arange(6) * 1.001),
            f"dimension 'x': found coordinates 0 to 5.005 of the mask; expected those of 'sst', 0 to 5, {ELSEWHERE}",
        ),
        (
            given(LAND, y=[0, 1, 2, 3, np.nan]),
            f"dimension 'y': found coordinates nan to nan of the mask; expected those of 'sst', 0 to 4, {ELSEWHERE}",
        ),
        (given(np.ones((5, 6), bool)), f"found the mask that was given: every point is land (1 = land); {ALL_LAND}"),
        ("full", f"variable 'full': found variable 'full': every point is land (1 = land); {ALL_LAND}"),
        (given(np.where(LAND, 3, 7).astype("i1")), f"found a mask of int8 with values 3, 7, {UNCLEAR}"),
        (
            given(np.where(LAND, np.nan, np.arange(30.0).reshape(5, 6)), name="m"),
            f"variable 'm': found a mask of float64 with values 0, 4, 5, 6, 10, {UNCLEAR}",
        ),
        (given(np.where(LAND, "land", "sea")), f"found a mask of <U4, {UNCLEAR}"),
        (given(np.full((5, 6), "2000", "M8[ns]")), f"found a mask of datetime64[ns], {UNCLEAR}"),
        (given(np.roll(ONE_ON_LAND, 3, axis=0)), f"found a mask of float32 with values 0, 1, {UNCLEAR}"),
    ],
)
def test_faults_of_given_masks(land, said):
    """Faults 53 and 58."""
    dataset = sea(mask=mask((~LAND).astype("i1")), full=mask(np.ones((5, 6), bool)))
    faults = Faults()
    assert find_land(dataset, dataset["sst"], AXES, land, faults) == (None, "no land")
    assert message(faults) == said


def test_lazy_data_say_nothing_of_land():
    dataset = sea(mask=mask(np.where(LAND, 3, 7).astype("i1")), odd=mask(ONE_ON_LAND), lsm=mask(ONE_ON_LAND)).chunk()
    faults = Faults()
    found = find_land(dataset, dataset["sst"], AXES, "never_valid", faults)
    assert found == (None, "no land: no mask in the file, and the data are lazy")
    assert message(faults) == (
        "variable 'sst': found land=\"never_valid\" with lazy data: what is never valid is known only once all are "
        "read; expected data in memory, or a mask; fix: ds.load(), or land=<mask variable or DataArray>"
    )
    for name, values in (("mask", "int8 with values 3, 7"), ("odd", "float32 with values 0, 1")):
        faults = Faults()
        assert find_land(dataset, dataset["sst"], AXES, name, faults) == (None, "no land")
        assert message(faults) == f"variable '{name}': found a mask of {values}, {UNCLEAR}"
    assert land_of(dataset, "lsm")[1] == "6 of 30 points are land: variable 'lsm' (1 = land)"
    with pytest.raises(ValueError, match="found a mask of float32 with values 0, 1, "):
        land_of(dataset, given(ONE_ON_LAND))  # without a name there is no custom


def test_a_mask_is_put_on_the_points_of_the_variable():
    rows, columns = np.array([3, 0, 4, 1, 2]), np.array([5, 2, 0, 1, 4, 3])
    dataset = sea().isel(y=rows)
    shuffled = given(LAND[:, columns], y=np.arange(5) + 0.0009, x=columns.astype(float))
    found, statement = land_of(dataset, shuffled)
    np.testing.assert_array_equal(found, LAND[rows])
    assert statement == "6 of 30 points are land: the mask that was given (1 = land)"
    # Where one of the two says nothing of its points, they are taken in their order.
    np.testing.assert_array_equal(land_of(sea().drop_vars("y"), given(LAND, y=np.arange(5) + 7.0))[0], LAND)


@pytest.mark.parametrize("name", [None, "lsm"])
def test_zeros_and_ones_that_are_given_are_read_as_the_data_have_it(name):
    for values in (LAND, ~LAND):
        np.testing.assert_array_equal(land_of(sea(), given(values.astype("f4"), name=name))[0], LAND)


@pytest.mark.parametrize(
    ("file", "name", "count", "statement"),
    [
        ("sst-alboran-avhrr-201705.nc", "SST", 38315, "variable 'mask' (1 = water, 18 of them with values"),
        ("ocean-arctic20-20160201.nc", "temperature", 363, "variable 'mask' (0 = land)"),
        ("ocean-norkyst800-20160114.nc", "temperature", 23955, "never valid"),
        ("currents-duacs-ionian-202401.nc", "adt", 902, "never valid"),
        ("radar-fmi-20160928.nc", "rainfall_rate", None, "radar"),
        ("radar-meteonet_rain_NW_20160828_1000.nc", "rainfall", None, "radar"),
    ],
)
def test_real_files(file, name, count, statement, shared_data):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        dataset = xr.open_dataset(shared_data / file)
    found, said = find_land(dataset, dataset[name], Axes(*dataset[name].dims), None, Faults())
    assert (None if found is None else int(found.sum())) == count
    assert statement in said


def test_a_mask_with_holes_is_one_of_zeros_and_ones():
    values = LAND.astype("f4")
    values[4, 5] = np.nan  # of which nothing is known: not land
    found, statement = land_of(sea(landmask=mask(values)))
    np.testing.assert_array_equal(found, LAND)
    assert "1 = land" in statement


def test_words_in_brackets_of_a_comment_say_what_is_land():
    for text in ("land=1, sea=0", "land: 1; sea: 0", "1=land 0=sea"):
        found, statement = land_of(sea(surface=mask(LAND.astype("i1"), long_name=text)), land="surface")
        np.testing.assert_array_equal(found, LAND)
        assert "1 = land" in statement
    found, statement = land_of(sea(surface=mask((~LAND).astype("i1"), long_name="water=1")), land="surface")
    np.testing.assert_array_equal(found, LAND)
    assert "1 = water" in statement


def test_a_mask_whose_columns_have_names_lies_where_it_lies():
    """Text on a dimension says nothing of places: points are taken in their order."""
    given = xr.DataArray(LAND, dims=("y", "x"), coords={"x": list("abcdef")})
    np.testing.assert_array_equal(land_of(sea(), given)[0], LAND)
