"""Consistency of an analysis with its stated errors: innovations, residuals, 2 J / p, degrees of freedom for signal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.cf.conventions import to_cf
from xvar.cf.metadata import attributes, flag_attributes
from xvar.errors import Fault, InputError
from xvar.plan.configuration import Configuration

Array = NDArray[np.float64]

SIDE = 3  # regions along each side of the grid
CONSISTENT = 0.5, 2.0  # of 2 J / p, and of a ratio of variances
SIGNAL = "degrees_of_freedom_for_signal"


class _Departures(NamedTuple):
    """Innovations, residuals and stated variances of one source, all of one shape, NaN where nothing is compared."""

    innovation: Array  # of images (window, step, y, x); of points, channels, profiles and series (value,)
    residual: Array
    variance: Array

    @classmethod
    def of(cls, innovation: Array, residual: Array, variance: Array) -> _Departures:
        """Return departures in double precision, NaN where one of both is missing."""
        known = np.isfinite(innovation) & np.isfinite(residual)
        return cls(*(np.where(known, part, np.nan).astype("float64") for part in (innovation, residual, variance)))

    def statistics(self, *axes: int) -> dict[str, Array]:
        """Return variances and biases, means over axes (default: all)."""
        before, after, stated = self
        values = {
            "observation_variance": after * before,
            "background_variance": (before - after) * before,
            "stated_observation_variance": stated,
            "chi_square": after**2 / stated,
            "innovation_bias": before,
            "residual_bias": after,
        }
        return {name: _mean(part, axes or tuple(range(part.ndim))) for name, part in values.items()}

    def regions(self) -> dict[str, Array]:
        """Return the statistics of images by region, row by row."""
        rows, columns = (np.array_split(np.arange(size), SIDE) for size in self.residual.shape[-2:])
        cuts = [(..., y[:, None], x) for y in rows for x in columns]
        parts = [_Departures(*(part[cut] for part in self)).statistics() for cut in cuts]
        return {name: np.array([part[name] for part in parts]) for name in parts[0]}

    def correlations(self) -> Array:
        """Return the correlation of residuals with their neighbours in time, y and x; NaN for points."""
        anomaly, found = self.residual - _mean(self.residual), np.full(3, np.nan)
        for place, axis in enumerate(range(1, anomaly.ndim)):
            pair = (anomaly.take(range(k, anomaly.shape[axis] - 1 + k), axis) for k in (0, 1))
            one, other = np.where(np.isfinite(product := np.stack(list(pair))).all(0), product, 0.0)
            power = np.sqrt((one**2).sum() * (other**2).sum())
            found[place] = (one * other).sum() / power if power > 0 else np.nan
        return found


def _mean(values: Array, axes: tuple[int, ...] | None = None) -> Any:
    """Return the mean of finite values, NaN if there are none."""
    count = np.isfinite(values).sum(axes, dtype="float64")
    return np.nansum(values, axes) / np.where(count > 0, count, np.nan)


def diagnose(data: xr.Dataset) -> xr.Dataset:
    r"""Compare an analysis with what its stated errors let expect.

    With innovations :math:`d_b = y - H(x_b)`, residuals :math:`d_a = y - H(x_a)` and p observations

    .. math::

        \frac{2 J}{p} \approx 1 \pm \sqrt{2 / p}, \quad E\, 2 J_b = \mathrm{tr}\, HK, \quad
        E\, 2 J_o = p - \mathrm{tr}\, HK, \quad R \approx E\, d_a d_b^T, \quad HBH^T \approx E\, (d_b - d_a) d_b^T

    if B, Q and R are true, the model is about linear and the norms are quadratic [1]_, [2]_; J_b with the terms of
    model error and parameters. Nothing is changed by it: estimates of one error assume that the others are true.

    Parameters
    ----------
    data : Dataset
        An analysis with ``save=("innovation", "residual")``, or of points; with ``uncertainty="posterior"`` also the
        degrees of freedom for signal. Lazy parts are computed.

    Returns
    -------
    Dataset
        The attribute ``comment`` is a table of what follows, and says which of B, R and Q is out of line, if 2 J / p
        is outside 0.5 to 2. ``cost_ratio`` (window), 2 J / p, with its ``cost_ratio_spread``, and ``term_ratio``
        (window, term), 2 J of each term over p. By ``observation_type``, and by its ``step`` (``_by_step``) and
        region (``_by_region``, three by three parts of the grid, row by row): ``observation_variance`` and
        ``background_variance``, the estimates of R and HBH^T, ``stated_observation_variance`` and ``chi_square``, the
        mean of the squares of residuals over their stated deviations. ``innovation_bias``, ``residual_bias``,
        ``residual_correlation`` (with neighbours in time, y and x), ``number_of_observations`` and
        ``effective_observations``; ``degrees_of_freedom_for_signal`` over all windows with its standard error, and
        ``influence``, its share of the observations.

    Raises
    ------
    InputError
        If `data` is no analysis, or has no departures.

    References
    ----------
    .. [1] Talagrand (1999), ECMWF Workshop on Diagnosis of Data Assimilation Systems, 17-28.
    .. [2] Desroziers, Berre, Chapnik and Poli (2005), doi:10.1256/qj.05.108.

    Examples
    --------
    >>> import xvar
    >>> radar = xvar.datasets.sample().isel(y=slice(40, 72), x=slice(40, 72))
    >>> analysis = radar.var4d.assimilate(save=("innovation", "residual"))
    >>> float(analysis.var4d.diagnose()["effective_observations"][0]) < 6 * 32 * 32
    True
    """
    configuration = configuration_of(data, "cost", "number_of_observations")
    sources = dict(_sources(data, configuration))
    if not sources:
        found, expected = "an analysis without innovations and residuals", "both, from which the errors are estimated"
        fix = 'ds.var4d.assimilate(..., save=("innovation", "residual"))'
        raise InputError(Fault(found, expected, fix, code="departures-missing"))
    result = _costs(data).assign(_by_source(data, sources))
    result["observation_type"] = _flags("observation_type", sources)
    result.attrs = {**data.attrs, "comment": "\n".join(_report(result, data, configuration))}
    return to_cf(result, data, action="diagnose()")


def _sources(data: xr.Dataset, configuration: Configuration) -> Iterator[tuple[str, _Departures]]:
    """Yield the departures of each source by its label, images first."""
    for label in (str(name).removesuffix("_residual") for name in data.data_vars if str(name).endswith("_residual")):
        if f"{label}_innovation" not in data:
            continue
        residual = data[f"{label}_residual"].values
        innovation = data[f"{label}_innovation"].transpose(*data[f"{label}_residual"].dims).values
        error = data.get(f"{label}_observation_error", xr.DataArray(np.full(residual.shape[:2], np.nan))).values
        compared = np.isfinite(error) | np.isnan(error).all()
        if not configuration.has_state:  # the methods of images compare with the last one
            compared[:, -1] = False
        of_step = (..., *[None] * (residual.ndim - 2))
        variance = np.broadcast_to((error**2)[of_step], residual.shape)
        parts = innovation, np.where(compared[of_step], residual, np.nan), variance
        found = _Departures.of(*(part if part.ndim == 4 else part.ravel() for part in parts))
        # What the methods of images call innovation is the change up to the last one.
        yield label, found if configuration.has_state else found._replace(innovation=np.full(residual.shape, np.nan))
    if "observation_analysis" not in data:
        return
    value, before, after, std = (
        data[f"observation_{name}"].values for name in ("value", "background", "analysis", "std")
    )
    labels, which = [_labels(data)[-1] if SIGNAL in data else "points"], np.zeros(value.shape, dtype=int)
    if "observation_source" in data:
        labels, which = _labels(data, "observation_source"), data["observation_source"].values
    for number, label in enumerate(labels):
        own = which == number
        yield label, _Departures.of((value - before)[own], (value - after)[own], std[own] ** 2)


def _labels(data: xr.Dataset, name: str = "observation_type") -> list[str]:
    return str(data[name].attrs["flag_meanings"]).split()


def _flags(dim: str, labels: Any) -> xr.Variable:
    """Return a coordinate of numbers with their meanings."""
    return xr.Variable(dim, np.arange(len(labels), dtype="int8"), attributes(dim, **flag_attributes(tuple(labels))))


def _costs(data: xr.Dataset) -> xr.Dataset:
    """Return 2 J / p and its terms."""
    final, count = data.isel(stage=1), data["number_of_observations"].values.astype("float64")[:, None]
    names = [
        str(name) for name, part in data.data_vars.items() if str(name).startswith("cost") and "stage" in part.dims
    ]
    ratios = np.stack([2 * final[name].values for name in names], axis=1) / np.where(count > 0, count, np.nan)
    terms = [name.removeprefix("cost_") for name in names if name != "cost"]
    whole = names.index("cost")
    fields: dict[str, Any] = {
        "cost_ratio": ("window", ratios[:, whole]),
        "cost_ratio_spread": ("window", np.sqrt(2 / np.where(count > 0, count, np.nan))[:, 0]),
        "term_ratio": (("window", "term"), np.delete(ratios, whole, axis=1)),
    }
    described = {name: (*part, attributes(name)) for name, part in fields.items()}
    return xr.Dataset(described, {"term": _flags("term", terms)})


def _by_source(data: xr.Dataset, sources: Mapping[str, _Departures]) -> dict[str, Any]:
    """Return the statistics of each source."""
    fields: dict[str, Any] = {}

    def add(name: str, values: Any, *dims: str, suffix: str = "") -> None:
        fields[name + suffix] = (("observation_type", *dims), np.array(values, dtype="float64"), attributes(name))

    every = list(sources.values())
    images = [one for one in every if one.residual.ndim == 4]
    steps = max((one.residual.shape[1] for one in images), default=0)
    for name in every[0].statistics():
        add(name, [one.statistics()[name] for one in every])
        if images and name.endswith(("variance", "chi_square")):
            by_step, by_region = np.full((len(every), steps), np.nan), np.full((len(every), SIDE**2), np.nan)
            for row, one in enumerate(every):
                if one.residual.ndim != 4:
                    continue
                by_step[row, : one.residual.shape[1]] = one.statistics(0, 2, 3)[name]
                by_region[row] = one.regions()[name]
            add(name, by_step, "step", suffix="_by_step")
            add(name, by_region, "region", suffix="_by_region")
    counts = np.array([np.isfinite(one.residual).sum() for one in every], dtype="float64")
    correlations = np.array([one.correlations() for one in every])
    shares = np.clip(np.nan_to_num(correlations), 0, 0.999)
    add("residual_correlation", correlations, "direction")
    add("number_of_observations", counts)
    add("effective_observations", counts * ((1 - shares) / (1 + shares)).prod(1))
    if SIGNAL in data:
        places = [_labels(data).index(label) for label in sources]
        signal = data[SIGNAL].sum("window").values[places]
        add(SIGNAL, signal)
        add(f"{SIGNAL}_std", np.sqrt((data[f"{SIGNAL}_std"] ** 2).sum("window", skipna=False).values[places]))
        add("influence", signal / np.maximum(counts, 1))
    return fields


def _report(result: xr.Dataset, data: xr.Dataset, configuration: Configuration) -> Iterator[str]:
    """Yield the table, and what is out of line."""
    counts = data["number_of_observations"].values.astype("float64")
    count = max(float(counts.sum()), 1.0)
    ratio = float(np.nansum(result["cost_ratio"] * counts)) / count
    terms = dict(
        zip(_labels(result, "term"), np.nansum(result["term_ratio"].values.T * counts, 1) / count, strict=True)
    )
    signal = float(result[SIGNAL].sum(skipna=False)) if SIGNAL in result else np.nan
    yield f"2 J / p of {count:.0f} observations: {ratio:.3g}, of which " + ", ".join(
        f"{name} {value:.3g}" for name, value in terms.items()
    )
    columns = {
        "p": result["number_of_observations"].astype(int),
        "independent": result["effective_observations"],
        "sigma_o stated": _root(result["stated_observation_variance"]),
        "sigma_o estimated": _root(result["observation_variance"]),
        "sigma_b estimated": _root(result["background_variance"]),
        "bias d_b": result["innovation_bias"],
        "bias d_a": result["residual_bias"],
        **({"DFS": result[SIGNAL], "DFS error": result[f"{SIGNAL}_std"]} if SIGNAL in result else {}),
    }
    table = pd.DataFrame({name: np.asarray(part) for name, part in columns.items()}, _labels(result))
    yield table.to_string(float_format="{:.4g}".format, na_rep="-")
    if not configuration.gaussian:
        yield "J has no known expectation: its norm is robust, images are transformed, or their error is not stated"
        return
    share = signal / count
    expected = "" if np.isnan(share) else f"; of observation {1 - share:.3g}, of the other terms together {share:.3g}"
    yield f"expected, if all errors are as stated: 1 within {np.sqrt(2 / count):.2g}{expected}"
    if CONSISTENT[0] <= ratio <= CONSISTENT[1]:
        yield "the stated errors are consistent with J"
    else:
        found = result["observation_variance"] / result["stated_observation_variance"]
        factors = {f"R of {label}": float(part) for label, part in zip(_labels(result), found, strict=True)}
        weak = "model_error" in terms
        factors["B or Q" if weak else "B"] = (ratio - terms["observation"]) / share
        yield from _findings(factors, configuration.variable)


def _root(variance: xr.DataArray) -> Array:
    return np.sqrt(np.where(variance >= 0, variance, np.nan))


def _findings(factors: Mapping[str, float], variable: str) -> Iterator[str]:
    """Yield the errors that are out of line, the worst first, with the option that states each."""
    options = {f"R of {variable}": "observation_error=", "B": "background_error="}
    options["B or Q"] = "background_error= or model_error="
    known = {name: part for name, part in factors.items() if part > 0}
    outside = [name for name, part in known.items() if not CONSISTENT[0] <= part <= CONSISTENT[1]]
    for name in sorted(outside, key=lambda name: -abs(np.log(known[name]))):
        words = f"{name} is too {'small' if known[name] > 1 else 'large'}: the estimated variance is {known[name]:.3g}"
        option = options.get(name, "its error in observation=")
        yield f"{words} of the stated one; {option} with deviations times {np.sqrt(known[name]):.3g}"
    if not outside:
        yield 'no single error is out of line by itself; uncertainty="posterior" tells B from R'
