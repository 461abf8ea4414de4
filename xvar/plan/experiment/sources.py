"""Sources of observations of a call: the record's images, other images, and tables of points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from xvar.core.methods.images import Comparison
from xvar.errors import Faults
from xvar.plan.experiment.table import Points


@dataclass(frozen=True, eq=False)
class Images(Comparison):
    r"""Images as observations: of the record, or of another source.

    .. math:: J_o = \sum \rho\left(\frac{T(a\, x + b) - T(y)}{\sigma}\right)

    Parameters
    ----------
    data : DataArray (time, y, x), optional
        Images on the grid of the record, at times of their own; those within a window are used, also between two steps
        of the model. If they are lazy (dask) each window reads its own. Default: the record of the call.
    variable : str, optional
        The observed variable of the state. Default: the name of `data` if it is one, else the variable of the record.
    error : float or DataArray, optional
        Standard deviation σ of the errors of observation, in the units of the variable. Default: for the record
        `observation_error` of the call, otherwise a share of the deviation of the images in the window.
    transform : callable, optional
        T, applied to state and observation alike, such as `SquareRoot`.
    threshold : float, optional
        c of the pseudo-Huber norm ρ, in standard deviations. Default: ρ is quadratic.
    reset : {None, "observation"}
        ``"observation"`` replaces the variable by each image after its misfit was taken (direct insertion, as in the
        paper). This cuts the adjoint of the variable: such a window is no strong-constraint 4D-Var.
    time_interpolation : {"linear", "nearest"}
        How the state is found at an image between two steps.
    gain, offset : Parameter, optional
        a and b, estimated with the state: for an instrument with errors of calibration, or images whose mean drifts.
        A number each; offsets in the units of the variable.
    calibration : {"frame", "window"}
        One gain and offset for each image, or for all images of a window.

    Raises
    ------
    InputError
        If a choice is unknown, or a calibration cannot be estimated.
    """

    data: Any = None
    variable: str | None = None
    error: Any = None

    @property
    def is_default(self) -> bool:
        """Return whether this means the same as leaving `observation` out."""
        own = ((getattr(self, part.name), part.default) for part in fields(self))
        return all(value is default or (isinstance(value, str) and value == default) for value, default in own)


@dataclass(frozen=True)
class Sources:
    """Sources of observations of a call.

    Attributes
    ----------
    record : Images
        How the images of the record are compared.
    images : dict of str to Images
        Images from elsewhere, by the label of the source.
    points : dict of str to Points
        Tables of points, by label.
    """

    record: Images = field(default_factory=Images)
    images: dict[str, Images] = field(default_factory=dict)
    points: dict[str, Points] = field(default_factory=dict)

    def with_table(self, table: Any) -> Sources:
        """Return the sources of a call whose data are a table of points: the first `Points` without another one."""
        for label, points in self.points.items():
            if points.dataset is None or points.dataset.identical(table):
                return replace(self, points={**self.points, label: replace(points, dataset=table)})
        return replace(self, points={_unique("points", set(self.points)): Points(table), **self.points})


def read_sources(observation: Any, record: str, faults: Faults) -> Sources:
    """Read the option `observation`.

    Parameters
    ----------
    observation : None, Images, Points, or a sequence or mapping of them
        Sources of a mapping are labelled by its keys, others by the name of their variable.
    record : str
        The variable of the record.
    faults : Faults
        Receives what is no source.
    """
    own: list[Images] = []
    images: dict[str, Images] = {}
    points: dict[str, Points] = {}
    for label, source in _labelled(observation):
        taken = {record, *images, *points}
        if isinstance(source, Images) and source.data is None:
            own.append(source)
        elif isinstance(source, Images):
            images[_unique(label or str(source.variable or getattr(source.data, "name", None) or "images"), taken)] = (
                source
            )
        elif isinstance(source, Points):
            points[_unique(label or "points", taken)] = source
        else:
            faults.add(
                code="observation-not-a-source",
                variable="observation",
                found=f"observation of type {type(source).__name__}",
                expected="xvar.observation.Images, xvar.observation.Points, or a sequence or mapping of them",
                fix="observation=xvar.observation.Points(table)",
            )
    if len(own) > 1:
        faults.add(
            code="observation-of-record-twice",
            variable="observation",
            found=f"{len(own)} Images without data=, each of the record",
            expected="one for the record; others with images of their own",
            fix="observation=[xvar.observation.Images(), xvar.observation.Images(data=other)]",
        )
    return Sources(own[0] if own else Images(), images, points)


def _labelled(observation: Any) -> Iterator[tuple[str, Any]]:
    if observation is None:
        return
    if isinstance(observation, Mapping) and not hasattr(observation, "data_vars"):
        yield from ((str(label), source) for label, source in observation.items())
    elif isinstance(observation, Sequence) and not isinstance(observation, str):
        yield from (("", source) for source in observation)
    else:
        yield "", observation


def _unique(label: str, taken: set[str]) -> str:
    """Return a label that no other source has, as a word of a name."""
    word = "".join(c if c.isalnum() else "_" for c in label)
    names = [word, *(f"{word}_{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
