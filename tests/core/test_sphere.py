"""Metric terms: on latitude and longitude the local spacing gives an exact solid-body rotation of the sphere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.core.numerics import order
from xvar.core.grid import Grid
from xvar.core.models.advection import Advection
from xvar.core.models.parcels import Drift

EARTH = 6371e3
AXIS = (0.5, 0.0, 0.8660254037844386)  # of a rotation about a point that is no pole of the grid


def turned(points: Tensor, angle: float) -> Tensor:
    """Points (3, ...) of the unit sphere turned about `AXIS`, by Rodrigues' formula."""
    axis = torch.tensor(AXIS, dtype=torch.float64).view(3, 1, 1)
    along = (axis * points).sum(0) * axis
    across = torch.linalg.cross(axis.expand_as(points), points, dim=0)
    return along + math.cos(angle) * (points - along) + math.sin(angle) * across


@pytest.mark.parametrize("which", ["midpoint", "two_level", "drift"])
def test_a_solid_body_rotation_of_the_sphere_is_of_second_order(which: str) -> None:
    """On latitude and longitude, where a degree of longitude is half as long at one edge as at the other."""
    errors = []
    counts = (1, 2, 4, 8)
    for count in counts:
        rows, columns = 24 * count + 1, 24 * count + 1
        latitude = torch.linspace(math.radians(10), math.radians(60), rows, dtype=torch.float64)[:, None]
        longitude = torch.linspace(math.radians(-25), math.radians(25), columns, dtype=torch.float64)[None]
        latitude, longitude = torch.broadcast_tensors(latitude, longitude)
        step_y, step_x = math.radians(50) / (rows - 1), math.radians(50) / (columns - 1)
        cosine = latitude.cos()
        point = torch.stack([cosine * longitude.cos(), cosine * longitude.sin(), latitude.sin()])
        rate = 1e-6  # radians a second: 6 m/s
        axis = torch.tensor(AXIS, dtype=torch.float64).view(3, 1, 1).expand_as(point)
        speed = EARTH * rate * torch.linalg.cross(axis, point, dim=0)
        east = torch.stack([-longitude.sin(), longitude.cos(), torch.zeros_like(longitude)])
        north = torch.linalg.cross(point, east, dim=0)
        velocity = torch.stack([(speed * east).sum(0), (speed * north).sum(0)])[None]
        metric = EARTH * torch.stack([torch.full_like(cosine, step_y), cosine * step_x])
        grid = Grid((rows, columns), (float(metric[0].mean()), float(metric[1].mean())), metric=metric)
        seconds, cpu = 1.6e5 / count, torch.device("cpu")
        if which == "drift":
            drift = Drift().bind(grid, dtype=torch.float64, device=cpu)
            found = drift(drift.start({"velocity": velocity}), -seconds)["position"][0]
        else:
            model = Advection("steady", which, iterations=8).bind(grid, dtype=torch.float64, device=cpu)
            found = model.departure_point(model.start({"velocity": velocity}), seconds)[0]
        exact = turned(point, -rate * seconds)
        where = torch.stack(
            [
                (torch.atan2(exact[1], exact[0]) - math.radians(-25)) / step_x,
                (torch.asin(exact[2]) - math.radians(10)) / step_y,
            ]
        )
        inner = slice(6 * count, -6 * count)
        moved = (where - found)[:, inner, inner] * torch.tensor([step_x, step_y], dtype=torch.float64).view(2, 1, 1)
        errors.append(float(moved.abs().max()) * count)  # over the whole time, of so many steps
    assert order([1 / count for count in counts], errors) > 1.8
    assert errors[-1] < 2e-4 * 0.16
