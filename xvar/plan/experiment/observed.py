"""Observations of a call, read onto the grid of the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xvar.errors import Faults
from xvar.plan.experiment.images import ImageSource, comparison_of, read_images
from xvar.plan.experiment.points import PointSource, read_points
from xvar.plan.experiment.quantities import observation_error
from xvar.plan.experiment.record import PointRecord
from xvar.plan.experiment.solver import RecordSource
from xvar.plan.experiment.sources import Images, Sources, read_sources
from xvar.plan.experiment.state import State

if TYPE_CHECKING:
    from xvar.cf.record import Record
    from xvar.core.parameters import Parameter
    from xvar.execution.schedule import Schedule
    from xvar.plan.options import Options


@dataclass(frozen=True)
class Observed:
    """Observations of a call on the grid of the record.

    Attributes
    ----------
    sources : Sources
        As they were stated.
    record : RecordSource, optional
        The images of the record; None if the data are a table of points.
    images : tuple of ImageSource
    points : PointSource, optional
    """

    sources: Sources
    record: RecordSource | None
    images: tuple[ImageSource, ...]
    points: PointSource | None

    def labels(self, name: str) -> list[str]:
        """Return the labels of all images, the record of a variable among them."""
        return [*([] if self.record is None else [name]), *(source.label for source in self.images)]

    @property
    def calibrations(self) -> dict[str, tuple[Parameter, tuple[str, ...]]]:
        """Gains and offsets by name, each with its dimensions."""
        record = {} if self.record is None else {"": (self.sources.record, "step")}
        others = {f"{s.label}_": (self.sources.images[s.label], f"{s.label}_step") for s in self.images}
        return {
            prefix + name: (parameter, (dim,) if images.calibration == "frame" else ())
            for prefix, (images, dim) in {**record, **others}.items()
            for name, parameter in images.parameters.items()
        }


def read_observed(
    record: Record,
    schedule: Schedule,
    state: State,
    options: Options,
    faults: Faults,
    notes: list[str],
    *,
    cycled: bool,
) -> Observed:
    """Read the observations of a call."""
    if isinstance(record, PointRecord):
        sources, own = record.sources, None
        if not sources.record.is_default:
            faults.add(
                code="images-of-a-table",
                variable="observation",
                found="xvar.observation.Images() of the data of the call, which are a table of points",
                expected="images of their own",
                fix="xvar.observation.Images(data=...)",
            )
    else:
        sources = read_sources(options.observation, str(record.name), faults)
        own = _record_source(record, state, sources.record, options, faults, notes)
    images = [read_images(*one, state, record, schedule, faults, notes) for one in sources.images.items()]
    half_open = isinstance(record, PointRecord) and cycled
    points = read_points(sources.points, state, record, schedule, faults, half_open=half_open)
    return Observed(sources, own, tuple(one for one in images if one is not None), points)


def _record_source(
    record: Record, state: State, images: Images, options: Options, faults: Faults, notes: list[str]
) -> RecordSource | None:
    """Read how the images of the record are compared."""
    if images.error is not None and options.observation_error is not None:
        faults.add(
            code="observation-error-twice",
            variable="observation_error",
            found="observation_error= beside Images(error=...)",
            expected="one error of the images of the record",
            fix="leave one of them out",
        )
    stated = images.error if options.observation_error is None else options.observation_error
    std = observation_error(stated, record.array, record.units, record.times.order, faults, notes)
    name = images.variable or str(record.name)
    if name not in state.names:
        return None  # reported with the background
    key, part = state.place(name, "observation", faults) or ("", None)
    if part is not None and images.reset:
        faults.add(
            code="reset-of-one-variable",
            variable="observation",
            found=f'reset="observation" of {name!r}, one of the variables of {key!r}',
            expected="a component of its own",
            fix="leave reset out",
        )
    return RecordSource(key, part, comparison_of(images), std)
