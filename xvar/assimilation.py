"""Assimilation of a labelled record: windows of frames in, an analysis out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xvar.background import Cycled
from xvar.cf.axes import is_lazy
from xvar.errors import Faults
from xvar.execution.batches import Errors
from xvar.execution.dispatch import is_deferred, run_batches
from xvar.execution.schedule import Partial
from xvar.plan.labels import label
from xvar.plan.option import Coast, Constraint, Gaps, Method, Saved, Uncertainty
from xvar.plan.options import Options, documented
from xvar.plan.pipeline import make_work, warn_about_analysis
from xvar.plan.planning import make_plan, read_source

if TYPE_CHECKING:
    from xvar.core.parameters import Parameter

Duration = Any  # a number of frames, "15min", datetime.timedelta or numpy.timedelta64


@documented
def assimilate(
    data: xr.Dataset | xr.DataArray,
    variable: Hashable | None = None,
    *,
    method: Method | None = None,
    window: Duration = None,
    stride: Duration = None,
    partial: Partial = "drop",
    gaps: Gaps | None = None,
    constraint: Constraint = "strong",
    dynamics: Any = None,
    background: xr.Dataset | Literal["cycled"] | Cycled | None = None,
    first_guess: xr.Dataset | Literal["previous_window"] | None = None,
    background_error: Any = None,
    observation: Any = None,
    observation_error: Any = None,
    model_error: Any = None,
    parameters: Mapping[str, Parameter] | None = None,
    penalties: Any = None,
    ensemble: Any = None,
    uncertainty: Uncertainty | None = None,
    samples: int = 8,
    quality: Sequence[str] | Mapping[str, bool] | None = None,
    land: Any = None,
    coast: Coast = "free",
    units: str | None = None,
    dx: float | None = None,
    dy: float | None = None,
    sort: bool = False,
    strict: bool = False,
    errors: Errors = "raise",
    batch: int | str | None = None,
    memory: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    minimizer: Any = None,
    save: Sequence[Saved] = (),
) -> xr.Dataset:
    r"""Find the motion in a record of images, or the state of a model, by 4D-Var in windows.

    Each window by itself minimises

    .. math:: J = \tfrac12 \|x_0 - x_b\|^2_B + \tfrac12 \sum_k \|y_k - H(x_k)\|^2_{R_k}
        + \tfrac12 \sum_i \|\eta_i\|^2_{Q_i}

    of the method: that of images (`xvar.core.methods.image_motion.ImageMotion`), of currents
    (`xvar.core.methods.currents.Currents`), or of a model (`xvar.core.methods.experiment.Experiment`).

    Parameters
    ----------
    data : Dataset or DataArray
        The record, (time, y, x) in any order. NaN is not observed. It is not changed; if it is lazy (dask) the result
        is lazy, and nothing is computed here.
    variable : hashable, optional
        Name of the variable, if there are several.
    {options}

    Returns
    -------
    Dataset
        Dimensions ``window``, ``step`` (the frames of a window) and those of the grid: the analysed variable in its own
        units, ``u`` and ``v`` in m s-1 towards increasing coordinates, the last frame as ``<name>_observed``,
        ``growth`` if the variable has sources, and for each window the terms of J before and after,
        ``gradient_norm``, ``evaluations``, ``number_of_observations``, ``number_of_rejected_observations``,
        ``deformation_number`` (trajectories cross above one) and ``status``. With `uncertainty` the standard error of
        each part of the control, ``<name>_std``, and on request its members, ``<name>_samples`` (window, member, ...).

    Warns
    -----
    InputWarning
        If values in memory are taken as missing.
    AnalysisWarning
        If windows did not converge, or trajectories cross; for lazy data ``status`` and ``deformation_number`` report
        it.

    Raises
    ------
    InputError
        With all faults of the input and the options, and the fix of each.

    References
    ----------
    Filoche, Béréziat, Brajard and Charantonis (2021), "Variational assimilation of geophysical images leveraging deep
    learning tools".

    Examples
    --------
    >>> import xvar
    >>> analysis = xvar.datasets.sample().var4d.assimilate()
    >>> dict(analysis["u"].sizes)
    {'window': 2, 'step': 4, 'y': 128, 'x': 128}
    """
    faults = Faults()
    options = Options.read(locals(), faults)
    dataset, record = read_source(data, variable, options, faults)
    plan = None if record is None else make_plan(record, options, faults)
    record, plan = faults.require(record), faults.require(plan)
    work, size = make_work(plan, record, options, lazy=is_lazy(record.array) or is_deferred())
    times = record.times
    arrays = run_batches(work, record.array.data, plan.schedule, size, times.seconds, times.values)
    if not hasattr(arrays["status"], "dask"):
        warn_about_analysis(arrays, plan, record)
    return label(arrays, plan, dataset, record)
