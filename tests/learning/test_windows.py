"""J of windows, differentiable by the weights: the envelope theorem against differences and against exact solutions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.learning.records import FRAME, OPTIONS, RATE, STEADY, WEAK, Decay, corrected, record
from xvar.covariance import Diagonal
from xvar.learning import Windows

pytestmark = pytest.mark.usefixtures("one_thread")


def gradient(windows: Windows, values: Callable[[list[torch.Tensor]], torch.Tensor]) -> torch.Tensor:
    """Return the gradient by all weights, one vector, at the minima."""
    weights = list(windows.dynamics.parameters())
    found = torch.autograd.grad(values(windows.minimise()).sum(), weights)
    return torch.cat([part.flatten() for part in found])


def difference(windows: Windows, direction: torch.Tensor, size: float) -> float:
    """Return the slope of the sum of min J along a direction of the weights, each side minimised anew."""
    first = torch.nn.utils.parameters_to_vector(windows.dynamics.parameters()).detach()
    sums = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(first + sign * size * direction, windows.dynamics.parameters())
        with torch.no_grad():
            sums.append(float(windows.cost(windows.minimise()).sum()))
    torch.nn.utils.vector_to_parameters(first, windows.dynamics.parameters())
    return (sums[0] - sums[1]) / (2 * size)


@pytest.mark.parametrize("options", [OPTIONS, WEAK], ids=["strong", "weak"])
@pytest.mark.parametrize("model", [Decay, corrected], ids=["linear", "nonlinear"])
def test_the_gradient_at_fixed_controls_is_that_of_the_minimum(model, options) -> None:
    dynamics = model()
    if hasattr(dynamics, "gain"):
        with torch.no_grad():
            dynamics.gain.fill_(-2.0)
    windows = Windows(record(), dynamics=dynamics, **options)
    exact = gradient(windows, windows.cost)
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(exact.shape, generator=generator, dtype=exact.dtype)
    direction /= direction.norm()
    assert difference(windows, direction, 1e-4) == pytest.approx(float(exact @ direction), rel=1e-5)


def test_points_beside_the_images_have_a_part_in_the_gradient() -> None:
    data, generator = record(), np.random.default_rng(2)
    times = data["time"].values[0] + (generator.random(40) * 24 * FRAME * 1e9).astype("timedelta64[ns]")
    places = {"x": generator.uniform(0, 5e3, 40), "y": generator.uniform(0, 4e3, 40)}
    columns = {"value": ("report", generator.uniform(1, 2, 40))}
    table = xr.Dataset(columns, {"time": ("report", times), **{name: ("report", at) for name, at in places.items()}})
    points = xvar.observation.Points(table, error=0.05, variable="tracer")
    windows = Windows(data, dynamics=Decay(), observation={"gauges": points}, **OPTIONS)
    images = Windows(data, dynamics=Decay(), **OPTIONS)
    exact, alone = gradient(windows, windows.cost), gradient(images, images.cost)
    assert difference(windows, torch.ones(1, dtype=torch.float64), 1e-4) == pytest.approx(float(exact), rel=1e-5)
    assert float(exact) != pytest.approx(float(alone), rel=1e-2)


def test_the_minimum_of_a_linear_problem_is_the_exact_one() -> None:
    r"""min J = d^T (H B H^T + R)^-1 d / 2 of one number that decays, and its derivative by the rate."""
    values = np.array([1.0, 0.7, 0.6, 0.3])
    data = record(frames=4)
    data["tracer"][:] = values[:, None, None]
    background = xr.full_like(data.isel(time=0, drop=True), 0.8)
    std, spread = 0.1, 0.5
    model = Decay(rate=3e-4)
    options = OPTIONS | {"background_error": {"tracer": Diagonal(spread)}, "observation_error": std}
    windows = Windows(data, dynamics=model, background=background, **options)
    found = gradient(windows, windows.cost)

    logarithm = model.logarithm.detach().clone().requires_grad_()
    operator = torch.exp(-logarithm.exp() * FRAME * torch.arange(4, dtype=torch.float64))
    innovation = torch.tensor(values) - 0.8 * operator
    covariance = spread**2 * torch.outer(operator, operator) + std**2 * torch.eye(4, dtype=torch.float64)
    least = 30 * 0.5 * innovation @ torch.linalg.solve(covariance, innovation)
    (exact,) = torch.autograd.grad(least, logarithm)
    assert float(windows.cost(windows.minimise()).detach().sum()) == pytest.approx(float(least.detach()), rel=1e-9)
    assert float(found) == pytest.approx(float(exact), rel=1e-6)


def test_the_misfit_of_a_forecast_is_that_of_the_next_window() -> None:
    data = STEADY
    model = Decay(rate=RATE)
    windows = Windows(data, dynamics=model, **OPTIONS | {"stride": 4})
    assert windows.following.tolist() == [1, 2, 3, 4, 5, -1]
    controls = windows.minimise()
    found = windows.forecast_misfit(controls)
    analysis = data.var4d.assimilate(dynamics=model, **OPTIONS | {"stride": 4})
    forecast = analysis.var4d.forecast("40min", dynamics=model)
    for window in range(5):
        then = data["tracer"][4 * window + 5 : 4 * window + 8].values  # the first image of the next window is left out
        departures = then - forecast["tracer"].values[window, 1:]
        expected = 0.5 * (departures**2).sum() / OPTIONS["observation_error"] ** 2
        assert float(found[window].detach()) == pytest.approx(expected, rel=1e-6)
    assert found[5].isnan()


def test_the_gradient_of_a_forecast_holds_the_analysis() -> None:
    windows = Windows(STEADY, dynamics=Decay(rate=1e-4), **OPTIONS | {"stride": 4})
    controls = windows.minimise(windows=[0])
    slope = torch.autograd.grad(windows.forecast_misfit(controls, windows=[0]).sum(), windows.dynamics.logarithm)[0]
    end = STEADY.var4d.assimilate(dynamics=windows.dynamics, **OPTIONS | {"stride": 4})["tracer"].values[0, -1]
    rate = windows.dynamics.logarithm.detach().clone().requires_grad_()
    times = torch.arange(2, 5, dtype=torch.float64)[:, None, None]
    departures = torch.tensor(STEADY["tracer"].values[5:8]) - torch.tensor(end) * torch.exp(-rate.exp() * FRAME * times)
    misfit = 0.5 * departures.square().sum() / OPTIONS["observation_error"] ** 2
    assert float(slope) == pytest.approx(float(torch.autograd.grad(misfit, rate)[0]), rel=1e-6)


def test_a_start_from_the_minimum_stays_there() -> None:
    windows = Windows(record(), dynamics=corrected(), **WEAK)
    first = windows.minimise()
    (again,) = windows.evaluate(np.arange(len(windows)), dict(enumerate(first)))
    assert torch.allclose(again.controls, torch.stack(first), rtol=1e-6, atol=1e-8)


def test_windows_are_the_same_alone_and_together() -> None:
    windows = Windows(record(), dynamics=corrected(), **WEAK)
    together, alone = windows.minimise(), [windows.minimise(windows=[n])[0] for n in range(len(windows))]
    assert all(map(torch.equal, together, alone))
    assert torch.equal(windows.cost(together), torch.cat([windows.cost([alone[n]], windows=[n]) for n in range(4)]))


def test_a_window_that_diverges_spoils_no_gradient() -> None:
    class Explosive(Decay):
        def forward(self, state, seconds):
            after = super().forward(state, seconds)
            return {key: values + torch.where(values > 20, values.square(), 0.0) ** 40 for key, values in after.items()}

    data = STEADY.copy(deep=True)
    data["tracer"][4:8] += 50.0
    options = OPTIONS | {"stride": 4}
    windows = Windows(data, dynamics=Explosive(), **options)
    (found,) = windows.evaluate(np.array([0, 1, 2]), {}, weight=0.0)
    assert found.cost.isfinite().tolist() == [True, False, True]
    assert (found.controls[1] == 0).all()
    (clean,) = windows.evaluate(np.array([0, 2]), {}, weight=0.0)
    assert torch.allclose(found.gradients[0], clean.gradients[0], rtol=1e-9)
    every = frozenset(range(len(windows)))
    (compared,) = windows.evaluate(np.array([0, 1, 2]), {}, observed=every, weight=1.0)
    assert compared.forecast.isfinite().tolist() == [True, False, True]
    assert compared.gradients[0].isfinite()


def test_what_has_no_meaning_for_learning() -> None:
    cases = {
        "nothing-to-learn": {"dynamics": xvar.dynamics.Advection()},
        "learning-of-cycled-windows": {"dynamics": Decay(), "background": "cycled"},
        "unknown-option": {"dynamics": Decay(), "save": ("increment",)},
    }
    for code, options in cases.items():
        with pytest.raises(xvar.InputError) as info:
            Windows(record(), **OPTIONS | options)
        assert code in {fault.code for fault in info.value.faults}
