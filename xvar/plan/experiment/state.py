"""The model of a call, and the variables of its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.record import Record
from xvar.errors import Faults
from xvar.plan.models import components_of, named_models

Components = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class State:
    """The model of a call, and the variables of its state.

    Attributes
    ----------
    model : specification or callable
    components : mapping of str to tuple of str
        The variables of each component of the state.
    units : mapping of str to str
        Units of the variables, as far as they are known.
    advection : bool
        Whether the model is xvar's advection of images.
    offsets : mapping of str to tuple of float
        Places of variables in cells along x and y from the grid points.
    """

    model: Any
    components: dict[str, tuple[str, ...]]
    units: dict[str, str]
    advection: bool
    offsets: Mapping[str, tuple[float, float]]

    @property
    def names(self) -> tuple[str, ...]:
        """All variables, component by component."""
        return tuple(name for names in self.components.values() for name in names)

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Component and number in it of each variable."""
        return tuple((key, index) for key, names in self.components.items() for index in range(len(names)))

    @property
    def staggered(self) -> tuple[str, ...]:
        """The variables between the grid points."""
        return tuple(name for name in self.names if any(self.offsets.get(name, ())))

    @property
    def shifts(self) -> NDArray[np.float64]:
        """Offsets (2, variable) along x and y."""
        return np.array([self.offsets.get(name, (0.0, 0.0)) for name in self.names]).reshape(-1, 2).T

    def place(self, name: str, label: str, faults: Faults) -> tuple[str, int | None] | None:
        """Return the component of a variable, and its number if the component holds several; None if it is unknown."""
        for key, names in self.components.items():
            if name in names:
                return key, names.index(name) if len(names) > 1 else None
        faults.add(
            code="observed-variable-unknown",
            variable=label,
            found=f"observations of {name!r}",
            expected=f"a variable of the state: {', '.join(map(repr, self.names)) or 'none'}",
            fix="xvar.observation.Images(data=..., variable=one of them)",
        )
        return None

    @property
    def step(self) -> float | None:
        """The longest step that the model states."""
        step: float | None = getattr(self.model, "step", None)
        return step


def read_state(record: Record, dynamics: Any, background: xr.Dataset | None) -> State:
    """Return the model of a call and its variables: those it states, else those of the background."""
    from xvar.core.models.advection import Advection

    name = str(record.name)
    model = named_models()[dynamics or "advection"] if dynamics is None or isinstance(dynamics, str) else dynamics
    given = {} if background is None else background.data_vars
    components = components_of(model, name) or {str(key): (str(key),) for key in given}
    own = {str(key): str(part.attrs["units"]) for key, part in given.items() if "units" in part.attrs}
    advection = isinstance(model, Advection)
    known = {name: record.units, **({"u": "m s-1", "v": "m s-1"} if advection else {})}
    return State(model, dict(components), {**own, **known}, advection, getattr(model, "offsets", {}))


def converted_units(state: State, record: Record) -> dict[str, str]:
    """Return the units of the variables whose background is converted."""
    names = {str(record.name), *(("u", "v") if state.advection else ())}
    return {name: units for name, units in state.units.items() if name in names}
