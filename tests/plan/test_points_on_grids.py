"""Tables of points on grids of any number of axes, through the public call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

from tests.core.covariance.operators import dense
from tests.core.linear import blue
from tests.core.numerics import random
from tests.faults.codes import codes
from tests.plan.test_lattice import CASES, PRECISE, step, times, turning
from xvar.background import Cycled
from xvar.covariance import Diagonal
from xvar.errors import InputError
from xvar.observation import Images, Points

COUNT = 25


def coordinates(data: xr.Dataset) -> list[np.ndarray[Any, Any]]:
    return [data.coords[dim].values if dim in data.coords else np.arange(data.sizes[dim]) for dim in data["c"].dims[1:]]


def table(data: xr.Dataset) -> xr.Dataset:
    """Points anywhere on the grid, at any time of four frames a minute apart."""
    generator = np.random.default_rng(4)
    columns = {"value": generator.standard_normal(COUNT), "std": 0.2 + generator.random(COUNT)}
    columns["time"] = data["time"].values[0] + (generator.random(COUNT) * 180e9).astype("timedelta64[ns]")
    for dim, along in zip(data["c"].dims[1:], coordinates(data), strict=True):
        columns[str(dim)] = along.min() + generator.random(COUNT) * np.ptp(along)
    return xr.Dataset({name: ("report", column) for name, column in columns.items()})


def operator(points: xr.Dataset, data: xr.Dataset, shape: tuple[int, ...]) -> torch.Tensor:
    """The matrix (point, state) of linear interpolation in space and, between two steps, in time."""
    lines, size = coordinates(data), int(np.prod(shape))
    unit = np.moveaxis(np.eye(size).reshape(size, *shape), 0, -1)
    weights = RegularGridInterpolator(lines, unit)(np.stack([points[str(dim)] for dim in data["c"].dims[1:]], axis=1))
    minutes = (points["time"].values - data["time"].values[0]) / np.timedelta64(60, "s")
    maps = [dense(lambda x, count=count: step(x, count), (1, 1, *shape)) for count in range(4)]
    rows = []
    for row, minute in zip(torch.from_numpy(weights), minutes, strict=True):
        first = min(int(minute), 2)
        rows.append(row @ torch.lerp(maps[first], maps[first + 1], minute - first))
    return torch.stack(rows)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_analysis_is_the_best_linear_unbiased_estimate(name: str, beside: bool) -> None:
    """As the data of the call, and beside a record of states of which values are missing."""
    data, error, grid = CASES[name]
    points, shape = table(data), (1, 1, *grid.shape)
    background = xr.zeros_like(data.isel(time=0)) + 0.3
    stated: dict[str, Any] = {"background_error": error, "dynamics": turning, **PRECISE}
    matrix = dense(error.bind(grid, dtype=torch.float64).apply, shape)
    rows, values = [operator(points, data, grid.shape)], [torch.from_numpy(points["value"].values)]
    variances = [torch.from_numpy(points["std"].values) ** 2]
    if beside:
        found = data.var4d.assimilate(
            observation={"own": Points(points)},
            observation_error=0.4,
            background=background.drop_vars("time"),
            **stated,
        )
        for count in range(4):
            seen = np.isfinite(data["c"].values[count].ravel())
            rows.append(dense(lambda x, count=count: step(x, count), shape)[torch.from_numpy(seen)])
            values.append(torch.from_numpy(data["c"].values[count].ravel()[seen]))
            variances.append(torch.full((int(seen.sum()),), 0.16, dtype=torch.float64))
    else:
        every = Points(points, every="60s")
        found = points.var4d.assimilate(observation=every, window="180s", background=background, **stated)
    mean = torch.full((1, grid.size), 0.3, dtype=torch.float64)
    exact, _ = blue(mean, matrix, torch.cat(rows), torch.diag(torch.cat(variances)), torch.cat(values)[None])
    assert found["c"].dims == ("window", "step", *data["c"].dims[1:])
    np.testing.assert_allclose(found["c"].values[0, 0].ravel(), exact[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(found["observation_analysis"], rows[0] @ exact[0], rtol=0, atol=2e-6)
    assert (found["observation_quality"].values == 0).all()


class Turning:
    """The same on a ring."""

    edges = "periodic"

    def __call__(self, state: dict[str, torch.Tensor], seconds: float) -> dict[str, torch.Tensor]:
        return turning(state, seconds)


def on_ring(turns: float = 0.0, shift: int = 0) -> xr.Dataset:
    """Analyse points between the last and the first value of a ring of twelve, 30 degrees each."""
    degrees = xr.Variable(("lon",), 30.0 * np.arange(12), {"units": "degrees_east", "standard_name": "longitude"})
    ring = xr.Dataset(
        {"c": ("lon", np.roll(random((12,), 3).numpy(), shift))}, {"lon": degrees, "time": times(1, 1)[0]}
    )
    points = xr.Dataset(
        {
            "value": ("report", [1.0, -1.0, 0.5]),
            "std": ("report", [0.1, 0.1, 0.1]),
            "time": ("report", times(3, 60.0)),
            "lon": ("report", np.array([345.0, 352.5, 10.0]) + 360.0 * turns + 30.0 * shift),
        }
    )
    stated = {"background_error": Diagonal(1.0), "dynamics": Turning(), "window": "180s", **PRECISE}
    return points.var4d.assimilate(background=ring, **stated)


def test_a_ring_has_no_seam() -> None:
    plain = on_ring()
    assert (plain["observation_quality"].values == 0).all()
    first = random((12,), 3).numpy()
    assert float(plain["observation_background"][0]) == pytest.approx((first[11] + first[0]) / 2)
    for turns in (-1.0, 2.0):
        np.testing.assert_allclose(on_ring(turns)["c"], plain["c"], rtol=0, atol=1e-9)
    for shift in (1, 5):
        np.testing.assert_allclose(on_ring(shift=shift)["c"].roll(lon=-shift), plain["c"], rtol=0, atol=1e-7)


def test_the_direction_of_an_axis_has_no_effect() -> None:
    data, error, _ = CASES["levels"]
    points, background = table(data), xr.zeros_like(data.isel(time=0))
    still: dict[str, Any] = {"dynamics": lambda state, _: dict(state), "background_error": error, **PRECISE}
    plain = points.var4d.assimilate(background=background, **still)
    for dim in ("z", "y", "x"):
        turned = points.var4d.assimilate(background=background.isel({dim: slice(None, None, -1)}), **still)
        np.testing.assert_allclose(turned["c"].sortby(dim), plain["c"], rtol=0, atol=1e-7)


def test_levels_over_latitude_and_longitude() -> None:
    """On a curvilinear plane, levels by their own coordinate; a point above the highest level is outside."""
    east, north = np.meshgrid(10 + 0.1 * np.arange(6), 50 + 0.1 * np.arange(5))
    plane = {"lat": (("y", "x"), north + 0.02 * (east - 10)), "lon": (("y", "x"), east - 0.01 * (north - 50))}
    height = xr.Variable(("z",), [0.0, 100.0, 300.0], {"units": "m"})
    z, y, x = np.meshgrid(height.values, np.arange(5), np.arange(6), indexing="ij")
    background = xr.Dataset(
        {"c": (("z", "y", "x"), z / 100 + y + 10 * x)}, {"z": height, **plane, "time": times(1, 1)[0]}
    )
    for name, units in (("lat", "degrees_north"), ("lon", "degrees_east")):
        background[name].attrs["units"] = units
    corners = {key: plane[key][1][1:3, 2:4].mean() for key in plane}  # the middle of a cell
    points = xr.Dataset(
        {
            "value": ("report", [0.0, 0.0]),
            "std": ("report", [1.0, 1.0]),
            "time": ("report", times(3, 60.0)[1:]),
            "z": ("report", [200.0, 400.0]),
            **{key: ("report", [part, part]) for key, part in corners.items()},
        }
    )
    found = points.var4d.assimilate(
        background=background, background_error=Diagonal(1.0), dynamics=lambda state, _: dict(state), **PRECISE
    )
    assert found["observation_quality"].values.tolist() == [0, 1]
    assert float(found["observation_background"][0]) == pytest.approx(2.0 + 1.5 + 25.0, abs=1e-3)


def test_cycles_on_a_ring_and_files_hold_the_same(tmp_path: Path) -> None:
    data, error, _ = CASES["ring"]
    points = table(data)
    first = Cycled(first=xr.zeros_like(data.isel(time=0)))
    stated: dict[str, Any] = {"background": first, "background_error": error, "dynamics": turning, "window": "60s"}
    whole = points.var4d.assimilate(**stated)
    assert int(whole["number_of_observations"].sum()) == COUNT
    lazy = points.chunk(report=5).var4d.assimilate(**stated)
    np.testing.assert_array_equal(lazy["c"].values, whole["c"].values)
    whole.to_netcdf(tmp_path / "cycles.nc")
    assert {"window", "i", "observation"} <= set(xr.open_dataset(tmp_path / "cycles.nc").sizes)


def test_images_of_a_state_without_named_axes() -> None:
    """Images beside the record on dimensions that are no y and x are placed by their names."""
    data, error, _ = CASES["index"]
    other = data["c"][1:3].fillna(1.0)
    stated: dict[str, Any] = {
        "background": xr.zeros_like(data.isel(time=0, drop=True)),
        "background_error": error,
        "observation_error": 0.4,
        "dynamics": turning,
        **PRECISE,
    }
    plain = data.var4d.assimilate(observation=Images(other, error=0.3), **stated)
    turned = data.var4d.assimilate(observation=Images(other.transpose("b", "time", "a"), error=0.3), **stated)
    as_points = (
        xr.Dataset({"value": other, "std": 0.3, "variable": "c"}).stack(report=("time", "a", "b")).reset_index("report")
    )
    table = data.var4d.assimilate(observation=Points(as_points), **stated)
    np.testing.assert_array_equal(turned["c"], plain["c"])
    np.testing.assert_allclose(table["c"], plain["c"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("points", "data", "code"),
    [
        (lambda one: one.drop_vars("z"), lambda one: one, "points-without-coordinate"),
        (lambda one: Points(one, sampler="cubic"), lambda one: one, "sampler-of-plane"),
        (lambda one: one, lambda one: one.assign_coords(z=[0.0, 20.0, 10.0]), "coordinate-not-monotonic"),
    ],
)
def test_faults(points: Any, data: Any, code: str) -> None:
    record, error, _ = CASES["levels"]
    given = points(table(record))
    options = {"observation": given} if isinstance(given, Points) else {}
    with pytest.raises(InputError) as caught:
        (given.dataset if options else given).var4d.assimilate(
            background=data(xr.zeros_like(record.isel(time=0))), background_error=error, dynamics=turning, **options
        )
    assert codes(caught.value) == [code]
