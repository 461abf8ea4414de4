"""Faults of specifications: all of one are reported at once, each by its code."""

from __future__ import annotations

import math

import pytest
import torch

from tests.faults.codes import codes
from xvar.core.covariance import (
    Covariance,
    Diagonal,
    Diffusion,
    Helmholtz,
    Matern,
    Specification,
    StreamPotential,
    Tikhonov,
)
from xvar.core.covariance.balance import Geostrophic, Streamfunction
from xvar.core.covariance.composite import Ensemble, Sum
from xvar.core.covariance.homogeneous import Homogeneous
from xvar.core.grid import Grid
from xvar.errors import InputError

PLANE = Grid((9, 7), (1e3, 1.5e3))
LINE = Grid((12,), (1e3,))
LAND = Grid((3, 3), (1e3, 1e3), water=torch.zeros(3, 3, dtype=torch.bool))
ZEROS = Grid((9, 7), (1e3, 1e3), edges="zero")
PERIODIC = Grid((64, 64), (1e3, 1e3), edges="periodic")
ROCKS = Grid((100, 100), (1e3, 1e3), water=torch.arange(100 * 100).reshape(100, 100) % 2 == 0)
D = Diagonal(1.0)
MEMBERS = torch.linspace(-1, 1, 3 * 63, dtype=torch.float64).reshape(3, 1, 9, 7)


@pytest.mark.parametrize(
    ("specification", "grid", "expected"),
    [
        (Diagonal(torch.ones(8, 7)), PLANE, ["std-shape"]),
        (Diagonal(-1.0), PLANE, ["std-not-valid"]),
        (Diagonal(math.nan), PLANE, ["std-not-valid"]),
        (Diagonal(math.inf), PLANE, ["std-not-valid"]),
        (Diagonal(torch.ones(1, 1, 1, 9, 7)), PLANE, ["std-shape"]),
        (Matern(-0.3, 3e3), PLANE, ["std-not-valid"]),
        (Matern(1.0, 0.0), PLANE, ["number-not-positive"]),
        (Matern(1.0, math.nan), PLANE, ["number-not-positive"]),
        (Matern(1.0, 3e3, 0), LINE, ["matern-smoothness"]),
        (Matern(1.0, 3e3, 1.5), PLANE, ["matern-smoothness"]),  # type: ignore[arg-type]
        (Diffusion(1.0, 3e3, 3), LAND, ["diffusion-order", "no-water"]),
        (Diffusion(1.0, 3e3, 0), LINE, ["diffusion-order", "grid-not-2d"]),
        (Diffusion(1.0, 2e3), PLANE, ["length-too-short"]),
        (Diffusion(1.0, math.nan), PLANE, ["length-too-short"]),
        (Diffusion(1.0, 30e3), PERIODIC, ["length-too-long"]),
        (Helmholtz(1.0, 3e3, 0.0, potential_ratio=-1.0), PLANE, ["number-not-positive"] * 2),
        (Helmholtz(0.0, -1.0, 0.5), PLANE, ["number-not-positive"] * 2),
        (Helmholtz(1.0, 3e3, 0.5), ZEROS, ["unknown-choice"]),
        (Helmholtz(1.0, 3e3, 0.5, 0), LINE, ["matern-smoothness", "grid-not-2d"]),
        (Helmholtz(0.6, 3e3, 0.4, coast="closed"), PLANE, ["unknown-choice"]),  # type: ignore[arg-type]
        (StreamPotential(0.6, 3e3, 0.4, coast="no_flow"), ROCKS, ["coast-too-long"]),
        (Tikhonov(-1.0, math.inf, -2.0, mean_std=1.0), PLANE, ["negative-number"] * 3),
        (Tikhonov(math.nan, mean_std=0.0), PLANE, ["negative-number", "tikhonov-mean-std"]),
        (Tikhonov(0.0, pixel_area=0.0), PLANE, ["tikhonov-no-weight", "tikhonov-mean-std", "number-not-positive"]),
        (Tikhonov(1.0, edges="periodic"), PLANE, ["tikhonov-mean-std"]),
        (Tikhonov(1.0, mean_std=2.0), ZEROS, ["tikhonov-mean-std"]),
        (Tikhonov(1.0, mean_std=-2.0), PLANE, ["tikhonov-mean-std"]),
        (Tikhonov(1.0, mean_std=2.0), LINE, ["grid-not-2d"]),
        (Homogeneous(torch.ones(3, 9, 8), -1.0), PLANE, ["samples-shape", "number-not-positive"]),
        (Homogeneous(torch.zeros(3, 9, 7)), PLANE, ["samples-not-valid"]),
        (Homogeneous(torch.full((3, 9, 7), math.nan)), PLANE, ["samples-not-valid"]),
        (Ensemble(MEMBERS[:1], Matern(1.0, 3e3), D, 1.0), PLANE, ["ensemble-shape", "ensemble-weight"]),
        (Ensemble(MEMBERS[:, :, :5], Matern(1.0, 3e3)), PLANE, ["ensemble-shape"]),
        (Ensemble(MEMBERS / 0, Matern(1.0, 3e3), weight=0.0), PLANE, ["ensemble-not-finite", "ensemble-weight"]),
        (Geostrophic(D, D, staggering="B", edges="open"), PLANE, ["unknown-choice"] * 2),  # type: ignore[arg-type]
        (Geostrophic(D, D, coriolis=1e-5, beta=2.5e-9), PLANE, ["no-rotation"]),
        (Geostrophic(D, D, coriolis=0.0), LINE, ["grid-not-2d", "no-rotation"]),
        (Streamfunction(D, D, D, 0.0), LINE, ["grid-not-2d", "no-rotation"]),
        (Streamfunction(D, D, D, edges="open"), PLANE, ["unknown-choice"]),  # type: ignore[arg-type]
    ],
)
def test_all_faults_of_a_specification_are_reported_at_once(
    specification: Specification, grid: Grid, expected: list[str]
) -> None:
    with pytest.raises(InputError) as report:
        specification.bind(grid)
    assert codes(report.value) == expected


def test_a_sum_has_no_penalties() -> None:
    with pytest.raises(InputError) as report:
        Sum((Tikhonov(1.0, divergence=1.0, mean_std=1.0), D), (1.0, 1.0), 2).penalties(PLANE)
    assert codes(report.value) == ["sum-with-penalty"]


@pytest.mark.parametrize(
    "specification",
    [
        Matern(0.0, 1e-3, 1),
        Diffusion(1.0, 3e3, 2),  # two cells, no less
        Tikhonov(gradient=0.0, curvature=1.0, mean_std=1.0),
        Tikhonov(gradient=1.0, edges="zero"),
        Ensemble(MEMBERS, Matern(1.0, 3e3), weight=1.0),
        Ensemble(MEMBERS, Matern(1.0, 3e3), D, weight=0.99),
        Geostrophic(D, D, coriolis=1e-5, beta=2e-9),
    ],
)
def test_limits_are_allowed(specification: Specification) -> None:
    assert isinstance(specification.bind(PLANE), Covariance)
