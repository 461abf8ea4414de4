"""A record and the configuration of a call, examined: what was understood, and whether a known motion is recovered."""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes
from xvar.cf.record import Record, as_dataset, read_record
from xvar.check.conformance import Report, Row, dynamics
from xvar.check.covariance import covariance
from xvar.check.understanding import facts
from xvar.errors import AnalysisWarning, Fault, Faults, InputError, InputWarning
from xvar.execution.batches import WindowBatch, WindowError
from xvar.execution.dispatch import deferred
from xvar.plan.covariances import errors_by_component
from xvar.quality.control import QualityControl
from xvar.quality.rules import read_quality
from xvar.quality.screening import screen_record
from xvar.quality.values import Screen

READING = ("land", "units", "dx", "dy", "sort")
SCREENING = ("quality", "strict")
BOUND = ("background",)  # to the grid of the record: a twin starts from rest
FRAMES = 7  # of the twin experiment: two windows
TRIED = 32  # points a side on which a covariance is tried
SIDE = 96  # points of it at most, along y and x
SPEED = 1.5  # of its fastest motion, in cells in a frame
EDGE = 6  # points where the motion comes from outside, which are not looked at
RECOVERED = 0.5  # of a known motion: what passes
PATTERN = 0.02  # share of the points that must hold a pattern


@dataclass(frozen=True)
class Examination:
    """What `record` found; true where nothing stands in the way.

    Attributes
    ----------
    facts : mapping of str to str or list
        How the record is understood; empty where it is not.
    faults : tuple of Fault
        What stands in the way, with what mends it.
    warnings : tuple of str
        What was taken otherwise than it stands.
    reports : tuple of Report
        Tests of the configuration.
    """

    facts: Mapping[str, Any]
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()
    reports: tuple[Report, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether nothing stands in the way, and every test passed."""
        return not self.faults and all(report.passed for report in self.reports)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        """The text itself, for a notebook or a prompt."""
        return str(self)

    def __str__(self) -> str:
        width = max((len(name) for name in self.facts), default=0)
        lines = [f"{'passed' if self.passed else 'failed'}"]
        for name, value in self.facts.items():
            parts = value if isinstance(value, list) else [value]
            lines += [f"  {name if not index else '':{width}}  {part}" for index, part in enumerate(parts)]
        lines += [f"  warning: {text}" for text in self.warnings]
        lines += [f"  PROBLEM {fault}" for fault in self.faults]
        return "\n".join([*lines, *(str(report) for report in self.reports)])

    def to_json(self) -> str:
        """For a program."""
        reports = [
            {"subject": report.subject, "passed": report.passed, "tests": [asdict(row) for row in report.rows]}
            for report in self.reports
        ]
        return json.dumps(
            {
                "passed": self.passed,
                "facts": dict(self.facts),
                "faults": [str(fault) for fault in self.faults],
                "warnings": list(self.warnings),
                "reports": reports,
            }
        )


def record(data: xr.Dataset | xr.DataArray, variable: Hashable | None = None, **options: Any) -> Examination:
    """Examine a record, and whether the configuration of a call can find a motion in it.

    Parameters
    ----------
    data, variable, **options
        As for `xvar.assimilation.assimilate`.

    Returns
    -------
    Examination
        How the record is understood, or what stands in the way. Then, on a twin experiment (images of the record's own
        pattern, moved by a known motion of 1.5 cells in a frame at most, on its spacing and cadence, with its missing
        values): the share of the motion that is recovered, the same call twice, a window alone and in a batch, and
        the gradient of J against differences. Errors that are stated are checked as by `covariance`, on the spacing of
        the record; a model of your own as by `dynamics`, on the background. What `assimilate` would refuse is a
        problem here, too.

    Examples
    --------
    >>> import xvar, xvar.check
    >>> examination = xvar.check.record(xvar.datasets.sample())
    >>> examination.passed
    True
    """
    faults = Faults()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        try:
            dataset, name = as_dataset(data, faults)
            reading = {key: options[key] for key in READING if key in options}
            found = read_record(dataset, variable if name is None else name, faults, **reading)
            if found is not None:
                rules = read_quality(options.get("quality"), found.kind, faults)
                found = screen_record(found, dataset, rules, faults, strict=bool(options.get("strict")))
            faults.raise_if_any()
            assert found is not None
            known = facts(found)
        except InputError as error:
            return Examination({}, error.faults, _texts(caught))
    try:
        _call(data, variable, options)
    except InputError as error:
        return Examination(known, error.faults, _texts(caught))
    own = {key: value for key, value in options.items() if key not in (*READING, *SCREENING)}
    model = own.get("dynamics")
    try:
        reports = _own_covariances(found, own)
        if model is None or isinstance(model, str) or hasattr(model, "bind"):
            reports += (_twin(found, {key: value for key, value in own.items() if key not in BOUND}),)
        else:
            reports += _own_model(model, own.get("background"))
    except InputError as error:
        return Examination(known, error.faults, _texts(caught))
    return Examination(known, (), _texts(caught), reports)


def _call(data: xr.Dataset | xr.DataArray, variable: Hashable | None, options: Mapping[str, Any]) -> None:
    """The call itself, up to where windows would be solved: it refuses what it cannot do."""
    from xvar.assimilation import assimilate

    with deferred(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of reading are caught already
        assimilate(data, variable, **options)


def _texts(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    return tuple(str(one.message) for one in caught if issubclass(one.category, InputWarning))


def _own_model(model: Any, background: xr.Dataset | None) -> tuple[Report, ...]:
    """The model, at the background: in double precision, two windows that differ a little."""
    if background is None or not callable(model) or hasattr(model, "bind"):
        return ()
    import torch

    state = {}
    for name, part in background.data_vars.items():
        one = torch.from_numpy(np.array(part.squeeze(drop=True).values, dtype="float64"))[None, None]
        state[str(name)] = torch.cat([one, 1.01 * one])
    return (dynamics(model, state),)


def _own_covariances(record: Record, options: Mapping[str, Any]) -> tuple[Report, ...]:
    """The errors that are stated, on the spacing of the record, a corner of its grid."""
    faults = Faults()
    background = options.get("background")
    names = () if not isinstance(background, xr.Dataset) else tuple(map(str, background.data_vars))
    motion = not callable(options.get("dynamics"))
    components: dict[str, tuple[str, ...]] = {"velocity": ("u", "v"), "tracer": (str(record.name),)} if motion else {}
    components |= {} if motion else {name: (name,) for name in names}
    reports = []
    for option in ("background_error", "model_error"):
        given = getattr(options.get(option), "covariance", options.get(option))
        for key, part in errors_by_component(given, option, components, faults).items():
            if faults.first is None and not hasattr(part, "members"):  # an ensemble is positive as it is made
                shape = tuple(min(size, TRIED) for size in record.grid.shape)
                report = covariance(part, shape, record.grid.spacing, components=len(components[key]))
                reports.append(replace(report, subject=f"{option} of {key!r}"))
    faults.raise_if_any()
    return tuple(reports)


def _twin(record: Record, options: Mapping[str, Any]) -> Report:
    """Tests on images of the record's own pattern that move in a known way."""
    from xvar.assimilation import assimilate

    truth, images = _images(record)
    name = str(record.name)
    options = {key: value for key, value in options.items() if key not in ("window", "stride", "batch", "save")}
    never = images[name].isnull().all("time")
    if bool(never.any()) and record.kind not in ("rain", "reflectivity"):
        options["land"] = never  # else what is never valid would depend on the frames of each call
    rows: list[Row] = []

    def row(test: str, error: float, gate: float, words: str) -> None:
        rows.append(Row(test, bool(error <= gate), float(error), gate, words))

    subject = f"configuration, on a twin of {images.sizes['y']} x {images.sizes['x']} points"
    pattern = _pattern(images[name].values)
    row(
        "the images hold a pattern",
        float(max(PATTERN - pattern.mean(), 0)),
        0.0,
        f"{pattern.mean():.1%} of the points have a value that differs from their neighbours: no motion to be seen",
    )
    if not rows[0].passed:
        return Report(subject, tuple(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnalysisWarning)
        try:
            analysis = assimilate(images, name, **options)
            again = assimilate(images, name, **options)
            alone = assimilate(images.isel(time=slice(3, FRAMES)), name, **options)
            gradient = _gradient_error(images, name, options)
        except WindowError as failure:
            row("the analysis runs", 1.0, 0.0, str(failure))
            return Report(subject, tuple(rows))
    edge = min(EDGE, *(side // 4 for side in pattern.shape))
    inner = (..., slice(edge, pattern.shape[0] - edge), slice(edge, pattern.shape[1] - edge))
    seen = pattern[inner]
    error = np.hypot(*(analysis[n].values[:, -1][inner] - truth[n][inner] for n in ("u", "v")))[:, seen]
    size = np.hypot(truth["u"], truth["v"])[inner][seen]
    share = 1 - float(np.nanmean(error)) / float(np.nanmean(size))
    row(
        "a known motion is recovered",
        1 - share,
        1 - RECOVERED,
        f"{max(share, 0):.0%} of a motion of {SPEED:g} cells in a frame: more of a pattern, a shorter time between "
        "frames, fewer missing values or a looser background error would show more",
    )
    row("the same call twice, the same bits", _differ(analysis, again), 0.0, "the model, or the threads, are random")
    last = analysis.isel(window=[-1])
    row("a window alone, as in a batch", _differ(last, alone), 0.0, "windows see one another: see xvar.check.dynamics")
    row("the gradient of J, by differences", gradient, 1e-2, "autograd does not see all of J: see xvar.check.dynamics")
    return Report(subject, tuple(rows))


def _differ(one: xr.Dataset, other: xr.Dataset) -> float:
    pairs = ((one[name].values, other[name].values) for name in ("u", "v", "cost"))
    return float(not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs))


def _images(record: Record) -> tuple[dict[str, NDArray[Any]], xr.Dataset]:
    """A known motion, and images of the record's own pattern that it moves, with its missing values."""
    from xvar.datasets import twin

    axes: Axes = record.axes
    array = record.array.transpose(axes.time, axes.y, axes.x)
    values = np.asarray(array.isel({axes.time: slice(0, FRAMES)}).values, dtype="float64")
    control = QualityControl(Screen.of_record(record), read_quality(None, record.kind, Faults()))
    values = control(values[:, None])[0][:, 0, :: _sign(record, 0), :: _sign(record, 1)]
    y, x = _busiest(values)
    values = values[:, y, x]
    best = values[np.isfinite(values).sum(axis=(1, 2)).argmax()]
    first = np.where(np.isfinite(best), best, np.nanmean(best) if record.kind != "rain" else 0.0)
    (rows, columns), (dy, dx) = first.shape, record.grid.spacing
    below = np.linspace(0, np.pi, rows)[:, None]
    right = np.linspace(0, np.pi, columns)[None, :]
    frame = record.cadence
    u = SPEED * dx / frame * (0.8 + 0.2 * np.cos(below)) * np.ones_like(right)
    v = -0.5 * SPEED * dy / frame * (0.8 + 0.2 * np.cos(right)) * np.ones_like(below)
    start = np.datetime64("2000-01-01", "ns")
    times = start + np.round(np.arange(FRAMES) * frame * 1e9).astype("timedelta64[ns]")
    coordinates = {
        "y": ("y", dy * np.arange(rows), {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", dx * np.arange(columns), {"units": "m", "standard_name": "projection_x_coordinate"}),
    }
    dims = ("time", "y", "x")
    motion = xr.Dataset(
        {
            name: (dims, np.broadcast_to(part, (2, rows, columns)).copy(), {"units": "m s-1"})
            for name, part in (("u", u), ("v", v))
        },
        {"time": times[[0, -1]], **coordinates},
    )
    moved = twin(motion, times=times, image=xr.DataArray(first, dims=("y", "x")), noise=0.0)["temperature"].values
    if record.kind == "rain":
        moved = moved.clip(min=0)
    holes = ~np.isfinite(values[np.arange(FRAMES) % len(values)])
    attrs = {key: value for key, value in record.array.attrs.items() if key in ("standard_name", "long_name")}
    images = np.where(holes, np.nan, moved)
    name = "images" if record.name in ("u", "v", "y", "x", "time") else str(record.name)
    made = xr.Dataset({name: (dims, images, {**attrs, "units": record.units})}, {"time": times, **coordinates})
    return {"u": u, "v": v}, made.rename({name: str(record.name)}) if name != str(record.name) else made


def _sign(record: Record, axis: int) -> int:
    return 1 if record.grid.ascending[axis] else -1


def _busiest(values: NDArray[Any]) -> tuple[slice, slice]:
    """The part of the grid, `SIDE` points a side at most, that holds most of the pattern."""
    filled = np.where(np.isfinite(values), values, np.nan)
    spread = np.abs(np.nan_to_num(filled - np.nanmean(filled))).sum(axis=0)
    parts = []
    for axis in (0, 1):
        weight = spread.sum(axis=1 - axis)
        side = min(SIDE, weight.size)
        sums = np.convolve(weight, np.ones(side), mode="valid")
        begin = int(sums.argmax())
        parts.append(slice(begin, begin + side))
    return parts[0], parts[1]


def _pattern(images: NDArray[Any]) -> NDArray[np.bool_]:
    """Points of the last frame where something is to be seen moving."""
    last = images[-1]
    spread = float(np.nanstd(images))
    steep = np.hypot(*np.gradient(last))
    return np.asarray(np.isfinite(steep) & (steep > 0.01 * spread)) if spread > 0 else np.zeros(last.shape, dtype=bool)


def _gradient_error(images: xr.Dataset, name: str, options: Mapping[str, Any]) -> float:
    """Return the relative error of the gradient of J, away from the background, along a random direction."""
    import torch

    from xvar.assimilation import assimilate
    from xvar.core.cost import Cost

    with deferred() as tasks:
        assimilate(images.isel(time=slice(0, 4)), name, **{**options, "dtype": "float64"})
    assert tasks.work is not None
    (batch,) = tasks.batches
    frames = images[name].values[None, :4]
    seconds = tuple(float(second) for second in batch.seconds[0])
    pipeline: Any = tasks.work.solve
    cost = Cost(pipeline.solver.problem(WindowBatch(frames, seconds, batch.needed[batch.frames], batch.starts)))
    generator = torch.Generator().manual_seed(0)

    def random(scale: float) -> Any:
        return scale * torch.randn(cost.zero().shape, generator=generator, dtype=torch.float64)

    control, direction, step = random(0.01), random(1.0), 1e-6
    (_, gradient), (ahead, _), (behind, _) = (cost.gradient(control + k * step * direction) for k in (0, 1, -1))
    along = float((gradient * direction).sum())
    return abs(float((ahead - behind).sum()) / (2 * step) - along) / max(abs(along), 1e-300)
