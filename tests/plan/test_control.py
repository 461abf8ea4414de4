"""Parameters and penalties through the public call, and what the output says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch.nn.functional import pad

import xvar  # noqa: F401 -- the accessor
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from xvar.control import Parameter
from xvar.covariance import Diagonal, Matern
from xvar.errors import AnalysisWarning, InputError
from xvar.observation import Images
from xvar.penalty import DigitalFilter
from xvar.plan.pipeline import warn_about_windows

SIZE, SPACING = 12, 1e3
FRAME = 1800.0


def diffusive(state: dict[str, torch.Tensor], seconds: float) -> dict[str, torch.Tensor]:
    a = state["tracer"]
    around = pad(a, (1,) * 4, mode="replicate")
    laplacian = around[..., 2:, 1:-1] + around[..., :-2, 1:-1] + around[..., 1:-1, 2:] + around[..., 1:-1, :-2] - 4 * a
    return {"tracer": a + seconds / SPACING**2 * state["diffusivity"] * laplacian}


diffusive.step = 600.0  # type: ignore[attr-defined]


def record(diffusivity: float = 150.0, offsets: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)) -> xr.Dataset:
    y, x = np.mgrid[:SIZE, :SIZE]
    state = torch.from_numpy(np.sin(1.3 * x) + np.cos(0.8 * y + 0.4 * x))[None, None]
    frames = []
    for offset in offsets:
        frames.append(state[0, 0].numpy() + offset)
        for _ in range(3):
            held = torch.tensor(diffusivity, dtype=torch.float64)
            state = diffusive({"tracer": state, "diffusivity": held}, 600.0)["tracer"]
    attrs = {"units": "m", "long_name": "height of a film"}
    along = SPACING * np.arange(SIZE)
    return xr.Dataset(
        {"tracer": (("time", "y", "x"), np.stack(frames), attrs)},
        {
            "time": pd.date_range("2024-01-01", periods=len(frames), freq="30min"),
            "y": ("y", along, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", along, {"units": "m", "standard_name": "projection_x_coordinate"}),
        },
    )


def assimilate(data: xr.Dataset, **options: Any) -> xr.Dataset:
    given = {
        "dynamics": diffusive,
        "background": data.isel(time=0),
        "background_error": {"tracer": Diagonal(1e-3)},
        "observation_error": 1e-3,
        "parameters": {"diffusivity": Parameter(100.0, 50.0, "m2 s-1", long_name="diffusivity of the film")},
        "dtype": "float64",
    }
    return data.var4d.assimilate("tracer", **(given | options))


def test_a_diffusivity_is_found_and_goes_on_in_the_forecast(tmp_path: Path) -> None:
    analysis = assimilate(record(), stride=4)
    found = analysis["diffusivity"]
    assert found.dims == ("window",)
    assert float(found.item()) == pytest.approx(150.0, rel=5e-3)
    assert found.attrs == {
        "long_name": "diffusivity of the film",
        "units": "m2 s-1",
        "prior": 100.0,
        "prior_standard_deviation": 50.0,
    }
    assert float(analysis["cost_parameters"].isel(window=0, stage=0)) == 0
    assert float(analysis["cost_parameters"].isel(window=0, stage=1)) == pytest.approx(0.5, rel=0.05)
    longer = record(offsets=(0.0,) * 6)
    forecast = analysis.var4d.forecast("1h", dynamics=diffusive)
    np.testing.assert_allclose(forecast["tracer"].values[0], longer["tracer"].values[4:], atol=2e-3)
    analysis.to_netcdf(tmp_path / "analysis.nc")
    code, words = strict_cf(tmp_path / "analysis.nc")
    assert code == 0, words


def test_a_field_and_offsets_of_frames_in_the_order_of_the_input(tmp_path: Path) -> None:
    offsets = (0.0, 0.3, -0.2, 0.1)
    data = record(offsets=offsets).isel(y=slice(None, None, -1))
    options = {
        "parameters": {"diffusivity": Parameter(120.0, Matern(40.0, 6e3, 2), "m2 s-1")},
        "observation": Images(offset=Parameter(0.0, 0.5)),
    }
    analysis = assimilate(data, **options)
    assert analysis["diffusivity"].dims == ("window", "y", "x")
    assert analysis["diffusivity"].attrs["prior_standard_deviation"] == 40.0
    np.testing.assert_allclose(analysis["diffusivity"].values, 150.0, atol=25.0)
    assert analysis["offset"].dims == ("window", "step")
    assert analysis["offset"].attrs["units"] == "m"
    np.testing.assert_allclose(analysis["offset"].values[0, 1:], offsets[1:], atol=0.02)
    upright = assimilate(data.isel(y=slice(None, None, -1)), **options)
    np.testing.assert_allclose(upright["diffusivity"].values, analysis["diffusivity"].values[:, ::-1], rtol=1e-3)
    analysis.to_netcdf(tmp_path / "analysis.nc")
    code, words = strict_cf(tmp_path / "analysis.nc")
    assert code == 0, words


def test_the_prior_of_a_field_is_on_the_grid_in_any_order() -> None:
    """A DataArray that runs from north to south, beside an ascending record, and the same as a tensor."""
    data = record()
    values = 100.0 + 10 * np.arange(SIZE)[:, None] + np.arange(SIZE)
    field = xr.DataArray(values, {"y": data["y"], "x": data["x"]}, ("y", "x")).isel(y=slice(None, None, -1))
    weak = Matern(1e-3, 6e3, 2)  # keeps the prior

    def found(prior: Any, given: xr.Dataset = data) -> xr.DataArray:
        return assimilate(given, parameters={"diffusivity": Parameter(prior, weak, "m2 s-1")})["diffusivity"]

    np.testing.assert_allclose(found(field)[0], values, atol=0.05)
    np.testing.assert_allclose(found(torch.from_numpy(values))[0], values, atol=0.05)
    turned = found(field, data.isel(y=slice(None, None, -1)))
    np.testing.assert_allclose(turned[0], values[::-1], atol=0.05)
    assert found(field).attrs["prior"] == pytest.approx(values.mean())
    number = assimilate(data, parameters={"diffusivity": Parameter(xr.DataArray(100.0), 50.0, "m2 s-1")})
    assert number["diffusivity"].attrs["prior"] == 100.0


def test_lazy_data_have_parameters_too() -> None:
    data = record(offsets=(0.0,) * 7)
    lazy = assimilate(data, background=data.isel(time=0).assign(tracer=data["tracer"].mean("time")))
    eager = assimilate(
        data.chunk(time=4), background=data.isel(time=0).assign(tracer=data["tracer"].mean("time"))
    ).compute()
    np.testing.assert_array_equal(lazy["diffusivity"], eager["diffusivity"])
    assert lazy.sizes["window"] == 2


def test_a_digital_filter_by_the_names_of_variables_and_in_durations() -> None:
    analysis = assimilate(record(), penalties=DigitalFilter("40min", std={"tracer": 0.1}, span="80min", start="10min"))
    assert float(analysis["cost_digital_filter"].isel(window=0, stage=1)) > 0
    total = sum(analysis[f"cost_{term}"] for term in ("background", "parameters", "digital_filter", "observation"))
    xr.testing.assert_allclose(analysis["cost"].drop_attrs(), total.drop_attrs())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"parameters": 100.0}, "parameters-not-a-mapping"),
        ({"parameters": {"diffusivity": 100.0}}, "parameter-not-a-parameter"),
        ({"parameters": {"tracer": Parameter(1.0, 1.0)}}, "parameter-name-taken"),
        ({"parameters": {"diffusivity": Parameter(torch.ones(3, 3), Matern(1.0, 2e3))}}, "parameter-prior-shape"),
        (
            {"parameters": {"diffusivity": Parameter(xr.DataArray([1.0, 2.0], dims="k"), Matern(1.0, 2e3))}},
            "missing-dimension",
        ),
        ({"penalties": "filter"}, "penalty-unknown"),
        ({"penalties": DigitalFilter("1h", {"wind": 1.0})}, "penalty-of-unknown-variable"),
        ({"penalties": DigitalFilter("4h", {"tracer": 1.0})}, "digital-filter-outside-window"),
        ({"dynamics": "steady", "background": None, "background_error": None}, "option-misplaced"),
    ],
)
def test_what_cannot_be_estimated_is_refused(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        assimilate(record(), **options)
    assert codes(caught.value) == [code]


def blob(column: float, row: float) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:24, :24]
    return np.exp(-((x - column) ** 2 + (y - row) ** 2) / 20)


def moving() -> xr.Dataset:
    along = 2e3 * np.arange(24)
    return xr.Dataset(
        {"tracer": (("time", "y", "x"), np.stack([blob(8 + 0.5 * k, 12) for k in range(3)]), {"units": "1"})},
        {
            "time": pd.date_range("2024-01-01", periods=3, freq="5min"),
            "y": ("y", along, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", along, {"units": "m", "standard_name": "projection_x_coordinate"}),
        },
    )


def test_a_background_that_is_elsewhere_is_not_carried_there_by_the_motion() -> None:
    """Held, it would have to fly to where the images are, 20 cells in a frame."""
    data = moving()
    given = data.isel(time=0).assign(tracer=data["tracer"].isel(time=0) * 0 + blob(18, 4))
    analysis = data.var4d.assimilate("tracer", dynamics="steady", background=given)
    assert float(np.hypot(analysis["u"], analysis["v"]).max()) == pytest.approx(0.5 * 2e3 / 300, rel=0.1)


def test_images_that_were_never_there_do_not_carry_a_motion_off() -> None:
    """A first image of noise, and one elsewhere, both held: what moves the later images is found all the same."""
    data = moving()
    noise = 0.3 * np.random.default_rng(0).standard_normal((24, 24))
    given = data.isel(time=0).assign(tracer=data["tracer"].isel(time=0) * 0 + noise)
    analysis = data.var4d.assimilate(
        "tracer", dynamics="steady", background=given, background_error={"tracer": Diagonal(1e-6)}
    )
    assert float(np.hypot(analysis["u"], analysis["v"]).max()) < 2 * 2e3 / 300


def test_a_motion_that_leaves_the_grid_is_told() -> None:
    fields = np.zeros((2, 3, 4, 5))
    fields[1, 2, 0, 0] = -25.0
    arrays = {"u": fields, "v": fields * 0, "status": np.ones(2), "evaluations": np.ones(2)}
    arrays["deformation_number"] = np.zeros(2)
    with pytest.warns(AnalysisWarning, match=r"one step of the model in 1 of 2 windows: 25 m/s in window 1, where 20"):
        warn_about_windows(arrays, "window {}".format, (20.0, 10.0))
    warn_about_windows(arrays, "window {}".format, (26.0, 10.0))
