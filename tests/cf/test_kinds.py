"""Kinds of variables, and the evidence that a temperature is that of a sea."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cf.outputs import FILES
from tests.cf.test_axes import images
from xvar.cf.kinds import kind, kind_and_reason, sea_evidence

NO_SEA = 'no evidence of a sea: method="currents" analyses currents'
KINDS = {"radar": "rain", "sst": "sea_temperature", "ocean": "sea_temperature", "currents": "other"}


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
@pytest.mark.parametrize("file", FILES)
def test_real_files(file, shared_data):
    with xr.open_dataset(shared_data / file) as dataset:
        assert kind(dataset[FILES[file][0]], dataset) == KINDS[file.split("-")[0]]


@pytest.mark.parametrize(
    ("name", "attrs", "expected"),
    [
        ("field", {"standard_name": "lwe_precipitation_rate", "units": "m s-1"}, "rain"),
        ("field", {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"}, "reflectivity"),
        ("field", {"standard_name": "sea_surface_temperature", "units": "K"}, "sea_temperature"),
        ("field", {"standard_name": "tendency_of_air_temperature", "units": "K s-1"}, "other"),
        ("rain", {"standard_name": "eastward_wind", "units": "m s-1"}, "other"),
        ("field", {"units": "dBZ"}, "reflectivity"),
        ("field", {"units": "degC"}, "temperature"),
        ("field", {"units": "mm h-1"}, "rain"),
        ("field", {"units": "m s-1"}, "other"),
        ("rain_rate", {"units": "m s-1"}, "rain"),
        ("rain", {}, "rain"),
        ("rain", {"units": "K"}, "temperature"),
        ("sst", {}, "sea_temperature"),
        ("DBZH", {}, "reflectivity"),
        ("temp", {"units": "1"}, "other"),
        ("training", {"units": "1"}, "other"),
        ("x", {"long_name": "Radar reflectivity"}, "reflectivity"),
        # Standard names count first, as far as the units allow it.
        ("field", {"standard_name": "rainfall_flux"}, "rain"),
        ("field", {"standard_name": "thickness_of_rainfall_amount", "units": "mm"}, "rain"),
        ("field", {"standard_name": "rainfall_rate standard_error", "units": "mm h-1"}, "rain"),
        ("field", {"standard_name": "rainfall_rate", "units": "K"}, "other"),
        ("field", {"standard_name": "rainfall_rate", "units": "frogs"}, "rain"),
        ("field", {"standard_name": "equivalent_reflectivity_factor", "units": "mm"}, "other"),
        ("field", {"standard_name": "temperature_of_analysis_of_sea_water", "units": "degree C"}, "sea_temperature"),
        ("field", {"standard_name": "air_temperature_at_cloud_top", "units": "K"}, "temperature"),
        ("field", {"standard_name": "air_temperature", "units": "m"}, "other"),
        ("sst", {"standard_name": "air_temperatures", "units": "K"}, "other"),
        ("sst", {"standard_name": "tendency_of_air_temperature"}, "other"),
        ("sst", {"standard_name": "eastward_wind"}, "other"),
        ("sst", {"standard_name": "difference_of_temperature_gradient", "units": "K"}, "other"),
        ("rain", {"standard_name": "unknown", "units": "mm h-1"}, "rain"),
        ("field", {"standard_name": "unknown", "units": "K"}, "temperature"),
        ("rain", {"standard_name": " "}, "rain"),
        # Then units.
        ("field", {"units": "dbz"}, "reflectivity"),
        ("rain", {"units": "dBZ"}, "reflectivity"),
        ("sst", {"units": "mm h-1"}, "rain"),
        ("field", {"units": "mm/5min"}, "rain"),
        ("field", {"units": "inch/h"}, "rain"),
        ("field", {"units": "in h-1"}, "rain"),
        ("field", {"units": "mm"}, "other"),
        ("field", {"units": "km h-1"}, "other"),
        ("field", {"units": "cmm"}, "other"),
        # Then words of the name and the long name.
        *((name, {"units": "mm"}, "rain") for name in ("RR", "tp", "acrr_5min", "total-precip", "QPE")),
        ("x", {"long_name": "Rate of Precipitation"}, "rain"),
        ("x", {"long_name": "training, rainy"}, "other"),
        ("rain", {"units": "1"}, "other"),
        ("rain", {"units": "frogs"}, "rain"),
        ("dbzh", {"units": "1"}, "reflectivity"),
        ("zh", {"units": "%"}, "reflectivity"),
        ("zh", {"units": "m"}, "other"),
        ("temp", {"units": "m"}, "other"),
        ("temp", {"units": "frogs"}, "temperature"),
        ("rain_temp", {}, "rain"),
        ("rain_temp", {"units": "m"}, "rain"),
    ],
)
def test_kinds(name, attrs, expected):
    assert kind(images(**attrs).rename(name)) == expected


@pytest.mark.parametrize(
    ("name", "attrs", "expected"),
    [
        ("x", {"standard_name": "rainfall_rate"}, ("rain", "by standard_name 'rainfall_rate'")),
        ("x", {"units": "mm/h"}, ("rain", "by units 'mm/h'")),
        ("x", {"long_name": "Radar reflectivity"}, ("reflectivity", "by long_name 'Radar reflectivity'")),
        ("SST", {"units": "K"}, ("sea_temperature", "by name 'SST'")),
        ("t2m", {"units": "K"}, ("temperature", f"by units 'K', {NO_SEA}")),
        ("x", {"units": "m"}, ("other", "by neither standard_name, units nor name")),
    ],
)
def test_reasons_of_a_kind(name, attrs, expected):
    assert kind_and_reason(images(**attrs).rename(name)) == expected


def temperature(name="temperature", **attrs) -> xr.DataArray:
    return images(**{"units": "K", **attrs}).rename(name)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (temperature(standard_name="sea_surface_skin_temperature"), "standard_name 'sea_surface_skin_temperature'"),
        (
            temperature(standard_name="sea_water_potential_temperature"),
            "standard_name 'sea_water_potential_temperature'",
        ),
        (
            temperature(standard_name="sea_surface_temperature standard_error"),
            "standard_name 'sea_surface_temperature'",
        ),
        (temperature("analysed_sst"), "name 'analysed_sst'"),
        (temperature("SST"), "name 'SST'"),
        (temperature("thetao"), "name 'thetao'"),
        (temperature("ts", standard_name="surface_temperature", long_name="Sea surface temperature"), "long_name"),
        (temperature().assign_coords(depth=0.5), "vertical coordinate 'depth'"),
        (temperature().assign_coords(level=((), 3, {"standard_name": "ocean_s_coordinate_g1"})), "vertical coordinate"),
        (temperature().rename(y="eta_rho", x="xi_rho"), "grid of ROMS"),
    ],
)
def test_evidence_of_a_sea(array, reason):
    assert sea_evidence(None, array).startswith(reason)
    assert kind(array) == "sea_temperature"


@pytest.mark.parametrize(
    "array",
    [
        temperature(),
        temperature("t2m", long_name="2 metre temperature"),
        temperature("tb", long_name="brightness temperature over the ocean"),
        temperature(standard_name="air_temperature"),
        temperature("sst", standard_name="toa_brightness_temperature"),
        temperature("stl1", long_name="soil temperature").assign_coords(depth=0.1),
        temperature("ist", standard_name="sea_ice_surface_temperature"),
        temperature("assessment"),
    ],
)
def test_a_temperature_without_evidence_of_a_sea(array):
    assert sea_evidence(array.to_dataset(), array) is None
    assert kind(array, array.to_dataset()) == "temperature"


@pytest.mark.parametrize(
    ("name", "dims", "attrs", "found"),
    [
        ("salt", 3, {}, True),
        ("anything", 3, {"standard_name": "sea_water_practical_salinity"}, True),
        ("u", 3, {"standard_name": "eastward_sea_water_velocity"}, True),
        ("zeta", 3, {"standard_name": "sea_surface_height_above_geoid"}, True),
        ("h", 2, {"standard_name": "sea_floor_depth_below_geoid"}, True),
        ("u", 3, {"standard_name": "eastward_wind"}, False),
        ("sst", 3, {"standard_name": "sea_surface_temperature"}, False),
        ("salinity", 1, {}, False),
    ],
)
def test_variables_beside_a_temperature(name, dims, attrs, found):
    bare, air = temperature(), temperature("t2m", standard_name="air_temperature")
    other = xr.DataArray(np.zeros(bare.shape[-dims:]), dims=bare.dims[-dims:], attrs=attrs)
    dataset = bare.to_dataset().assign({name: other, "t2m": air})
    assert sea_evidence(dataset, bare) == (f"{name!r} beside it" if found else None)
    assert kind(air, dataset) == "temperature"


def test_global_attributes_of_an_ocean_model():
    dataset = temperature().to_dataset().assign_attrs(type="ROMS/TOMS history file")
    assert sea_evidence(dataset, dataset["temperature"]) == "global attribute type names ROMS"
    assert sea_evidence(dataset.assign_attrs(type="WRF"), dataset["temperature"]) is None
