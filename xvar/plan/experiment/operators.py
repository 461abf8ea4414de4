"""Observation operators that users write, of the variables of a state by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xvar.core.comparison import OfVariables
from xvar.core.parameters import Parameter
from xvar.plan.call import Call
from xvar.plan.experiment.state import State


def of_variables(function: Callable[..., Any], shape: tuple[int, ...], state: State, call: Call) -> OfVariables:
    """Return the operator of a function that returns (window, *shape)."""
    given = call.options.parameters
    known = given.items() if isinstance(given, Mapping) else ()
    parameters = {str(name): part for name, part in known if isinstance(part, Parameter)}
    return OfVariables(function, dict(state.parts), shape, parameters)
