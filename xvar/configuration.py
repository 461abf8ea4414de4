"""What was chosen for a call: defaults by what a variable measures, in one table, and how the output records them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from xvar.cf.units import Kind

if TYPE_CHECKING:
    from xvar.core.advection import Advection
    from xvar.core.minimize import LBFGS
    from xvar.core.motion import ImageMotion
    from xvar.core.nowcast import Nowcast

ATTRIBUTE = "xvar_configuration"

# Growth and decay of rain: its standard deviation in a frame over that of the images, its length in grid cells and its
# lifetime in frames. Cells of a few kilometres come and go within a frame or two; what is larger lives longer.
RAIN_SOURCES = ((0.07, 3.0, 1.0), (0.10, 12.0, 3.0))

#: kind of variable -> (what is compared, sources)
DEFAULTS: dict[Kind, tuple[str, tuple[tuple[float, float, float], ...]]] = {
    "rain": ("square_root", RAIN_SOURCES),
    "reflectivity": ("none", RAIN_SOURCES),
    "temperature": ("none", ()),
    "other": ("none", ()),
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
    sources : tuple of (std, length, lifetime)
        Growth and decay.
    frame : float
        Seconds between frames.
    dx, dy : float, optional
        Spacing in metres where the user stated it.
    dtype : str
        Of the solution.
    device : str, optional
        Where it was computed.
    dynamics : dict, optional
        The model that the user chose, its parameters where it is one of xvar's.
    notes : tuple of str
        What was found in the input and assumed.
    """

    variable: str
    kind: Kind
    transform: str
    sources: tuple[tuple[float, float, float], ...]
    frame: float
    dx: float | None = None
    dy: float | None = None
    dtype: str = "float32"
    device: str | None = None
    dynamics: dict[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())

    def motion(self, minimizer: LBFGS | None = None) -> ImageMotion:
        """The problem that is solved."""
        from xvar.core.motion import ImageMotion, Source

        own = {} if minimizer is None else {"minimizer": minimizer}
        sources = tuple(Source(*numbers) for numbers in self.sources)
        return ImageMotion(transform=self.transform, sources=sources, **own)  # type: ignore[arg-type]

    def nowcast(self) -> Nowcast:
        """How the analysis is extrapolated."""
        from xvar.core.nowcast import Nowcast

        return Nowcast(transform=self.transform, lifetimes=tuple(lifetime for _, _, lifetime in self.sources))  # type: ignore[arg-type]

    def model(self) -> Advection | None:
        """The model that the user chose, where it is one of xvar's."""
        from xvar.core.advection import Advection

        if self.dynamics is None or self.dynamics["model"] != "Advection":
            return None
        return Advection(**{key: value for key, value in self.dynamics.items() if key != "model"})

    def to_json(self) -> str:
        """For an attribute of the output."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Configuration:
        """From an attribute of an output."""
        values: dict[str, Any] = json.loads(text)
        values["sources"] = tuple(tuple(numbers) for numbers in values["sources"])
        values["notes"] = tuple(values["notes"])
        return cls(**values)


def named_models() -> dict[str, Advection]:
    """The models that have a name."""
    from xvar.core.advection import Advection

    return {
        "advection": Advection(motion="inertial", departure="end_point"),
        "steady": Advection(motion="steady", departure="midpoint"),
    }


def describe_model(model: Any) -> dict[str, Any]:
    """A model in plain words and numbers."""
    from xvar.core.advection import Advection

    if isinstance(model, Advection):
        return {"model": "Advection", **asdict(model)}
    kind = type(model)
    return {"model": getattr(model, "__qualname__", f"{kind.__module__}.{kind.__qualname__}")}
