"""Consistency of an analysis with its stated errors: innovations, residuals, chi-square, degrees of freedom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.cf.conventions import to_cf
from xvar.cf.metadata import attributes, flag_attributes
from xvar.errors import Faults
from xvar.plan.configuration import Configuration

Array = NDArray[np.float64]

SIDE = 3  # regions along each side of the grid
CONSISTENT = 0.5, 2.0  # of a ratio of variances, and of 2 J / p
SIGNAL = "degrees_of_freedom_for_signal"


@dataclass(frozen=True)
class _Departures:
    """Innovations, residuals and stated variances of one source, NaN where nothing is compared."""

    label: str
    innovation: Array  # of images (window, step, y, x), else (point,)
    residual: Array
    variance: Array  # stated, broadcastable to them

    @property
    def is_images(self) -> bool:
        """True for images, False for points."""
        return self.innovation.ndim == 4

    @cached_property
    def count(self) -> int:
        """Number of compared values."""
        return int(np.isfinite(self.residual).sum())

    def variances(self, axis: Any = None) -> Mapping[str, Array]:
        """Return stated and estimated variances, means over axes of the arrays."""
        known = np.isfinite(self.residual)
        own = np.where(known, self.variance, np.nan)
        products = {
            "observation_variance": self.residual * self.innovation,
            "background_variance": (self.innovation - self.residual) * self.innovation,
            "stated_observation_variance": own,
            "chi_square": self.residual**2 / own,
        }
        counts = {name: np.isfinite(part).sum(axis, dtype="float64") for name, part in products.items()}
        return {
            name: np.nansum(part, axis) / np.where(counts[name] > 0, counts[name], np.nan)
            for name, part in products.items()
        }

    def regions(self) -> Mapping[str, Array]:
        """Return the same of images by region, (region,) row by row."""
        rows, columns = (np.array_split(np.arange(size), SIDE) for size in self.residual.shape[-2:])
        parts = [
            _Departures(
                self.label,
                *(
                    np.broadcast_to(one, self.residual.shape)[..., y[:, None], x]
                    for one in (self.innovation, self.residual, self.variance)
                ),
            ).variances()
            for y in rows
            for x in columns
        ]
        return {name: np.array([part[name] for part in parts]) for name in parts[0]}

    def correlations(self) -> Array:
        """Return the correlation of residuals with their neighbours (step, y, x), NaN for points."""
        found = np.full(3, np.nan)
        anomaly = self.residual - np.nanmean(self.residual) if self.count else self.residual
        for place, axis in enumerate((1, 2, 3) if self.is_images else ()):
            size = anomaly.shape[axis]
            one, other = (anomaly.take(range(k, size - 1 + k), axis) for k in (0, 1))
            both = np.isfinite(one) & np.isfinite(other)
            power = np.sqrt((one[both] ** 2).sum() * (other[both] ** 2).sum())
            found[place] = (one[both] * other[both]).sum() / power if power > 0 else np.nan
        return found


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
    sources = list(_sources(data, configuration))
    if not sources:
        faults = Faults()
        faults.add(
            code="departures-missing",
            found="an analysis without innovations and residuals",
            expected="both, from which the errors are estimated",
            fix='ds.var4d.assimilate(..., save=("innovation", "residual"))',
        )
        faults.raise_if_any()
    result = _costs(data).assign(_by_source(data, sources))
    result["observation_type"] = _flags("observation_type", [source.label for source in sources])
    result.attrs = {**data.attrs, "comment": "\n".join(_report(result, data, configuration))}
    return to_cf(result, data, action="diagnose()")


def _sources(data: xr.Dataset, configuration: Configuration) -> Iterator[_Departures]:
    """Yield the departures of each source, images first."""
    for name in map(str, data.data_vars):
        label = name.removesuffix("_innovation")
        if label == name or f"{label}_residual" not in data:
            continue
        dims = data[name].dims
        innovation, residual = (
            data[part].transpose(*dims).values.astype("float64") for part in (name, f"{label}_residual")
        )
        variance = np.full(innovation.shape[:2], np.nan)
        if f"{label}_observation_error" in data:
            variance = data[f"{label}_observation_error"].values.astype("float64") ** 2
        compared = ~np.isnan(variance) if configuration.has_state else np.ones_like(variance, dtype=bool)
        compared[:, -1] &= configuration.has_state  # with which the methods of images compare the others
        residual = np.where(compared[..., None, None] & np.isfinite(innovation), residual, np.nan)
        if not configuration.has_state:  # what they call innovation is the change since the image
            innovation = np.full_like(innovation, np.nan)
        yield _Departures(label, innovation, residual, variance[..., None, None])
    if "observation_analysis" in data:
        point = {name: data[f"observation_{name}"].values for name in ("value", "background", "analysis", "std")}
        labels = ["points"]
        which = np.zeros(point["value"].shape, dtype=int)
        if "observation_source" in data:
            labels, which = (
                str(data["observation_source"].attrs["flag_meanings"]).split(),
                data["observation_source"].values,
            )
        for number, label in enumerate(labels):
            value, background, analysis, std = (part[which == number].astype("float64") for part in point.values())
            yield _Departures(label, value - background, value - analysis, std**2)


def _costs(data: xr.Dataset) -> xr.Dataset:
    """Return 2 J / p and its terms."""
    count = data["number_of_observations"].astype("float64")
    count = count.where(count > 0)
    final = data.isel(stage=1)
    terms = [
        str(name).removeprefix("cost_")
        for name, part in data.data_vars.items()
        if str(name).startswith("cost_") and "stage" in part.dims
    ]
    found = xr.concat([2 * final[f"cost_{term}"] / count for term in terms], "term").transpose("window", "term")
    return xr.Dataset(
        {
            "cost_ratio": ("window", (2 * final["cost"] / count).values, attributes("cost_ratio")),
            "cost_ratio_spread": ("window", np.sqrt(2 / count.values), attributes("cost_ratio_spread")),
            "term_ratio": (("window", "term"), found.values, attributes("term_ratio")),
        },
        {"term": _flags("term", terms)},
    )


def _flags(dim: str, labels: list[str]) -> xr.Variable:
    """Return a coordinate of numbers with their meanings."""
    return xr.Variable(dim, np.arange(len(labels), dtype="int8"), attributes(dim, **flag_attributes(tuple(labels))))


def _by_source(data: xr.Dataset, sources: list[_Departures]) -> dict[str, Any]:
    """Return the statistics of each source."""
    fields: dict[str, Any] = {}

    def add(name: str, values: list[Any], *dims: str, suffix: str = "") -> None:
        fields[name + suffix] = (("observation_type", *dims), np.array(values, dtype="float64"), attributes(name))

    steps = max((source.residual.shape[1] for source in sources if source.is_images), default=0)
    cuts: dict[str, tuple[tuple[str, ...], Any]] = {"": ((), [s.variances() for s in sources])}
    if steps:
        missing: Mapping[str, Array] = dict.fromkeys(cuts[""][1][0], np.full(steps, np.nan))
        by_step = [s.variances((0, 2, 3)) if s.is_images else missing for s in sources]
        padded = [
            {k: np.pad(v, (0, steps - len(v)), constant_values=np.nan) for k, v in one.items()} for one in by_step
        ]
        nowhere = dict.fromkeys(missing, np.full(SIDE**2, np.nan))
        cuts["_by_step"] = ("step",), padded
        cuts["_by_region"] = ("region",), [s.regions() if s.is_images else nowhere for s in sources]
    for suffix, (dims, parts) in cuts.items():
        for name in parts[0]:
            add(name, [part[name] for part in parts], *dims, suffix=suffix)
    correlations = [source.correlations() for source in sources]
    shares = [np.prod([(1 - r) / (1 + r) for r in np.clip(c[np.isfinite(c)], 0, 0.999)]) for c in correlations]
    add("residual_correlation", correlations, "direction")
    add("number_of_observations", [source.count for source in sources])
    add("effective_observations", [s.count * share for s, share in zip(sources, shares, strict=True)])
    add("innovation_bias", [_mean(s.innovation[np.isfinite(s.residual)]) for s in sources])
    add("residual_bias", [_mean(s.residual[np.isfinite(s.residual)]) for s in sources])
    if SIGNAL in data:
        labels = str(data["observation_type"].attrs["flag_meanings"]).split()
        places = [labels.index(source.label) for source in sources]
        signal = data[SIGNAL].sum("window").values[places]
        squares = (data[f"{SIGNAL}_std"] ** 2).sum("window", skipna=False).values[places]
        add(SIGNAL, list(signal))
        add(f"{SIGNAL}_std", list(np.sqrt(squares)))
        add("influence", list(signal / np.array([max(source.count, 1) for source in sources])))
    return fields


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else np.nan


def _report(result: xr.Dataset, data: xr.Dataset, configuration: Configuration) -> Iterator[str]:
    """Yield the table, and what is out of line."""
    count = float(data["number_of_observations"].sum())
    weight = data["number_of_observations"].values / max(count, 1)
    ratio = float(np.nansum(result["cost_ratio"] * weight))
    terms = np.nansum(result["term_ratio"] * weight[:, None], axis=0)
    names = str(result["term"].attrs["flag_meanings"]).split()
    labels = str(result["observation_type"].attrs["flag_meanings"]).split()
    signal = float(result[SIGNAL].sum(skipna=False)) if SIGNAL in result else np.nan
    yield f"2 J / p: {ratio:.3g}, expected 1 within {np.sqrt(2 / max(count, 1)):.2g} if all errors are as stated"
    yield from (f"  {name}: {value:.3g}" for name, value in zip(names, terms, strict=True))
    if np.isfinite(signal):
        share = signal / max(count, 1)
        yield f"  expected of observation: {1 - share:.3g}, of the other terms together: {share:.3g}"
    rows: list[tuple[str, ...]] = [
        (
            "source",
            "p",
            "independent",
            "sigma_o stated",
            "estimated",
            "sigma_b estimated",
            "bias d_b",
            "bias d_a",
            "DFS",
        )
    ]
    for index, label in enumerate(labels):
        one = {str(name): float(part[index]) for name, part in result.items() if part.dims == ("observation_type",)}
        roots = (_root(one[f"{name}_variance"]) for name in ("stated_observation", "observation", "background"))
        freedom = f"{one[SIGNAL]:.3g} +- {one[f'{SIGNAL}_std']:.2g}" if SIGNAL in one else "-"
        numbers = one["number_of_observations"], one["effective_observations"]
        biases = (_number(one[f"{name}_bias"]) for name in ("innovation", "residual"))
        rows.append((label, *(f"{value:.0f}" for value in numbers), *roots, *biases, freedom))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield from ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    if not configuration.gaussian:
        yield "J has no known expectation: its norm is robust, images are transformed, or their error is not stated"
    elif CONSISTENT[0] <= ratio <= CONSISTENT[1]:
        yield "the stated errors are consistent with J"
    else:
        stated, found = result["stated_observation_variance"].values, result["observation_variance"].values
        factors = {
            f"R of {label}": (f / s, _option(label, configuration))
            for label, f, s in zip(labels, found, stated, strict=True)
        }
        weak = "model_error" in names
        options = "background_error= or model_error=" if weak else "background_error="
        observed = terms[names.index("observation")]
        if np.isfinite(signal):
            factors["B or Q" if weak else "B"] = ((terms.sum() - observed) * count / signal, options)
        yield from _findings(factors, ratio)


def _findings(factors: Mapping[str, tuple[float, str]], ratio: float) -> Iterator[str]:
    """Yield the errors that are out of line, the worst first."""
    known = {name: factor for name, (factor, _) in factors.items() if np.isfinite(factor) and factor > 0}
    order = sorted(known, key=lambda name: -abs(np.log(known[name])))
    outside = [name for name in order if not CONSISTENT[0] <= known[name] <= CONSISTENT[1]]
    for name in outside:
        size = "too small" if known[name] > 1 else "too large"
        words = f"{name} is {size}: the estimated variance is {known[name]:.3g} of the stated one"
        yield f"{words}; {factors[name][1]} with deviations times {np.sqrt(known[name]):.3g}"
    if not outside:
        fix = (
            '; uncertainty="posterior" tells B from R'
            if len(factors) == len([n for n in factors if n[0] == "R"])
            else ""
        )
        yield f"J is {'larger' if ratio > 1 else 'smaller'} than expected, and no single error is out of line{fix}"


def _option(label: str, configuration: Configuration) -> str:
    return "observation_error=" if label == configuration.variable else f"the error of {label} in observation="


def _root(variance: float) -> str:
    return _number(np.sqrt(variance)) if variance >= 0 else "-"


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "-"
