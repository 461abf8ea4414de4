"""Scores of forecasts, ensembles and analysed motion against the truth."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from xvar.analysis.verify.events import SCALE, THRESHOLDS
from xvar.analysis.verify.forecasts import verify_forecast
from xvar.analysis.verify.motion import verify_motion
from xvar.errors import Fault, InputError

__all__ = ["SCALE", "THRESHOLDS", "verify"]


def verify(
    data: xr.Dataset,
    truth: xr.Dataset | xr.DataArray,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    scale: float | str = SCALE,
) -> xr.Dataset:
    r"""Compare a forecast with what was observed, or an analysed motion with the true one.

    A forecast is scored at each lead time, over all windows together and in each window (``<score>_by_window``), at
    points with a forecast and a truth. Pairs are made by valid time: nothing is interpolated, and forecasts of times
    that the truth lacks are counted in ``number_without_truth``.
    With forecasts :math:`f` and truths :math:`o` at :math:`n` points

    .. math::

        \mathrm{rmse} = \sqrt{\tfrac1n \sum (f - o)^2}, \quad \mathrm{bias} = \tfrac1n \sum (f - o), \quad
        \mathrm{mae} = \tfrac1n \sum |f - o|

    and ``correlation`` is Pearson's. The RMSE over several windows is the root of the mean over their points, no mean
    of their RMSE. An event is a value at or above a threshold; of its hits :math:`h`, misses :math:`m` and false alarms
    :math:`a`

    .. math::

        \mathrm{csi} = \frac{h}{h + m + a}, \quad \mathrm{pod} = \frac{h}{h + m}, \quad \mathrm{far} = \frac{a}{h + a},
        \quad \mathrm{fss} = 1 - \frac{\sum (P_f - P_o)^2}{\sum P_f^2 + \sum P_o^2}

    where :math:`P` is the number of events in a square of side `scale`, over all squares inside the grid [1]_; points
    without a pair are no events there. Scores of persistence, the last observed frame, are ``rmse_persistence``,
    ``csi_persistence`` and ``fss_persistence``, from the truth at the end of each window.

    An ensemble :math:`f_i` of M members is scored by

    .. math::

        \mathrm{crps} = \tfrac1n \sum \Bigl( \tfrac1M \sum_i |f_i - o| - \tfrac1{2 M^2} \sum_{ij} |f_i - f_j| \Bigr),
        \quad \mathrm{spread}^2 = \tfrac{M + 1}{M} \tfrac1n \sum \mathrm{Var}_i f_i,
        \quad \mathrm{brier} = \tfrac1n \sum (p - e)^2

    with p the share of members at or above the threshold and e one for an event, else zero. ``crps_fair`` has
    :math:`M (M - 1)` in place of :math:`M^2` [2]_; ``crps_skill`` is over persistence, ``brier_skill`` over the
    observed frequency. ``rmse`` and ``bias`` are those of the ensemble mean, whose error the spread of a reliable
    ensemble equals: ``spread_over_error``. ``rank_histogram`` shares ties among all their ranks; points at which truth
    and all members are equal are left out. ``reliability_index`` is :math:`\sum_r |h_r - 1 / (M + 1)|` of it.
    ``observed_frequency`` by forecast ``probability`` is the reliability diagram, ``forecast_frequency`` its sharpness,
    ``roc_area`` the area under the relative operating characteristic.

    An analysis is scored at each step against true velocities ``u`` and ``v``, at points with both:
    ``end_point_error`` is the mean of :math:`|w - w_o|`, ``vector_rmse`` the root of the mean of its square,
    ``angular_error`` the mean angle between the two in degrees, if neither is at rest, and ``vector_correlation``
    the correlation of the vectors' deviations from their means, Pearson's for the two components together.

    Parameters
    ----------
    data : Dataset
        A forecast, as `xvar.analysis.forecast.forecast` gives it, or an analysis.
    truth : Dataset or DataArray
        For a forecast the observed record (time, y, x): the variable of the same name, or the only one of its kind;
        for an analysis the true velocities, by standard name or as ``u`` and ``v``, with or without time. On the same
        points, in any order; in any units that can be converted.
    thresholds : sequence of float
        Of events: in mm h-1 for rain, whatever the units of the file, else in the units of the variable. The default
        values are rain's: other variables have scores of events only if thresholds are given.
    scale : str or float
        Side of the squares of the FSS, a length such as "10km", or metres. A grid smaller than the default has no FSS.

    Returns
    -------
    Dataset
        Of a forecast: scores (lead_time) and (window, lead_time), those of events also by ``threshold``; float64 in
        the units of the variable, NaN without a pair, or without an event to score. Of an analysis: scores (step) and
        (window, step). Computed here, also if `data` is lazy.

    Raises
    ------
    InputError
        If `data` is neither; if `truth` has no such variable, other points (the largest difference is reported), units
        that cannot be converted or no time in common; if rain has no rate for thresholds in mm h-1.

    References
    ----------
    .. [1] Roberts, N. M. and Lean, H. W. (2008). Scale-selective verification of rainfall accumulations from
       high-resolution forecasts of convective events. Monthly Weather Review 136, 78-97. doi:10.1175/2007MWR2123.1
    .. [2] Ferro, C. A. T. (2014). Fair scores for ensemble forecasts. Quarterly Journal of the Royal Meteorological
       Society 140, 1917-1923. doi:10.1002/qj.2270

    Examples
    --------
    >>> import xvar
    >>> radar = xvar.datasets.sample()
    >>> forecast = radar.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("15min")
    >>> scores = forecast.var4d.verify(radar)
    >>> bool((scores["rmse"] < scores["rmse_persistence"]).all())
    True
    """
    if "lead_time" in data.coords:
        return verify_forecast(data, truth, thresholds, scale)
    if "step" in data.dims and {"u", "v"} <= set(data.data_vars):
        return verify_motion(data, truth)
    found = f"a Dataset with dimensions ({', '.join(map(str, data.dims))}), neither a forecast nor an analysis"
    expected = "a forecast (window, lead_time, y, x), or an analysis with u and v (window, step, y, x)"
    fix = 'ds.var4d.assimilate().var4d.forecast("30min").var4d.verify(ds)'
    raise InputError(Fault(found, expected, fix, code="not-a-result"))
