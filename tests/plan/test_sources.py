"""Images, points and several sources of each in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from tests.faults.images import warm
from tests.plan.heat import (
    BEGIN,
    FRAME,
    QUICK,
    SHAPE,
    STD,
    Heat,
    after,
    assimilate,
    at,
    at_points,
    background,
    gauges,
    images,
    numbers,
    record,
    trajectory,
)
from tests.runs.records import same
from xvar.background import Cycled
from xvar.control import Parameter
from xvar.covariance import Diagonal
from xvar.errors import AnalysisWarning, InputError
from xvar.minimize import LBFGS
from xvar.observation import Images, Points, SquareRoot

# ---- against linear algebra


@pytest.mark.parametrize("backwards", [False, True])
def test_images_and_points_of_several_sources_are_the_best_linear_estimate(backwards: bool, tmp_path: Path) -> None:
    """The record, a satellite at times of its own, and two tables of points, one of them for the nearer step."""
    data, own = record(), [100.0, 600.0, 1500.0]
    satellite = images(15 + numbers(3, *SHAPE, seed=11), own, "satellite")
    satellite.values[1, :, 2] = np.nan
    late = images(np.full((1, *SHAPE), 99.0), [2400.0], "satellite")  # in no window
    error = (0.3 + 0.1 * numbers(*SHAPE, seed=12) ** 2).reshape(SHAPE)
    one, other = gauges(), gauges(np.array([20.0, 1100.0]), seed=4)
    given = xr.concat([satellite, late], "time")
    if backwards:  # the order of rows, columns and times is the user's own
        given = given.isel(time=slice(None, None, -1), y=slice(None, None, -1)).transpose("x", "time", "y")
    analysis = assimilate(
        data,
        {
            "record": Images(),
            "satellite": Images(given, error=xr.DataArray(error[::-1] if backwards else error, dims=("y", "x"))),
            "moored": Points(one),
            "nearest": Points(other, time_interpolation="nearest"),
        },
        save=("innovation", "residual"),
    )
    rounded = other.assign(time=("report", after([0.0, 1200.0])))

    def equivalents(control: Tensor) -> list[Tensor]:
        states = trajectory(control)
        frames = [torch.stack([at(states, t, "sst") for t in times]) for times in (np.arange(4) * FRAME, own)]
        return [*frames, at_points(states, one), at_points(states, rounded)]

    values = [torch.from_numpy(part.values) for part in (data["sst"], satellite, one["value"], other["value"])]
    spread = [torch.full_like(values[0], 0.25), torch.from_numpy(error).expand(3, *SHAPE)]
    spread += [torch.from_numpy(table["std"].values) for table in (one, other)]
    seen = torch.cat([part.isfinite().flatten() for part in values])

    def flat(parts: list[Tensor]) -> Tensor:
        return torch.cat([part.flatten() for part in parts])[seen]

    zero = torch.zeros(60, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(lambda control: flat(equivalents(control)), zero)
    noise = torch.diag(flat(spread) ** 2)
    control = matrix.T @ torch.linalg.solve(matrix @ matrix.T + noise, flat(values) - flat(equivalents(zero)))
    for name in STD:
        np.testing.assert_allclose(analysis[name][0, 0], trajectory(control)[0][name][0, 0], rtol=0, atol=1e-6)
    before, expected = equivalents(zero), equivalents(control)
    assert analysis["observation_source"].values.tolist() == [0] * 7 + [1] * 2
    assert analysis["observation_source"].attrs["flag_meanings"] == "moored nearest"
    for word, parts in (("background", before), ("analysis", expected)):
        np.testing.assert_allclose(analysis[f"observation_{word}"], torch.cat(parts[2:]), rtol=0, atol=1e-6)
    for word, parts in (("innovation", before), ("residual", expected)):
        np.testing.assert_allclose(analysis[f"sst_{word}"][0], values[0] - parts[0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(analysis[f"satellite_{word}"][0], values[1] - parts[1], rtol=0, atol=1e-6)
    assert (analysis["satellite_time"].values[0] == after(own)).all()
    assert int(analysis["number_of_observations"].item()) == int(seen.sum())
    analysis.to_netcdf(tmp_path / "analysis.nc")
    code, words = strict_cf(tmp_path / "analysis.nc")
    assert code == 0, words


def test_two_sources_of_images_are_as_good_as_their_weighted_mean() -> None:
    data, other = record(), images(15 + numbers(4, *SHAPE, seed=13), np.arange(4) * FRAME)
    other = other.where(data["sst"].notnull())
    together = assimilate(data, [Images(), Images(other, error=0.5)])
    weights = 0.25**-2, 0.5**-2
    mean = (weights[0] * data["sst"] + weights[1] * other) / sum(weights)
    merged = assimilate(mean.to_dataset(name="sst").assign_attrs(data.attrs), observation_error=sum(weights) ** -0.5)
    for name in STD:
        np.testing.assert_allclose(together[name], merged[name], rtol=0, atol=1e-7)
    assert together["number_of_observations"].item() == 2 * merged["number_of_observations"].item()


def test_the_error_of_images_is_that_of_the_record() -> None:
    stated = assimilate(record(), Images(error=0.25), observation_error=None)
    assert same(stated, assimilate(record())) == []


def test_images_in_other_units_are_converted() -> None:
    other = images(15 + numbers(4, *SHAPE, seed=13), np.arange(4) * FRAME, "skin")
    kelvin = (other + 273.15).assign_attrs(units="K")
    one, converted = (assimilate(record(), [Images(part, error=0.5)]) for part in (other, kelvin))
    np.testing.assert_allclose(one["sst"], converted["sst"], rtol=0, atol=1e-7)


def test_each_source_has_its_own_transform_and_calibration() -> None:
    """The same images, of an instrument that shows 0.4 K too much."""
    data = record()
    warm = (data["sst"] + 0.4).rename("warm").assign_attrs(data["sst"].attrs)
    offset = Parameter(0.0, 5.0)
    source = Images(warm, error=0.25, offset=offset, calibration="window")
    analysis = assimilate(data, [Images(transform=SquareRoot()), source], observation_error=0.03)
    assert analysis["warm_offset"].dims == ("window",)
    assert float(analysis["warm_offset"].item()) == pytest.approx(0.4, abs=0.1)
    assert analysis["warm_offset"].attrs["units"] == "degree_Celsius"
    each = assimilate(data, [Images(warm, error=0.25, offset=offset)])
    assert each["warm_offset"].dims == ("window", "warm_step")


# ---- the same bits, however it is called


def test_a_sequence_of_one_source_is_the_source() -> None:
    data, table = record(), gauges()

    def analysis(observation: Any) -> xr.Dataset:
        return assimilate(data, observation, minimizer=QUICK).drop_attrs(deep=False)

    plain = analysis(None)
    for source in (Images(), [Images()], [], {}, {"record": Images()}):
        xr.testing.assert_identical(analysis(source), plain)
    one, other = Images(threshold=1.5), Points(table)
    for source in (one, other):
        xr.testing.assert_identical(analysis(source), analysis([source]))
    xr.testing.assert_identical(analysis([one, other]), analysis([other, one]))


def sources() -> tuple[xr.Dataset, list[Any]]:
    """Ten frames in three windows, and sources beside them, one of which has images in two windows only."""
    satellite = images(15 + numbers(5, *SHAPE, seed=11), [100.0, 600.0, 1500.0, 4000.0, 4100.0], "satellite")
    table = gauges(np.linspace(0, 9 * FRAME + 100, 23))
    return record(10), [Images(satellite, error=0.5, gain=Parameter(1.0, 0.1)), Points(table)]


OPTIONS: dict[str, Any] = {"save": ("increment", "residual", "cost_history"), "minimizer": QUICK}


@pytest.mark.parametrize("batch", [1, 2, None])
def test_lazily_the_bits_are_the_same(batch: int | None) -> None:
    data, beside = sources()
    whole = assimilate(data, beside, **OPTIONS)
    assert whole.sizes["window"] == 3
    lazy_images = Images(beside[0].data.chunk(time=1), error=0.5, gain=Parameter(1.0, 0.1))
    lazy = assimilate(data.chunk(time=3, x=4), [lazy_images, beside[1]], batch=batch, **OPTIONS)
    assert lazy["observation_analysis"].chunks is not None
    xr.testing.assert_identical(lazy.compute().drop_attrs(deep=False), whole.drop_attrs(deep=False))
    for window in range(3):
        alone = assimilate(data.isel(time=slice(3 * window, 3 * window + 4)), beside, **OPTIONS)
        names = ["sst", "flux", "cost", "number_of_observations", "flux_increment", "sst_residual"]
        assert same(alone[names], whole[names].isel(window=[window])) == []
        mine = whole["observation_analysis"].where(whole["observation_window"] == window, drop=True)
        known = alone["observation_analysis"]
        np.testing.assert_array_equal(mine.dropna("observation"), known.dropna("observation"))


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_a_run_holds_the_points_by_window(name: str, tmp_path: Path) -> None:
    data, beside = sources()
    options = {
        "dynamics": Heat(),
        "background": background(),
        "background_error": {key: Diagonal(std) for key, std in STD.items()},
        "observation": beside,
        "observation_error": 0.25,
        "dtype": "float64",
        "minimizer": QUICK,
    }
    whole = data.var4d.assimilate(**options)
    xvar.run(data, tmp_path / name, **options, batch=1)
    with xr.open_dataset(tmp_path / name, **({"engine": "zarr"} if name.endswith("zarr") else {})) as file:
        stored = file.load()
    assert same(whole[["sst", "flux", "cost", "satellite_gain"]], stored) == []
    place = {"window": stored["observation_window"], "point": stored["observation_point"]}
    found = stored["observation_analysis"].isel(place).where(stored["observation_point"] >= 0)
    np.testing.assert_array_equal(found, whole["observation_analysis"])


# ---- tables alone


def table_of_a_day() -> tuple[xr.Dataset, xr.Dataset]:
    times = np.r_[np.linspace(0, 5400, 31), 1800.0, 3600.0]
    return gauges(times), background().assign_coords(time=BEGIN)


def test_a_table_is_cycled_as_images_are() -> None:
    """Windows of half an hour: each begins with the forecast of the one before, and no point is used twice."""
    table, first = table_of_a_day()
    options: dict[str, Any] = {"observation_error": None, "window": "30min", "model_error": {"sst": Diagonal(0.01)}}
    analysis = assimilate(table, background=Cycled(first), **options)
    assert analysis.sizes["window"] == 3
    assert analysis["background_source"].values.tolist() == [0, 1, 1]
    assert int(analysis["number_of_observations"].sum()) == int((analysis["observation_quality"] == 0).sum()) == 33
    for window in (1, 2):
        start = analysis.isel(window=window - 1, step=-1, drop=True)[["sst", "flux"]]
        for name in STD:
            np.testing.assert_array_equal(analysis[f"{name}_background"][window], start[name])
        # The next window by itself, from what the one before hands over; B has grown by the model error.
        grown = {"sst": Diagonal(float(np.hypot(STD["sst"], 0.01 * np.sqrt(1800)))), "flux": Diagonal(STD["flux"])}
        inside = (table["time"] > after(1800.0 * window)) & (table["time"] <= after(1800.0 * (window + 1)))
        alone = assimilate(
            table.isel(report=inside.values),
            background=start.assign_coords(time=after(1800.0 * window)).drop_attrs(deep=False),
            background_error=grown,
            observation_error=None,
            window="30min",
        )
        np.testing.assert_allclose(analysis["sst"][window], alone["sst"][0], rtol=0, atol=1e-8)


def test_points_after_the_last_frame_of_a_cycled_window_are_used_in_it() -> None:
    """Windows of three frames: what lies between the last one and the first of the next window is not lost."""
    data, table = record(9), gauges(np.linspace(0, 8 * FRAME, 25))
    options = {"window": 3, "background": Cycled(background()), "minimizer": QUICK}
    analysis = assimilate(data, Points(table), **options)
    assert (analysis["observation_quality"] == 0).all()
    begin = (analysis["observation_time"] - data["time"][0]).values // np.timedelta64(int(3 * FRAME), "s")
    np.testing.assert_array_equal(analysis["observation_window"], begin)
    images = assimilate(data, **options)["number_of_observations"]
    assert (analysis["number_of_observations"] - images).values.tolist() == [9, 9, 7]
    assert np.isfinite(analysis["observation_analysis"]).all()


def test_a_table_in_a_resumable_run(tmp_path: Path) -> None:
    table, first = table_of_a_day()
    given = {
        "dynamics": Heat(),
        "background": Cycled(first),
        "background_error": {name: Diagonal(std) for name, std in STD.items()},
        "window": "30min",
        "dtype": "float64",
        "minimizer": QUICK,
    }
    whole = table.var4d.assimilate(**given)
    xvar.run(table, tmp_path / "a.zarr", **given, batch=1)
    with xr.open_zarr(tmp_path / "a.zarr") as file:
        stored = file.load()
    assert same(whole[["sst", "flux", "cost", "sst_background", "background_source"]], stored) == []
    with pytest.raises(InputError):  # the points are part of the run
        xvar.run(table.assign(value=table["value"] + 1), tmp_path / "a.zarr", **given)
    lazy = table.chunk(report=10).var4d.assimilate(**given)
    assert lazy["sst"].chunks is not None
    xr.testing.assert_identical(lazy.compute().drop_attrs(deep=False), whole.drop_attrs(deep=False))


# ---- backgrounds


def test_each_window_of_images_may_have_its_own_background() -> None:
    data, given = record(10), background()
    starts = xr.concat(
        [(given + 0.1 * k).assign_coords(time=after(3 * k * FRAME)) for k in range(4)], "time", data_vars="all"
    ).assign({name: lambda ds, name=name: ds[name].assign_attrs(given[name].attrs) for name in STD})
    whole = assimilate(data, background=starts.isel(time=[2, 0, 3, 1]))
    for window in range(3):
        alone = assimilate(data.isel(time=slice(3 * window, 3 * window + 4)), background=starts.isel(time=window))
        assert same(alone, whole.isel(window=[window])) == []
    with pytest.raises(InputError) as caught:
        assimilate(data, background=starts.isel(time=[0, 1]))
    assert codes(caught.value) == ["background-time-missing"]


def test_increments_and_forcings_have_the_units_of_their_variables() -> None:
    data = warm(3)
    state = data.isel(time=0, drop=True).assign(air=data["sst"][0] + 2, ratio=data["sst"][0] * 0)
    state["air"].attrs, state["ratio"].attrs = {"units": "K"}, {}
    errors = {name: Diagonal(std=1.0) for name in ("sst", "air", "ratio")}
    stated = {"background": state, "background_error": errors, "model_error": errors, "minimizer": LBFGS(1)}
    with pytest.warns(AnalysisWarning, match="not converged"):
        analysis = data.var4d.assimilate(dynamics=lambda s, _: s, constraint="weak", save=("increment",), **stated)
    kept = {name: {key: analysis[name].attrs.get(key) for key in ("units", "units_metadata")} for name in analysis}
    assert kept["air_increment"] == {"units": "K", "units_metadata": "temperature: difference"}
    assert kept["air_forcing"] == {"units": "K s-1", "units_metadata": "temperature: difference"}
    assert kept["ratio_increment"] == kept["ratio_forcing"] == {"units": None, "units_metadata": None}


# ---- faults


@pytest.mark.parametrize(
    ("observation", "options", "code"),
    [
        ("images", {}, "observation-not-a-source"),
        ([Images(), Images(threshold=1.0)], {}, "observation-of-record-twice"),
        (Images(error=0.1), {}, "observation-error-twice"),
        (Images(data=3.0), {}, "images-not-a-dataarray"),
        (Points(), {}, "points-not-a-table"),
        (Points(gauges().drop_vars("variable")), {}, "points-without-variable"),
        (None, {"background": background()[["sst"]]}, "background-incomplete-state"),
    ],
)
def test_faults_of_observations(observation: Any, options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        assimilate(record(), observation, **options)
    assert codes(caught.value) == [code]


def test_images_on_other_points_are_refused() -> None:
    other = images(numbers(2, *SHAPE, seed=1), [0.0, 600.0]).assign_coords(x=np.arange(6) * 1e3 + 200)
    with pytest.raises(InputError) as caught:
        assimilate(record(), Images(other, error=1.0))
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].dimension == "x"
