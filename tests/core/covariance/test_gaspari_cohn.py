"""Gaspari and Cohn's correlations: by great circles, positive, and as the taper of an ensemble."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
import torch
from torch import Tensor

from tests.core.covariance.operators import OperatorTests, dense, relative
from tests.core.numerics import random
from tests.faults.codes import codes
from xvar.core.covariance import Covariance
from xvar.core.covariance.composite import Ensemble
from xvar.core.covariance.gaspari_cohn import EARTH_RADIUS, MOST_POINTS, GaspariCohn, gaspari_cohn
from xvar.core.covariance.product import Product
from xvar.core.grid import Grid, unit_vectors
from xvar.errors import InputError


def sphere(latitude: np.ndarray, longitude: np.ndarray) -> Grid:
    positions = (torch.from_numpy(latitude)[:, None], torch.from_numpy(longitude)[None])
    return Grid((len(latitude), len(longitude)), (1e5, 1e5), positions=positions)


NORTH = sphere(np.linspace(50.0, 85.0, 6), np.linspace(160.0, 200.0, 5))
GLOBE = sphere(np.arange(-80.0, 81.0, 20.0), np.arange(0.0, 360.0, 30.0))


def distances(grid: Grid) -> Tensor:
    """By pyproj's geodesics of a sphere, in metres."""
    latitude, longitude = (part.expand(grid.shape).flatten().numpy() for part in grid.positions)
    lat, lon = np.meshgrid(latitude, latitude), np.meshgrid(longitude, longitude)
    geod = pyproj.Geod(a=EARTH_RADIUS, b=EARTH_RADIUS)
    return torch.from_numpy(geod.inv(lon[0], lat[0], lon[1], lat[1])[2])


def matrix(specification: GaspariCohn, grid: Grid) -> Tensor:
    return dense(specification.bind(grid, dtype=torch.float64).apply, (1, 1, *grid.shape))


class TestSphere(OperatorTests):
    shape = (3, 2, 6, 5)
    iterative = True  # distances need values

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return GaspariCohn(0.7, 900e3).bind(NORTH, dtype=dtype, device=device)


class TestRing(OperatorTests):
    shape = (3, 2, 24)

    def operator(self, dtype: torch.dtype = torch.float64, device: str | None = None) -> Covariance:
        return GaspariCohn(0.7, 3.0).bind(Grid((24,), (1.0,), edges="periodic"), dtype=dtype, device=device)


def test_the_function_and_its_slope_are_continuous() -> None:
    values = gaspari_cohn(torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64), 1.0)
    torch.testing.assert_close(values, torch.tensor([1.0, 5 / 24, 0.0, 0.0], dtype=torch.float64))
    places = torch.tensor([0.0, 1 - 1e-9, 1 + 1e-9, 2 - 1e-9], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(gaspari_cohn(places, 1.0).sum(), places)
    assert float(slopes[0]) == 0.0
    assert float(slopes[1]) == pytest.approx(float(slopes[2]), abs=1e-6)
    assert float(slopes[3]) == pytest.approx(0.0, abs=1e-6)


def test_it_is_the_convolution_of_a_hat_with_itself() -> None:
    """In three dimensions, (1 - 2 r / c)+ of radius c / 2 scaled to c: Gaspari and Cohn's equation 4.10, by numbers."""
    wave = torch.linspace(1e-3, 400.0, 400_000, dtype=torch.float64)  # of Hankel transforms of radial functions
    radius = torch.linspace(0, 1, 2001, dtype=torch.float64)
    hat = torch.trapezoid(((1 - radius) * radius) * torch.sin(wave[::100, None] * radius), radius) / wave[::100]
    for z in (0.3, 0.9, 1.4, 1.9):
        power = hat.square() * wave[::100] ** 2
        kernel = torch.sin(wave[::100] * z) / (wave[::100] * z)
        found = torch.trapezoid(power * kernel, wave[::100]) / torch.trapezoid(power, wave[::100])
        assert float(found) == pytest.approx(float(gaspari_cohn(torch.tensor(z, dtype=torch.float64), 1.0)), abs=1e-4)


@pytest.mark.parametrize("grid", [NORTH, GLOBE])
def test_distances_are_those_of_great_circles(grid: Grid) -> None:
    found = matrix(GaspariCohn(0.7, 2000e3), grid)
    torch.testing.assert_close(found, 0.49 * gaspari_cohn(distances(grid), 2000e3), rtol=0, atol=1e-9)


@pytest.mark.parametrize("length", [500e3, 2000e3, 5000e3, 0.5 * math.pi * EARTH_RADIUS])
def test_it_is_positive_on_the_sphere(length: float) -> None:
    values = torch.linalg.eigvalsh(gaspari_cohn(distances(GLOBE), length))
    assert float(values.min()) > -1e-12 * float(values.max())


def test_a_longer_one_is_not() -> None:
    """The reason for the fault: correlations that vanish beyond half a turn may be negative in some direction."""
    grid = Grid((40,), (1.0,), edges="periodic")
    apart = torch.arange(40.0, dtype=torch.float64)
    distance = torch.minimum((apart[:, None] - apart).abs(), 40 - (apart[:, None] - apart).abs())
    assert float(torch.linalg.eigvalsh(gaspari_cohn(distance, 20.0)).min()) < -1e-3
    with pytest.raises(InputError) as report:
        GaspariCohn(1.0, 20.0).bind(grid)
    assert codes(report.value) == ["correlation-around-the-grid"]


def test_the_numbering_of_longitudes_and_the_date_line_have_no_effect() -> None:
    longitude = np.linspace(170.0, 190.0, 5)
    plain = matrix(GaspariCohn(1.0, 800e3), sphere(np.linspace(-10, 10, 4), longitude))
    for other in (longitude - 360.0, np.where(longitude > 180, longitude - 360, longitude), longitude + 47.0):
        found = matrix(GaspariCohn(1.0, 800e3), sphere(np.linspace(-10, 10, 4), other))
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-11)


def test_neighbours_across_the_pole_are_near() -> None:
    found = matrix(GaspariCohn(1.0, 500e3), sphere(np.array([88.0, 89.0]), np.array([0.0, 180.0])))
    expected = gaspari_cohn(torch.tensor(math.radians(2.0) * EARTH_RADIUS, dtype=torch.float64), 500e3)
    assert float(found[2, 3]) == pytest.approx(float(expected), abs=1e-10)


def test_on_a_plane_distances_are_those_of_its_spacing() -> None:
    grid = Grid((4, 5), (10e3, 20e3))
    y, x = (part.flatten() for part in np.meshgrid(10e3 * np.arange(4), 20e3 * np.arange(5), indexing="ij"))
    distance = torch.from_numpy(np.hypot(y[:, None] - y, x[:, None] - x))
    torch.testing.assert_close(matrix(GaspariCohn(1.0, 25e3), grid), gaspari_cohn(distance, 25e3), rtol=0, atol=1e-10)


def test_an_ensemble_is_tapered_along_great_circles() -> None:
    """The Schur product of the sample covariance and the correlations, of both components and between them."""
    members = random((4, 2, *NORTH.shape), 3)
    found = dense(Ensemble(members, GaspariCohn(1.0, 700e3)).bind(NORTH, dtype=torch.float64).apply, (1, 2, 6, 5))
    schur = torch.cov(members.flatten(1).T) * gaspari_cohn(distances(NORTH), 700e3).tile(2, 2)
    assert relative(found, schur) < 1e-10
    assert float(torch.linalg.eigvalsh(schur).min()) > -1e-12
    whole = Grid((3, *NORTH.shape), (100.0, *NORTH.spacing), positions=NORTH.positions)
    levels = Product(GaspariCohn(1.0, 150.0), GaspariCohn(1.0, 700e3))
    members = random((4, 1, *whole.shape), 3)
    found = dense(Ensemble(members, levels).bind(whole, dtype=torch.float64).apply, (1, 1, *whole.shape))
    height = 100.0 * torch.arange(3.0, dtype=torch.float64)
    vertical = gaspari_cohn((height[:, None] - height).abs(), 150.0)
    both = torch.kron(vertical, gaspari_cohn(distances(NORTH), 700e3))
    assert relative(found, torch.cov(members.flatten(1).T) * both) < 1e-10


def test_blocks_of_points_lie_between_them() -> None:
    coarse = GLOBE.coarsen(2)
    fine = unit_vectors(GLOBE.positions)
    found = unit_vectors(coarse.positions)
    assert found.shape == (3, 5, 6)
    mean = torch.nn.functional.normalize(fine[:, :2, :2].flatten(1).sum(1), dim=0)
    torch.testing.assert_close(found[:, 0, 0], mean)


@pytest.mark.parametrize(
    ("length", "grid", "code"),
    [
        (0.0, NORTH, "number-not-positive"),
        (0.6 * math.pi * EARTH_RADIUS, NORTH, "correlation-around-the-grid"),
        (2.0, Grid((MOST_POINTS + 1,), (1.0,)), "grid-too-large"),
        (2.0, Grid((3, 4, 5), (1.0, 1.0, 1.0)), "grid-axes"),
    ],
)
def test_faults(length: float, grid: Grid, code: str) -> None:
    with pytest.raises(InputError) as report:
        GaspariCohn(1.0, length).bind(grid)
    assert codes(report.value) == [code]
