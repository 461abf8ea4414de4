"""Choices of a call, recorded in its output, and the defaults by kind of variable in one table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from xvar.cf.kinds import Kind
from xvar.errors import InputError
from xvar.plan.option import STATES, Method

if TYPE_CHECKING:
    from xvar.core.methods.nowcast import Nowcast
    from xvar.core.models.advection import Advection

ATTRIBUTE = "xvar_configuration"


@dataclass(frozen=True)
class Default:
    """Defaults of a kind of variable."""

    method: Method = "image_motion"  # of a call that names none
    transform: str = "none"  # of what is compared by image motion: "none" or "square_root"
    transient: Mapping[str, float] | None = None  # see `xvar.core.methods.image_problems.Transient`


# In grid cells and frames. Cells of rain come and go within a frame or two, and so do the motions within a storm.
ECHOES: Mapping[str, float] = {
    "gradient": 20.0,
    "curvature": 200.0,
    "lifetime": 1.0,
    "source_std": 0.09,
    "source_length": 3.0,
    "source_lifetime": 1.5,
}

#: Rain is compared as its root, whose error hardly depends on how much it rains.
DEFAULTS: Mapping[Kind, Default] = {
    "rain": Default(transform="square_root", transient=ECHOES),
    "reflectivity": Default(transient=ECHOES),
    "sea_temperature": Default(method="currents"),
    "temperature": Default(),
    "other": Default(),
}


@dataclass(frozen=True)
class Configuration:
    """Choices of a call in plain numbers and words, written as an attribute of the result."""

    variable: str
    kind: Kind
    method: Method
    frame: float  # seconds between frames
    transform: str = "none"  # of what is compared by image motion
    transient: dict[str, float] | None = None  # numbers of its transient motion, and of growth and decay
    kelvin: float | None = None  # one kelvin in the units of the variable, if its currents were analysed
    model_error: bool = False  # currents have one: the weak constraint
    coast: str = "free"
    background_error: str | None = None  # B of the motion as the user stated it, for the methods of images
    observation_error: float | None = None  # as the user stated it, likewise
    dx: float | None = None  # metres, as the user stated it
    dy: float | None = None
    dtype: str = "float32"  # of the solution
    device: str | None = None
    tile: int | None = None  # points along a side of the tiles of the finest grid; None: it was minimised as a whole
    interval: float | None = None  # seconds over which an amount fell, if that is known
    gaps: str = "cross"  # of the record: "split" where no window goes across one
    cycled: bool = False  # each window began from the forecast of the window before
    dynamics: dict[str, Any] | None = None  # advection with its parameters, or the name of the user's model
    components: dict[str, tuple[str, ...]] | None = None  # variables of each component of the state of that model
    parameters: tuple[str, ...] = ()  # of that model, that were estimated
    gaussian: bool = False  # J is quadratic with stated errors: expectations of its terms are known
    notes: tuple[str, ...] = ()  # findings and assumptions about the input

    @property
    def has_state(self) -> bool:
        """Return whether a model moved a state, which a forecast continues from."""
        return self.method in STATES

    def nowcast(self) -> Nowcast:
        """Return the extrapolation of the analysis."""
        from xvar.core.methods.nowcast import RESTORED, SKILLS, Nowcast

        numbers = self.transient or {}
        return Nowcast(
            transform=self.transform,  # type: ignore[arg-type]
            transient=numbers.get("lifetime"),
            source=numbers.get("source_lifetime"),
            skills=SKILLS if self.kind == "rain" else None,
            restored=RESTORED if self.kind == "rain" else None,
        )

    def model(self) -> Advection | None:
        """Return the model of the analysis, if it is one of xvar's."""
        from xvar.core.models.advection import Advection

        if self.dynamics is None or self.dynamics["model"] != "Advection":
            return None
        return Advection(**{key: value for key, value in self.dynamics.items() if key != "model"})

    def to_json(self) -> str:
        """Return the text of the attribute."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Configuration:
        """Read the attribute of an output, also of version 0.1, which named no method."""
        try:
            values: dict[str, Any] = json.loads(text)
            values["notes"] = tuple(values["notes"])
            values["parameters"] = tuple(values.get("parameters", ()))
            if values.get("components") is not None:
                values["components"] = {key: tuple(names) for key, names in values["components"].items()}
            values.setdefault("method", _method_of_0_1(values))
            known = {one.name for one in fields(cls)}
            return cls(**{name: value for name, value in values.items() if name in known})
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                code="configuration-unreadable",
                found=f"an attribute {ATTRIBUTE} that cannot be read: {error}",
                expected="one of this version",
                fix="analysis = ds.var4d.assimilate()",
            ) from error


def _method_of_0_1(values: Mapping[str, Any]) -> Method:
    """Return the method of an analysis of version 0.1."""
    if values["dynamics"] is not None:
        return "advection" if values["dynamics"]["model"] == "Advection" else "model"
    return "image_motion" if values.get("kelvin") is None else "currents"
