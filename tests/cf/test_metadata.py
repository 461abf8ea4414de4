"""The table of output variables."""

from __future__ import annotations

import numpy as np
import pytest

from xvar.cf.metadata import BACKGROUND_SOURCES, ORIGINS, STATUS, attributes

SST = {"variable": "sst", "kind": "temperature", "units": "K", "standard_name": "sea_surface_temperature"}
RAIN = {"variable": "rain", "kind": "rain", "units": "mm h-1", "standard_name": "rainfall_rate"}


def velocity_name(component: str, **known: object) -> str | None:
    return attributes(component, **known).get("standard_name")


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
    assert status["flag_meanings"] == "not_run converged not_converged background_only diverged failed ambiguous"
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
                ("rain", "rain", "rain"),
                ("reflectivity", "DBZH", "reflectivity"),
                ("other", "height", "height"),
                ("other", "", "the images"),
            ):
                found = attributes(name, grid_kind=grid_kind, variable=variable, kind=kind, **known)
                assert found["long_name"] == f"motion of {what}, {direction}"


@pytest.mark.parametrize(
    ("name", "surface", "ocean"),
    [
        *((name, True, False) for name in ("sea_surface_temperature", "sea_surface_skin_temperature", "sea_surface")),
        *((name, True, False) for name in ("surface_sea_water_salinity", "sea_surface_temperature standard_error")),
        *((name, False, True) for name in ("sea_water_temperature", "sea_water_salinity", "speed_in_sea_water")),
        *((name, False, True) for name in ("sea_water_potential_temperature", "mole_fraction_of_oxygen_in_sea_water")),
        *((name, False, False) for name in ("air_temperature", "sea_surface_wave_height", "sea_water_speed")),
    ],
)  # fmt: skip
def test_water_is_known_by_standard_names(name, surface, ocean) -> None:
    for component, east, axis in (("u", "eastward", "x"), ("v", "northward", "y")):
        found = [velocity_name(component, standard_name=name, grid_kind=kind) for kind in ("geographic", "index")]
        prefix = "surface_" if surface else ""
        words = [f"{prefix}{east}_sea_water_velocity", f"{prefix}sea_water_{axis}_velocity"]
        assert found == (words if surface or ocean else [None, None])
        # A name of the variable says nothing where there is a standard name.
        assert velocity_name(component, variable="sst", standard_name=name) == found[1]


@pytest.mark.parametrize(
    ("variable", "known"),
    [
        *((name, True) for name in ("sst", "SST", "my_sss_1", "tos", "seasurfacetemp", "SeaSurfaceSalt")),
        *((name, False) for name in ("", "history", "toss", "ssta", "temperature", "variable")),
    ],
)  # fmt: skip
def test_water_is_known_by_the_names_of_variables_without_a_standard_name(variable, known) -> None:
    for standard in (None, ""):
        expected = "surface_sea_water_x_velocity" if known else None
        assert velocity_name("u", variable=variable, standard_name=standard) == expected
    assert velocity_name("v", variable=variable) == (expected and expected.replace("x", "y"))
    assert attributes("u", variable=variable).get("standard_name") == expected


DIFFERENCE, ON_SCALE = ({"units_metadata": f"temperature: {what}"} for what in ("difference", "on_scale"))


@pytest.mark.parametrize(
    ("name", "known", "long_name", "units", "more"),
    [
        ("analysis", {}, "analysis of the variable", None, {}),
        ("analysis", RAIN, "analysis of rain", "mm h-1", {}),
        ("analysis", SST, "analysis of sst", "K", ON_SCALE),
        ("bias", SST, "mean of forecast minus truth of sst", "K", DIFFERENCE),
        ("forcing", {**SST, "units": "K s-1"}, "model error forcing of sst", "K s-1", DIFFERENCE),
        ("state", SST, "analysis of sst", None, {}),
        ("csi", SST, "critical success index of sst above the threshold", "1", {}),
        ("scale", SST, "side of the neighbourhood", "m", {}),
        ("threshold", RAIN, "threshold of the event", "mm h-1", {}),
        ("time", SST, "valid time", None, {"standard_name": "time"}),
        ("number_of_observations", SST, "observations used in the window", "1",
         {"standard_name": "number_of_observations"}),
        ("cost", SST, "cost function J", "1", {}),
        ("cost_background", {}, "background term of the cost function", "1", {}),
        ("cost_of_a_kind", {}, "of a kind term of the cost function", "1", {}),
        ("cost_history_of_a_kind", {}, "of a kind term of the cost function where it is lowest, so far", "1", {}),
        ("source", {**RAIN, "comment": "x"}, "change of rain that is not motion", "mm h-1", {"comment": "x"}),
        ("source", {**SST, **ON_SCALE}, "change of sst that is not motion", "K", ON_SCALE),
        ("u_transient", SST, "part of the motion towards increasing x that fades", "m s-1", {}),
        ("v_steady", SST, "steady motion of sst, towards increasing y", "m s-1", {}),
        ("u", {}, "motion of the images, towards increasing x", "m s-1", {}),
        ("v", {**SST, "long_name": "own"}, "own", "m s-1", {"standard_name": "surface_sea_water_y_velocity"}),
        # Rain over the sea moves as rain does.
        ("u", {"kind": "rain", "variable": "sst"}, "motion of rain, towards increasing x", "m s-1", {}),
        ("u", {"kind": "reflectivity", "variable": "sst"}, "motion of reflectivity, towards increasing x", "m s-1", {}),
    ],
)  # fmt: skip
def test_all_attributes_of_a_row(name, known, long_name, units, more) -> None:
    assert attributes(name, **known) == {"long_name": long_name, **({} if units is None else {"units": units}), **more}


def test_rows_that_are_not_there_are_named() -> None:
    for name in ("colour", "cost_", "cost_history_", "price_background"):
        with pytest.raises(KeyError, match=repr(name)):
            attributes(name)


def test_flags_are_counted_from_zero_in_bytes() -> None:
    for name, meanings in (("origin", ORIGINS), ("background_source", BACKGROUND_SOURCES), ("land", ("water", "land"))):
        found = attributes(name)
        assert found["flag_meanings"] == " ".join(meanings)
        assert found["flag_values"].dtype == np.int8
        assert found["flag_values"].tolist() == [0, 1]
        assert "units" not in found
