"""Models that work in place or are detached are input faults; models without a dependence are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from tests.faults.codes import codes
from tests.runs.records import shower
from xvar.core.step_check import detached, step_once
from xvar.covariance import Diagonal

State = dict[str, torch.Tensor]


def decay(state: State, seconds: float) -> State:
    return {key: values * 0.9 for key, values in state.items()}


def in_place(state: State, seconds: float) -> State:
    return {key: values.mul_(0.9) for key, values in state.items()}


def through_memory(state: State, seconds: float) -> State:
    for values in state.values():
        memory = values.detach().numpy()  # shares it, and autograd counts no change
        memory *= 0.9
    return {key: values.clone() for key, values in state.items()}


def replacing(state: State, seconds: float) -> State:
    state["rain"] = state["rain"] * 0.9
    return state


def cut(state: State, seconds: float) -> State:
    return {key: values.detach() * 0.9 for key, values in state.items()}


def without_gradient(state: State, seconds: float) -> State:
    with torch.no_grad():
        return decay(state, seconds)


def by_numpy(state: State, seconds: float) -> State:
    return {key: torch.as_tensor(np.multiply(values.detach().numpy(), 0.9)) for key, values in state.items()}


def moved(state: State, seconds: float) -> State:
    """Rain that is detached from one of the two components that change it."""
    return {"rain": state["rain"] + state["wind"].detach(), "wind": state["wind"]}


def indirect(state: State, seconds: float) -> State:
    """Rain that depends on wind through pressure, which is not in the control and detached."""
    return {"rain": state["rain"] + state["pressure"].detach(), "pressure": state["wind"] * 2, "wind": state["wind"]}


def state_of(*names: str) -> State:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(2, 1, 6, 6, generator=generator) for name in names}


@pytest.mark.parametrize("model", [in_place, through_memory, replacing])
def test_a_changed_input_is_found(model: Any) -> None:
    state = state_of("rain")
    kept = state["rain"].clone()
    assert step_once(model, state, 300.0)[1] == ["rain"]
    assert torch.equal(state["rain"], kept)  # the check works on copies
    assert step_once(decay, state, 300.0)[1] == []


@pytest.mark.parametrize("model", [cut, without_gradient, by_numpy])
def test_a_step_without_gradient_is_found(model: Any) -> None:
    assert detached(model, state_of("rain"), 300.0, ["rain"]) == [("rain", "rain")]


def test_one_path_of_several_is_found() -> None:
    assert detached(moved, state_of("rain", "wind"), 300.0, ["rain", "wind"]) == [("rain", "wind")]
    assert detached(moved, state_of("rain", "wind"), 300.0, ["rain"]) == []  # what is not estimated needs no gradient
    assert detached(indirect, state_of("rain", "pressure", "wind"), 300.0, ["wind"]) == [("rain", "pressure")]


HARMLESS: dict[str, Any] = {
    "decay": decay,
    "a component that nothing depends on": lambda state, seconds: {"rain": state["rain"] * 2, "wind": state["wind"]},
    "a component that is kept as it was": lambda state, seconds: {"rain": state["rain"], "wind": state["wind"]},
    "a component without input": lambda state, seconds: {"rain": state["rain"], "wind": torch.ones(1, 1, 6, 6)},
    "a gradient of zero": lambda state, seconds: {"rain": state["rain"] + 0 * state["wind"], "wind": state["wind"]},
    "a limiter": lambda state, seconds: {"rain": state["rain"].clamp(min=2.0), "wind": state["wind"]},
    "noise": lambda state, seconds: {"rain": torch.rand(1, 1, 6, 6), "wind": state["wind"]},
    "not a number": lambda state, seconds: {"rain": state["rain"].detach() * np.nan, "wind": state["wind"]},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_model_passes(name: str) -> None:
    assert detached(HARMLESS[name], state_of("rain", "wind"), 300.0, ["rain", "wind"]) == []


# --- calls ---


def options(model: Any, record: xr.Dataset) -> dict[str, Any]:
    return {
        "window": 4,
        "dynamics": model,
        "background": record[["rain"]].isel(time=0, drop=True),
        "background_error": {"rain": Diagonal(1.0)},
        "observation_error": 0.1,
    }


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("model", "code"),
    [
        *((model, "model-in-place") for model in (in_place, through_memory)),
        *((model, "model-detached") for model in (cut, without_gradient, by_numpy)),
    ],
)
def test_a_call_is_refused_with_its_window(model: Any, code: str, lazy: bool) -> None:
    record = shower(7)
    with pytest.raises(xvar.InputError) as info:
        (record.chunk(time=3) if lazy else record).var4d.assimilate(**options(model, record)).compute()
    assert codes(info.value) == [code]
    (fault,) = info.value.faults
    assert fault.variable == "rain"
    assert str(fault.index).startswith("window ")


@pytest.mark.parametrize("lazy", [False, True])
def test_a_window_is_marked_if_the_call_continues(lazy: bool) -> None:
    record = shower(7)
    data = record.chunk(time=3) if lazy else record
    analysis = data.var4d.assimilate(**options(cut, record), errors="continue").compute()
    assert (analysis["status"] == 5).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_parameter_that_gets_no_gradient(lazy: bool) -> None:
    def damped(state: State, seconds: float) -> State:
        return {"rain": state["rain"] * torch.exp(-state["rate"].detach() * seconds)}

    def right(state: State, seconds: float) -> State:
        return {"rain": state["rain"] * torch.exp(-state["rate"] * seconds)}

    record = shower(7)
    rate = {"rate": xvar.control.Parameter(prior=1e-3, error=1e-3, units="s-1")}
    data = record.chunk(time=3) if lazy else record
    with pytest.raises(xvar.InputError) as info:
        data.var4d.assimilate(**options(damped, record), parameters=rate).compute()
    assert codes(info.value) == ["model-detached"]
    assert "'rate'" in info.value.faults[0].found
    analysis = data.var4d.assimilate(**options(right, record), parameters=rate).compute()
    assert (analysis["status"] != 5).all()
    assert (analysis["rate"] != 1e-3).all()


def test_a_right_model_is_unchanged_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    record = shower(7)
    checked = record.var4d.assimilate(**options(decay, record))
    monkeypatch.setattr("xvar.core.methods.experiment.check_step", lambda problem: None)
    xr.testing.assert_identical(checked.drop_attrs(), record.var4d.assimilate(**options(decay, record)).drop_attrs())
