"""Tables of points whose errors correlate by distance, against dense linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import gamma, kv

from tests.core.linear import blue
from tests.core.numerics import random
from tests.faults.codes import codes
from tests.plan.test_lattice import PRECISE, times
from tests.plan.test_points_on_grids import Turning
from xvar.core.covariance.gaspari_cohn import EARTH_RADIUS, gaspari_cohn
from xvar.core.grid import Grid
from xvar.covariance import Diagonal, GaspariCohn, Matern
from xvar.errors import InputError
from xvar.observation import Points

COUNT, SPREAD = 14, 0.7


def still(state: dict[str, torch.Tensor], _: float) -> dict[str, torch.Tensor]:
    return dict(state)


def bessel(distance: np.ndarray, length: float, smoothness: int) -> np.ndarray:
    """Return the documented correlation."""
    scale = length if smoothness == 1 else length / np.sqrt(2 * smoothness - 2)
    r = np.maximum(distance / scale, 1e-12)
    return np.where(distance > 0, 2 ** (1 - smoothness) / gamma(smoothness) * r**smoothness * kv(smoothness, r), 1.0)


@pytest.mark.parametrize("smoothness", [1, 2, 3, 8])
def test_the_correlation_of_matern_is_the_documented_one(smoothness: int) -> None:
    error, distance = Matern(1.0, 3e3, smoothness), torch.linspace(0, 40e3, 200, dtype=torch.float64)
    found = error.correlation(distance)
    np.testing.assert_allclose(found, bessel(distance.numpy(), 3e3, smoothness), rtol=1e-7, atol=1e-12)
    grid = Grid((128, 128), (300.0, 300.0), edges="periodic")
    unit = torch.zeros(1, 1, 128, 128, dtype=torch.float64)
    unit[0, 0, 64, 64] = 1.0
    bound = error.bind(grid, dtype=torch.float64).apply(unit)[0, 0, 64, 64:96]
    # the Laplacian of differences, and the period
    torch.testing.assert_close(bound, error.correlation(300.0 * torch.arange(32).double()), rtol=0, atol=0.02)


def background(kind: str) -> xr.Dataset:
    lines = {
        "plane": {"y": (np.arange(5) * 1e3, "m"), "x": (np.arange(6) * 1e3, "m")},
        "kilometres": {"y": (np.arange(5.0), "km"), "x": (np.arange(6.0), "km")},
        "sphere": {
            "lat": (np.linspace(60.0, 62.0, 5), "degrees_north"),
            "lon": (np.linspace(179.0, 182.0, 6), "degrees_east"),
        },
        "ring": {"i": (np.arange(30.0), "1")},
    }[kind]
    coords = {dim: (dim, values, {"units": units}) for dim, (values, units) in lines.items()}
    field = random(tuple(len(values) for values, _ in lines.values()), 3).numpy()
    return xr.Dataset(
        {name: (tuple(lines), k * field) for k, name in enumerate("ab", 1)}, {**coords, "time": times(1, 1)[0]}
    )


def table(kind: str) -> xr.Dataset:
    """Points at three times; the last three observe the other variable at the times and places of the first."""
    generator = np.random.default_rng(2)
    columns: dict[str, Any] = {"value": generator.standard_normal(COUNT)}
    columns["time"] = times(3, 60.0)[np.arange(COUNT) % 3]
    columns["variable"] = np.where(np.arange(COUNT) < 11, "a", "b")
    state = background(kind)
    for dim in state["a"].dims:
        along = state[dim].values
        columns[str(dim)] = along.min() + generator.random(COUNT) * np.ptp(along)
        columns[str(dim)][11:] = columns[str(dim)][:3]
    columns["time"][11:] = columns["time"][:3]
    return xr.Dataset({name: ("report", column) for name, column in columns.items()})


def distances(kind: str) -> np.ndarray:
    points = table(kind)
    if kind == "sphere":
        lat, lon = np.deg2rad(points["lat"].values), np.deg2rad(points["lon"].values)
        half = (
            np.sin((lat[:, None] - lat) / 2) ** 2
            + np.cos(lat[:, None]) * np.cos(lat) * np.sin((lon[:, None] - lon) / 2) ** 2
        )
        return 2 * EARTH_RADIUS * np.sqrt(half)  # the chord, by the haversine
    if kind == "ring":
        return 30 / np.pi * np.abs(np.sin(np.pi * (points["i"].values[:, None] - points["i"].values) / 30))
    factor = 1e3 if kind == "kilometres" else 1.0
    return factor * np.hypot(*(points[dim].values[:, None] - points[dim].values for dim in ("y", "x")))


ERRORS = {
    "plane": (Matern(0.4, 1500.0, 2), lambda d: bessel(d, 1500.0, 2)),
    "kilometres": (GaspariCohn(0.4, 2000.0), lambda d: gaspari_cohn(torch.from_numpy(d), 2000.0).numpy()),
    "sphere": (Matern(0.4, 60e3, 1), lambda d: bessel(d, 60e3, 1)),
    "ring": (Matern(0.4, 4.0, 3), lambda d: bessel(d, 4.0, 3)),
}


def assimilate(kind: str, points: xr.Dataset, **options: Any) -> xr.Dataset:
    stated: dict[str, Any] = {
        "background": background(kind),
        "background_error": {name: Diagonal(SPREAD) for name in "ab"},
        "dynamics": Turning() if kind == "ring" else still,
        "window": "240s",
        "observation": Points(error=ERRORS[kind][0]),
        **PRECISE,
    }
    return points.var4d.assimilate(**(stated | options))


@pytest.mark.parametrize("kind", ["plane", "kilometres", "sphere"])
def test_analysis_is_the_best_linear_unbiased_estimate(kind: str) -> None:
    """Errors of one variable at one time correlate by their distance; all others do not."""
    points, state = table(kind), background(kind)
    found = assimilate(kind, points)
    size = state["a"].size
    units = np.eye(size).reshape(size, *state["a"].shape)
    lines = [state[dim].values for dim in state["a"].dims]
    from scipy.interpolate import RegularGridInterpolator

    places = np.stack([points[str(dim)] for dim in state["a"].dims], axis=1)
    weights = RegularGridInterpolator(lines, np.moveaxis(units, 0, -1))(places)
    is_a = (points["variable"].values == "a").astype(float)
    operator = torch.from_numpy(np.concatenate([is_a[:, None] * weights, (1 - is_a)[:, None] * weights], axis=1))
    moment = points["time"].values
    alike = (moment[:, None] == moment) & (is_a[:, None] == is_a)
    noise = torch.from_numpy(0.16 * np.where(alike, ERRORS[kind][1](distances(kind)), 0.0))
    mean = torch.from_numpy(np.concatenate([state["a"].values.ravel(), state["b"].values.ravel()]))[None]
    prior = SPREAD**2 * torch.eye(2 * size, dtype=torch.float64)
    exact, _ = blue(mean, prior, operator, noise, torch.from_numpy(points["value"].values)[None])
    analysis = np.concatenate([found[name].values[0, 0].ravel() for name in "ab"])
    np.testing.assert_allclose(analysis, exact[0], rtol=0, atol=1e-6)
    departure = torch.from_numpy(points["value"].values) - operator @ mean[0]
    cost = 0.5 * departure @ torch.linalg.solve(noise, departure)
    assert float(found["cost_observation"][0, 0]) == pytest.approx(float(cost), rel=1e-8)


def test_on_a_ring_distances_cross_the_seam() -> None:
    """Both places of a pair may be moved around the ring together; the term of the observations stays."""
    state = background("ring")
    costs = []
    for shift in (0.0, 13.0):
        pair = xr.Dataset(
            {
                "value": ("p", [1.0, -1.0]),
                "time": ("p", times(1, 1).repeat(2)),
                "variable": ("p", ["a", "a"]),
                "i": ("p", (np.array([29.5, 1.0]) + shift) % 30),
            }
        )
        one = assimilate("ring", pair, background=state * 0)
        costs.append(float(one["cost_observation"][0, 0]))
    chord = 30 / np.pi * np.sin(np.pi * 1.5 / 30)
    rho = bessel(np.array(chord), 4.0, 3)
    assert costs[0] == pytest.approx(costs[1], rel=1e-10)
    assert costs[0] == pytest.approx(1 / (0.16 * (1 - rho)), rel=1e-8)


def test_a_short_length_is_none() -> None:
    points = table("plane")
    correlated = assimilate("plane", points, observation=Points(error=GaspariCohn(0.4, 1e-3)))
    plain = assimilate("plane", points, observation=Points(error=0.4))
    np.testing.assert_allclose(correlated["a"], plain["a"], rtol=0, atol=1e-8)
    assert float(correlated["cost"][0, 1]) == pytest.approx(float(plain["cost"][0, 1]), rel=1e-10)


def test_rejected_points_leave_the_others_correlated() -> None:
    """A wrong value that the background check rejects has no effect, as if it were not in the table."""
    points = table("plane")
    points["value"][4] = 50.0
    observation = Points(error=ERRORS["plane"][0], quality={"background_check": 20.0})
    found = assimilate("plane", points, observation=observation)
    left = assimilate("plane", points.isel(report=np.delete(np.arange(COUNT), 4)))
    np.testing.assert_allclose(found["a"], left["a"], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("points", "error", "options", "code"),
    [
        (lambda one: one.assign(std=("report", np.ones(COUNT))), Matern(0.4, 1e3), {}, "observation-error-twice"),
        (lambda one: one, Matern(0.4, 1e3), {"threshold": 2.0}, "observation-error-norm"),
        (lambda one: one, Matern(torch.ones(3), 1e3), {}, "points-error"),
        (lambda one: xr.concat([one, one], "report"), Matern(0.4, 1e3), {}, "points-at-one-place"),
    ],
)
def test_faults(points: Any, error: Any, options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        assimilate("plane", points(table("plane")), observation=Points(error=error, **options))
    assert codes(caught.value) == [code]
