"""What a specification that cannot be says, word by word."""

from __future__ import annotations

import math

import pytest
import torch

from xvar.core.covariance import Covariance, Diagonal, Diffusion, Ensemble, Helmholtz, Matern, Specification, Tikhonov
from xvar.core.covariance.balance import Geostrophic
from xvar.core.covariance.homogeneous import Homogeneous
from xvar.core.covariance.streamfunction import Streamfunction
from xvar.core.grid import Grid
from xvar.errors import Fault, InputError

PLANE = Grid((9, 7), (1e3, 1.5e3))
LINE = Grid((12,), (1e3,))
D = Diagonal(1.0)
MEMBERS = torch.linspace(-1, 1, 3 * 63, dtype=torch.float64).reshape(3, 1, 9, 7)


@pytest.mark.parametrize(
    ("specification", "grid", "faults"),
    [
        (
            Diagonal(torch.ones(8, 7)),
            PLANE,
            [
                (
                    "a standard deviation of shape (8, 7)",
                    "one broadcastable to (window, component, *grid) with a grid of shape (9, 7)",
                    "give a number, or a tensor on the grid",
                )
            ],
        ),
        (
            Diagonal(-1.0),
            PLANE,
            [("a standard deviation that is negative or not finite", "finite numbers from zero up", "mend std")],
        ),
        (
            Matern(1.0, 0.0),
            PLANE,
            [("length=0.0", "a positive length in metres", "mend length")],
        ),
        (
            Matern(1.0, 3e3, 0),
            LINE,
            [
                ("smoothness=0", "a whole number from 1 up", "choose 1, 2 or 3"),
                ("a grid of shape (12,)", "two axes (y, x)", "use Diagonal there"),
            ],
        ),
        (
            Diffusion(1.0, 3e3, 3),
            Grid((3, 3), (1e3, 1e3), water=torch.zeros(3, 3, dtype=torch.bool)),
            [
                ("order=3", "a positive even number", "choose 2, 4 or 6"),
                ("a grid that is all land", "some water", "mend the land mask"),
            ],
        ),
        (
            Diffusion(1.0, 3e3),
            LINE,
            [("a grid of shape (12,)", "two axes (y, x)", "use Diagonal there")],
        ),
        (
            Diffusion(1.0, 2e3),
            PLANE,
            [
                (
                    "length=2000 m on a grid with a spacing of up to 1500 m",
                    "a length of at least two grid spacings",
                    "give a length of 3000 m or more, or Diagonal for errors that are not correlated",
                )
            ],
        ),
        (
            Helmholtz(1.0, 3e3, 0.0, potential_ratio=-1.0),
            PLANE,
            [
                ("mean_std=0.0", "a positive number", "mend mean_std"),
                ("potential_ratio=-1.0", "a positive number", "mend potential_ratio"),
            ],
        ),
        (
            Helmholtz(1.0, 3e3, 0.5),
            Grid((9, 7), (1e3, 1e3), edges="zero"),
            [("edges 'zero'", "free or periodic edges for a stream function and a potential", 'give edges="free"')],
        ),
        (
            Tikhonov(gradient=-1.0, curvature=math.inf, divergence=-2.0, mean_std=1.0),
            PLANE,
            [
                ("gradient=-1.0", "a finite weight, zero or more", "mend gradient"),
                ("curvature=inf", "a finite weight, zero or more", "mend curvature"),
                ("divergence=-2.0", "a finite weight, zero or more", "mend divergence"),
            ],
        ),
        (
            Tikhonov(gradient=0.0, pixel_area=0.0),
            PLANE,
            [
                ("gradient=0 and curvature=0", "one of them positive", "give gradient or curvature"),
                (
                    "mean_std=None with free edges",
                    "a positive standard deviation of the mean motion, which no difference sees",
                    "give mean_std in the units of the variable",
                ),
                ("pixel_area=0.0", "a positive area in m2", "give it in m2 or leave it out"),
            ],
        ),
        (
            Tikhonov(gradient=1.0, edges="periodic"),
            PLANE,
            [
                (
                    "mean_std=None with periodic edges",
                    "a positive standard deviation of the mean motion, which no difference sees",
                    "give mean_std in the units of the variable",
                )
            ],
        ),
        (
            Tikhonov(gradient=1.0, mean_std=2.0, edges="zero"),
            PLANE,
            [
                (
                    "mean_std=2.0 with edges 'zero'",
                    "no mean_std: the zeros beyond the edges hold the mean already",
                    "leave mean_std out, or choose free edges",
                )
            ],
        ),
        (
            Tikhonov(gradient=1.0, mean_std=2.0),
            LINE,
            [("a grid of shape (12,)", "two axes (y, x)", "use Diagonal there")],
        ),
        (
            Homogeneous(torch.ones(3, 9, 8), -1.0),
            PLANE,
            [
                (
                    "samples of shape (3, 9, 8) for a grid of shape (9, 7)",
                    "(sample, y, x) on the grid",
                    "differences of model states, one after the other",
                ),
                ("scale=-1.0", "a positive number", "mend scale"),
            ],
        ),
        (
            Homogeneous(torch.zeros(3, 9, 7)),
            PLANE,
            [("samples that are all zero, or not finite", "differences of states", "mend samples")],
        ),
        (
            Ensemble(MEMBERS[:1], Matern(1.0, 3e3), D, 1.0),
            PLANE,
            [
                (
                    "members of shape (1, 1, 9, 7)",
                    "(member, component, *(9, 7)) with two members or more",
                    "xvar.covariance.ensemble(dataset, variables) has them in order",
                ),
                ("weight=1.0", "a share above 0, and below 1 where there is a static part", "weight=0.5"),
            ],
        ),
        (
            Ensemble(MEMBERS / 0, Matern(1.0, 3e3)),
            PLANE,
            [("members with values that are not finite", "complete states", "fill them")],
        ),
        (
            Geostrophic(D, D, staggering="B", edges="open"),  # type: ignore[arg-type]
            PLANE,
            [
                ("staggering='B'", "one of 'A', 'C'", "staggering='C'"),
                ("edges='open'", "one of None, 'closed', 'periodic', 'channel'", "edges='channel'"),
            ],
        ),
        (
            Geostrophic(D, D, coriolis=1e-5, beta=2.5e-9),
            PLANE,
            [
                (
                    "coriolis=1e-05 s-1 and beta=2.5e-09 m-1 s-1 over 9000 m",
                    "a Coriolis parameter that is not zero on the grid",
                    "leave the equator out, or use a covariance without balance",
                )
            ],
        ),
        (
            Streamfunction(D, D, D, 0.0, edges="open"),  # type: ignore[arg-type]
            LINE,
            [
                ("edges='open'", "one of 'closed', 'periodic', 'channel'", "edges='closed'"),
                ("a grid of shape (12,)", "two axes (y, x)", "give a plane"),
                ("coriolis=0", "a fluid that rotates", "use a covariance without balance"),
            ],
        ),
    ],
)
def test_every_problem_of_a_specification_is_told_at_once(
    specification: Specification, grid: Grid, faults: list[tuple[str, str, str]]
) -> None:
    with pytest.raises(InputError) as report:
        specification.bind(grid)
    assert list(report.value.faults) == [Fault(*words) for words in faults]


@pytest.mark.parametrize(
    "specification",
    [
        Matern(0.0, 1e-3, 1),
        Diffusion(1.0, 3e3, 2),  # two spacings, no less
        Tikhonov(gradient=0.0, curvature=1.0, mean_std=1.0),
        Tikhonov(gradient=1.0, edges="zero"),
        Ensemble(MEMBERS, Matern(1.0, 3e3), weight=1.0),
        Ensemble(MEMBERS, Matern(1.0, 3e3), D, weight=0.99),
        Geostrophic(D, D, coriolis=1e-5, beta=2e-9),
    ],
)
def test_what_is_just_allowed(specification: Specification) -> None:
    assert isinstance(specification.bind(PLANE), Covariance)
