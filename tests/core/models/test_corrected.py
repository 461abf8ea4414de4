from __future__ import annotations

import pytest
import torch

import xvar
from tests.core.models.conformance import SmoothStepConformance, StepCase
from tests.core.models.lorenz96 import on_the_attractor
from tests.core.numerics import order, random
from xvar.core.dynamics import runge_kutta, start
from xvar.core.grid import Grid, bind
from xvar.core.models.corrected import Corrected
from xvar.dynamics import Advection, Lorenz96


def network(channels: int = 1) -> torch.nn.Module:
    """Return a network on a ring."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = torch.nn.Conv1d(channels, 4, 3, padding="same", padding_mode="circular")
        return torch.nn.Sequential(first, torch.nn.Tanh(), torch.nn.Conv1d(4, channels, 1)).double()


def corrected(gain: float = 0.5, scale: float = 0.3) -> Corrected:
    model = Corrected(Lorenz96(), network(), scale=scale).double()
    with torch.no_grad():
        model.gain.fill_(gain)
    return model


class Damping(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x


class TestStep(SmoothStepConformance):
    @pytest.fixture
    def case(self) -> StepCase:
        return StepCase(
            model=lambda dtype: corrected().to(dtype),
            state=lambda windows, dtype: {"x": on_the_attractor(windows).to(dtype)},
            steps=(0.05, 0.02, 0.04),
        )


def test_without_training_the_model_is_its_base() -> None:
    state = {"x": on_the_attractor(2)}
    model = Corrected(Lorenz96(), network())
    assert torch.equal(model(state, 0.05)["x"], Lorenz96()(state, 0.05)["x"])
    assert model.step == Lorenz96().step
    assert xvar.check.dynamics(corrected(), state, 0.05).passed


def test_the_step_is_of_second_order() -> None:
    model, x = corrected(gain=1.0, scale=2.0), on_the_attractor(2)

    def tendency(values: torch.Tensor) -> torch.Tensor:
        return Lorenz96().tendency(values) + 2.0 * model.network(values)

    def error(steps: int) -> float:
        found, exact = {"x": x}, x
        with torch.no_grad():
            for _ in range(steps):
                found = model(found, 0.2 / steps)
            for _ in range(256):
                exact = runge_kutta(tendency, exact, 0.2 / 256)
        return float((found["x"] - exact).abs().max())

    assert order((1 / 8, 1 / 16, 1 / 32), [error(steps) for steps in (8, 16, 32)]) == pytest.approx(2.0, abs=0.15)


def test_a_correction_has_units_per_second() -> None:
    model = Corrected(lambda state, seconds: dict(state), Damping(), scale=1e-4)
    with torch.no_grad():
        model.gain.fill_(1.0)
    state = {"x": torch.ones(1, 1, 4)}
    assert float(model(state, 100.0)["x"].mean().detach()) == pytest.approx(1 - 1e-2 + 0.5e-4, rel=1e-6)


def test_the_first_gradient_moves_the_gain() -> None:
    model, state = Corrected(Lorenz96(), network()).double(), {"x": on_the_attractor(2)}
    model(state, 0.05)["x"].square().sum().backward()
    assert float(model.gain.grad.abs()) > 0


def test_components_are_the_channels_in_their_order() -> None:
    class Difference(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == 2
            return torch.cat([x[:, 1:] - x[:, :1], torch.zeros_like(x[:, :1])], dim=1)

    model = Corrected(lambda state, seconds: dict(state), Difference(), components=("b", "a"))
    with torch.no_grad():
        model.gain.fill_(1.0)
    state = {"a": torch.ones(1, 1, 3), "b": torch.zeros(1, 1, 3), "c": torch.full((1, 2, 3), 5.0)}
    after = model(state, 0.1)
    assert list(after) == ["a", "b", "c"]
    assert torch.equal(after["c"], state["c"])
    assert torch.equal(after["a"], state["a"])
    assert float(after["b"].detach().mean()) == pytest.approx(0.1 - 0.005, rel=1e-5)  # db/dt = a - b


def test_the_bound_model_has_the_same_weights() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Corrected(Advection(departure="two_level"), torch.nn.Conv2d(1, 1, 1), components=("tracer",))
    grid = Grid((6, 7), (1e3, 1e3))
    bound = bind(model, grid, torch.empty(0))
    assert [id(part) for part in bound.parameters()] == [id(part) for part in model.parameters()]
    state = {"velocity": random((2, 2, 6, 7), 1, torch.float32), "tracer": random((2, 1, 6, 7), 2, torch.float32)}
    state = start(bound, state)
    assert "acceleration" in state
    plain = bind(Advection(departure="two_level"), grid, torch.empty(0))
    for _ in range(2):
        expected, state = plain(state, 60.0), bound(state, 60.0)
        assert all(torch.equal(expected[key], state[key]) for key in expected)


def test_images_are_advected_with_a_correction() -> None:
    record = xvar.datasets.sample().isel(time=slice(4))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Corrected(Advection(), torch.nn.Conv2d(1, 1, 1), components=("tracer",))
    options = {"minimizer": xvar.minimize.LBFGS(max_evaluations=5)}
    with pytest.warns(xvar.AnalysisWarning, match="not converged"):
        plain = record.var4d.assimilate(dynamics=Advection(), **options)
    with pytest.warns(xvar.AnalysisWarning, match="not converged"):
        same = record.var4d.assimilate(dynamics=model, **options)
    for name in ("u", "v", "rain", "cost"):
        assert (plain[name] == same[name]).all()
    assert same.attrs["xvar_configuration"] != plain.attrs["xvar_configuration"]
