from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.models.conformance import SmoothStepConformance, SmoothWindowConformance, StepCase
from tests.core.numerics import order, random, smooth
from tests.faults.codes import codes
from xvar.core.covariance import Matern
from xvar.core.covariance.balance import Geostrophic
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import BASINS, Grid
from xvar.core.minimize import LBFGS
from xvar.core.models.shallow_water import CONSERVED, ShallowWater, ShallowWaterModel, _mean_x, _mean_y
from xvar.core.observation import Component, Compose, Observation
from xvar.core.problem import Problem
from xvar.errors import InputError

CPU = torch.device("cpu")
GRAVITY, F = 9.81, 1e-4


def bound(model: ShallowWater, grid: Grid, dtype: torch.dtype = torch.float64) -> ShallowWaterModel:
    return model.bind(grid, dtype=dtype, device=CPU)


def positions(grid: Grid) -> dict[str, tuple[Tensor, Tensor]]:
    """x and y in metres of the heights, of u and of v; the corner of the first cell is the origin."""
    dy, dx = grid.spacing
    y = (torch.arange(grid.shape[0], dtype=torch.float64)[:, None] + 0.5) * dy
    x = (torch.arange(grid.shape[1], dtype=torch.float64) + 0.5) * dx
    return {"height": (x, y), "u": (x + dx / 2, y), "v": (x, y + dy / 2)}


def run(model: ShallowWaterModel, flow: Tensor, seconds: float, parts: int = 1) -> Tensor:
    return trajectory(model, {"flow": flow}, [seconds / parts] * parts)[-1]["flow"]


def eddies(grid: Grid, windows: int = 1, seed: int = 0) -> Tensor:
    """Some centimetres per second and metres, whatever their balance."""
    size = torch.tensor([0.05, 0.2, 0.2], dtype=torch.float64).view(3, 1, 1)
    return smooth((windows, 3, *grid.shape), seed) * size


class TestStep(SmoothStepConformance):
    @pytest.fixture(params=BASINS)
    def case(self, request: pytest.FixtureRequest) -> StepCase:
        grid = Grid((7, 9), (20e3, 25e3))
        beta = 0.0 if request.param == "periodic" else 2e-11
        model = ShallowWater(0.8, F, beta, edges=request.param, drag=1e-7, viscosity=50.0)
        return StepCase(
            model=lambda dtype: bound(model, grid, dtype),
            state=lambda windows, dtype: {"flow": eddies(grid, windows).to(dtype)},
            steps=(4000.0, 2000.0, 3000.0),
        )


class TestLongStepOverLand(SmoothStepConformance):
    """A step that the model cuts into stable ones, energy kept, with an island and spacing that varies."""

    @pytest.fixture
    def case(self) -> StepCase:
        water = torch.ones(8, 7, dtype=torch.bool)
        water[3:5, 2:4] = False
        metric = 20e3 * (1 + 0.1 * smooth((2, 1, 8, 7), 3)[:, 0])
        grid = Grid((8, 7), (20e3, 20e3), metric, water)
        model = ShallowWater(0.8, F, conserves="energy", viscosity=50.0)
        return StepCase(
            model=lambda dtype: bound(model, grid, dtype),
            state=lambda windows, dtype: {"flow": eddies(grid, windows).to(dtype)},
            steps=(9000.0, 2000.0, 3000.0),
        )


class TestWindow(SmoothWindowConformance):
    """Heights at every second point, four times in a day; B is in balance."""

    goal = 0.5
    minimizer = LBFGS(max_evaluations=40)
    grid = Grid((12, 14), (40e3, 40e3), edges="periodic")
    model = ShallowWater(0.8, F, edges="periodic")
    error = Geostrophic(Matern(0.1, 120e3, 2), Matern(0.01, 120e3), coriolis=F)
    steps = (7200.0,) * 12

    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        operator = self.error.bind(self.grid, dtype=torch.float64)
        generator = torch.Generator().manual_seed(5)
        return {"flow": operator.sample((3, 3, *self.grid.shape), generator)[:windows].to(dtype)}

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        states = trajectory(bound(self.model, self.grid), self.truth(torch.float64, windows), self.steps)

        def every_second(values: Tensor) -> Tensor:
            return values[..., ::2, ::2]

        observations = tuple(
            Observation(
                time=7200.0 * index,
                operator=Compose(Component("flow", (0,)), every_second),
                values=(states[index]["flow"][:, :1, ::2, ::2] + 0.01 * random((windows, 1, 6, 7), index)).to(dtype),
                std=torch.tensor(0.01, dtype=dtype),
            )
            for index in (3, 6, 9, 12)
        )
        return Problem(
            grid=self.grid,
            dynamics=self.model,
            steps=self.steps,
            background={"flow": torch.zeros(windows, 3, *self.grid.shape, dtype=dtype)},
            background_error={"flow": self.error},
            observations=observations,
        )


@pytest.mark.parametrize("edges", BASINS)
@pytest.mark.parametrize("conserves", CONSERVED)
def test_mass_stays_to_rounding(edges: Any, conserves: Any) -> None:
    grid = Grid((10, 12), (20e3, 20e3))
    model = bound(ShallowWater(0.8, F, edges=edges, conserves=conserves, viscosity=100.0), grid)
    flow = eddies(grid, 2)
    after = run(model, flow, 10 * 86400.0)
    change = (after[:, 0].sum((1, 2)) - flow[:, 0].sum((1, 2))).abs()
    assert (change < 1e-12 * flow[:, 0].abs().sum((1, 2))).all()


def test_mass_stays_around_an_island_on_a_grid_of_many_lengths() -> None:
    water = torch.ones(12, 12, dtype=torch.bool)
    water[4:7, 5:9] = False
    metric = 20e3 * (1 + 0.2 * smooth((2, 1, 12, 12), 3)[:, 0])
    model = bound(ShallowWater(0.8, F), Grid((12, 12), (20e3, 20e3), metric, water))
    flow = eddies(Grid((12, 12), (20e3, 20e3)))
    after = run(model, flow, 5 * 86400.0)
    mass = [float((part[0, 0] * metric.prod(0)).sum()) for part in (flow, after)]
    assert mass[1] == pytest.approx(mass[0], rel=1e-12)
    assert torch.equal(after[0, 0][~water], flow[0, 0][~water])
    assert float(after[0, 1:][:, ~water].abs().max()) == 0


def energy(model: Any, flow: Tensor) -> Tensor:
    """The integral of (h (u² + v²) + g η²) / 2."""
    eta, u, v = model._surrounded(flow)
    h = model.parameters.depth + eta
    moving = (_mean_x(h)[:, 1:-1, 1:] * u[:, 1:-1, 1:-1].square()) * (model._dx_at_u * model._dy_at_u)
    moving = moving + (_mean_y(h)[:, 1:, 1:-1] * v[:, 1:-1, 1:-1].square()) * (model._dx_at_v * model._dy_at_v)
    raised = model.parameters.gravity * eta[:, 1:-1, 1:-1].square() * model._area
    return 0.5 * (moving + raised).flatten(1).sum(1)


def potential_enstrophy(model: Any, flow: Tensor) -> Tensor:
    """The integral of h q² / 2."""
    eta, u, v = model._surrounded(flow)
    absolute = model._f + model._curl(u, v)
    density = 0.5 * absolute.square() / model._at_corners(model.parameters.depth + eta) * model._corner_area
    first = [0 if not periodic else 1 for periodic in model._periodic]
    return density[:, first[0] :, first[1] :].flatten(1).sum(1)


@pytest.mark.parametrize("edges", BASINS)
def test_energy_is_lost_by_the_steps_in_time_alone(edges: Any) -> None:
    """Their error in energy falls with the fifth power of the step."""
    grid = Grid((16, 16), (20e3, 20e3))
    beta = 0.0 if edges == "periodic" else 2e-11
    lengths = (3600.0, 1800.0, 900.0)
    changes = []
    for length in lengths:
        model = bound(ShallowWater(0.8, F, beta, edges=edges, conserves="energy", step=length), grid)
        flow = eddies(grid) * model.faces
        before = energy(model, flow)
        changes.append(abs(float((energy(model, run(model, flow, 86400.0)) / before - 1).item())))
    assert changes[0] < 0.02
    assert order(lengths, changes) == pytest.approx(5, abs=0.3)


def test_potential_enstrophy_of_flow_without_divergence_does_not_change() -> None:
    """By the tendency itself, where the mass flux has no divergence; energy does change there."""
    grid = Grid((12, 12), (20e3, 20e3))
    rates = {}
    for conserves in CONSERVED:
        model = bound(ShallowWater(0.8, F, edges="periodic", conserves=conserves), grid)
        psi = 2000 * smooth((1, 1, 12, 12), 1)[:, 0]
        u = -(psi - psi.roll(1, -2)) / 20e3
        v = (psi - psi.roll(1, -1)) / 20e3
        flow = torch.stack([torch.zeros_like(u), u, v], dim=1).requires_grad_()
        (slope,) = torch.autograd.grad(potential_enstrophy(model, flow).sum(), flow)
        rate = model.tendency(flow.detach())
        assert float(rate[:, 0].abs().max()) < 1e-16
        rates[conserves] = abs(float((slope * rate).sum()) / float(slope.norm() * rate.norm()))
    assert rates["enstrophy"] < 1e-12 < 1e-8 < rates["energy"]


class TestConvergence:
    """The tendency against that of the equations themselves, on fields that are known everywhere."""

    length = 800e3
    model = ShallowWater(0.8, F, edges="periodic", drag=2e-6, viscosity=3000.0)

    def field(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        a, b = 2 * math.pi * x / self.length, 2 * math.pi * y / self.length
        return {
            "height": 0.1 * torch.sin(a + 2 * b) + 0.05 * torch.cos(2 * a - b),
            "u": 0.3 * torch.cos(a - b) + 0.2 * torch.sin(2 * b + a),
            "v": 0.25 * torch.sin(2 * a + b) - 0.1 * torch.cos(b),
        }[name]

    def exact(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        x, y = (part.detach().clone().requires_grad_() for part in torch.broadcast_tensors(x, y))
        p = self.model

        def along(values: Tensor, axis: Tensor) -> Tensor:
            return torch.autograd.grad(values.sum(), axis, create_graph=True)[0]

        eta, u, v = (self.field(key, x, y) for key in ("height", "u", "v"))
        h = p.depth + eta
        if name == "height":
            return -(along(h * u, x) + along(h * v, y)).detach()
        spin = p.coriolis + along(v, x) - along(u, y)
        head = p.gravity * eta + 0.5 * (u**2 + v**2)
        values, axis, turned = (u, x, spin * v) if name == "u" else (v, y, -spin * u)
        laplacian = along(along(values, x), x) + along(along(values, y), y)
        return (turned - along(head, axis) - p.drag * values + p.viscosity * laplacian).detach()

    def errors(self, count: int, conserves: Any, stretched: bool = False) -> list[float]:
        grid = Grid((count, count), (self.length / count,) * 2)
        metric = torch.full((2, count, count), self.length / count, dtype=torch.float64) if stretched else None
        model = bound(
            ShallowWater(**{**vars(self.model), "conserves": conserves}),
            Grid(grid.shape, grid.spacing, metric),
        )
        where = positions(grid)
        flow = torch.stack([self.field(key, *where[key]) for key in where])[None]
        rate = model.tendency(flow)[0]
        return [
            float((rate[index] - self.exact(key, *where[key])).square().mean().sqrt())
            for index, key in enumerate(where)
        ]

    @pytest.mark.parametrize("conserves", CONSERVED)
    def test_second_order_in_space(self, conserves: Any) -> None:
        counts = (24, 48, 96)
        errors = [self.errors(count, conserves) for count in counts]
        for component in range(3):
            found = order([1 / count for count in counts], [error[component] for error in errors])
            assert 1.9 < found < 2.2

    def test_a_metric_that_is_the_same_everywhere_is_no_metric(self) -> None:
        for one, other in zip(self.errors(24, "energy"), self.errors(24, "energy", True), strict=True):
            assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize("coriolis", [0.0, F])
def test_waves_run_at_their_speed(coriolis: float) -> None:
    """Inertia-gravity waves, gravity waves without rotation: omega² = f² + g H k², within 1 %; second order."""
    depth, length = 50.0, 1000e3
    k = 2 * math.pi / length
    omega = math.sqrt(coriolis**2 + GRAVITY * depth * k**2)
    errors = []
    for count in (32, 64, 128):
        grid = Grid((4, count), (length / count,) * 2)
        model = bound(ShallowWater(depth, coriolis, edges="periodic"), grid)
        where = positions(grid)
        size = 1e-4

        def wave(time: float, where: Any = where, size: float = size) -> Tensor:
            phase = {key: (k * x - omega * time).expand(4, -1) for key, (x, _) in where.items()}
            speed = size / (depth * k)
            return torch.stack(
                [
                    size * phase["height"].cos(),
                    speed * omega * phase["u"].cos(),
                    speed * coriolis * phase["v"].sin(),
                ]
            )[None]

        period = 2 * math.pi / omega
        after = run(model, wave(0.0), period, 40)
        # A lag in phase of e looks like a difference of e times the amplitude.
        errors.append(float((after - wave(0.0))[:, 0].norm() / wave(0.0)[:, 0].norm()) / (2 * math.pi))
    assert errors[0] < 0.01
    assert order([1 / 32, 1 / 64, 1 / 128], errors) == pytest.approx(2, abs=0.1)


def test_a_kelvin_wave_runs_along_the_wall() -> None:
    """At sqrt(g H) to within 1 %, and no faster nor slower far from the wall; nothing leaves the wall."""
    depth, count = 50.0, 64
    speed = math.sqrt(GRAVITY * depth)
    radius = speed / F
    grid = Grid((count, count), (radius / 12, 1500e3 / count))
    model = bound(ShallowWater(depth, F, edges="channel"), grid)
    (x, y), (x_u, y_u) = positions(grid)["height"], positions(grid)["u"]
    k = 2 * math.pi / 1500e3
    flow = torch.zeros(1, 3, count, count, dtype=torch.float64)
    flow[:, 0] = 1e-3 * torch.exp(-y / radius) * torch.cos(k * x)
    flow[:, 1] = 1e-3 * GRAVITY / speed * torch.exp(-y_u / radius) * torch.cos(k * x_u)
    after = run(model, flow, 2 * math.pi / (k * speed), 40)
    for row in (0, 12):
        turned = torch.angle((after[0, 0, row] * torch.exp(-1j * k * x)).sum())
        assert abs(float(turned)) < 0.01 * 2 * math.pi
    assert float((after - flow)[:, 0].norm() / flow[:, 0].norm()) < 0.03
    assert float(after[:, 2].abs().max()) < 0.02 * float(flow[:, 1].abs().max())


@pytest.mark.parametrize("edges", ["periodic", "channel", "closed"])
def test_flow_in_geostrophic_balance_is_steady(edges: Any) -> None:
    """A jet (an eddy in a box) whose velocity comes from the balance operator, over ten days."""
    grid = Grid((40, 40), (20e3, 20e3), edges="periodic" if edges == "periodic" else "free")
    x, y = positions(grid)["height"]
    if edges == "closed":
        eta = 1e-4 * torch.exp(-((x - 400e3) ** 2 + (y - 400e3) ** 2) / (2 * 90e3**2))
    else:
        eta = 1e-2 * torch.cos(2 * math.pi * y / 800e3).expand(40, 40) * torch.ones(40, dtype=torch.float64)
    balance = Geostrophic(Matern(0.1, 1e5), Matern(0.1, 1e5), coriolis=F, edges=edges)
    flow = balance.balanced(eta[None, None], grid)
    model = bound(ShallowWater(50.0, F, edges=edges), grid)
    after = run(model, flow, 10 * 86400.0, 10)
    for part in (slice(0, 1), slice(1, 3)):
        assert float((after - flow)[:, part].norm() / flow[:, part].norm()) < 0.05
    unbalanced = flow * torch.tensor([1.0, 0, 0], dtype=torch.float64).view(3, 1, 1)
    assert float((run(model, unbalanced, 10 * 86400.0, 10) - flow)[:, 0].norm() / flow[:, 0].norm()) > 0.1


def test_a_solid_body_rotation_of_the_sphere_is_steady_with_metric_terms_and_all() -> None:
    r"""A zonal flow with :math:`u^2 \tan\phi / R = -g\, \partial_\phi \eta / R` on latitude and longitude.

    The equations are written with the vorticity and the head, which need no terms of their own for the turning of the
    axes: lengths are enough. What is left of them falls with the square of the spacing.
    """
    radius, speed, gravity, left = 6371e3, 30.0, 9.81, []
    for rows in (20, 40, 80):
        step = math.radians(40.0) / rows
        latitude = math.radians(30.0) + step * (torch.arange(rows, dtype=torch.float64) + 0.5)
        metric = radius * step * torch.stack([torch.ones(rows, 8), latitude.cos()[:, None].expand(rows, 8)]).double()
        grid = Grid((rows, 8), (radius * step, radius * step * 0.6), metric)
        model = bound(ShallowWater(1000.0, 0.0, gravity=gravity, edges="channel"), grid)
        flow = torch.zeros(1, 3, rows, 8, dtype=torch.float64)
        flow[0, 0] = -0.5 * speed**2 / gravity * latitude.sin().square()[:, None]
        flow[0, 1] = speed * latitude.cos()[:, None]
        rate = model.tendency(flow)[0, :, 1:-2]  # the walls are no part of the solution
        assert float(rate[:2].abs().max()) < 1e-15  # nothing changes along a circle of latitude
        turning = (speed * latitude.cos()).square() * latitude.tan() / radius
        left.append(float((rate[2].abs().max(1).values / turning[1:-2]).max()))
    assert left[-1] < 1e-3
    assert left[0] / left[1] == pytest.approx(4, rel=0.1)
    assert left[1] / left[2] == pytest.approx(4, rel=0.1)


def test_a_pair_of_eddies_carries_itself_along() -> None:
    """And keeps its extremes, its energy and its enstrophy."""
    grid = Grid((48, 48), (15e3, 15e3), edges="periodic")
    x, y = positions(grid)["height"]
    eta = sum(
        sign * 0.1 * torch.exp(-((x - 360e3) ** 2 + (y - at) ** 2) / (2 * 45e3**2))
        for sign, at in ((1, 410e3), (-1, 310e3))
    )
    flow = Geostrophic(Matern(0.1, 1e5), Matern(0.1, 1e5), coriolis=F, edges="periodic").balanced(eta[None, None], grid)
    model = bound(ShallowWater(5.0, F, edges="periodic"), grid)
    after = run(model, flow, 5 * 86400.0)
    for conserved in (potential_enstrophy, energy):
        assert float(conserved(model, after)) == pytest.approx(float(conserved(model, flow)), rel=0.01)
    for extreme in (torch.Tensor.max, torch.Tensor.min):
        assert float(extreme(after[0, 0])) == pytest.approx(float(extreme(flow[0, 0])), rel=0.1)

    def centre(flow: Tensor) -> float:
        return float((flow[0, 0].square() * x).sum() / flow[0, 0].square().sum())

    assert -30e3 < centre(after) - centre(flow) < -10e3  # the high lies in the north: westward between them


def test_drag_and_viscosity_take_energy() -> None:
    grid = Grid((12, 12), (20e3, 20e3))
    flow = eddies(grid)
    losses = []
    for options in ({"drag": 2e-6}, {"viscosity": 200.0}):
        model = bound(ShallowWater(0.8, F, conserves="energy", **options), grid)
        start = flow * model.faces
        losses.append(float(energy(model, run(model, start, 86400.0)) / energy(model, start)))
    assert all(0.5 < loss < 0.99 for loss in losses)


def test_a_long_step_is_cut_into_stable_ones() -> None:
    grid = Grid((12, 12), (20e3, 20e3))
    model = bound(ShallowWater(0.8, F), grid)
    flow = eddies(grid)
    parts = math.ceil(86400 / model.step)
    torch.testing.assert_close(run(model, flow, 86400.0), run(model, flow, 86400.0, parts), rtol=0, atol=1e-15)
    assert run(model, flow, 60 * 86400.0).isfinite().all()


def test_the_stated_step_is_near_the_longest_stable_one() -> None:
    """Twice as long is too long."""
    grid = Grid((16, 16), (20e3, 20e3))
    flow = 1e-3 * random((1, 3, 16, 16), 3)
    longest = ShallowWater(0.8, F).longest_step(grid.spacing)
    for factor, stable in ((1.0, True), (2.0, False)):
        model = bound(ShallowWater(0.8, F, step=factor * longest), grid)
        after = run(model, flow, 400 * factor * longest, 400)
        assert bool((after.abs() < 1).all()) == stable


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"depth": 0.0, "viscosity": -1.0}, ["number-not-positive", "negative-number"]),
        ({"depth": 1.0, "drag": -1.0, "conserves": "mass"}, ["negative-number", "unknown-choice"]),
        ({"depth": 1.0, "edges": "open"}, ["unknown-choice"]),
        ({"depth": 1.0, "edges": "periodic", "beta": 2e-11}, ["beta-on-periodic-grid"]),
    ],
)
def test_all_faults_of_the_model_are_reported_at_once(options: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(InputError) as report:
        bound(ShallowWater(**options), Grid((8, 8), (1e3, 1e3)))
    assert codes(report.value) == expected


def test_flips_of_the_basin() -> None:
    """A mirror turns f; the flow on the mirrored grid is the mirrored flow."""
    grid = Grid((9, 11), (20e3, 20e3))
    flow = eddies(grid) * bound(ShallowWater(0.8, F), grid).faces
    after = run(bound(ShallowWater(0.8, F), grid), flow, 86400.0)

    def mirrored(flow: Tensor) -> Tensor:
        eta, u, v = flow.unbind(1)
        # The faces of u shift by a cell when they are counted from the other side.
        u = torch.cat([u.flip(-1)[..., 1:], torch.zeros_like(u[..., :1])], dim=-1)
        return torch.stack([eta.flip(-1), -u, v.flip(-1)], dim=1)

    turned = run(bound(ShallowWater(0.8, -F), grid), mirrored(flow), 86400.0)
    torch.testing.assert_close(turned, mirrored(after), rtol=0, atol=1e-13)
