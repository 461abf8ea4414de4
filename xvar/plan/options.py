"""Options of an assimilation, each declared once: name, type, default, methods, documentation, flag of the shell.

A test holds the signature of `xvar.assimilation.assimilate` to this table. Its docstring, the checks of values, the
answer to an unknown or misplaced option, the commands of the shell, configuration files and the table of the
documentation are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import fill
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from xvar.errors import Faults
from xvar.plan.option import (
    METHODS,
    STATES,
    Method,
    Option,
    check_background,
    check_batch,
    check_device,
    check_first_guess,
    check_memory,
    check_samples,
    check_save,
    is_minimizer,
    no_entries,
    no_observation,
)

if TYPE_CHECKING:
    import xarray as xr

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option(
            "method",
            '{"image_motion", "currents", "advection", "model"}, optional',
            "The problem that is solved. Default: that of `dynamics`, else currents if the variable is a temperature "
            "of the sea, else image motion. No other option selects it.",
            choices=(None, *METHODS),
            flag="image_motion, currents or advection.",
        ),
        Option(
            "window",
            "int or duration, optional",
            'Length of the windows, in frames or as a duration ("15min", "3D"; a window includes both its ends). '
            "Default: 4 frames, or all if there are fewer.",
            flag="Length of a window, in frames or as a duration: 4, 15min, 3D.",
        ),
        Option(
            "stride",
            "int or duration, optional",
            "Distance between the beginnings of windows. Default: one frame less than the window.",
            flag="Distance between the beginnings of windows, in frames or as a duration.",
        ),
        Option(
            "partial",
            '{"drop", "keep"}',
            "Frames at the end, or before a gap, that do not fill a window are dropped, or kept as a shorter window.",
            default="drop",
            choices=("drop", "keep"),
            flag="Frames that do not fill a window: drop or keep.",
        ),
        Option(
            "gaps",
            '{"split", "cross"}, optional',
            "A gap is a step of more than 1.5 times the median step between frames. split: no window goes across one; "
            "cross: across those that are not longer than a window. Default: split for the methods of images, unless "
            "windows between the gaps would hold less than three quarters of the frames that windows across them do, "
            "as of an irregular record; cross for a state, which its model carries across. The output states it.",
            choices=(None, "split", "cross"),
            flag="Windows across gaps of the record: split (none) or cross.",
        ),
        Option(
            "constraint",
            '{"strong", "weak"}',
            "The model is perfect, or its error is part of the control.",
            default="strong",
            choices=("strong", "weak"),
            flag="strong: the model is perfect; weak: its error is estimated.",
        ),
        Option(
            "dynamics",
            "str, xvar.dynamics.Advection or callable, optional",
            'The model: ``"advection"`` (the motion moves itself, as in the paper), ``"steady"``, or your own '
            "``model(state, seconds) -> state``, whose components are the variables of `background`. An attribute "
            "``step`` is its longest time step in seconds. It selects the method: advection, or model.",
            methods=STATES,
        ),
        Option(
            "background",
            'Dataset, "cycled" or xvar.background.Cycled, optional',
            "x_b, on the grid of the data. For the methods of images ``u`` and ``v``, the centre of the prior of the "
            "motion (default: the displacement of best correlation for image motion, rest for currents). For advection "
            "``u``, ``v`` (default: rest) and the variable itself (default: the first frame, which then is no "
            'observation). For a model the whole state. With ``"cycled"`` each window begins from the forecast of the '
            "window before, see `xvar.background.Cycled`.",
            empty=no_entries,
            check=check_background,
            flag='"cycled": each window begins from the forecast of the window before.',
            example='"cycled"',
        ),
        Option(
            "first_guess",
            '"previous_window" or Dataset, optional',
            "Where the minimisation begins; J stays the same. Default: the background, on coarse grids. With "
            '``"previous_window"`` each window begins on its own grid at the solution of the window before, in a chain '
            "to the next gap that is longer than a window: fewer evaluations if windows overlap, but the bits of a "
            "window then depend on those before it. An analysis or a nowcast, on the same grid: its last window begins "
            "the chain.",
            methods=("image_motion",),
            empty=no_entries,
            check=check_first_guess,
            flag="previous_window: each minimisation begins at the solution of the window before.",
            example='"previous_window"',
        ),
        Option(
            "background_error",
            "specification of xvar.covariance, or mapping of component to it, optional",
            "B, in physical units. A single one is that of the motion (or of the only component of a model). The "
            "methods of images take that of the motion. With a state it may be a function of the background, a dict of "
            "tensors (window, component, \\*grid), that returns the specification: B of each cycle.",
            empty=no_entries,
        ),
        Option(
            "observation",
            "xvar.observation.Images or Points, or a sequence or mapping of them, optional",
            "How frames are compared, and observations beside the record.",
            methods=STATES,
            empty=no_observation,
        ),
        Option(
            "observation_error",
            "float or DataArray, optional",
            "Standard deviation of the errors of observation, in units of the variable. The methods of images take a "
            "number: image motion converts it to the compared quantity (the root of rain) by the derivative at the "
            "window's median wet value, and it replaces the default share of the deviation of the images.",
            flag="Standard deviation of the errors of observation, in units of the variable.",
        ),
        Option(
            "model_error",
            "specification of xvar.covariance, mapping of component to it, or xvar.dynamics.ModelError, optional",
            "Q per second, for the weak constraint. A single one is that of the motion.",
            methods=STATES,
            empty=no_entries,
        ),
        Option(
            "parameters",
            "mapping of str to xvar.control.Parameter, optional",
            "Static parameters of the model that are estimated with the state, each with its prior: the model finds "
            "them in its state under these names, (window, 1, 1, 1) or (window, 1, y, x). A gain and an offset of the "
            "observations belong to `observation`.",
            methods=("model",),
            empty=no_entries,
        ),
        Option(
            "penalties",
            "xvar.penalty.DigitalFilter or sequence of it, optional",
            "Terms of J on the trajectory.",
            methods=STATES,
            empty=no_entries,
        ),
        Option(
            "ensemble",
            "xvar.Ensemble, optional",
            "Ensemble of assimilations: standard errors ``<name>_std`` of the state and, in cycled windows, B of the "
            "next window from members that cycle too. Members are ``<name>_samples`` with `save`.",
            methods=STATES,
        ),
        Option(
            "uncertainty",
            '{"posterior"}, optional',
            "Standard errors of what is analysed, ``u_std``, ``v_std`` and so on, from draws of the error of the "
            "analysis; see docs/tutorials/uncertainty.md. Default: none.",
            choices=(None, "posterior"),
            flag="posterior: standard errors of the analysis.",
            example='"posterior"',
        ),
        Option(
            "samples",
            "int",
            "Solves m of the `uncertainty`, each for two members: standard errors are right within 1 / sqrt(2 m).",
            default=8,
            check=check_samples,
            flag="Solves of the uncertainty, such as 8; each makes two members.",
            example="8",
        ),
        Option(
            "quality",
            "sequence of str, or mapping of str to bool, optional",
            "Rules of quality control that are used, or a rule and whether it is; see docs/quality.md. Default: those "
            "of the kind of variable.",
            empty=lambda value: value is None or (isinstance(value, Mapping) and not value),
            flag="A rule of quality control; may be given several times. -RULE leaves one out.",
        ),
        Option(
            "land",
            'str, DataArray or "never_valid", optional',
            "Points where nothing moves. Default: a mask of the file, else none. Pixels that are never valid are not "
            'observed, and nothing more; ``"never_valid"`` makes land of them.',
            flag='Variable with the land, or "never_valid".',
        ),
        Option(
            "coast",
            '{"free", "no_flow"}',
            "Whether currents may cross the coast. The flow through a face between water and land is the mean of the "
            'cells at its sides; with ``"no_flow"`` it is zero, and B beside the coast is conditioned on that.',
            default="free",
            methods=("currents",),
            choices=("no_flow", "free"),
            flag="free, or no_flow: no current crosses the coast.",
        ),
        Option(
            "units",
            "str, optional",
            "Units of the variable, if the file does not state them.",
            flag="Units of the variable, if the file has none.",
        ),
        Option(
            "dx",
            "float, optional",
            "Metres between columns, if there are no coordinates; motion is then positive along the index.",
            flag="Metres between columns, if there are no coordinates.",
        ),
        Option(
            "dy",
            "float, optional",
            "Metres between rows, likewise.",
            flag="Metres between rows.",
        ),
        Option(
            "sort",
            "bool",
            "Sort frames by time, instead of refusing them.",
            default=False,
            choices=(False, True),
            flag="Sort frames by time.",
        ),
        Option(
            "strict",
            "bool",
            "Refuse infinite values, instead of taking them as missing.",
            default=False,
            choices=(False, True),
            flag="Refuse infinite values.",
        ),
        Option(
            "errors",
            '{"raise", "continue"}',
            "A window that fails ends the call, or is marked in ``status``.",
            default="raise",
            choices=("raise", "continue"),
            flag="A window that fails: raise, or continue.",
        ),
        Option(
            "batch",
            "int or str, optional",
            'Windows of a task, or the memory of one, such as "500MiB"; the result does not depend on it. Default: '
            "about ten seconds of work, a twentieth of the record at most.",
            check=check_batch,
            flag="Windows of a task, or its memory: 8, 500MiB.",
            example="8",
        ),
        Option(
            "memory",
            "str, optional",
            'Memory that one window may take, such as "4GB". Default: that of the machine. A window of image motion '
            "that needs more is minimised in overlapping tiles on its finest grid, which the output states; any other "
            "is refused.",
            check=check_memory,
            flag="Memory that one window may take: 4GB. Larger grids are minimised in tiles.",
            example='"4GB"',
        ),
        Option(
            "dtype",
            '{"float32", "float64"}, optional',
            "Precision in which the problem is solved and the result is given. Default: float32.",
            choices=(None, "float32", "float64"),
            empty=lambda value: value is None or value == "float32",
            flag="float32 or float64.",
        ),
        Option(
            "device",
            "str, optional",
            'Device of torch, such as "cuda".',
            check=check_device,
            flag="Device of torch, such as cuda.",
        ),
        Option(
            "minimizer",
            "xvar.minimize.LBFGS or GaussNewton, optional",
            "Minimiser of J. Default: one that suits each loop of the method.",
            check=lambda value: None if is_minimizer(value) else "a minimiser of xvar.minimize",
            example="xvar.minimize.LBFGS(max_evaluations=200)",
        ),
        Option(
            "save",
            'sequence of {"increment", "innovation", "residual", "cost_history", "samples"}',
            "Additional results: the increment of the control (of the motion at the end of the window for the methods "
            "of images, of the state at its beginning for others), observation minus background, observation minus "
            "analysis; J and its terms at each ``evaluation`` of one ``minimisation`` after the other; members of the "
            "`uncertainty`.",
            default=(),
            empty=no_entries,
            check=check_save,
            flag="Also write: increment, innovation, residual, cost_history, samples. May be given several times.",
            example='("increment",)',
        ),
    )
}


class Options(SimpleNamespace):
    """Values of the options of a call by name, `options.window`; those that are wrong, or mean it, are the default."""

    @classmethod
    def read(cls, given: Mapping[str, Any], faults: Faults) -> Options:
        """Return the values of a call, of which options that are left out have their defaults."""
        values = {}
        for name, option in OPTIONS.items():
            value = given.get(name, option.default)
            expected = option.expected(value)
            if expected is not None:
                faults.add(
                    code="option-value",
                    variable=name,
                    found=f"{name}={value!r}",
                    expected=expected,
                    fix=option.fix(value),
                )
            values[name] = option.default if expected is not None or option.is_default(value) else value
        options = cls(**values)
        has_samples = options.samples != OPTIONS["samples"].default or "samples" in options.save
        if has_samples and given.get("uncertainty") is None and given.get("ensemble") is None:
            faults.add(
                code="samples-without-uncertainty",
                variable="uncertainty",
                found="samples without uncertainty=",
                expected="errors of the analysis, of which they are draws",
                fix='uncertainty="posterior"',
            )
        return options

    def stated(self) -> dict[str, Any]:
        """Return the options whose values are not the defaults."""
        return {name: value for name, value in vars(self).items() if not OPTIONS[name].is_default(value)}

    def refuse_on_lattice(self, faults: Faults) -> None:
        """Report options about images (time, y, x) that a state on another grid has no use for."""
        for name in ("land", "dx", "dy"):
            if name in self.stated():
                faults.add(
                    code="option-misplaced",
                    variable=name,
                    found=f"{name}= with a state that is not on a plane (y, x)",
                    expected="an option that has a meaning on any grid",
                    fix=f"leave {name}= out; the coordinates of an axis give its spacing",
                )

    def refuse_misplaced(self, method: Method, faults: Faults) -> None:
        """Report each option that a method has no use for, and the methods that have one."""
        for name in self.stated():
            methods = OPTIONS[name].methods
            if method not in methods:
                other = "dynamics=model, your own" if methods[0] == "model" else f'method="{methods[0]}"'
                faults.add(
                    code="option-misplaced",
                    variable=name,
                    found=f"{name}= with method={method!r}, which has no use for it",
                    expected=f"{name}= with {' or '.join(f'method={one!r}' for one in methods)}",
                    fix=f"leave {name}= out, or {other}",
                )


def documented(function: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
    """Put the documentation of all options in the place of ``{options}`` in a docstring."""
    assert function.__doc__ is not None
    indent = " " * 8
    docs = {
        f"{option.name} : {option.type}": fill(option.doc, 120, initial_indent=indent, subsequent_indent=indent)
        for option in OPTIONS.values()
    }
    text = "\n".join(f"    {head}\n{doc}" for head, doc in docs.items())
    function.__doc__ = function.__doc__.replace("{options}", text.lstrip())
    return function
