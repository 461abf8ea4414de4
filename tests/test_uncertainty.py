"""Standard errors through the public call: every method, its output, the same bits everywhere."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xvar
from benchmarks.twins import INNER, MOTIONS, WET, rain_of, truth_of
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from tests.plan.test_control import assimilate as diffuse
from tests.plan.test_control import record as film
from tests.plan.test_points import background, points, still
from tests.runs.records import same, shower
from tests.test_currents import holed
from tests.test_currents import record as sea
from xvar.cli.application import application
from xvar.control import Parameter
from xvar.core.posterior import Sampling
from xvar.covariance import Diagonal, Matern, Tikhonov
from xvar.errors import AnalysisWarning, InputError
from xvar.minimize import LBFGS
from xvar.observation import Images

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{AnalysisWarning.__module__}.{AnalysisWarning.__name__}"),
    pytest.mark.usefixtures("one_thread"),
]

WANTED: dict[str, Any] = {"uncertainty": "posterior", "samples": 2, "save": ("samples",)}
CALLS: dict[str, Any] = {
    "image_motion": lambda **options: storm().var4d.assimilate(**options),
    "currents": lambda **options: holed().var4d.assimilate(constraint="weak", land="never_valid", **options),
    "advection": lambda **options: storm().var4d.assimilate(dynamics="advection", **options),
    "advection, weak": lambda **options: storm().var4d.assimilate(
        dynamics="steady", constraint="weak", model_error={"velocity": Matern(1e-3, 3e4)}, **options
    ),
    "parameters": lambda **options: diffuse(
        film(),
        parameters={"diffusivity": Parameter(100.0, 0.5, "m2 s-1", positive=True)},
        observation=Images(offset=Parameter(0.0, 0.5)),
        **options,
    ),
    "points": lambda **options: points().var4d.assimilate(
        dynamics=still, background=background(), background_error={"a": Diagonal(1.0), "b": Matern(1.0, 3e3)}, **options
    ),
}
ERRORS = {
    "image_motion": ("u", "v", "u_steady", "v_steady", "u_transient", "v_transient", "growth"),
    "currents": ("u", "v", "u_forcing", "v_forcing", "source"),
    "advection": ("u", "v", "rain"),
    "advection, weak": ("u", "v", "rain", "u_forcing", "v_forcing"),
    "parameters": ("tracer", "diffusivity", "offset"),
    "points": ("a", "b"),
}


def storm() -> xr.Dataset:
    return xvar.datasets.sample().isel(y=slice(40, 88), x=slice(40, 88))


@functools.lru_cache
def analysis(method: str) -> xr.Dataset:
    return CALLS[method](**WANTED)


@pytest.mark.parametrize("method", CALLS)
def test_every_part_of_the_control_has_a_standard_error_and_members(method: str, tmp_path: Path) -> None:
    found = analysis(method)
    errors = {name for name, part in found.items() if part.attrs.get("method") == "posterior"}
    assert errors == {f"{name}_std" for name in ERRORS[method]}
    assert (found["degrees_of_freedom_for_signal"] < 2 * found["number_of_observations"]).all()
    for name in ERRORS[method]:
        std, members = found[f"{name}_std"], found[f"{name}_samples"]
        assert std.dims == found[name].dims
        assert members.dims == ("window", "member", *found[name].dims[1:])
        assert found[name].attrs["ancillary_variables"].split()[-1] == f"{name}_std"
        assert std.attrs.get("units") == members.attrs.get("units") == found[name].attrs.get("units")
        assert (std.attrs["number_of_solves"], std.attrs["relative_error"]) == (2, 0.5)
        known = np.isfinite(found[name].values)
        assert (std.values[known] > 0).all()
        spread = (members - found[name]).transpose("member", ...).values
        np.testing.assert_allclose(std, np.sqrt((spread**2).mean(0)), rtol=1e-3, atol=1e-6)
    assert found.sizes["member"] == 4
    found.to_netcdf(tmp_path / "analysis.nc")
    code, words = strict_cf(tmp_path / "analysis.nc")
    assert code == 0, words


@pytest.mark.parametrize("method", CALLS)
def test_the_rest_of_the_analysis_has_the_bits_that_it_has_without(method: str) -> None:
    plain = CALLS[method]()
    assert same(plain, analysis(method)) == []
    assert not [name for name in plain if str(name).endswith(("_samples", "u_std"))]


def test_currents_have_the_modifier_of_their_standard_names() -> None:
    images = sea()
    images["temperature"].attrs["standard_name"] = "sea_surface_temperature"
    found = images.var4d.assimilate(uncertainty="posterior", samples=1)
    assert found["u_std"].attrs["standard_name"] == "surface_sea_water_x_velocity standard_error"
    assert "standard_name" not in analysis("image_motion")["u_std"].attrs


@pytest.mark.parametrize("method", ["image_motion", "currents"])
def test_a_window_has_the_same_bits_alone_in_a_batch_and_lazily(method: str) -> None:
    record = storm() if method == "image_motion" else sea(7).isel(y=slice(24), x=slice(24))
    whole = record.var4d.assimilate(**WANTED)
    alone = record.isel(time=slice(3, 7)).var4d.assimilate(**WANTED)
    assert same(whole.isel(window=[1]), alone) == []
    lazy = record.chunk(time=2).var4d.assimilate(**WANTED, batch=1)
    assert lazy["u_std"].chunks is not None
    assert same(whole, lazy.compute()) == []
    assert not np.array_equal(whole["u_samples"][0], whole["u_samples"][1])


def test_windows_of_different_lengths(tmp_path: Path) -> None:
    record = shower(6)
    found = record.var4d.assimilate(**WANTED, partial="keep")
    assert np.isfinite(found["u_std"].values[1, :3]).all()
    assert np.isnan(found["u_samples"].values[1, :, 3]).all()
    xvar.run(record, tmp_path / "a.nc", **WANTED, partial="keep")
    with xr.open_dataset(tmp_path / "a.nc") as written:
        assert same(written.load(), found) == []


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_a_run_that_goes_on_has_the_same_bits(name: str, tmp_path: Path) -> None:
    record, options = shower(), {**WANTED, "window": 4}

    def stop(report: Any) -> None:
        if report.done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        xvar.run(record, tmp_path / name, **options, batch=1, progress=stop)
    xvar.run(record, tmp_path / name, **options, batch=1)
    with xr.open_dataset(tmp_path / name) if name == "a.nc" else xr.open_zarr(tmp_path / name) as found:
        assert same(found.load(), record.var4d.assimilate(**options)) == []


@pytest.mark.filterwarnings("ignore::xvar.errors.InputWarning")
def test_an_error_is_smaller_than_the_prior_and_larger_in_a_hole() -> None:
    """Of waves that move half a cell in a frame, seen but for a hole that is wider than the correlations of B."""
    y, x = np.mgrid[:24, :32]
    frames = np.stack([np.sin(0.9 * (x - 0.5 * k)) + np.sin(0.8 * y + 0.3 * x) for k in range(4)])
    frames[:, :, :12] = np.nan
    metres = ((name, 1e3 * np.arange(size), {"units": "m"}) for name, size in (("y", 24), ("x", 32)))
    times = np.datetime64("2024-01-01", "ns") + np.arange(4) * np.timedelta64(300, "s")
    record = xr.DataArray(frames, {"time": times, **{part[0]: part for part in metres}}, ("time", "y", "x"), "waves")
    found = record.assign_attrs(units="1").var4d.assimilate(
        dynamics="steady",
        background=xr.zeros_like(record[0]).fillna(0.0).to_dataset(),
        background_error={"velocity": Matern(2.0, 2e3), "waves": Matern(2.0, 1e3)},
        observation_error=0.3,
        uncertainty="posterior",
        samples=4,
    )
    for name in ("u", "v", "waves"):
        std = np.sqrt((found[f"{name}_std"].values[0, 0] ** 2).mean(0))
        assert 0 < std[16:].mean() < 0.6 * std[:8].mean()
        assert std[:8].mean() < 2.2


def test_members_go_through_a_series() -> None:
    series = analysis("image_motion").var4d.series()
    assert set(series["u_samples"].dims) == {"member", "time", "y", "x"}
    assert series["u"].attrs["ancillary_variables"] == "u_std"


def test_the_summary_states_the_standard_error_of_the_motion() -> None:
    found = analysis("image_motion")
    for part, name in (("steady", "u_steady_std"), ("total", "u_std")):
        size = float(np.sqrt((found[name].astype("float64") ** 2).mean()))
        assert f"along x and y: {size:.2g} and" in found.var4d.summary(part=part)
    assert "standard error" not in storm().var4d.assimilate().var4d.summary()


@pytest.mark.parametrize("method", ["image_motion", "points"])
def test_members_are_a_dimension_only_if_they_are_saved(method: str) -> None:
    analysis = CALLS[method](uncertainty="posterior", samples=1)
    assert "member" not in analysis.sizes
    assert len(analysis["observation_type"].attrs["flag_meanings"].split()) == analysis.sizes["observation_type"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"uncertainty": "ensemble"}, "option-value"),
        ({**WANTED, "samples": 0}, "option-value"),
        ({"samples": 4}, "samples-without-uncertainty"),
        ({"save": ("samples",)}, "samples-without-uncertainty"),
        ({**WANTED, "dynamics": "advection", "observation": Images(reset="observation")}, "uncertainty-with-reset"),
        (
            {**WANTED, "background_error": Tikhonov(gradient=5e9, divergence=5e6, edges="appended_zero")},
            "uncertainty-with-penalty",
        ),
        (
            {
                **WANTED,
                "dynamics": "advection",
                "background_error": Tikhonov(gradient=5e9, divergence=5e6, edges="appended_zero"),
            },
            "uncertainty-with-penalty",
        ),
    ],
)
def test_what_cannot_have_errors_is_refused(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        storm().var4d.assimilate(**options)
    assert codes(caught.value) == [code]


def test_in_the_shell(tmp_path: Path) -> None:
    storm().isel(time=slice(4)).to_netcdf(tmp_path / "radar.nc")
    words = ["assimilate", tmp_path / "radar.nc", "-o", tmp_path / "a.nc", "--uncertainty", "posterior"]
    result = CliRunner().invoke(application, [str(word) for word in [*words, "--samples", "2", "--save", "samples"]])
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert same(found.load(), analysis("image_motion").isel(window=[0])) == []


def test_more_evaluations_hardly_change_the_errors() -> None:
    tight = storm().var4d.assimilate(**WANTED, minimizer=LBFGS(max_evaluations=500, gtol=1e-6, ftol=1e-9))
    one, other = (np.sqrt((part["u_std"].values[:, -1] ** 2).mean()) for part in (analysis("image_motion"), tight))
    assert one == pytest.approx(other, rel=0.2)
    assert Sampling(solves=3).members == 6


@pytest.mark.parametrize("name", ["translation, 2 px", pytest.param("rotation, 0.05 a frame", marks=pytest.mark.long)])
def test_the_standard_error_of_a_motion_has_the_size_of_its_error(name: str) -> None:
    """B leaves room for motion of all scales; twins that move as a whole have a tenth of its variance."""
    images, truth = rain_of(name, 0), truth_of(MOTIONS[name]).isel(time=0)
    found = images.var4d.assimilate(uncertainty="posterior", samples=4).isel(window=0, step=-1, y=INNER, x=INNER)
    wet = found["rain_observed"] > WET
    error, spread = (
        sum((part[key].where(wet) ** 2).mean() for key in keys)
        for part, keys in ((found - truth.isel(y=INNER, x=INNER), ("u", "v")), (found, ("u_std", "v_std")))
    )
    assert 0.4 < float((spread / error) ** 0.5) < 1.8


@pytest.mark.filterwarnings("ignore::xvar.errors.InputWarning")
def test_currents_that_nothing_shows_have_the_error_of_the_prior() -> None:
    images = sea()
    images["temperature"][:, :, 16:] = np.nan  # for four correlation lengths
    std = images.var4d.assimilate(uncertainty="posterior", samples=4)["u_std"].values[0, -1]
    seen, unseen = (np.sqrt((part**2).mean()) for part in (std[4:-4, 4:12], std[4:-4, 32:44]))
    assert unseen == pytest.approx(0.6, rel=0.35)  # of B at a point; the seen part knows the mean
    assert seen < 0.5 * unseen
