from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from tests.core.numerics import random, smooth
from tests.faults.codes import codes
from xvar.core.comparison import Comparison
from xvar.core.control import ControlSpace
from xvar.core.covariance import Diagonal, Matern
from xvar.core.grid import Grid
from xvar.core.methods.experiment import Experiment
from xvar.core.methods.frames import Frames
from xvar.core.minimize import LBFGS, GaussNewton
from xvar.core.parameters import Parameter
from xvar.errors import InputError
from xvar.observation import Images

GRID = Grid((6, 7), (1e3, 1e3))
SECONDS = [0.0, 600.0, 1200.0]
TIGHT = LBFGS(max_evaluations=2000, gtol=1e-12, ftol=0.0, history_size=40)


def still(state: dict[str, Tensor], seconds: float) -> dict[str, Tensor]:
    """It knows of no parameter, and would not run with one."""
    return {key: {"a": 1.0}[key] * values for key, values in state.items()}


def diffusive(state: dict[str, Tensor], seconds: float) -> dict[str, Tensor]:
    """Diffusion in flux form, with a diffusivity in m2 s-1 that is a number or a field."""
    a = state["a"]
    kappa = state["diffusivity"].expand(len(a), 1, *a.shape[-2:])
    whole, around = pad(kappa, (1,) * 4, mode="replicate"), pad(a, (1,) * 4, mode="replicate")
    along_x = 0.5 * (whole[..., 1:-1, 1:] + whole[..., 1:-1, :-1]) * around[..., 1:-1, :].diff(dim=-1)
    along_y = 0.5 * (whole[..., 1:, 1:-1] + whole[..., :-1, 1:-1]) * around[..., :, 1:-1].diff(dim=-2)
    return {"a": a + seconds * 1e-6 * (along_x.diff(dim=-1) + along_y.diff(dim=-2))}


def experiment(**options: Any) -> Experiment:
    given: dict[str, Any] = {
        "dynamics": still,
        "background_error": {"a": Matern(1.0, 3e3)},
        "minimizer": TIGHT,
    }
    return Experiment(**(given | options))


def images(values: Tensor, std: float | Tensor, **comparison: Any) -> Frames:
    std = torch.as_tensor(std, dtype=values.dtype)
    own = {name: comparison.pop(name) for name in ("calibration", "reset") if name in comparison}
    return Frames("a", values, SECONDS, std, Comparison(**comparison), **own)


@pytest.mark.parametrize("calibration", ["frame", "window"])
def test_offsets_and_the_state_are_the_best_linear_estimate(calibration: Any) -> None:
    """Two windows, three frames, holes: against the dense solution of each."""
    offset = Parameter(0.2, 0.5)
    frames = random((2, 3, 6, 7), 0)
    frames[0, 1, 2:4] = torch.nan
    std = 0.2 + random((2, 3, 6, 7), 1).square()
    background = {"a": random((2, 1, 6, 7), 2)}
    source = images(frames, std, offset=offset, calibration=calibration)
    outcome = experiment().analyse([source], background, SECONDS, GRID)
    states, numbers = outcome.fields, outcome.numbers
    count = 3 if calibration == "frame" else 1
    assert numbers["offset"].shape == ((2, 3) if calibration == "frame" else (2,))
    root = Matern(1.0, 3e3).bind(GRID, dtype=torch.float64)
    units = torch.eye(42, dtype=torch.float64).reshape(42, 1, 6, 7)
    b = root.apply(units).flatten(1)
    prior = torch.block_diag(b, 0.25 * torch.eye(count, dtype=torch.float64))
    for window in range(2):
        operator = torch.zeros(3, 42, 42 + count, dtype=torch.float64)
        operator[:, :, :42] = torch.eye(42, dtype=torch.float64)
        for k in range(3):
            operator[k, :, 42 + min(k, count - 1)] = 1.0
        seen = frames[window].flatten(1).isfinite()
        h = operator[seen]
        first = torch.cat([background["a"][window].flatten(), torch.full((count,), 0.2, dtype=torch.float64)])
        innovation = frames[window].flatten(1)[seen] - h @ first
        noise = torch.diag(std[window].flatten(1)[seen] ** 2)
        expected = first + prior @ h.T @ torch.linalg.solve(h @ prior @ h.T + noise, innovation)
        torch.testing.assert_close(states["a"][window, 0].flatten(), expected[:42], rtol=0, atol=1e-6)
        torch.testing.assert_close(numbers["offset"][window].flatten(), expected[42:], rtol=0, atol=1e-6)
    increment = (numbers["offset"] - 0.2).reshape(2, -1)
    torch.testing.assert_close(
        numbers["cost_parameters"][:, 1], 0.5 * (increment / 0.5).square().sum(1), rtol=1e-6, atol=1e-9
    )
    assert float(numbers["cost_parameters"][:, 0].abs().max()) == 0


@pytest.mark.parametrize("minimizer", [TIGHT, GaussNewton(outer=20, inner=60, residual=1e-6, ftol=0.0)])
def test_a_known_gain_and_offset_are_found(minimizer: Any) -> None:
    """The first frame is known well, the others are shown by an instrument that drifts."""
    truth = 10 + 3 * smooth((2, 1, 6, 7), 0)
    gains = torch.tensor([[1.0, 1.2, 0.7], [1.0, 0.9, 1.3]], dtype=torch.float64)
    offsets = torch.tensor([[0.0, -1.0, 2.0], [0.0, 0.5, -2.0]], dtype=torch.float64)
    frames = gains[..., None, None] * truth + offsets[..., None, None]
    source = images(frames, 1e-3, gain=Parameter(1.0, 0.5), offset=Parameter(0.0, 3.0, "K"))
    made = experiment(background_error={"a": Diagonal(1e-3)}, minimizer=minimizer)
    numbers = made.analyse([replace(source, first=1)], {"a": truth}, SECONDS, GRID).numbers
    torch.testing.assert_close(numbers["gain"], gains, rtol=0, atol=5e-3)
    torch.testing.assert_close(numbers["offset"], offsets, rtol=0, atol=5e-2)


@pytest.mark.parametrize("positive", [False, True])
def test_a_known_diffusivity_is_found(positive: bool) -> None:
    truth, kappa = 3 * smooth((2, 1, 6, 7), 3), torch.tensor([150.0, 60.0], dtype=torch.float64)
    state = {"a": truth, "diffusivity": kappa[:, None, None, None]}
    frames = [truth[:, 0]]
    for _ in SECONDS[1:]:
        for _ in range(6):
            state = {**diffusive(state, 100.0), "diffusivity": state["diffusivity"]}
        frames.append(state["a"][:, 0])
    parameter = Parameter(100.0, 0.7 if positive else 80.0, "m2 s-1", positive)
    made = experiment(
        dynamics=diffusive, parameters={"diffusivity": parameter}, background_error={"a": Diagonal(1e-3)}, step=100.0
    )
    source = replace(images(torch.stack(frames, 1), 1e-4), first=1)
    numbers = made.analyse([source], {"a": truth}, SECONDS, GRID).numbers
    torch.testing.assert_close(numbers["diffusivity"], kappa, rtol=1e-3, atol=0)
    increment = numbers["diffusivity"].log() - math.log(100) if positive else numbers["diffusivity"] - 100
    expected = 0.5 * (increment / parameter.error).square()
    torch.testing.assert_close(numbers["cost_parameters"][:, 1], expected, rtol=1e-6, atol=0)


def test_a_parameter_may_be_a_field() -> None:
    """A diffusivity that is twice as large in the east, seen in an image that is rough everywhere."""
    grid = Grid((12, 14), (1e3, 1e3))
    kappa = torch.where(torch.arange(14) < 7, 60.0, 120.0).to(torch.float64).expand(1, 1, 12, 14)
    frames = [10 * random((1, 1, 12, 14), 5)]
    for _ in SECONDS[1:]:
        frames.append(diffusive({"a": frames[-1], "diffusivity": kappa}, 600.0)["a"])
    made = experiment(
        dynamics=diffusive,
        parameters={"diffusivity": Parameter(90.0, Matern(40.0, 4e3))},
        background_error={"a": Diagonal(1e-3)},
        minimizer=LBFGS(max_evaluations=300, gtol=1e-8, ftol=0.0),
    )
    source = replace(images(torch.cat(frames, 1), 0.01), first=1)
    found = made.analyse([source], {"a": frames[0]}, SECONDS, grid).numbers["diffusivity"]
    assert found.shape == (1, 12, 14)
    assert float((found - kappa[:, 0]).square().mean().sqrt()) < 0.2 * 30


def test_without_knowledge_of_it_a_parameter_keeps_its_prior() -> None:
    frames = torch.full((1, 3, 6, 7), torch.nan, dtype=torch.float64)
    source = images(frames, 1.0, gain=Parameter(1.1, 0.5))
    outcome = experiment().analyse([source], {"a": random((1, 1, 6, 7), 2)}, SECONDS, GRID)
    assert (outcome.numbers["gain"] == 1.1).all()


def test_a_parameter_is_the_same_number_on_every_grid() -> None:
    made = experiment(dynamics=diffusive, parameters={"diffusivity": Parameter(90.0, 30.0)})
    source = images(random((2, 3, 6, 7), 0), 1.0, offset=Parameter(0, 1))
    problem = made.problem([source], {"a": random((2, 1, 6, 7), 1)}, SECONDS, GRID)
    fine, coarse = ControlSpace(problem), ControlSpace(problem.coarsen(2))
    control = random((2, coarse.size), 3)
    refined = fine.refine(coarse, control, 2)
    for name in ("diffusivity", "offset"):
        found, expected = (space.increment(space.fields(v)) for space, v in ((fine, refined), (coarse, control)))
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Parameter(1.0, 0.0), "parameter-error-not-positive"),
        (lambda: Parameter(math.nan, 1.0), "parameter-prior-not-finite"),
        (lambda: Parameter(-1.0, 1.0, positive=True), "parameter-prior-not-positive"),
        (lambda: Parameter(torch.ones(3, 3), 1.0), "parameter-field-without-specification"),
        (lambda: Comparison(gain=Parameter(1.0, Diagonal(1.0))), "calibration-not-a-number"),
        (lambda: Images(gain=Parameter(1.0, 0.1), reset="observation"), "calibration-with-reset"),
        (lambda: Images(calibration="pixel"), "unknown-choice"),  # type: ignore[arg-type]
        (lambda: Comparison(norm="huber"), "norm-threshold"),
        (lambda: Comparison(norm="quadratic", threshold=1.0), "norm-threshold"),
        (lambda: Comparison(threshold=-1.0), "norm-threshold"),
        (lambda: Comparison(operator="u"), "operator-not-callable"),  # type: ignore[arg-type]
    ],
)
def test_a_parameter_without_a_proper_prior_is_rejected(make: Any, code: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert codes(caught.value) == [code]


def test_gains_of_two_sources_are_told_apart() -> None:
    truth = 10 + 3 * smooth((1, 1, 6, 7), 0)
    gains = {"": 1.2, "other_": 0.8}
    sources = [
        replace(images((g * truth).expand(1, 3, 6, 7), 1e-3, gain=Parameter(1.0, 0.5), calibration="window"), prefix=p)
        for p, g in gains.items()
    ]
    outcome = experiment(background_error={"a": Diagonal(1e-3)}).analyse(sources, {"a": truth}, SECONDS, GRID)
    for prefix, gain in gains.items():
        assert float(outcome.numbers[f"{prefix}gain"]) == pytest.approx(gain, abs=5e-3)
