"""What was chosen for a call: defaults by what a variable measures, in one table, and how the output records them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from xvar.cf.units import Kind
from xvar.errors import Fault, InputError

if TYPE_CHECKING:
    from xvar.core.methods.currents import Currents
    from xvar.core.methods.image_motion import ImageMotion
    from xvar.core.methods.nowcast import Nowcast
    from xvar.core.minimize import LBFGS
    from xvar.core.models.advection import Advection

ATTRIBUTE = "xvar_configuration"


@dataclass(frozen=True)
class Default:
    """What is done with a kind of variable.

    Attributes
    ----------
    transform : {"none", "square_root"}
        What is compared.
    transient : mapping, optional
        What the newest pair of images tells beyond the steady motion, see `xvar.core.methods.image_motion.Transient`.
    currents : bool
        Whether its motion is that of the sea, see `xvar.core.methods.currents.Currents`, the only one with a model error.
    """

    transform: str = "none"
    transient: Mapping[str, float] | None = None
    currents: bool = False


# In grid cells and frames. Cells of rain come and go within a frame or two, and so do the motions within a storm.
ECHOES: Mapping[str, float] = {
    "gradient": 20.0,
    "curvature": 200.0,
    "lifetime": 1.0,
    "source_std": 0.09,
    "source_length": 3.0,
    "source_lifetime": 1.5,
}

#: Rain is compared as its root, whose error hardly depends on how much it rains. Temperature is that of the sea.
DEFAULTS: Mapping[Kind, Default] = {
    "rain": Default("square_root", ECHOES),
    "reflectivity": Default("none", ECHOES),
    "temperature": Default(currents=True),
    "other": Default(),
}


@dataclass(frozen=True)
class Configuration:
    """The choices of a call, in plain numbers and words, so that they can be written beside the result.

    Attributes
    ----------
    variable : str
        What was assimilated.
    kind : str
        What it measures.
    transform : str
        What is compared.
    transient : dict, optional
        Numbers of the transient motion and of growth and decay.
    kelvin : float, optional
        One kelvin in the units of the variable, where its motion is that of the sea.
    model_error : bool
        Whether the motion of the sea has a model error: the weak constraint.
    coast : {"free", "no_flow"}
        What it knows of land.
    frame : float
        Seconds between frames.
    dx, dy : float, optional
        Spacing in metres where the user stated it.
    dtype : str
        Of the solution.
    device : str, optional
        Where it was computed.
    interval : float, optional
        Seconds over which an amount fell, where that is known.
    cycled : bool
        Whether each window began from the forecast of the window before.
    dynamics : dict, optional
        The model that the user chose, its parameters where it is one of xvar's.
    parameters : tuple of str
        Parameters of that model that were estimated.
    notes : tuple of str
        What was found in the input and assumed.
    """

    variable: str
    kind: Kind
    transform: str
    transient: dict[str, float] | None
    frame: float
    kelvin: float | None = None
    model_error: bool = False
    coast: str = "free"
    dx: float | None = None
    dy: float | None = None
    dtype: str = "float32"
    device: str | None = None
    interval: float | None = None
    cycled: bool = False
    dynamics: dict[str, Any] | None = None
    parameters: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def motion(self, minimizer: LBFGS | None = None) -> ImageMotion | Currents:
        """The problem that is solved."""
        from xvar.core.methods.currents import Currents
        from xvar.core.methods.image_motion import ImageMotion, Smoothness, Transient

        own = {} if minimizer is None else {"minimizer": minimizer}
        if self.kelvin is not None:
            currents = Currents(**own)  # type: ignore[arg-type]
            return replace(
                currents,
                error=currents.error * self.kelvin,
                source_std=currents.source_std * self.kelvin,
                model_error=currents.model_error if self.model_error else 0.0,
                coast=self.coast,  # type: ignore[arg-type]
            )
        transient = None
        if self.transient is not None:
            numbers = dict(self.transient)
            smoothness = Smoothness(numbers.pop("gradient"), numbers.pop("curvature"))
            transient = Transient(smoothness=smoothness, **numbers)  # type: ignore[arg-type]
        return ImageMotion(transform=self.transform, transient=transient, **own)  # type: ignore[arg-type]

    def nowcast(self) -> Nowcast:
        """How the analysis is extrapolated."""
        from xvar.core.methods.nowcast import Nowcast

        numbers = self.transient or {}
        return Nowcast(
            transform=self.transform,  # type: ignore[arg-type]
            transient=numbers.get("lifetime"),
            source=numbers.get("source_lifetime"),
        )

    def model(self) -> Advection | None:
        """The model that the user chose, where it is one of xvar's."""
        from xvar.core.models.advection import Advection

        if self.dynamics is None or self.dynamics["model"] != "Advection":
            return None
        return Advection(**{key: value for key, value in self.dynamics.items() if key != "model"})

    def to_json(self) -> str:
        """For an attribute of the output."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Configuration:
        """From an attribute of an output."""
        try:
            values: dict[str, Any] = json.loads(text)
            values["notes"] = tuple(values["notes"])
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            found = f"an attribute {ATTRIBUTE} that cannot be read: {error}"
            raise InputError(Fault(found, "one of this version", "assimilate anew")) from error


def named_models() -> dict[str, Advection]:
    """The models that have a name."""
    from xvar.core.models.advection import Advection

    return {
        "advection": Advection(motion="inertial", departure="end_point"),
        "steady": Advection(motion="steady", departure="midpoint"),
    }


def describe_model(model: Any) -> dict[str, Any]:
    """A model in plain words and numbers."""
    from xvar.core.models.advection import Advection

    if isinstance(model, Advection):
        return {"model": "Advection", **asdict(model)}
    kind = type(model)
    return {"model": getattr(model, "__qualname__", f"{kind.__module__}.{kind.__qualname__}")}
