from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.core.numerics import random
from xvar.core.dynamics import State, integrate, start, trajectory


def growth(state: State, seconds: float) -> State:
    """A nonlinear step whose length matters."""
    return {"x": state["x"] + seconds * torch.sin(state["x"])}


def everything(index: int, before: State, after: State) -> tuple[State, Tensor]:
    return after, after["x"].square().flatten(1).sum(1)


STEPS = [0.1, 0.3, 0.05, 0.2, 0.4, 0.15, 0.25]


def test_steps_need_not_be_equal() -> None:
    x = random((2, 1, 5), 1)
    end, values = integrate(growth, {"x": x}, STEPS, everything)
    states = trajectory(growth, {"x": x}, STEPS)
    expected = x
    for index, step in enumerate(STEPS):
        expected = expected + step * torch.sin(expected)
        assert torch.equal(values[index], expected.square().flatten(1).sum(1))
        assert torch.equal(states[index + 1]["x"], expected)
    assert torch.equal(end["x"], expected)
    assert torch.equal(states[0]["x"], x)


def test_forcing_is_added_after_the_steps_it_names() -> None:
    x, error = random((1, 1, 5), 2), random((1, 1, 5), 3)
    for checkpoint in (False, True):
        forcing = {0: {"x": error}, 4: {"x": 2 * error}}
        end, _ = integrate(growth, {"x": x}, STEPS, everything, forcing=forcing, checkpoint=checkpoint)
        expected = x
        for index, step in enumerate(STEPS):
            expected = expected + step * torch.sin(expected) + {0: 1, 4: 2}.get(index, 0) * error
        assert torch.equal(end["x"], expected)


def test_integration_continues_from_the_state_that_visit_returns() -> None:
    x = random((1, 1, 5), 4)

    def replace(index: int, before: State, after: State) -> tuple[State, tuple[Tensor, Tensor]]:
        return ({"x": torch.ones_like(x)} if index == 2 else after), (before["x"], after["x"])

    _, seen = integrate(growth, {"x": x}, STEPS, replace)
    assert torch.equal(seen[3][0], torch.ones_like(x))
    assert torch.equal(seen[3][1], torch.ones_like(x) + STEPS[3] * torch.sin(torch.ones_like(x)))
    assert torch.equal(seen[2][0], seen[1][1])


def test_a_model_completes_its_initial_state() -> None:
    class Leapfrog:
        def start(self, state: State) -> State:
            return {**state, "before": state["x"]}

        def __call__(self, state: State, seconds: float) -> State:
            return {"x": state["before"] + 2 * seconds, "before": state["x"]}

    assert start(growth, {"x": torch.ones(1)}) == {"x": torch.ones(1)}
    states = trajectory(Leapfrog(), {"x": torch.zeros(1, 1, 1)}, [1.0, 1.0, 1.0])
    assert [float(state["x"]) for state in states] == [0, 2, 2, 4]


@pytest.mark.parametrize("count", [1, 2, 7, 16, 20])
def test_checkpoints_change_no_bit(count: int) -> None:
    found = []
    for checkpoint in (False, True):
        x = random((2, 1, 5), 5).requires_grad_()
        error = random((2, 1, 5), 6).requires_grad_()
        steps = (STEPS * 3)[:count]
        end, values = integrate(
            growth,
            {"x": x},
            steps,
            everything,
            forcing={0: {"x": error}, count - 1: {"x": error}},
            checkpoint=checkpoint,
        )
        cost = sum(values, end["x"].sum())
        assert len(values) == count
        found.append((cost.detach(), *torch.autograd.grad(cost.sum(), (x, error))))
    assert all(torch.equal(plain, recomputed) for plain, recomputed in zip(*found, strict=True))


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors that were made inside and are still held."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.most = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                if storage._cdata not in self._known:
                    self._known[storage._cdata] = storage.nbytes()
                    self.bytes += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage._cdata)
        self.most = max(self.most, self.bytes)
        return result

    def _gone(self, key: int) -> None:
        self.bytes -= self._known.pop(key)


def most_states_held(count: int, *, checkpoint: bool) -> float:
    x = random((1, 1, 1000), 7).requires_grad_()
    with Alive() as alive:
        end, _ = integrate(
            growth,
            {"x": x},
            [0.01] * count,
            lambda index, before, after: (after, after["x"][:, :, 0].sum()),
            checkpoint=checkpoint,
        )
        torch.autograd.grad(end["x"].sum(), x)
    return alive.most / (x.numel() * x.element_size())


def test_memory_grows_with_the_square_root_of_the_steps_under_checkpoints() -> None:
    few, many = 25, 400
    plain = most_states_held(many, checkpoint=False) / most_states_held(few, checkpoint=False)
    recomputed = most_states_held(many, checkpoint=True) / most_states_held(few, checkpoint=True)
    assert plain == pytest.approx(many / few, rel=0.15)
    assert recomputed < 1.2 * math.sqrt(many / few)
    assert most_states_held(many, checkpoint=True) < 0.2 * most_states_held(many, checkpoint=False)
