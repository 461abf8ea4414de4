"""Covariances of a call: errors of the background and of the model, by component of the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xvar.errors import Faults
from xvar.plan.covariances import check_covariances, errors_by_component
from xvar.plan.experiment.state import State

if TYPE_CHECKING:
    from xvar.cf.record import Record
    from xvar.core.methods.experiment import ForcingInterval
    from xvar.plan.options import Options


@dataclass(frozen=True)
class Statistics:
    """Covariances of a call.

    Attributes
    ----------
    background_error, model_error : dict of str to specification
        B, and Q per second, by component.
    forcing_interval : {"step", "interval", "window"}
        See `ModelError`.
    measured : tuple of str
        Components whose curvature is measured beforehand, see `Problem`.
    """

    background_error: dict[str, Any]
    model_error: dict[str, Any]
    forcing_interval: ForcingInterval = "interval"
    measured: tuple[str, ...] = ()


def read_statistics(record: Record, state: State, options: Options, faults: Faults, *, cycled: bool) -> Statistics:
    """Read `background_error` and `model_error`; that of a motion without one is the default of image motion."""
    from xvar.core.methods.experiment import ModelError

    before = len(faults)
    errors = errors_by_component(options.background_error, "background_error", state.components, faults)
    measured: tuple[str, ...] = ()
    if state.advection and "velocity" not in errors:
        # It leaves the mean motion free, of which a step by the slope alone takes too much.
        errors["velocity"], measured = _default_motion_error(record), ("velocity",)
    elif not errors:
        first = next(iter(state.components), str(record.name))
        faults.add(
            code="background-error-missing",
            variable="background_error",
            found="a model of your own without background_error=",
            expected="the error of each component that is to be analysed",
            fix=f"background_error={{{first!r}: xvar.covariance.Diagonal(std=...)}}",
        )
    forcing_interval: ForcingInterval = "interval"
    stated = options.model_error
    if isinstance(stated, ModelError):
        forcing_interval, stated = stated.forcing_interval, stated.covariance
    forced = errors_by_component(stated, "model_error", state.components, faults)
    _check_constraint(options.constraint, forced, faults, cycled=cycled)
    given = {"background_error": errors, "model_error": forced}
    if cycled:
        _check_growth(errors, forced, faults)
    if len(faults) == before:
        check_covariances(record, given, state.components, faults)
    return Statistics(errors, forced, forcing_interval, measured)


def _default_motion_error(record: Record) -> Any:
    """Return B of the steady motion of images."""
    from xvar.core.methods.image_motion import ImageMotion

    motion = ImageMotion()
    return motion.steady.in_metres(record.cadence, record.grid.spacing, motion.truncation)


def _check_constraint(constraint: str, forced: Mapping[str, Any], faults: Faults, *, cycled: bool) -> None:
    if constraint == "weak" and not forced:
        faults.add(
            code="model-error-missing",
            variable="model_error",
            found='constraint="weak" without model_error=',
            expected="the error of the model per second, for each component that is forced",
            fix='model_error={"velocity": xvar.covariance.Tikhonov(...)}',
        )
    if constraint == "strong" and forced and not cycled:
        faults.add(
            code="model-error-with-strong-constraint",
            variable="constraint",
            found='model_error= with constraint="strong"',
            expected="the weak constraint",
            fix='constraint="weak"',
        )


def _check_growth(errors: Mapping[str, Any], forced: Mapping[str, Any], faults: Faults) -> None:
    """Report penalties in a B that model error is to grow: the norm of a sum is not the sum of the norms."""
    for key in forced:
        for option, part in (("background_error", errors.get(key)), ("model_error", forced[key])):
            if getattr(part, "divergence", 0):
                faults.add(
                    code="divergence-in-cycled-windows",
                    variable=option,
                    found=f"{option} of {key!r} with a penalty on the divergence, in cycled windows",
                    expected="a covariance that model error can grow: B + t Q",
                    fix="leave divergence out, or leave model_error out: B then stays as it is",
                )
