"""Problems for Gauss-Newton: quadratic, with a robust norm, and smooth enough for coarse grids."""

from __future__ import annotations

import torch
from torch import Tensor

from xvar.core.covariance import Matern, Tikhonov
from xvar.core.grid import Grid
from xvar.core.models.advection import Advection
from xvar.core.models.parcels import ImageAtParcels, Parcels
from xvar.core.norm import PseudoHuber
from xvar.core.observation import Component, Observation
from xvar.core.problem import Problem

GRID = Grid((12, 14), (1000.0, 1500.0))


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_problem(windows: int = 3) -> Problem:
    """A tracer carried by a motion that is known: J is quadratic in the tracer."""
    velocity = torch.tensor([3.0, -2.0], dtype=torch.float64).view(1, 2, 1, 1).expand(windows, 2, *GRID.shape)
    frames = [noise(windows, 1, *GRID.shape, seed=seed) for seed in range(3)]
    frames[1][:, :, :3] = torch.nan
    observations = tuple(
        Observation(100.0 * index, Component("tracer"), frame, torch.tensor(0.5, dtype=torch.float64))
        for index, frame in enumerate(frames)
    )
    return Problem(
        grid=GRID,
        dynamics=Advection(motion="steady"),
        steps=(100.0, 100.0),
        background={"velocity": velocity, "tracer": noise(windows, 1, *GRID.shape, seed=7)},
        background_error={"tracer": Matern(1.0, 3000.0)},
        observations=observations,
    )


def motion_problem(windows: int = 2) -> Problem:
    """The motion of images: J is not quadratic, its norm is robust, and the divergence is a penalty."""
    images = noise(windows, 2, *GRID.shape, seed=3).cumsum(-1).cumsum(-2)
    images = images / images.flatten(1).std(1)[:, None, None, None]
    last = images[:, 1:]
    std = torch.tensor(0.3, dtype=torch.float64)
    observation = Observation(-60.0, ImageAtParcels(images[:, :1]), torch.zeros_like(last), std, PseudoHuber(1.0))
    return Problem(
        grid=GRID,
        dynamics=Parcels(),
        steps=(-60.0,),
        background={"velocity": 0.1 + torch.zeros(windows, 2, *GRID.shape, dtype=torch.float64), "tracer": last},
        background_error={"velocity": Tikhonov(1e4, 1e10, divergence=1e4, mean_std=10.0)},
        observations=(observation,),
    )


def smooth_problem(windows: int = 2) -> Problem:
    """Two blobs of which one moves away from the other, with a motion that varies slowly."""
    grid = Grid((24, 32), (1000.0, 1000.0))
    y, x = torch.arange(24.0)[:, None].double(), torch.arange(32.0)[None].double()

    def blob(row: float, column: float) -> Tensor:
        return torch.exp(-((y - row) ** 2 + (x - column) ** 2) / 40)

    frames = [blob(8, 9 + 1.0 * k) + blob(15 - 0.5 * k, 22) for k in range(3)]
    observations = tuple(
        Observation(
            100.0 * index,
            Component("tracer"),
            frame.expand(windows, 1, 24, 32),
            torch.tensor(0.1, dtype=torch.float64),
        )
        for index, frame in enumerate(frames)
    )
    return Problem(
        grid=grid,
        dynamics=Advection(motion="steady", sampler="cubic"),
        steps=(100.0, 100.0),
        background={
            "velocity": torch.full((windows, 2, 24, 32), 0.3, dtype=torch.float64),
            "tracer": frames[0].expand(windows, 1, 24, 32).contiguous(),
        },
        background_error={"velocity": Matern(8.0, 8000.0, 3), "tracer": Matern(0.1, 6000.0, 3)},
        observations=observations,
    )
