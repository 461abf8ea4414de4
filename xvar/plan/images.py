"""Methods of images: the plan of image motion and of currents, and their solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xvar.cf.grid.coordinates import on_grid
from xvar.cf.units import are_convertible, convert
from xvar.execution.batches import WindowBatch
from xvar.plan.bridge import Array, Bridge
from xvar.plan.call import Call, Plan, Variable, backgrounds, diagnostics, per_second
from xvar.plan.configuration import DEFAULTS, Configuration
from xvar.plan.control import check_covariances, complete, errors_by_component
from xvar.plan.observation_error import read_number
from xvar.plan.uncertainty import read_sampling, seeds_of, with_errors

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.methods.currents import Currents
    from xvar.core.methods.image_motion import ImageMotion
    from xvar.core.problem import Problem

MOTION = ("u", "v")
STEADY = ("u_steady", "v_steady")
TRANSIENT = ("u_transient", "v_transient")


def plan_images(call: Call) -> Plan | None:
    """Plan `ImageMotion` or `Currents` of `xvar.core.methods`; None if a fault was added."""
    from xvar.core.methods.octaves import number_of_octaves

    record, options, faults, count = call.record, call.options, call.faults, len(call.faults)
    center, start = _background(call), _first_guess(call)
    errors = errors_by_component(options.background_error, "background_error", {"velocity": MOTION}, faults)
    if len(faults) == count:
        check_covariances(call, {"background_error": errors}, {"velocity": MOTION})
    prior = errors.get("velocity")
    error = read_number(options.observation_error, faults)
    _check_conflicts(call, prior)
    if len(faults) > count:
        return None
    configuration = replace(
        _with_defaults(call), background_error=None if prior is None else repr(prior), observation_error=error
    )
    method: ImageMotion | Currents = core_method(configuration, prior, options.minimizer)
    sampling = read_sampling(call, errors)
    if len(faults) > count:
        return None
    method = replace(method, cost_history="cost_history" in options.save, sampling=sampling)
    minimisations = method.minimisations(call.bridge.core_grid()) if method.cost_history else ()
    solver = ImageSolver(
        method=method,
        name=call.name,
        bridge=call.bridge,
        outputs=with_errors(_outputs(configuration, record.units, options.save, minimisations), sampling),
        center=center,
        start=start,
        cycled=configuration.cycled,
        save=options.save,
        zero=float(convert(0.0, "degree_Celsius", record.units)) if configuration.method == "currents" else 0.0,
    )
    transient = TRANSIENT if configuration.transient is not None else ()
    carried = (*MOTION, *transient) if configuration.cycled else ()
    if options.first_guess is not None:
        carried = _solution(configuration)
        call.notes.append("the minimisations of a window begin at the solution of the window before")
    return Plan(
        configuration,
        solver,
        call.schedule,
        forced=tuple(k + 0.5 for k in range(call.schedule.frames.shape[1] - 1)) if configuration.model_error else (),
        carried=carried,
        minimisations=minimisations,
        sizes={"age": getattr(method, "ages", 0), "octave": number_of_octaves(record.grid.shape)},
        sources=(call.name,),
        sampling=sampling,
    )


def _check_conflicts(call: Call, prior: Any) -> None:
    """Report coasts beside a B of the user's own, and inner loops on a coarse grid."""
    if prior is not None and call.options.coast == "no_flow":
        call.faults.add(
            code="option-conflict",
            variable="coast",
            found='coast="no_flow" with a background_error of your own, which alone says what it knows of coasts',
            expected="one of both",
            fix='leave coast= out; xvar.covariance.Helmholtz(..., coast="no_flow") respects coasts',
        )
    units = call.record.units
    if call.configuration.method == "currents" and not are_convertible("K", units):
        call.faults.add(
            code="currents-of-no-temperature",
            variable=call.name,
            found=f'method="currents" for a variable in {units!r}',
            expected="a temperature: currents are found beside its warming and cooling",
            fix='method="image_motion"',
        )
    resolution = getattr(call.options.minimizer, "resolution", (1,))
    if any(side != 1 for side in resolution):
        call.faults.add(
            code="option-conflict",
            variable="minimizer",
            found=f"resolution={resolution} for a method of images, whose parcels have positions on the full grid",
            expected="inner loops on the full grid",
            fix="minimizer=xvar.minimize.GaussNewton(), without resolution=",
        )


def _with_defaults(call: Call) -> Configuration:
    """Return the configuration with the defaults of the kind of variable; note cycling and coasts."""
    configuration, options, record = call.configuration, call.options, call.record
    if configuration.method == "currents":
        configuration = replace(
            configuration,
            kelvin=float(convert(1.0, "K", record.units, difference=True)),
            model_error=options.constraint == "weak",
            coast=options.coast,
        )
        if options.coast == "no_flow":
            has_land = record.land is not None
            call.notes.append("no flow through the coast" if has_land else "no land, and so no coast to close")
    else:
        default = DEFAULTS[configuration.kind]
        transient = None if default.transient is None else dict(default.transient)
        configuration = replace(configuration, transform=default.transform, transient=transient)
    if configuration.cycled:
        words = "the motion of a window has that of the window before as its background, with B"
        grown = configuration.model_error and options.background_error is None
        call.notes.append(words + (" grown by the model error since then" if grown else " as about rest"))
    return configuration


def core_method(configuration: Configuration, prior: Any = None, minimizer: Any = None) -> ImageMotion | Currents:
    """Return the method of the core with the numbers of a configuration."""
    from xvar.core.methods.currents import Currents
    from xvar.core.methods.image_motion import ImageMotion
    from xvar.core.methods.image_problems import Smoothness, Transient

    own: dict[str, Any] = {} if minimizer is None else {"minimizer": minimizer}
    error = configuration.observation_error
    if configuration.method == "currents":
        assert configuration.kelvin is not None
        currents = Currents(background_error=prior, coast=configuration.coast, **own)  # type: ignore[arg-type]
        return replace(
            currents,
            error=currents.error * configuration.kelvin if error is None else error,
            source_std=currents.source_std * configuration.kelvin,
            model_error=currents.model_error if configuration.model_error else 0.0,
        )
    transient = None
    if configuration.transient is not None:
        numbers: dict[str, Any] = dict(configuration.transient)
        smoothness = Smoothness(numbers.pop("gradient"), numbers.pop("curvature"))
        transient = Transient(smoothness=smoothness, **numbers)
    return ImageMotion(
        transform=configuration.transform,  # type: ignore[arg-type]
        transient=transient,
        background_error=prior,
        observation_error=error,
        tile=configuration.tile,
        **own,
    )


def _background(call: Call) -> Array | None:
    """Return the centre of the prior of the motion (2, y, x) in the order of the input; None is rest."""
    record, background = call.record, call.background
    if background is None:
        return None
    others = [str(name) for name in background.data_vars if name not in MOTION]
    if others:
        call.faults.add(
            code="option-misplaced",
            variable="background",
            found=f"a background of {', '.join(map(repr, others))} with a method that analyses the motion alone",
            expected="u and v alone, or a model that moves the whole state",
            fix='background=background[["u", "v"]], or dynamics="advection"',
        )
    center = np.zeros((2, *record.grid.shape))
    for index, name in enumerate(MOTION):
        label = f"background {name}"
        if name in background:
            field = on_grid(background[name], record.array, record.axes, call.faults, label)
            if field is not None:
                values = np.asarray(field.values, dtype="float64")
                center[index] = complete(values, record.land, label, call.faults, fill=0.0)
    return center


def _solution(configuration: Configuration) -> tuple[str, ...]:
    """Return the variables of an analysis that hold the solution of image motion."""
    return MOTION if configuration.transient is None else (*STEADY, *TRANSIENT, "growth")


def _first_guess(call: Call) -> dict[str, Array] | None:
    """Return the solution (y, x) at which the minimisation of the first window begins; None is the background."""
    record, given, faults = call.record, call.options.first_guess, call.faults
    if given is not None and call.cycled:
        faults.add(
            code="option-conflict",
            variable="first_guess",
            found='first_guess= with background="cycled", which begins at the motion of the window before',
            expected="one of both",
            fix="leave first_guess= out",
        )
    if given is None or isinstance(given, str):
        return None
    fields = {}
    for name in _solution(_with_defaults(call)):
        if name not in given:
            faults.add(
                code="variable-missing",
                variable=name,
                found="a first guess without it",
                expected="an analysis of the same method and kind of variable",
                fix='first_guess=ds.var4d.assimilate(), or first_guess="previous_window"',
            )
            continue
        last = given[name].isel({dim: -1 for dim in ("window", "step") if dim in given[name].dims}, drop=True)
        field = on_grid(last, record.array, record.axes, faults, f"first guess {name}")
        if field is not None:
            fields[name] = np.nan_to_num(np.asarray(field.values, dtype="float64"))
    return fields


def _outputs(
    configuration: Configuration, units: str, save: tuple[str, ...], minimisations: Any
) -> dict[str, Variable]:
    """Return the table of the outputs."""
    name, dtype = configuration.variable, configuration.dtype
    steps, plane = ("step", "y", "x"), ("y", "x")
    outputs = {
        name: Variable(steps, dtype, "analysis"),
        "u": Variable(steps, dtype, "u"),
        "v": Variable(steps, dtype, "v"),
        f"{name}_observed": Variable(plane, dtype, "observed"),
        "image_scale": Variable((), dtype, "image_scale"),
    }
    if configuration.transient is not None:
        outputs |= {part: Variable(plane, dtype, part) for part in (*STEADY, *TRANSIENT, "growth")}
    if configuration.method == "image_motion":
        outputs["motion_skill"] = Variable(("age",), dtype, "motion_skill")
    if configuration.transform == "square_root":
        outputs["octave_correlation"] = Variable(("age", "octave"), dtype, "octave_correlation")
        outputs["growth_error"] = Variable(("age",), dtype, "growth_error")
    if configuration.method == "currents":
        outputs["source"] = Variable(plane, dtype, "source", name, per_second(units))
    if configuration.model_error:
        rate = per_second("m s-1")
        outputs |= {f"{part}_forcing": Variable(("interval", *plane), dtype, "forcing", part, rate) for part in MOTION}
    if configuration.cycled:
        outputs |= backgrounds(dict.fromkeys(MOTION, "m s-1"), dtype)
    if "increment" in save:
        outputs |= {f"{part}_increment": Variable(plane, dtype, "increment", part, "m s-1") for part in MOTION}
    outputs |= {f"{name}_{word}": Variable(steps, dtype, word) for word in save if word in ("innovation", "residual")}
    terms = ("background", *(("model_error",) if configuration.model_error else ()), "observation")
    return outputs | diagnostics(terms, minimisations=minimisations)


@dataclass(frozen=True)
class ImageSolver:
    """Solver of the motion at the end of windows of images.

    `zero` is taken off the frames in double precision and added to the analysis: kelvin and degrees Celsius of the same
    sea then give the same bits of motion.
    """

    method: ImageMotion | Currents
    name: str
    bridge: Bridge
    outputs: Mapping[str, Variable]
    center: Array | None = None  # (2, y, x), of the prior of the motion; None is rest
    start: Mapping[str, Array] | None = None  # (y, x), solution at which the minimisation of the first window begins
    cycled: bool = False  # the result has the backgrounds of the windows
    save: tuple[str, ...] = ()
    zero: float = 0.0

    def __call__(self, batch: WindowBatch) -> dict[str, Array]:
        """Return the analysis of a batch, see `ImageMotion.analyse`, in the order of the input."""
        bridge, frames = self.bridge, batch.frames
        guess, own_options = self._guess(batch)
        start = self._start(batch)
        own_options |= {} if start is None else {"start": start}
        seeds, grid = seeds_of(batch, self.method.sampling, bridge), bridge.core_grid()
        results = self.method.analyse(self._images(batch), batch.seconds, grid, guess, **own_options, seeds=seeds)
        own = {"analysis": self.name, "observed": f"{self.name}_observed"}
        arrays = {own.get(key, key): bridge.array(results.pop(key)) for key in tuple(results)}
        if self.zero:
            arrays[self.name] = np.add(arrays[self.name], self.zero, dtype="float64").astype(bridge.dtype)
            arrays[own["observed"]] = bridge.without_land(frames[:, -1])
        background = np.zeros_like(arrays["u"], shape=(2, *arrays["u"][:, -1].shape))
        if guess is not None:
            background = np.stack([bridge.array(guess[:, index]) for index in range(2)])
        if self.cycled:
            arrays |= {f"{part}_background": bridge.without_land(b) for part, b in zip(MOTION, background, strict=True)}
            arrays["background_source"] = np.full(len(frames), batch.cycle_state is not None, dtype="int8")
        return arrays | self._saved(arrays, frames, background)

    def problem(self, batch: WindowBatch) -> Problem:
        """Return the problem of the first loop."""
        guess, _ = self._guess(batch)
        return self.method.problem(self._images(batch), batch.seconds, self.bridge.core_grid(), guess)

    def _images(self, batch: WindowBatch) -> Tensor:
        frames = batch.frames
        shifted = np.subtract(frames, self.zero, dtype="float64") if self.zero else frames
        return self.bridge.tensor(self.bridge.without_land(shifted))

    def _start(self, batch: WindowBatch) -> dict[str, Tensor] | None:
        """Return the state at which the minimisations begin, see `ImageMotion.analyse`; None is the background."""
        fields = self.start if batch.cycle_state is None else batch.cycle_state.fields
        if self.cycled or fields is None:
            return None

        def stacked(*names: str) -> Tensor:  # nothing moves on land
            return self.bridge.tensor(np.stack([np.nan_to_num(fields[name]) for name in names])[None])

        if "growth" not in fields:
            return {"velocity": stacked(*MOTION)}
        frame = batch.seconds[-1] / (len(batch.seconds) - 1)
        return {"velocity": stacked(*STEADY), "transient": stacked(*TRANSIENT), "source": stacked("growth") / frame}

    def _guess(self, batch: WindowBatch) -> tuple[Tensor | None, dict[str, Any]]:
        """Return the centre of the prior of the motion, and the seconds since it was found."""
        from xvar.core.methods.currents import Currents

        state = batch.cycle_state if self.cycled else None
        if state is None:
            if self.center is None:
                return None, {}
            return self.bridge.tensor(np.broadcast_to(self.center, (len(batch), *self.center.shape))), {}

        def motion(names: tuple[str, ...]) -> Tensor:  # nothing moves on land
            return self.bridge.tensor(np.stack([np.nan_to_num(state.fields[name]) for name in names])[None])

        # The control is at the last frame of a window.
        elapsed = state.lead + batch.seconds[-1]
        if isinstance(self.method, Currents):
            return motion(MOTION), {"elapsed": elapsed}
        if self.method.transient is None:
            return motion(MOTION), {}
        fading = motion(TRANSIENT)
        frame = batch.seconds[-1] / (len(batch.seconds) - 1)
        return self.method.forecast(motion(MOTION) - fading, fading, elapsed, frame), {}

    def _saved(self, arrays: Mapping[str, Array], frames: Array, background: Array) -> dict[str, Array]:
        """Return the results that are written on request."""
        found = {}
        if "increment" in self.save:
            increments = zip(MOTION, background, strict=True)
            found = {f"{part}_increment": arrays[part][:, -1] - before for part, before in increments}
        references = {"innovation": arrays[f"{self.name}_observed"][:, None], "residual": arrays[self.name]}
        for word in references:
            if word in self.save:
                found[f"{self.name}_{word}"] = (frames - references[word]).astype(self.bridge.dtype)
        return found
