"""Land by the rule of the call, checked against the data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from tests.cf.test_axes import images, message
from xvar.cf.axes import Axes
from xvar.cf.land import find_land
from xvar.errors import InputError, Problems

AXES = Axes("time", "y", "x")
LAND = np.zeros((5, 6), bool)
LAND[:2, 1:4] = True


def sea(**variables) -> xr.Dataset:
    array = images(units="K").rename("sst").assign_coords(y=np.arange(5.0), x=np.arange(6.0))
    return array.where(~LAND).assign_attrs(units="K").to_dataset().assign(variables)


def land_of(dataset, land=None, lazy=False):
    problems = Problems()
    if lazy:
        dataset = dataset.chunk()
    mask, statement = find_land(dataset, dataset["sst"], AXES, land, problems)
    problems.refuse()
    return mask, statement


def mask(values, **attrs):
    return ("y", "x"), values, attrs


MEANINGS = {
    "land_binary_mask": (LAND.astype("i1"), {"standard_name": "land_binary_mask"}),
    "sea_binary_mask": ((~LAND).astype("i1"), {"standard_name": "sea_binary_mask"}),
    "fraction": (LAND * 0.9, {"standard_name": "land_area_fraction"}),
    "flags": (np.where(LAND, 2, 1).astype("i1"), {"flag_values": np.array([1, 2], "i1"), "flag_meanings": "sea land"}),
    "bits": (
        np.where(LAND, 2, 9).astype("i1"),
        {"flag_masks": np.array([1, 2, 8], "i1"), "flag_meanings": "water land sea_ice"},
    ),
    "options": ((~LAND).astype(float), {"option_0": "land", "option_1": "water"}),
    "long_name": (LAND.astype(float), {"long_name": "mask (1 = land, 0 = sea)"}),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("meaning", MEANINGS)
def test_masks_that_say_what_they_mean(meaning, lazy):
    values, attrs = MEANINGS[meaning]
    found, statement = land_of(sea(anything=mask(values, **attrs)), lazy=lazy)
    np.testing.assert_array_equal(found, LAND)
    assert "6 of 30 points are land: variable 'anything'" in statement
    assert ("not checked" in statement) is lazy


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("name", "one_is_land"), [("mask", False), ("mask_rho", False), ("tmask", False), ("landmask", True), ("lsm", True)]
)
def test_masks_of_customary_names(name, one_is_land, lazy):
    values = LAND if one_is_land else ~LAND
    np.testing.assert_array_equal(land_of(sea(**{name: mask(values.astype("f4"))}), lazy=lazy)[0], LAND)


def test_data_decide_where_custom_is_wrong():
    found, statement = land_of(sea(mask=mask(LAND.astype("f4"))))
    np.testing.assert_array_equal(found, LAND)
    assert "1 = land" in statement


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_that_is_all_land_or_all_sea_says_nothing(value):
    found, statement = land_of(sea(mask=mask(np.full(LAND.shape, value))))
    np.testing.assert_array_equal(found, LAND)
    assert "mask 'mask' not used" in statement


def test_a_mask_of_several_levels_is_none_of_the_surface():
    levels = ("level", "y", "x"), np.stack([~LAND, ~LAND]).astype("f4"), {}
    found, statement = land_of(sea(mask=levels))
    np.testing.assert_array_equal(found, LAND)
    assert "never valid" in statement
    assert "mask" not in statement


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


def test_a_mask_with_values_on_its_land_is_not_used():
    elsewhere = np.roll(LAND, 3, axis=0)
    found, statement = land_of(sea(land_mask=mask(elsewhere.astype("i1"))))
    np.testing.assert_array_equal(found, LAND)
    assert "never valid" in statement
    assert "'land_mask' not used" in statement


def test_radar_validity_is_no_land():
    dataset = sea(valid=mask((~LAND).astype("i1"), flag_values=np.array([0, 1], "i1"), flag_meanings="no_data valid"))
    assert "never valid" in land_of(dataset)[1]
    rain = dataset.rename(sst="rain")
    rain["rain"].attrs = {"units": "mm h-1"}
    rain["mask"] = rain["valid"]
    found, statement = find_land(rain, rain["rain"], AXES, None, Problems())
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


def test_never_valid():
    found, statement = land_of(sea(), "never_valid")
    np.testing.assert_array_equal(found, LAND)
    assert "never valid over the frames of the call" in statement
    assert land_of(sea().fillna(1.0))[0] is None
    assert land_of(sea(), lazy=True)[0] is None
    with pytest.raises(ValueError, match="lazy data"):
        land_of(sea(), "never_valid", lazy=True)


def test_given_masks():
    dataset = sea(mask=mask((~LAND).astype("i1")))
    given = xr.DataArray(LAND, dims=("y", "x"), coords={"y": dataset.y, "x": dataset.x})
    for choice in (given, given.transpose("x", "y"), given.isel(y=slice(None, None, -1)), "mask", dataset["mask"]):
        np.testing.assert_array_equal(land_of(dataset, choice)[0], LAND)
    # What the user says stands also where the data have values.
    np.testing.assert_array_equal(land_of(sea().fillna(1.0), given)[0], LAND)


def refusal(dataset, land) -> str:
    problems = Problems()
    assert find_land(dataset, dataset["sst"], AXES, land, problems)[0] is None
    return message(problems)


def test_faults_of_given_masks():
    """Faults 53 and 58."""
    dataset = sea(mask=mask((~LAND).astype("i1")))
    assert "did you mean 'mask'?" in refusal(dataset, "msk")
    small = xr.DataArray(LAND[:4], dims=("y", "x"))
    text = refusal(dataset, small)
    assert "size 4 of the mask" in text
    assert "size 5" in text
    assert "dimensions ('a', 'x')" in refusal(dataset, xr.DataArray(LAND, dims=("a", "x")))
    shifted = xr.DataArray(LAND, dims=("y", "x"), coords={"y": dataset.y + 0.5})
    assert "coordinates 0.5 to 4.5" in refusal(dataset, shifted)
    assert "every point is land" in refusal(dataset, xr.DataArray(np.ones((5, 6), bool), dims=("y", "x")))
    unclear = xr.DataArray(np.where(LAND, 3, 7), dims=("y", "x"))
    text = refusal(dataset, unclear)
    assert "values 3, 7" in text
    assert "== 0" in text


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
    found, said = find_land(dataset, dataset[name], Axes(*dataset[name].dims), None, Problems())
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


def test_where_all_is_land_the_message_mends_it():
    with pytest.raises(ValueError, match=r"variable 'surface'.*every point is land.*fix: check .* land=~mask"):
        land_of(sea(surface=mask(np.ones_like(LAND))), land="surface")


def test_a_mask_of_another_shape_is_named():
    wrong = xr.DataArray(np.zeros((7, 6), bool), dims=("y", "x"), name="surface")
    with pytest.raises(ValueError, match=r"'surface'.*fix: "):
        land_of(sea(), land=wrong)
