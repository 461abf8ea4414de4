from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.core.moving import pattern
from tests.core.numerics import adjoint_error, random, smooth
from xvar.core.cost import Cost
from xvar.core.covariance.coast import CoastFaces
from xvar.core.grid import Grid
from xvar.core.methods.currents import Currents, neighbour_difference
from xvar.core.methods.motion import Motion
from xvar.core.minimize import LBFGS

HOUR = 3600.0
TIMES = (0.0, HOUR, 2 * HOUR, 3 * HOUR)
GRID = Grid((40, 32), (800.0, 800.0))
STRONG = Currents(model_error=0.0)
Results = Mapping[str, Tensor]


def places(grid: Grid) -> Tensor:
    y, x = (torch.arange(n, dtype=torch.float64) * d for n, d in zip(grid.shape, grid.spacing, strict=True))
    return torch.stack((x.expand(grid.shape), y[:, None].expand(grid.shape)))


def carried(
    speed: tuple[float, float],
    change: tuple[float, float] = (0.0, 0.0),
    grid: Grid = GRID,
    seconds: tuple[float, ...] = TIMES,
    noise: float = 0.02,
) -> Tensor:
    """Images (1, frame, y, x) in K of a uniform motion, at the end `speed`, that changes by `change` in m/s an hour."""
    w, a = (torch.tensor(pair, dtype=torch.float64).view(2, 1, 1) for pair in (speed, change))
    images = []
    for time in seconds:
        left = time - seconds[-1]
        moved = w * left + 0.5 * (a / HOUR) * left**2
        images.append(0.5 * pattern((places(grid) - moved) / 1600.0))
    return torch.stack(images)[None] + noise * random((1, len(seconds), *grid.shape), 9)


def motion(results: Results, step: int = -1) -> Tensor:
    return torch.stack((results["u"][:, step], results["v"][:, step]), dim=1)


def mean_motion(results: Results, step: int = -1) -> list[float]:
    return motion(results, step)[..., 6:-6, 6:-6].mean((0, 2, 3)).tolist()


def test_a_steady_motion_is_found_weak_and_strong() -> None:
    images = carried((0.3, -0.2))
    for problem in (STRONG, Currents()):
        results = problem.analyse(images, TIMES, GRID)
        error = motion(results) - torch.tensor([0.3, -0.2], dtype=torch.float64).view(1, 2, 1, 1)
        assert error[..., 6:-6, 6:-6].square().sum(1).mean().sqrt() < 0.04
        assert results["status"].tolist() == [1]
    # perfect: the same at all steps
    assert torch.equal(motion(STRONG.analyse(images, TIMES, GRID), 0), motion(STRONG.analyse(images, TIMES, GRID)))


def test_a_motion_that_changes_needs_the_weak_constraint() -> None:
    """It reverses within the window: a perfect, steady model ends with about the mean of the window."""
    images = carried((0.4, -0.2), (0.2, -0.1))
    weak, strong = (problem.analyse(images, TIMES, GRID) for problem in (Currents(), STRONG))
    (u, v), (steady, _) = mean_motion(weak), mean_motion(strong)
    assert u == pytest.approx(0.4, abs=0.06)
    assert v == pytest.approx(-0.2, abs=0.06)
    assert steady < 0.27
    assert mean_motion(weak, 0)[0] == pytest.approx(-0.2, abs=0.1)
    # the forcing is what changes the motion, m/s in a second, held over the window
    forcing = weak["u_forcing"]
    assert forcing.shape == (1, 3, *GRID.shape)
    for step in range(3):
        change = weak["u"][:, step + 1] - weak["u"][:, step]
        assert (change - HOUR * forcing[:, step]).abs().max() < 1e-12
    assert "u_forcing" not in strong


def test_the_less_model_error_is_allowed_the_less_the_motion_changes() -> None:
    """Down to none, the strong constraint."""
    images = carried((0.3, -0.2), (0.1, 0.0))
    settings = {"levels": (1,), "minimizer": LBFGS(max_evaluations=200, gtol=1e-6, ftol=0.0, history_size=20)}
    strong = replace(STRONG, **settings).analyse(images, TIMES, GRID)
    changes, costs = [], []
    for share in (0.15, 0.015, 0.0015, 0.00015):
        weak = Currents(model_error=share, **settings).analyse(images, TIMES, GRID)
        changes.append(float((motion(weak) - motion(weak, 0)).abs().max()))
        costs.append(float(weak["cost"][0, 1]))
    assert changes[1] < changes[0]
    assert changes[2] < 0.1 * changes[1]
    assert changes[3] < 0.1 * changes[2]
    assert costs == sorted(costs)
    assert costs[3] == pytest.approx(float(strong["cost"][0, 1]), rel=1e-3)


def test_terms_of_the_cost_add_up_and_fall() -> None:
    images = carried((0.3, -0.2), (0.1, 0.0))
    weak, strong = (problem.analyse(images, TIMES, GRID) for problem in (Currents(), STRONG))
    terms = {key for key in weak if key.startswith("cost_")}
    assert terms == {"cost_background", "cost_model_error", "cost_observation"}
    assert {key for key in strong if key.startswith("cost_")} == terms - {"cost_model_error"}
    for results in (weak, strong):
        together = sum(results[key] for key in results if key.startswith("cost_"))
        torch.testing.assert_close(together, results["cost"])
        assert (results["cost"][:, 1] < 0.5 * results["cost"][:, 0]).all()
    assert weak["cost_model_error"][0, 0] == 0
    assert weak["cost_model_error"][0, 1] > 0
    assert weak["cost"][0, 1] < strong["cost"][0, 1]


def test_the_gradient_of_the_whole_problem() -> None:
    images = carried((0.3, -0.2))
    images[:, 0, 5:12, 4:20] = torch.nan
    images[:, -1, 20:26, 8:14] = torch.nan
    cost = Cost(Currents().problem(images, TIMES, GRID))
    point, direction = 0.1 * random(cost.zero().shape, 3), random(cost.zero().shape, 4)
    _, gradient = cost.gradient(point)
    h = 1e-7  # parcels that meet an edge of a cell within a step have two slopes
    slope = (cost.value(point + h * direction) - cost.value(point - h * direction)) / (2 * h)
    assert float((slope - (gradient * direction).sum(1)).abs() / (gradient.norm() * direction.norm())) < 1e-7
    error = adjoint_error(cost.value, point, direction, torch.ones(1, dtype=torch.float64))
    assert error < 1e-12


# ---- what is no motion


def test_heating_of_the_whole_sea_is_a_source_and_no_motion() -> None:
    images = carried((0.3, -0.2))
    heated = images + 0.05 * torch.arange(4).view(1, 4, 1, 1)
    plain, warm = (Currents().analyse(one, TIMES, GRID) for one in (images, heated))
    assert (motion(warm) - motion(plain))[..., 6:-6, 6:-6].abs().mean() < 0.02
    found = float((HOUR * (warm["source"] - plain["source"])).mean())
    assert found == pytest.approx(0.05, rel=0.4)
    assert warm["source"].shape == (1, *GRID.shape)


def test_a_constant_is_no_signal() -> None:
    """Kelvin or degrees Celsius: nothing but rounding tells them apart."""
    images = carried((0.3, -0.2))
    one, other = (Currents().analyse(images + offset, TIMES, GRID) for offset in (0.0, 273.15))
    assert (motion(one) - motion(other)).abs().max() < 1e-6
    # and to the bit where the sums are exact
    exact = (images * 2**20).round() / 2**20
    one, other = (Currents().analyse(exact + offset, TIMES, GRID) for offset in (0.0, 273.0))
    assert (motion(one) - motion(other)).abs().max() < 1e-6


def test_without_anything_to_see_there_is_rest() -> None:
    windows = torch.cat([carried((0.3, -0.2)), torch.full((3, 4, *GRID.shape), 11.5, dtype=torch.float64)])
    windows[2] = torch.nan
    windows[3, :3] = torch.nan
    results = Currents().analyse(windows, TIMES, GRID)
    assert results["status"].tolist() == [1, 3, 3, 3]
    for name in ("u", "v", "source", "u_forcing"):
        assert torch.equal(results[name][1:], torch.zeros_like(results[name][1:]))
    assert results["number_of_observations"].tolist()[2:] == [0, 0]
    assert results["analysis"][2].isnan().all()


# ---- holes


def test_what_lies_under_holes_changes_nothing() -> None:
    images = carried((0.3, -0.2))
    holes = torch.zeros(1, 4, *GRID.shape, dtype=torch.bool)
    holes[:, 0, 5:12, 4:20] = True
    holes[:, -1, 20:26, 8:14] = True
    holes[:, :, 30:, :6] = True  # land
    found = [
        Currents().analyse(torch.where(holes, filling, images), TIMES, GRID)
        for filling in (torch.nan, torch.inf, -torch.inf)
    ]
    for other in found[1:]:
        for name in ("u", "v", "source", "cost"):
            assert torch.equal(other[name], found[0][name])
    assert all(results["status"].tolist() == [1] for results in found)
    assert mean_motion(found[0]) == pytest.approx([0.3, -0.2], abs=0.04)


def test_windows_alone_and_together_have_the_same_bits() -> None:
    windows = torch.cat([carried((0.3, -0.2)), carried((0.1, 0.25), (0.1, 0.0)), carried((-0.3, 0.1))]).float()
    windows[1, 1, 8:20, 8:20] = torch.nan
    windows[2, -1, 3:30] = torch.nan
    grouped = torch.cat([windows, windows[:1]])
    together = Currents().analyse(grouped, TIMES, GRID)
    for window in range(4):
        alone = Currents().analyse(grouped[window : window + 1], TIMES, GRID)
        for name, values in alone.items():
            assert torch.equal(values[0].nan_to_num(-9), together[name][window].nan_to_num(-9)), name


def test_neighbour_differences_are_those_of_known_neighbours() -> None:
    image = smooth((1, 1, 6, 7), 3)
    known = torch.ones_like(image, dtype=torch.bool)
    found = neighbour_difference(image, known)
    f = image[0, 0]
    x = ((f[2, 3] - f[2, 2]).abs() + (f[2, 4] - f[2, 3]).abs()) / 2
    y = ((f[2, 3] - f[1, 3]).abs() + (f[3, 3] - f[2, 3]).abs()) / 2
    assert float(found[0, 0, 2, 3]) == pytest.approx(float((x**2 + y**2).sqrt()))
    corner = ((f[0, 1] - f[0, 0]) ** 2 + (f[1, 0] - f[0, 0]) ** 2).sqrt()
    assert float(found[0, 0, 0, 0]) == pytest.approx(float(corner))
    known[0, 0, 2, 4] = False
    again = neighbour_difference(torch.where(known, image, torch.tensor(1e9, dtype=torch.float64)), known)
    assert float(again[0, 0, 2, 3]) == pytest.approx(float(((f[2, 3] - f[2, 2]).square() + y**2).sqrt()))
    alone = torch.zeros_like(known)
    alone[..., 3, 3] = True
    assert torch.equal(neighbour_difference(image, alone), torch.zeros_like(image))


def test_the_motion_between_two_times_is_its_mean() -> None:
    velocity, change = smooth((1, 2, 6, 7), 4), smooth((1, 2, 6, 7), 5)
    changing = Motion(velocity, 10.0, change)
    assert torch.equal(changing.at(10.0), velocity)
    torch.testing.assert_close(changing.between(4.0, 8.0), (changing.at(4.0) + changing.at(8.0)) / 2)
    assert torch.equal(Motion(velocity, 10.0).between(1.0, 2.0), velocity)


def test_no_analysed_current_crosses_the_coast_at_any_step() -> None:
    """Nor does its change: the flow through a face, the mean of the cells at both its sides, is none."""
    water = torch.ones(GRID.shape, dtype=torch.bool)
    water[:, :7] = False
    water[20:26, 18:22] = False
    grid, faces = replace(GRID, water=water), CoastFaces.of(water)
    images = torch.where(water, carried((0.1, 0.3), (0.05, 0.05)), torch.nan)
    largest = {}
    for coast in ("free", "no_flow"):
        results = Currents(coast=coast).analyse(images, TIMES, grid)  # type: ignore[arg-type]
        flow = torch.stack([faces.flow(motion(results, step)) for step in range(4)])
        largest[coast] = float(flow.abs().max())
        assert float(motion(results)[..., 10:30, 10:16].abs().mean()) > 0.1
    assert largest["free"] > 0.1
    assert largest["no_flow"] < 1e-3


def test_the_deviation_of_a_comparison_grows_with_the_time_between_images() -> None:
    """Motion that is not resolved moves the water by its deviation times that time; the error of an image stays."""
    images, (early, late) = carried((0.3, -0.2)), (2.0 * HOUR, 24.0 * HOUR)
    images[:, 1, 3:6, 3:6] = torch.nan
    method = Currents(unresolved=0.1, reach=2)
    operators = {
        interval: [one.operator for one in method.problem(images, [k * interval for k in range(4)], GRID).observations]
        for interval in (early, late)
    }
    valid = images.isfinite()
    difference = neighbour_difference(torch.where(valid, images, 0.0), valid)
    for interval, found in operators.items():
        for age, operator in enumerate(found, 1):
            for row in range(operator.later.shape[1]):
                later = max(0, age - 2) + row if age > 2 else row
                position = math.hypot(0.5, 0.1 * (age - later) * interval / 800.0)
                expected = 0.055 + position * difference[:, -1 - later]
                assert torch.allclose(operator.std[:, row], expected, rtol=1e-12)
    last = 0.055 + 0.5 * difference[:, -1:]
    assert all(torch.equal(found[0].error_std, last) for found in operators.values())


def test_the_first_hessian_follows_the_deviation_of_the_comparisons() -> None:
    """In a ramp of 0.1 K a cell, with one pair of images a day apart, it falls with the variance."""
    ramp = 0.1 * torch.arange(32, dtype=torch.float64).expand(1, 2, 40, 32)
    day = 24 * HOUR
    curvature = [
        Currents(unresolved=unresolved).problem(ramp, (0.0, day), GRID).curvature for unresolved in (0.0, 0.04)
    ]
    std = [0.055 + 0.1 * math.hypot(0.5, unresolved * day / 800.0) for unresolved in (0.0, 0.04)]
    for key in ("velocity", "model_error", "source"):
        ratio = curvature[1][key].flatten()[0] / curvature[0][key].flatten()[0]
        assert float(ratio) == pytest.approx((std[0] / std[1]) ** 2, rel=1e-6)
