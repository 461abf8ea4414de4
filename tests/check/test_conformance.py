"""The check of a user's model: right models pass, and each fault fails its row without an exception."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import xvar.check
from tests.core.numerics import random, smooth
from xvar.core.grid import Grid
from xvar.core.models.advection import Advection
from xvar.core.models.lorenz import Lorenz96

State = dict[str, Tensor]
RUNS, SHAPES, FINITE, INPUT, SAME, APART, TANGENT, ADJOINT = (
    "the step runs",
    "keys and shapes are kept",
    "values are finite",
    "the input does not change",
    "the step is deterministic",
    "windows are independent",
    "adjoint, by central differences",
    "adjoint, by double backward",
)
ALL = [RUNS, SHAPES, FINITE, INPUT, SAME, APART, TANGENT, ADJOINT]


def state(dtype: torch.dtype = torch.float64, windows: int = 3) -> State:
    return {"a": 2 + smooth((windows, 1, 8, 9), 1, dtype), "b": 290 + smooth((windows, 2, 8, 9), 2, dtype)}


def good(state: State, seconds: float) -> State:
    """Not linear, and mixes components."""
    a, b = state["a"], state["b"]
    return {"a": a + seconds * torch.sin(a) * b[:, :1] / 290, "b": b - seconds * 0.1 * a * b.roll(1, -1)}


def failed(model: Callable[[State, float], State], given: State | None = None, seconds: float = 0.1) -> list[str]:
    report = xvar.check.dynamics(model, state() if given is None else given, seconds)
    names = [row.name for row in report.rows if not row.passed]
    assert report.passed == bool(report) == (not names)
    for row in report.rows:
        assert row.passed == (row.error <= row.tolerance)
        assert row.passed or len(row.message) > 10
    assert ("failed" if names else "passed") in str(report).splitlines()[0]
    assert str(report).count("FAIL") == len(names)
    assert repr(report) == str(report)  # what a notebook shows
    return names


# ---- models that pass


def test_a_state_of_arrays_is_one_of_tensors() -> None:
    assert xvar.check.dynamics(good, {key: values.numpy() for key, values in state().items()}, 0.1).passed


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("windows", [1, 3])
def test_a_good_model_passes_every_row(windows: int, dtype: torch.dtype) -> None:
    report = xvar.check.dynamics(good, state(dtype, windows), 0.1)
    assert [row.name for row in report.rows] == ALL
    assert report.passed, str(report)
    assert report.subject == "dynamics good"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_models_of_the_package_pass(dtype: torch.dtype) -> None:
    grid, cpu = Grid((8, 9), (1e3, 1e3)), torch.device("cpu")
    fields = {"velocity": smooth((2, 2, 8, 9), 3, dtype) + 0.4, "tracer": smooth((2, 1, 8, 9), 4, dtype)}
    report = xvar.check.dynamics(Advection(sampler="cubic").bind(grid, dtype=dtype, device=cpu), fields, 300.0)
    assert report.passed, str(report)
    assert not failed(Lorenz96(), {"x": 8 + random((2, 1, 40), 5, dtype)}, 0.05)


def test_a_model_that_adds_components_passes() -> None:
    class LeapFrog:
        def start(self, state: State) -> State:
            return {**state, "before": state["a"]}

        def __call__(self, state: State, seconds: float) -> State:
            return {"a": state["before"] + 2 * seconds * torch.sin(state["a"]), "before": state["a"]}

    assert failed(LeapFrog(), {"a": state()["a"]}) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_uniform_and_large_states_pass(dtype: torch.dtype) -> None:
    decay = lambda state, seconds: {key: 0.9 * values for key, values in state.items()}  # noqa: E731
    for size in (1.0, 300.0):
        assert failed(decay, {"a": torch.full((2, 1, 20, 20), size, dtype=dtype)}) == []


def test_the_given_state_does_not_change() -> None:
    given = state()
    before = {key: values.clone() for key, values in given.items()}

    def spoils(state: State, seconds: float) -> State:
        for values in state.values():
            values.mul_(2)
        return state

    failed(spoils, given)
    assert all(torch.equal(given[key], before[key]) and not given[key].requires_grad for key in given)


# ---- models that fail


def detached(state: State, seconds: float) -> State:
    """A part of the tendency is detached."""
    return good({"a": state["a"], "b": state["b"].detach()}, seconds) | {"b": good(state, seconds)["b"]}


def wholly_detached(state: State, seconds: float) -> State:
    return {key: values.detach() for key, values in good(state, seconds).items()}


def without_gradients(state: State, seconds: float) -> State:
    with torch.no_grad():
        return good(state, seconds)


def by_numpy(state: State, seconds: float) -> State:
    """Runs without gradients only."""
    return {key: torch.from_numpy(values.numpy() * 0.9) for key, values in state.items()}


def by_item(state: State, seconds: float) -> State:
    """Numbers outside the graph, window by window."""
    means = torch.tensor([float(values.mean()) for values in state["a"].detach()], dtype=state["a"].dtype)
    return {**state, "a": state["a"] + seconds * means.view(-1, 1, 1, 1)}


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return values.square()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return 2.0 * gradient


def wrong_by_hand(state: State, seconds: float) -> State:
    return {**state, "a": WrongGradient.apply(state["a"])}


@pytest.mark.parametrize("model", [detached, wholly_detached, without_gradients, by_numpy, by_item, wrong_by_hand])
def test_a_wrong_adjoint_is_found_by_differences(model: Callable[[State, float], State]) -> None:
    names = failed(model)
    assert TANGENT in names
    assert not {RUNS, SHAPES, FINITE, INPUT, SAME, APART} & set(names)


@pytest.mark.parametrize("model", [wholly_detached, without_gradients, by_numpy, wrong_by_hand])
def test_gross_errors_are_found_in_single_precision(model: Callable[[State, float], State]) -> None:
    names = failed(model, state(torch.float32))
    assert TANGENT in names
    assert not {RUNS, SHAPES, FINITE, INPUT, SAME, APART} & set(names)


def test_double_backward_does_not_find_a_detach() -> None:
    assert failed(detached) == [TANGENT]


def test_a_random_model() -> None:
    assert SAME in failed(
        lambda state, seconds: {key: values + torch.rand_like(values) for key, values in state.items()}
    )


def test_a_model_that_counts_its_calls() -> None:
    calls = []

    def ageing(state: State, seconds: float) -> State:
        calls.append(seconds)
        return {key: values * len(calls) for key, values in state.items()}

    assert SAME in failed(ageing)


@pytest.mark.parametrize("returns_input", [True, False])
def test_work_in_place_is_found_and_does_not_raise(returns_input: bool) -> None:
    def in_place(state: State, seconds: float) -> State:
        state["a"] += seconds
        return state if returns_input else good(state, seconds)

    names = failed(in_place)
    assert INPUT in names
    assert TANGENT in names  # autograd refuses it


def test_a_key_that_is_written_into_the_given_dict_is_found() -> None:
    def replaces(state: State, seconds: float) -> State:
        state["a"] = 0.9 * state["a"]
        return dict(state)

    assert failed(replaces) == [INPUT]


@pytest.mark.parametrize(
    "mixed",
    [
        lambda values: values - values.mean(),
        lambda values: values * values.norm(),
        lambda values: values.roll(1, 0),
        lambda values: values.flip(0),
        lambda values: values + values.max(),
    ],
)
@pytest.mark.parametrize("windows", [1, 3])
def test_windows_that_depend_on_one_another(mixed: Callable[[Tensor], Tensor], windows: int) -> None:
    given = state(windows=windows)
    assert APART in failed(lambda state, seconds: {**state, "a": mixed(state["a"])}, given)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda state: {"a": state["a"]},
        lambda state: {**state, "c": state["a"]},
        lambda state: {**state, "a": state["a"][..., 1:]},
        lambda state: {**state, "a": state["a"].mean(0, keepdim=True)},
        lambda state: {**state, "a": state["a"].numpy()},
        lambda state: {**state, "a": 3.0},
    ],
)
def test_other_keys_or_shapes(wrong: Callable[[State], State]) -> None:
    report = xvar.check.dynamics(lambda state, seconds: wrong(state), state(), 0.1)
    assert [row.name for row in report.rows if not row.passed] == [SHAPES]
    assert "given {'a': (3, 1, 8, 9)" in report.rows[-1].message


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite(value: float) -> None:
    assert FINITE in failed(lambda state, seconds: {**state, "a": state["a"] + value})


def test_an_exception_of_the_model_is_reported() -> None:
    def raises(state: State, seconds: float) -> State:
        raise KeyError("no salt")

    report = xvar.check.dynamics(raises, state(), 0.1)
    assert [(row.name, row.passed) for row in report.rows] == [(RUNS, False)]
    assert report.rows[0].message == "KeyError: 'no salt'"
    assert [row.name for row in xvar.check.dynamics(lambda state, seconds: None, state()).rows] == [RUNS]


def test_a_later_exception_of_the_model_is_reported() -> None:
    calls = []

    def once(state: State, seconds: float) -> State:
        calls.append(seconds)
        if len(calls) > 1:
            raise RuntimeError("only once")
        return good(state, seconds)

    assert failed(once) == [SAME]

    def one_window(state: State, seconds: float) -> State:
        if len(state["a"]) > 1:
            raise ValueError("one window at a time")
        return good(state, seconds)

    report = xvar.check.dynamics(one_window, state(windows=1), 0.1)
    assert [row.name for row in report.rows if not row.passed] == [APART]
    assert "one window at a time" in report.rows[-1].message
