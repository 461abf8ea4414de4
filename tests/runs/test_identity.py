"""What changes results changes the identity, and nothing else does."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from tests.faults.codes import codes
from xvar import InputError
from xvar.covariance import Matern
from xvar.minimize import LBFGS
from xvar.runs.identity import Identity


def identify(value: object) -> tuple[object, object]:
    walk = Identity()
    return walk.parts(value, "solver"), walk.code


class Net(torch.nn.Module):
    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.layer = torch.nn.Linear(2, 2)
        with torch.no_grad():
            self.layer.weight.fill_(0.5)
            self.layer.bias.fill_(0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.layer(x)


class Plain:
    scale = 2.0

    def __init__(self, gain: float, table: Any = None) -> None:
        self.gain, self.table = gain, table

    @functools.cached_property
    def square(self) -> float:
        return self.gain**2

    def __call__(self, x: Any) -> Any:
        return self.scale * self.gain * x


class Slotted:
    __slots__ = ("gain",)

    def __init__(self, gain: float) -> None:
        self.gain = gain


@dataclasses.dataclass(frozen=True)
class Held:
    part: Any
    other: float = 1.0


def closure(gain: Any) -> Callable[[Any], Any]:
    return lambda x: gain * x


def compiled(source: str, **names: Any) -> Any:
    """A function of a module that is not installed."""
    module = types.ModuleType("users_model")
    vars(module).update(names)
    exec(compile(source, "users_model.py", "exec"), vars(module))
    return module.step


def network(change: Callable[[Net], Any]) -> Net:
    net = Net()
    with torch.no_grad():
        change(net)
    return net


def table(units: str = "m", value: float = 1.0) -> xr.DataArray:
    return xr.DataArray([value, 2.0], dims="x", coords={"x": ("x", [0.0, 1.0], {"units": units})})


CHANGES: dict[str, tuple[Any, Any]] = {
    "attribute of a module": (Net(1.0), Net(1.5)),
    "attribute set later": (Net(), network(lambda net: setattr(net, "extra", 1))),
    "weight": (Net(), network(lambda net: net.layer.weight[0, 0].add_(1e-6))),
    "training": (Net(), Net().eval()),
    "attribute": (Plain(1.0), Plain(2.0)),
    "slot": (Slotted(1.0), Slotted(2.0)),
    "deep array": (Plain(1.0, {"a": [np.zeros(3)]}), Plain(1.0, {"a": [np.array([0, 0, 1e-9])]})),
    "moved mask": (np.array([True, False]), np.array([False, True])),
    "shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "type": (np.zeros(2, "f4"), np.zeros(2, "f8")),
    "closure": (closure(1.0), closure(2.0)),
    "closure over an array": (closure(np.zeros(2)), closure(np.ones(2))),
    "partial argument": (functools.partial(max, 1), functools.partial(max, 2)),
    "partial keyword": (functools.partial(sorted, reverse=True), functools.partial(sorted, reverse=False)),
    "default": (compiled("def step(x, a=1): return a * x"), compiled("def step(x, a=2): return a * x")),
    "constant": (compiled("def step(x): return 2 * x"), compiled("def step(x): return 3 * x")),
    "operation": (compiled("def step(x): return 2 * x"), compiled("def step(x): return 2 + x")),
    "nested constant": (
        compiled("def step(x): return [2 * y for y in x]"),
        compiled("def step(x): return [3 * y for y in x]"),
    ),
    "global": (compiled("def step(x): return g * x", g=1), compiled("def step(x): return g * x", g=2)),
    "called function": (
        compiled("def f(x): return x\ndef step(x): return f(x)"),
        compiled("def f(x): return -x\ndef step(x): return f(x)"),
    ),
    "method": (
        compiled("class A:\n  def __call__(self, x): return x\nstep = A()"),
        compiled("class A:\n  def __call__(self, x): return -x\nstep = A()"),
    ),
    "class attribute": (compiled("class A:\n  k = 1\nstep = A()"), compiled("class A:\n  k = 2\nstep = A()")),
    "base class": (
        compiled("class B:\n  def f(self): return 1\nclass A(B): pass\nstep = A()"),
        compiled("class B:\n  def f(self): return 2\nclass A(B): pass\nstep = A()"),
    ),
    "object of a dataclass": (Held(Plain(1.0)), Held(Plain(2.0))),
    "covariance": (Matern(0.3, 2e3), Matern(0.3, 2.1e3)),
    "minimizer": (LBFGS(max_evaluations=3), LBFGS(max_evaluations=4)),
    "coordinate units": (table("m"), table("km")),
    "value": (table(value=1.0), table(value=1.5)),
    "set": ({1, 2}, {1, 3}),
    "method of another object": (Plain(1.0).__call__, Plain(2.0).__call__),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found(name: str) -> None:
    one, other = CHANGES[name]
    assert identify(one) != identify(other)
    assert identify(one) == identify(one)


EQUALS: dict[str, tuple[Any, Any]] = {
    "copies": (Net(), Net()),
    "copied arrays": ([np.arange(3.0)] * 2, [np.arange(3.0), np.arange(3.0)]),
    "byte order": (np.arange(3.0), np.arange(3.0).astype(">f8")),
    "strides": (np.arange(6.0).reshape(2, 3).T, np.ascontiguousarray(np.arange(6.0).reshape(2, 3).T)),
    "closures": (closure(1.0), closure(1.0)),
    "comments": (compiled("def step(x): return x"), compiled("\n# twice\ndef step(x):\n  return x  # or not")),
    "globals that are not read": (compiled("def step(x): return x", g=1), compiled("def step(x): return x", g=2)),
    "chunks": (table(), table().chunk(x=1)),
    "titles": (table(), table().assign_attrs(title="two")),
    "device": (torch.device("cpu"), torch.device("meta")),
}


@pytest.mark.parametrize("name", EQUALS)
def test_what_changes_no_result_does_not_count(name: str) -> None:
    one, other = EQUALS[name]
    assert identify(one) == identify(other)


def test_values_that_are_cached_do_not_count() -> None:
    model = Plain(3.0)
    before = identify(model)
    assert model.square == 9.0
    assert identify(model) == before


def test_circles_end() -> None:
    one, other = Plain(1.0), Plain(2.0)
    one.table, other.table = one, other
    assert identify(one) != identify(other)


@pytest.mark.parametrize("value", [threading.Lock(), (n for n in ()), Held({"a": [threading.Lock()]})])
def test_what_cannot_be_identified_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(InputError) as info:
        identify(Plain(1.0, value))
    assert codes(info.value) == ["no-identity"]
    assert info.value.faults[0].found.startswith("solver.table")


SCRIPT = """
import torch, tests.runs.test_identity as t
print([t.identify(pair[0]) for pair in t.CHANGES.values()], t.identify({"b", "a", "c"}))
"""


@pytest.mark.long
@pytest.mark.long
def test_processes_agree() -> None:
    texts = set()
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
        command = [sys.executable, "-c", SCRIPT]
        texts.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(texts) == 1
