"""Check that a step of a model keeps its input, and that autograd sees all that its output depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from xvar.core.comparison import OfVariables
from xvar.core.dynamics import Dynamics, State, start
from xvar.core.grid import bind
from xvar.core.problem import Problem
from xvar.errors import Fault, InputError

EQUIVALENT = " equivalent"  # of observations, as a component of a state
CHANGE = 1e-3  # of a component, over its largest value


def step_once(model: Dynamics, state: State, seconds: float) -> tuple[State, list[str]]:
    """Return the state after a step, and the components of its input that the step changed."""
    given = {key: values.clone() for key, values in state.items()}
    after = model(given, seconds)
    if not isinstance(after, Mapping):
        raise TypeError(f"the model returns {_described(after)}, not a dict of its components")
    return dict(after), [key for key, values in state.items() if not torch.equal(given[key], values)]


def detached(model: Dynamics, state: State, seconds: float, controlled: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of an output and an input that changes it, although autograd sees no path between them.

    The inputs are the `controlled` components, and those that depend on them. An output that autograd sees to depend on
    an input passes, whatever its gradient; so does an output that no input changes.
    """
    leaves = {key: values.detach().requires_grad_() for key, values in state.items()}
    with torch.enable_grad():
        after, _ = step_once(model, leaves, seconds)
        sums = {key: values.sum() for key, values in after.items() if values.requires_grad}
    paths: dict[str, set[str]] = {key: set() for key in after}
    for key, values in sums.items():
        found = torch.autograd.grad(values, list(leaves.values()), allow_unused=True, retain_graph=True)
        paths[key] = {name for name, gradient in zip(leaves, found, strict=True) if gradient is not None}
    generator, pairs, waiting = torch.Generator().manual_seed(0), [], list(dict.fromkeys(controlled))
    with torch.no_grad():
        again, _ = step_once(model, state, seconds)
        known = [key for key in after if torch.equal(after[key], again[key])]  # not random, and not NaN
        for name in waiting:
            size = CHANGE * (state[name].abs().max() or 1.0)
            noise = torch.randn(state[name].shape, generator=generator, dtype=torch.float64).to(state[name])
            changed, _ = step_once(model, {**state, name: state[name] + size * noise}, seconds)
            for key in known:
                if name not in paths[key] and torch.equal(changed[key], again[key]):
                    continue
                if name not in paths[key]:
                    pairs.append((key, name))
                if key not in waiting:
                    waiting.append(key)
    return pairs


def check_step(problem: Problem) -> None:
    """Raise InputError if the first step of the first window fails, works in place, or is detached from the control."""
    model = bind(problem.dynamics, problem.grid, problem.like)
    state = start(model, {key: values[:1].detach() for key, values in problem.background.items()})
    seconds = problem.steps[0]
    try:
        with torch.no_grad():
            after, changed = step_once(model, state, seconds)
    except (KeyError, TypeError, RuntimeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(_failure(error, state)) from error
    wrong = {key: values for key, values in state.items() if _shape(after.get(key)) != tuple(values.shape)}
    for key, values in wrong.items():
        raise InputError(
            code="model-output",
            variable=key,
            found=f"a model that returns for {key!r} {_described(after.get(key))}",
            expected=f"a tensor of shape {tuple(values.shape)}, (window, component, *grid), as it was given",
            fix="return {**state, name: its new values}; xvar.check.dynamics(model, state) tests it",
        )
    if changed:
        raise InputError(
            code="model-in-place",
            variable=changed[0],
            found=f"a model that changes its input in place: {', '.join(changed)}",
            expected="a model that returns a new state and keeps the one that it is given",
            fix=f"work on a copy: state[{changed[0]!r}].clone()",
        )
    forced = () if problem.model_error is None else problem.model_error.covariance
    try:
        pairs = detached(model, state, seconds, {**problem.background_error, **dict.fromkeys(forced)})
    except (RuntimeError, TypeError) as error:  # such as numpy, which takes no tensor that requires a gradient
        raise InputError(_failure(error, state)) from error
    if pairs:
        texts = (f"{after!r} depends on {before!r}" for after, before in pairs)
        raise InputError(
            code="model-detached",
            variable=pairs[0][0],
            found=f"a model whose {', and '.join(texts)}, which autograd does not see",
            expected="differentiable torch operations from the state to the state one step later",
            fix="leave out detach, no_grad, .data, .item() and numpy; xvar.check.dynamics(model, state) tests it",
        )


def check_operators(problem: Problem, operators: Sequence[OfVariables | None]) -> None:
    """Raise InputError if an operator that a user wrote is detached from a component of the control."""
    state = {key: values[:1].detach() for key, values in problem.background.items()}
    for operator in operators:
        if operator is None:
            continue
        with torch.no_grad():
            given = {**state, EQUIVALENT: operator(state)}

        def with_equivalent(now: State, _: float, operator: OfVariables = operator) -> State:
            return {**now, EQUIVALENT: operator(now)}

        pairs = detached(with_equivalent, given, 0.0, problem.background_error)
        cut = [before for after, before in pairs if after == EQUIVALENT]
        if cut:
            raise InputError(
                code="operator-detached",
                variable=cut[0],
                found=f"an operator that depends on {cut[0]!r}, which autograd does not see",
                expected="differentiable torch operations from the state to the equivalents of the observations",
                fix="leave out detach, no_grad, .data, .item() and numpy",
            )


def _shape(values: object) -> tuple[int, ...] | None:
    return tuple(values.shape) if isinstance(values, Tensor) else None


def _described(values: object) -> str:
    if isinstance(values, Tensor):
        return f"a tensor of shape {tuple(values.shape)}"
    return "nothing" if values is None else f"an object of type {type(values).__name__}"


def _failure(error: Exception, state: State) -> Fault:
    """Return the fault of a model that raises an error in its first step."""
    held = ", ".join(f"{key!r} {tuple(values.shape)}" for key, values in state.items())
    text = " ".join(str(error).split())
    return Fault(
        f"a model that fails in its first step, {type(error).__name__}: {text}",
        f"a callable (state, seconds) -> state, of torch operations, on a state of {held}",
        "name the variables of the background as the model names its components; see xvar.check.dynamics(model, state)",
        code="model-fails",
    )
