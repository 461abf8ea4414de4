"""Images along paths: problems of every kind that the compiled loop evaluates."""

from __future__ import annotations

import torch

from xvar.core.cost import Cost
from xvar.core.grid import Grid
from xvar.core.methods.currents import Currents
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.methods.image_problems import Smoothness, Transient
from xvar.core.models.characteristics import smooth_noise
from xvar.core.problem import Problem

SHAPE, SECONDS = (40, 150), [0.0, 300.0, 600.0, 960.0, 1260.0]  # a row has more points than are followed together
TRANSIENT = Transient(Smoothness(250.0, 2500.0), lifetime=4.0, source_std=0.3, source_length=20.0, source_lifetime=3.0)
CASES = ("steady", "transient", "currents", "strong currents")


def problem(case: str, *, holes: bool = False, metric: bool = False, dtype: torch.dtype = torch.float64) -> Problem:
    draw = torch.Generator().manual_seed(3)
    noise = smooth_noise(5, SHAPE, 3.0, draw)
    moving = torch.stack([torch.roll(noise[0], (k, 2 * k), (0, 1)) + 0.1 * noise[k] for k in range(5)])
    images = torch.stack([moving, moving.flip(-1)])
    if holes:
        images[0, 2, 5:12, 6:20] = images[0, 4, 20:30, 6:140] = torch.nan
    local = 900 + 100 * torch.rand(2, *SHAPE, dtype=torch.float64, generator=draw)
    grid, images = Grid(SHAPE, (1000.0, 900.0), metric=local if metric else None), images.to(dtype)
    if case == "steady":
        return ImageMotion(transient=None).problem(images, SECONDS, grid)
    if case == "transient":
        method = ImageMotion(transient=TRANSIENT)
        steady = torch.randn(2, 2, *SHAPE, dtype=torch.float64, generator=draw).to(dtype)
        return method.transient_problem(method._scaled(images, range(5), SECONDS, grid)[0], steady, TRANSIENT)
    model_error = 0.15 if case == "currents" else 0.0
    return Currents(reach=2, model_error=model_error).problem(images, SECONDS, grid)


def control(cost: Cost) -> torch.Tensor:
    zero = cost.zero()
    return 0.3 * torch.randn(zero.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(zero)
