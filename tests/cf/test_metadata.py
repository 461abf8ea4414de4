"""The table of output variables."""

from __future__ import annotations

import numpy as np
import pytest

from xvar.cf.metadata import STATUS, attributes

SST = {"variable": "sst", "kind": "temperature", "units": "K", "standard_name": "sea_surface_temperature"}
RAIN = {"variable": "rain", "kind": "rain", "units": "mm h-1", "standard_name": "rainfall_rate"}


@pytest.mark.parametrize(
    ("known", "grid_kind", "u", "v"),
    [
        (SST, "geographic", "surface_eastward_sea_water_velocity", "surface_northward_sea_water_velocity"),
        (SST, "projected", "surface_sea_water_x_velocity", "surface_sea_water_y_velocity"),
        (SST, "curvilinear", "surface_sea_water_x_velocity", "surface_sea_water_y_velocity"),
        (
            {**SST, "standard_name": "sea_water_potential_temperature"},
            "geographic",
            *("eastward_sea_water_velocity", "northward_sea_water_velocity"),
        ),
        ({"variable": "SST", "kind": "temperature"}, "index", *(f"surface_sea_water_{c}_velocity" for c in "xy")),
        (RAIN, "geographic", None, None),
        (RAIN, "projected", None, None),
        ({**SST, "standard_name": "air_temperature"}, "geographic", None, None),
        ({"standard_name": "sea_surface_height_above_geoid"}, "geographic", None, None),
    ],
)
def test_standard_names_of_motion(known, grid_kind, u, v):
    for name, expected in (("u", u), ("v", v)):
        found = attributes(name, grid_kind=grid_kind, **known)
        assert found.get("standard_name") == expected
        assert found["units"] == "m s-1"
        assert "wind" not in str(found)
        assert found["long_name"]


def test_differences_of_temperature_say_so():
    for name in ("increment", "innovation", "residual", "forcing", "rmse", "bias"):
        assert attributes(name, **SST)["units_metadata"] == "temperature: difference"
        assert "standard_name" not in attributes(name, **SST)
        assert "units_metadata" not in attributes(name, **RAIN)
    assert attributes("observed", **SST)["units_metadata"] == "temperature: on_scale"


def test_flags():
    status = attributes("status")
    assert status["standard_name"] == "status_flag"
    assert status["flag_meanings"] == "not_run converged not_converged background_only diverged failed"
    assert status["flag_values"].dtype == np.int8
    assert len(STATUS) == len(status["flag_values"])
    stage = attributes("stage")
    assert stage["flag_meanings"] == "background analysis"
    np.testing.assert_array_equal(stage["flag_values"], [0, 1])


def test_terms_of_the_cost_and_unknown_rows():
    assert attributes("cost_divergence") == {"long_name": "divergence term of the cost function", "units": "1"}
    with pytest.raises(KeyError, match="'colour'"):
        attributes("colour")


def test_each_call_gives_attributes_of_its_own():
    attributes("status")["flag_values"][0] = 9
    assert attributes("status")["flag_values"][0] == 0
    assert attributes("cost", comment="x")["comment"] == "x"


def test_words_for_the_motion():
    known = {"standard_name": None}
    for name, words in (("u", ("eastward", "towards increasing x")), ("v", ("northward", "towards increasing y"))):
        for grid_kind, direction in zip(("geographic", "projected"), words, strict=True):
            for kind, variable, what in (
                ("rain", "rain", "rain echoes"),
                ("reflectivity", "DBZH", "radar echoes"),
                ("other", "height", "height"),
                ("other", "", "the images"),
            ):
                found = attributes(name, grid_kind=grid_kind, variable=variable, kind=kind, **known)
                assert found["long_name"] == f"motion of {what}, {direction}"
