"""Ensembles on latitude and longitude through the public call, localised along great circles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.core.covariance.test_gaspari_cohn import distances, sphere
from tests.core.linear import blue
from tests.core.numerics import random
from tests.plan.test_lattice import PRECISE, times
from xvar.background import Cycled
from xvar.core.covariance.gaspari_cohn import gaspari_cohn
from xvar.core.grid import Grid
from xvar.covariance import GaspariCohn, Matern
from xvar.observation import Images

LATITUDE, LONGITUDE, LENGTH = np.linspace(60.0, 80.0, 5), np.linspace(170.0, 190.0, 6), 600e3
GRID = sphere(LATITUDE, LONGITUDE)
SIZE = GRID.size


def still(state: dict[str, torch.Tensor], _: float) -> dict[str, torch.Tensor]:
    return dict(state)


def record(frames: int, tilt: float | None = None) -> xr.Dataset:
    """Values on lines of latitude and longitude, or on a grid of 2-D ones whose rows are tilted."""
    values = random((frames, *GRID.shape), 2).numpy()
    attrs = {"lat": {"units": "degrees_north"}, "lon": {"units": "degrees_east"}}
    if tilt is not None:
        lat, lon = (part.numpy() for part in tilted(tilt))
        planes = {"lat": (("y", "x"), lat, attrs["lat"]), "lon": (("y", "x"), lon, attrs["lon"])}
        return xr.Dataset({"c": (("time", "y", "x"), values, {"units": "1"})}, {"time": times(frames, 60.0), **planes})
    lines = {"lat": ("lat", LATITUDE, attrs["lat"]), "lon": ("lon", LONGITUDE, attrs["lon"])}
    return xr.Dataset({"c": (("time", "lat", "lon"), values, {"units": "1"})}, {"time": times(frames, 60.0), **lines})


def tilted(tilt: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    lon, lat = np.meshgrid(LONGITUDE, LATITUDE)
    tilt = tilt or 0.0
    return torch.from_numpy(lat + tilt * (lon - 180.0)), torch.from_numpy(lon - tilt * (lat - 70.0))


@pytest.mark.parametrize("tilt", [None, 0.0, 0.2])
@pytest.mark.parametrize("flipped", [False, True])
def test_b_of_an_ensemble_is_the_schur_product(tilt: float | None, flipped: bool) -> None:
    data, members = record(2, tilt), random((6, 1, *GRID.shape), 7)
    rows, dims = data["c"].dims[1], ("member", *data["c"].dims[1:])
    ensemble = xr.Dataset({"c": (dims, members[:, 0].numpy())}, data.drop_vars("time").coords)
    background = xr.zeros_like(data.isel(time=0, drop=True))
    if flipped:
        data, background, ensemble = (one.isel({rows: slice(None, None, -1)}) for one in (data, background, ensemble))
    error = xvar.covariance.ensemble(ensemble, ["c"], GaspariCohn(1.0, LENGTH))
    found = data.var4d.assimilate(
        dynamics=still, background=background, background_error=error, observation_error=0.5, **PRECISE
    )
    grid = Grid(GRID.shape, GRID.spacing, positions=tilted(tilt))
    schur = torch.cov(members.flatten(1).T) * gaspari_cohn(distances(grid), LENGTH)
    operator = torch.eye(SIZE, dtype=torch.float64).tile(2, 1)
    values = random((2, *GRID.shape), 2).reshape(1, -1)
    exact, _ = blue(torch.zeros(1, SIZE).double(), schur, operator, 0.25 * torch.eye(2 * SIZE).double(), values)
    analysis = found["c"].isel(window=0, step=0)
    analysis = analysis.isel({rows: slice(None, None, -1)}) if flipped else analysis
    np.testing.assert_allclose(analysis.values.ravel(), exact[0], rtol=0, atol=1e-6)


def test_the_next_cycle_has_the_schur_product_of_the_members() -> None:
    """In the second of two cycled windows B is that of the members before, tapered by great circles."""
    data = record(4)
    analysis = data.var4d.assimilate(
        dynamics=still,
        window=2,
        background=Cycled(first=xr.zeros_like(data.isel(time=0, drop=True))),
        background_error=Matern(1.0, 600e3),
        observation=Images(error=0.5),
        ensemble=xvar.Ensemble(members=8, localisation=GaspariCohn(1.0, LENGTH), update="transform"),
        **PRECISE,
    )
    before = torch.from_numpy(analysis["c_members"].values[0]).flatten(1)
    schur = torch.cov(before.T) * gaspari_cohn(distances(GRID), LENGTH)
    operator = torch.eye(SIZE, dtype=torch.float64).tile(2, 1)
    values = torch.from_numpy(data["c"].values[2:]).reshape(1, -1)
    mean = torch.from_numpy(analysis["c"].values[0, -1]).reshape(1, -1)
    exact, _ = blue(mean, schur, operator, 0.25 * torch.eye(2 * SIZE).double(), values)
    np.testing.assert_allclose(analysis["c"].values[1, 0].ravel(), exact[0], rtol=0, atol=1e-6)
