"""Choice of the method: the named one, else that of `dynamics`, else that of the kind of variable; models by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xvar.cf.kinds import Kind
from xvar.errors import Faults, nearest
from xvar.plan.configuration import DEFAULTS
from xvar.plan.option import METHODS, STATES, Method
from xvar.plan.options import Options

if TYPE_CHECKING:
    from xvar.core.models.advection import Advection


def choose_method(options: Options, kind: Kind | None, faults: Faults) -> Method | None:
    """Return the method of a call; None if a fault was added.

    A table of points has no `kind` and needs `dynamics`.
    """
    count = len(faults)
    of_dynamics = _of_dynamics(options.dynamics, faults)
    if len(faults) > count:
        return None
    method: Method | None = options.method or of_dynamics
    if method is None and kind is not None:
        method = DEFAULTS[kind].method
    if method is None or (method == "model" and options.dynamics is None):
        faults.add(
            code="dynamics-missing",
            variable="dynamics",
            found="observations at points without dynamics=" if method is None else 'method="model" without dynamics=',
            expected="a model, a callable (state, seconds) -> state, or the name of one",
            fix='dynamics=model, your own; or dynamics="advection"',
        )
    if method is None:
        return None
    if of_dynamics is not None and of_dynamics != method:
        faults.add(
            code="method-contradicts-dynamics",
            variable="method",
            found=f"method={method!r} with dynamics of {of_dynamics!r}",
            expected="one method",
            fix=f"leave {'method' if method in STATES else 'dynamics'}= out",
        )
        return None
    if method == "image_motion" and options.constraint == "weak":
        faults.add(
            code="option-misplaced",
            variable="constraint",
            found='constraint="weak" with method="image_motion", whose model is perfect',
            expected="the method currents, advection or model",
            fix='method="currents" for a temperature of the sea; dynamics="advection" and model_error= for others',
        )
    options.refuse_misplaced(method, faults)
    return method if len(faults) == count else None


def _of_dynamics(dynamics: Any, faults: Faults) -> Method | None:
    """Return the method that `dynamics` selects; None if it is left out or wrong."""
    if dynamics is None:
        return None
    known = named_models()
    if is_advection(dynamics) or (isinstance(dynamics, str) and dynamics in known):
        return "advection"
    is_name = isinstance(dynamics, str)
    if not is_name and (callable(dynamics) or hasattr(dynamics, "bind")):
        return "model"
    faults.add(
        code="dynamics-unknown",
        variable="dynamics",
        found=f"dynamics={dynamics!r}" if is_name else f"dynamics of type {type(dynamics).__name__}",
        expected=f"one of {', '.join(map(repr, known))}, or a callable (state, seconds) -> state",
        fix=nearest(dynamics, known, f"dynamics={next(iter(known))!r}") if is_name else "see xvar.check.dynamics",
    )
    return None


def is_own_model(dynamics: Any) -> bool:
    """Return True for a model of the user's own, whose state may have any dimensions."""
    return dynamics is not None and _of_dynamics(dynamics, Faults()) == "model"


def explain_method(options: Options, kind: Kind) -> str:
    """Return the method of a call, what selected it, and what it solves."""
    method = choose_method(options, kind, Faults())
    if method is None:
        return "none: the options contradict each other"
    selected = f"the default for {kind}"
    if options.method is not None:
        selected = "as stated by method="
    elif options.dynamics is not None:
        selected = "that of dynamics="
    return f"{method}, {selected}: {METHODS[method]}"


def named_models() -> dict[str, Advection]:
    """Return the models that have a name."""
    from xvar.core.models.advection import Advection

    return {
        "advection": Advection(motion="inertial", departure="end_point"),
        "steady": Advection(motion="steady", departure="midpoint"),
    }


def is_advection(model: Any) -> bool:
    """Return whether a model is xvar's advection, by itself or with a learned correction."""
    from xvar.core.models.advection import Advection

    return isinstance(getattr(model, "base", model), Advection)


def describe_model(model: Any) -> dict[str, Any]:
    """Return a model in plain words and numbers."""
    from xvar.core.models.advection import Advection

    if isinstance(model, Advection):
        return {"model": "Advection", **asdict(model)}
    kind = type(model)
    name = getattr(model, "__qualname__", f"{kind.__module__}.{kind.__qualname__}")
    return {"model": name, "weights": weights_digest(model)} if hasattr(model, "state_dict") else {"model": name}


def weights_digest(model: Any) -> str:
    """Return a digest of the weights of a torch.nn.Module, by name, type and value."""
    import torch

    found = hashlib.blake2b(digest_size=16)
    for name, weight in model.state_dict().items():
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        found.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def components_of(model: Any, variable: str) -> dict[str, tuple[str, ...]] | None:
    """Return the variables of each component of the state, if the model states them."""
    if is_advection(model):
        return {"velocity": ("u", "v"), "tracer": (variable,)}
    stated = getattr(model, "components", None)
    return {str(key): tuple(names) for key, names in stated.items()} if isinstance(stated, Mapping) else None
