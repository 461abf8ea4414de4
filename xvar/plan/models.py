"""Models of the advection method, by name and as the output records them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xvar.core.models.advection import Advection


def named_models() -> dict[str, Advection]:
    """Return the models that have a name."""
    from xvar.core.models.advection import Advection

    return {
        "advection": Advection(motion="inertial", departure="end_point"),
        "steady": Advection(motion="steady", departure="midpoint"),
    }


def describe_model(model: Any) -> dict[str, Any]:
    """Return a model in plain words and numbers."""
    from xvar.core.models.advection import Advection

    if isinstance(model, Advection):
        return {"model": "Advection", **asdict(model)}
    kind = type(model)
    return {"model": getattr(model, "__qualname__", f"{kind.__module__}.{kind.__qualname__}")}


def components_of(model: Any, variable: str) -> dict[str, tuple[str, ...]] | None:
    """Return the variables of each component of the state, if the model states them."""
    from xvar.core.models.advection import Advection

    if isinstance(model, Advection):
        return {"velocity": ("u", "v"), "tracer": (variable,)}
    stated = getattr(model, "components", None)
    return {str(key): tuple(names) for key, names in stated.items()} if isinstance(stated, Mapping) else None
