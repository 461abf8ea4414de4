"""Cost functions and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Fault, InputError
from xvar.plot.canvas import moment, own_axes, seconds_of, unit_of_time
from xvar.plot.colours import in_symbols
from xvar.plot.facets import Window, select

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = 30.0  # a cost function that falls by more than this factor is drawn on a logarithmic axis
TICKS = 12  # labels along an axis, at most


def cost(data: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw the terms of the cost function of each window, at the background and at the analysis.

    Parameters
    ----------
    data : Dataset
        An analysis.
    ax : matplotlib Axes, optional
        Axes to draw in.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If `data` has no cost.
    """
    terms = {str(name): part for name, part in data.items() if str(name).startswith("cost_") and "stage" in part.dims}
    if not terms:
        fix = "ds.var4d.assimilate().var4d.plot.cost()"
        raise InputError(Fault("a Dataset without cost", "an analysis", fix, code="not-an-analysis"))
    ax = own_axes(ax)
    windows = np.arange(data.sizes.get("window", 1))
    for stage, (shift, hatch, label) in enumerate(((-0.2, "//", "background"), (0.2, "", "analysis"))):
        below = np.zeros(windows.size)
        for number, (name, part) in enumerate(terms.items()):
            heights = np.nan_to_num(np.atleast_1d(part.isel(stage=stage).values))
            if not heights.any():
                continue
            style: dict[str, Any] = {"color": f"C{number}", "hatch": hatch, "edgecolor": "white"}
            words = f"{_words(name, 'cost_')}, at the {label}"
            ax.bar(windows + shift, heights, 0.38, bottom=below, label=words, **style)
            below += heights
    ends = np.atleast_1d(data["forecast_reference_time"].values)
    days = sorted({moment(end)[:10] for end in ends})
    shown = slice(11, 16) if len(days) == 1 else slice(5, 16)
    ax.set_xticks(thinned(windows), [moment(ends[number])[shown] for number in thinned(windows)])
    if len(days) > 1:
        ax.tick_params(axis="x", rotation=30)
    span = " to ".join(dict.fromkeys((days[0], days[-1])))
    ax.set(xlabel=f"end of the window (UTC), {span}", ylabel="cost function J", title="terms of the cost function")
    ax.set_ylim(top=1.3 * ax.get_ylim()[1])
    ax.legend(fontsize="small", frameon=False, loc="upper center", ncols=2)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def cost_history(data: xr.Dataset, *, window: Window = -1, ax: Axes | None = None) -> Axes:
    """Draw the cost function and its terms by evaluation.

    Parameters
    ----------
    data : Dataset
        An analysis with ``save=("cost_history",)``. At each evaluation J is the lowest that its minimisation has found;
        a minimisation on a coarser grid, or of another outer loop, has a J of its own, and ends at a dotted line.
    window : int or time
        Index of the window, or a time that it holds.
    ax : matplotlib Axes, optional
        Axes to draw in.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If the analysis was made without it, or there is no such window.
    """
    from matplotlib.ticker import MaxNLocator

    if "cost_history" not in data:
        fix = "ds.var4d.assimilate(save=('cost_history',))"
        raise InputError(Fault("an analysis without 'cost_history'", "an analysis with it", fix, code="not-saved"))
    one = select(data, "window", window)
    one = one.isel(evaluation=one["minimisation"].values > 0)
    ax = own_axes(ax)
    number, evaluation = one["minimisation"].values, one["evaluation"].values
    begins = np.flatnonzero(np.diff(number, prepend=0))
    names = [str(name) for name in one.data_vars if str(name).startswith("cost_history")]
    for place, name in enumerate(names):
        total = name == "cost_history"
        colour, width = ("black", 2.0) if total else (f"C{place - 1}", 1.4)
        label = "J" if total else _words(name, "cost_history_")
        for part in np.split(np.arange(number.size), begins[1:]):
            style: dict[str, Any] = {"color": colour, "linewidth": width, "drawstyle": "steps-post"}
            ax.plot(evaluation[part], one[name].values[part], label=label, **style)
            label = "_"  # one entry of the legend for all minimisations
    highest = max(float(np.nanmax(one[name].values, initial=0.0)) for name in names)
    lowest = float(np.nanmin(one["cost_history"].values, initial=np.inf))
    if highest > DECADES * lowest > 0:
        ax.set(yscale="log", ylim=(lowest / DECADES, None))
    else:
        room = 1.4 if begins.size > 1 else 1.08  # for the names of the minimisations
        ax.set_ylim(0, room * highest if highest else None)
    words = str(one["minimisation"].attrs["flag_meanings"]).split()
    for begin in begins if begins.size > 1 else ():
        left = float(evaluation[begin]) - 0.5
        if begin:
            ax.axvline(left, color="0.6", linewidth=0.8, linestyle=":")
        style = {"rotation": 90, "va": "top", "color": "0.4", "size": 7, "transform": ax.get_xaxis_transform()}
        ax.text(left, 0.98, f" {_words(words[number[begin]])}", **style)
    ax.set(xlabel="evaluations of J and its gradient", ylabel="cost function J")
    ax.set_title("history of the cost function", pad=22)
    ax.legend(fontsize="small", frameon=False, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 0.99))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def skill(scores: xr.Dataset, *, score: str = "rmse", ax: Axes | None = None) -> Axes:
    """Draw a score against lead time, persistence dashed; beside the spread of an ensemble the error of its mean.

    Parameters
    ----------
    scores : Dataset
        Scores of a forecast, as ``verify`` returns them.
    score : str
        Name of the score: "rmse", "csi", "fss", "bias", "spread", ...; those of events have a line for each threshold.
    ax : matplotlib Axes, optional
        Axes to draw in.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        If there is no such score by lead time.
    """
    by_lead = ({"lead_time"}, {"lead_time", "threshold"})
    if score not in scores or set(scores[score].dims) not in by_lead:
        known = ", ".join(repr(str(name)) for name, part in scores.items() if set(part.dims) in by_lead) or "none"
        fix = "scores = forecast.var4d.verify(truth)"
        raise InputError(Fault(f"no score {score!r} by lead time", f"one of {known}", fix, code="unknown-score"))
    ax = own_axes(ax)
    error, own = ("rmse", "spread") if score == "spread" else (f"{score}_persistence", "forecast")
    other = "error of the ensemble mean" if score == "spread" else "persistence"
    array, beside = scores[score], scores.get(error)
    times = lead_axis(ax, scores)
    dashed: dict[str, Any] = {"linestyle": "--", "marker": "s", "markersize": 4}
    by_threshold = "threshold" in array.dims
    for number, threshold in enumerate(scores["threshold"].values if by_threshold else [None]):
        at = {"threshold": number} if by_threshold else {}
        label = f"at {threshold:g} {in_symbols(scores['threshold'].attrs.get('units', ''))}" if at else own
        ax.plot(times, array.isel(at).values, marker="o", color=f"C{number}", label=label)
        if beside is not None:
            ax.plot(times, beside.isel(at).values, color=f"C{number}" if at else "0.4", **dashed)
    if beside is not None:
        ax.plot([], [], color="0.4", label=other, **dashed)
    units = array.attrs.get("units", "1")
    name = score.upper() if len(score) <= 4 and score != "bias" else _words(score)
    ax.set(ylabel=name if units == "1" else f"{name} ({in_symbols(units)})")
    title = str(array.attrs.get("long_name", score)).removesuffix(" above the threshold")
    ax.set_title("spread and error of the ensemble" if score == "spread" else title, fontsize=11)
    if score in ("rmse", "mae", "spread", "crps"):
        ax.set_ylim(bottom=0)
    elif score in ("csi", "fss", "pod", "far"):
        ax.set_ylim(0, 1.02)
    return finish_axes(ax)


def lead_axis(ax: Axes, data: xr.Dataset) -> NDArray[np.float64]:
    """Label the axis of lead times, and return them in its unit."""
    seconds = seconds_of(data["lead_time"])
    length, unit = unit_of_time(float(seconds.max(initial=0.0)))
    ax.set_xlabel(f"lead time ({unit})")
    ax.set_xticks(thinned(seconds / length))
    return seconds / length


def finish_axes(ax: Axes, loc: Any = "best") -> Axes:
    """Add grid and legend."""
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", edgecolor="none", framealpha=0.85, loc=loc)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _words(name: str, prefix: str = "") -> str:
    return name.removeprefix(prefix).replace("_", " ")


def thinned(places: NDArray[Any]) -> NDArray[Any]:
    """Return as many places as an axis has room to label."""
    return places[:: (places.size - 1) // TICKS + 1]
