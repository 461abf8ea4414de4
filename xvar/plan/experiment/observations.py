"""Observations of a call: sources as they are stated, then read onto the grid of the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xvar.core.parameters import Parameter
from xvar.errors import Faults
from xvar.plan.call import Call
from xvar.plan.experiment.images import Images, ImageSource, RecordSource, read_images, read_record_source
from xvar.plan.experiment.points import PointSource, read_points
from xvar.plan.experiment.record import PointRecord
from xvar.plan.experiment.state import State
from xvar.plan.experiment.table import Points


@dataclass(frozen=True)
class Sources:
    """Sources of a call as they are stated: the record's images, other images and tables of points by their labels."""

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
    """Read the option `observation`; labels are keys of a mapping, else names of variables other than `record`."""
    own: list[Images] = []
    images: dict[str, Images] = {}
    points: dict[str, Points] = {}
    for label, source in _labelled(observation):
        taken = {record, *images, *points}
        if isinstance(source, Images) and source.data is None:
            own.append(source)
        elif isinstance(source, Images):
            name = label or str(source.variable or getattr(source.data, "name", None) or "images")
            images[_unique(name, taken)] = source
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
        for label, source in observation.items():
            yield from ((str(label), one) for one in (source if isinstance(source, (list, tuple)) else (source,)))
    elif isinstance(observation, Sequence) and not isinstance(observation, str):
        yield from (("", source) for source in observation)
    else:
        yield "", observation


def _unique(label: str, taken: set[str]) -> str:
    """Return a label that no other source has, as a word of a name."""
    word = "".join(c if c.isalnum() else "_" for c in label)
    names = [word, *(f"{word}_{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


@dataclass(frozen=True)
class Observed:
    """Observations of a call on the grid of the record; `record` is None if the data are a table of points."""

    record: RecordSource | None
    beside: tuple[ImageSource, ...]
    points: PointSource | None

    @property
    def images(self) -> list[RecordSource | ImageSource]:
        """All images, the record first."""
        return [*([] if self.record is None else [self.record]), *self.beside]

    @property
    def beside_record(self) -> bool:
        """True if there are observations beside the record."""
        return bool(self.beside) or self.points is not None

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of the dimensions of observations beside the record."""
        images = {f"{source.prefix}step": source.size for source in self.beside}
        own = {
            name: size
            for source in self.beside
            for name, size in zip(source.layout.dims, source.layout.shape, strict=True)
            if name.startswith(source.prefix)
        }
        points = {} if self.points is None else {"point": self.points.size}
        return {**images, **own, **points, "check": len(self.checks)}

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of the checks whose rejections are counted by source; none if no source states its quality."""
        tables = {} if self.points is None else self.points.tables
        stated = [one.stated for one in self.images] + list(tables.values())
        if not any(one.quality for one in stated):
            return ()
        rules = [rule.name for one in self.beside for rule in one.quality.rules]
        return tuple(dict.fromkeys([*rules, *(["range"] if tables else []), "background_check"]))

    @property
    def labels(self) -> list[str]:
        """The labels of all sources: images, then tables of points."""
        return [*(source.label for source in self.images), *([] if self.points is None else self.points.tables)]

    @property
    def gaussian(self) -> bool:
        """True if J_o is quadratic with stated errors, so that its expectation is known."""
        tables = [] if self.points is None else list(self.points.tables.values())
        stated = all(one.error.std is not None for one in self.images)
        compared = [*(one.stated for one in self.images), *tables]
        plain = not any(one.transform or one.threshold for one in compared)
        return plain and stated and not any(one.stated.reset for one in self.images)

    @property
    def calibrations(self) -> dict[str, tuple[Parameter, tuple[str, ...], str | None]]:
        """Parameters of the observations by name, each with its dimensions, and units if they are not the record's."""
        found: dict[str, tuple[Parameter, tuple[str, ...], str | None]] = {}
        for source in self.images:
            frames = (f"{source.prefix}step",) if source.stated.calibration == "frame" else ()
            for name, part in source.stated.parameters.items():
                units = "1" if name == "gain" else source.units if name == "offset" else ""
                found[source.prefix + name] = part, () if name.startswith("bias_") else frames, units
        for label, table in ({} if self.points is None else self.points.tables).items():
            for name, part in table.parameters.items():
                found[f"{label}_{name}"] = part, (), "1" if name == "gain" else ""
        return found


def read_observed(call: Call, state: State) -> Observed:
    """Read the observations of a call."""
    record, own = call.record, None
    if isinstance(record, PointRecord):
        sources = record.sources
        if not sources.record.is_default:
            call.faults.add(
                code="images-of-a-table",
                variable="observation",
                found="xvar.observation.Images() of the data of the call, which are a table of points",
                expected="images of their own",
                fix="xvar.observation.Images(data=...)",
            )
    else:
        sources = read_sources(call.options.observation, call.name, call.faults)
        own = read_record_source(call, state, sources.record)
    images = [read_images(label, images, call, state) for label, images in sources.images.items()]
    points = read_points(sources.points, call, state)
    return Observed(own, tuple(one for one in images if one is not None), points)
