"""Choice of the method, and options that belong to some methods alone."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.bits import EMPTY, differing
from tests.faults.codes import codes
from tests.options import table
from xvar.assimilation import assimilate
from xvar.covariance import Matern
from xvar.errors import InputError
from xvar.minimize import LBFGS, GaussNewton
from xvar.observation import Images
from xvar.plan.option import METHODS
from xvar.plan.options import OPTIONS


def storm() -> xr.Dataset:
    return xvar.datasets.sample().isel(time=slice(4), y=slice(40, 88), x=slice(40, 88))


def method_of(analysis: xr.Dataset) -> str:
    return json.loads(analysis.attrs["xvar_configuration"])["method"]


def test_the_signature_is_the_table() -> None:
    parameters = inspect.signature(assimilate).parameters
    assert list(parameters)[:2] == ["data", "variable"]
    stated = {name: parameter.default for name, parameter in list(parameters.items())[2:]}
    assert stated == {name: option.default for name, option in OPTIONS.items()}


def test_the_docstring_and_the_table_document_every_option() -> None:
    text, rows = str(assimilate.__doc__), table()
    assert "{options}" not in text
    for option in OPTIONS.values():
        assert f"    {option.name} : {option.type}" in text
        assert f"| `{option.name}` |" in rows


@pytest.mark.parametrize("name", OPTIONS)
def test_a_stated_default_changes_no_bit(name: str) -> None:
    plain = storm().var4d.assimilate()
    assert differing(plain, storm().var4d.assimilate(**{name: OPTIONS[name].default})) == []


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_value_changes_no_bit_and_no_method(name: str) -> None:
    plain = storm().var4d.assimilate()
    assert differing(plain, storm().var4d.assimilate(**{name: EMPTY[name]})) == []


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({}, "image_motion"),
        ({"observation_error": 20.0}, "image_motion"),
        ({"background_error": Matern(std=5.0, length=2e4)}, "image_motion"),
        ({"minimizer": LBFGS(max_evaluations=30)}, "image_motion"),
        ({"background": "cycled", "window": 2}, "image_motion"),
        ({"method": "image_motion"}, "image_motion"),
        ({"method": "advection"}, "advection"),
        ({"dynamics": "advection"}, "advection"),
        ({"dynamics": "steady"}, "advection"),
        ({"dynamics": "advection", "method": "advection"}, "advection"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
@pytest.mark.filterwarnings("ignore::xvar.AnalysisWarning")
def test_dynamics_and_method_alone_select_the_method(options: dict[str, Any], method: str) -> None:
    analysis = storm().var4d.assimilate(**options)
    assert method_of(analysis) == method
    assert f"method: {method}" in str(analysis.var4d.summary())


@pytest.mark.parametrize(
    ("options", "codes_"),
    [
        ({"coast": "no_flow"}, ["option-misplaced"]),
        ({"constraint": "weak"}, ["option-misplaced"]),
        ({"model_error": Matern(std=1.0, length=2e4)}, ["option-misplaced"]),
        ({"observation": Images(threshold=2.0)}, ["option-misplaced"]),
        ({"method": "currents", "penalties": [object()]}, ["option-misplaced"]),
        ({"method": "image_motion", "dynamics": "advection"}, ["method-contradicts-dynamics"]),
        ({"method": "model"}, ["dynamics-missing"]),
        ({"method": "imagemotion"}, ["option-value"]),
        ({"dynamics": "advecton"}, ["dynamics-unknown"]),
        ({"dynamics": 3}, ["dynamics-unknown"]),
        ({"observation_error": -1.0}, ["observation-error-value"]),
        ({"background": storm().isel(time=0, drop=True)}, ["option-misplaced"]),
        ({"background_error": {"rain": Matern(std=1.0, length=2e4)}}, ["component-unknown"]),
        ({"background_error": Matern(std=1.0, length=2.0)}, ["correlation-length"]),
        ({"background_error": "Matern"}, ["covariance-type"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_a_method_cannot_use_is_an_error(options: dict[str, Any], codes_: list[str]) -> None:
    with pytest.raises(InputError) as error:
        storm().var4d.assimilate(**options)
    assert codes(error.value) == codes_
    misplaced = [fault for fault in error.value.faults if fault.code == "option-misplaced"]
    assert all(any(method in fault.expected + fault.fix for method in METHODS) for fault in misplaced)


def test_a_motion_as_background_is_the_centre_of_the_prior() -> None:
    """Without a pattern to see the motion is that of the background."""
    flat = xr.full_like(storm(), 0.0)
    given = xr.Dataset(
        {"u": 5.0 + flat["rain"].isel(time=0, drop=True), "v": flat["rain"].isel(time=0, drop=True) - 2.0}
    )
    analysis = flat.var4d.assimilate(background=given)
    np.testing.assert_allclose(analysis["u"], 5.0, rtol=1e-5)
    np.testing.assert_allclose(analysis["v"], -2.0, rtol=1e-5)
    assert analysis["status"].item() == 3


def test_beliefs_reach_the_default_method_in_physical_units() -> None:
    """Larger errors of the images, or a smaller error of the motion, pull it towards the uniform first guess."""

    def variation(**options: Any) -> float:
        end = xvar.datasets.sample().isel(time=slice(4)).var4d.assimilate(**options).isel(step=-1)
        return float(sum((end[name] - end[f"{name}_transient"]).var() for name in "uv") ** 0.5)

    assert variation(observation_error=200.0) < 0.5 * variation()
    loose, stiff = (variation(background_error=Matern(std=std, length=2e4)) for std in (2.0, 0.02))
    assert stiff < 0.2 * loose
    # One number for the error in the units of the variable, whatever these are.
    metres = storm()
    factor = 1e-5 / 300  # 0.01 mm in 5 min are so many metres in a second
    metres["rain"] = (metres["rain"] * factor).assign_attrs(units="m s-1")
    mine = metres.var4d.assimilate(observation_error=20.0 * factor)
    np.testing.assert_allclose(mine["u"], storm().var4d.assimilate(observation_error=20.0)["u"], atol=0.3)


def test_a_window_without_wet_values_keeps_the_default_error() -> None:
    dry = xr.full_like(storm(), 0.0)
    assert dry.var4d.assimilate(observation_error=5.0)["status"].item() == 3


def test_a_model_without_a_background_is_one_fault() -> None:
    error = {"rain": Matern(std=20.0, length=2e4)}
    with pytest.raises(InputError) as raised:
        storm().var4d.assimilate(dynamics=lambda state, _: state, background_error=error)
    assert codes(raised.value) == ["background-incomplete-state"]


def test_flags_of_the_background_are_no_part_of_the_state() -> None:
    record = storm()
    first = record.isel(time=0).assign(valid=(("y", "x"), np.ones(record["rain"].shape[1:], "int8")))
    first["valid"].attrs = {"flag_values": np.array([0, 1], "int8"), "flag_meanings": "no yes"}
    error = {"rain": Matern(std=20.0, length=2e4)}
    result = record.var4d.assimilate(dynamics=lambda state, _: state, background=first, background_error=error)
    assert "rain" in result
    assert "valid" not in result


def test_currents_are_those_of_temperatures_alone() -> None:
    with pytest.raises(InputError) as error:
        storm().var4d.assimilate(method="currents")
    assert codes(error.value) == ["currents-of-no-temperature"]
    assert error.value.faults[0].variable == "rain"


@pytest.mark.parametrize("method", ["image_motion", "currents"])
def test_methods_of_images_have_inner_loops_on_the_full_grid_alone(method: str) -> None:
    record = storm()
    if method == "currents":
        attrs = {"units": "K", "standard_name": "sea_surface_temperature"}
        record["rain"] = (280 + record["rain"] / 100).assign_attrs(attrs)
    with pytest.raises(InputError) as error:
        record.var4d.assimilate(method=method, minimizer=GaussNewton(resolution=(2, 1)))
    assert codes(error.value) == ["option-conflict"]
    assert error.value.faults[0].variable == "minimizer"
