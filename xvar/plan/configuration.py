"""Choices of a call: its method and model, defaults by kind of variable in one table, and their record in the output.

The method is the named one, else that of `dynamics`, else that of the kind of variable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from xvar.cf.kinds import Kind
from xvar.errors import Faults, InputError, nearest
from xvar.plan.options import METHODS, STATES, Method, Options

if TYPE_CHECKING:
    from xvar.core.methods.nowcast import Nowcast
    from xvar.core.models.advection import Advection

ATTRIBUTE = "xvar_configuration"


@dataclass(frozen=True)
class Default:
    """Defaults of a kind of variable."""

    method: Method = "image_motion"  # of a call that names none
    transform: str = "none"  # of what is compared by image motion: "none" or "square_root"
    transient: Mapping[str, float] | None = None  # see `xvar.core.methods.image_motion.Transient`


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
    interval: float | None = None  # seconds over which an amount fell, if that is known
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
        from xvar.core.methods.nowcast import Nowcast

        numbers = self.transient or {}
        return Nowcast(
            transform=self.transform,  # type: ignore[arg-type]
            transient=numbers.get("lifetime"),
            source=numbers.get("source_lifetime"),
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
            expected='constraint="weak" with method="currents", "advection" or "model"',
            fix='method="currents" for a tracer of the sea; dynamics="advection" and model_error= for others',
        )
    options.refuse_misplaced(method, faults)
    return method if len(faults) == count else None


def _of_dynamics(dynamics: Any, faults: Faults) -> Method | None:
    """Return the method that `dynamics` selects; None if it is left out or wrong."""
    from xvar.core.models.advection import Advection

    if dynamics is None:
        return None
    known = named_models()
    if isinstance(dynamics, Advection) or (isinstance(dynamics, str) and dynamics in known):
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
