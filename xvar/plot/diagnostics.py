"""Cost functions and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xvar.errors import Fault, InputError
from xvar.plot.canvas import own_axes, seconds_of, unit_of_time
from xvar.plot.colours import in_symbols

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = 30.0  # J that falls by more than this factor is drawn on a scale of powers of ten


def cost(data: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw the terms of the cost function of each window, at the background and at the analysis.

    Parameters
    ----------
    data : Dataset
        An analysis.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        Where `data` has no cost.
    """
    terms = [str(name) for name in data.data_vars if str(name).startswith("cost_")]
    if not terms:
        raise InputError(Fault("a Dataset without cost", "an analysis", "ds.var4d.assimilate().var4d.plot.cost()"))
    ax = own_axes(ax)
    windows = data.sizes.get("window", 1)
    place = np.arange(windows)
    for stage, (shift, hatch, label) in enumerate(((-0.2, "//", "background"), (0.2, "", "analysis"))):
        below = np.zeros(windows)
        for number, term in enumerate(terms):
            heights = np.nan_to_num(np.atleast_2d(data[term].transpose(..., "stage").values)[:, stage])
            if not heights.any():
                continue
            ax.bar(
                place + shift,
                heights,
                0.38,
                bottom=below,
                color=f"C{number}",
                hatch=hatch,
                edgecolor="white",
                label=f"{term.removeprefix('cost_').replace('_', ' ')}, at the {label}",
            )
            below += heights
    ax.set_xticks(place if windows <= 12 else place[:: windows // 12 + 1])
    ax.set_xlabel("window")
    ax.set_ylabel("cost function J")
    ax.set_title("terms of the cost function")
    ax.set_ylim(top=1.3 * ax.get_ylim()[1])
    ax.legend(fontsize="small", frameon=False, loc="upper center", ncols=2)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def cost_history(data: xr.Dataset, *, window: int = -1, ax: Axes | None = None) -> Axes:
    """Draw how the cost function and its terms fell, evaluation by evaluation.

    Parameters
    ----------
    data : Dataset
        An analysis with ``save=("cost_history",)``. At each evaluation J is the lowest that its minimisation has met; a
        minimisation on a coarser grid, or of another loop, has a J of its own, and a line where it ends.
    window : int
        Which.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        Where the analysis was made without it, or there is no such window.
    """
    from matplotlib.ticker import MaxNLocator

    if "cost_history" not in data:
        fix = "assimilate(..., save=('cost_history',))"
        raise InputError(Fault("an analysis without 'cost_history'", "one that was made with it", fix))
    windows = data.sizes.get("window", 1)
    if not -windows <= window < windows:
        raise InputError(Fault(f"window {window}", f"one of the {windows}", "window=-1"))
    one = data.isel(window=window) if "window" in data.dims else data
    one = one.isel(evaluation=one["minimisation"].values > 0)
    ax = own_axes(ax)
    number = one["minimisation"].values
    begins = np.flatnonzero(np.diff(number, prepend=0))
    names = [str(name) for name in one.data_vars if str(name).startswith("cost_history")]
    highest = max((float(np.nanmax(one[name].values, initial=0.0)) for name in names), default=0.0)
    lowest = float(np.nanmin(one["cost_history"].values, initial=np.inf))
    for colour, name in zip(("black", *(f"C{place}" for place in range(len(names)))), names, strict=False):
        label = "J" if name == "cost_history" else name.removeprefix("cost_history_").replace("_", " ")
        for begin, end in zip(begins, (*begins[1:], number.size), strict=True):
            where = slice(begin, end)
            ax.plot(
                one["evaluation"].values[where],
                one[name].values[where],
                color=colour,
                linewidth=2.0 if name == "cost_history" else 1.4,
                drawstyle="steps-post",
                label=label if begin == 0 else None,
            )
    if highest > DECADES * lowest > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom=lowest / DECADES)
    else:
        room = 1.4 if begins.size > 1 else 1.08  # for the names of the minimisations
        ax.set_ylim(0, room * highest if highest else None)
    words = str(one["minimisation"].attrs["flag_meanings"]).split()
    for begin in begins if begins.size > 1 else ():
        place = float(one["evaluation"].values[begin]) - 0.5
        if begin:
            ax.axvline(place, color="0.6", linewidth=0.8, linestyle=":")
        text = words[number[begin]].replace("_", " ")
        across = ax.get_xaxis_transform()
        ax.text(place, 0.98, f" {text}", rotation=90, va="top", color="0.4", size=7, transform=across)
    ax.set_xlabel("evaluations of J and its gradient")
    ax.set_ylabel("cost function J")
    ax.set_title("history of the cost function", pad=22)
    above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.99)}
    ax.legend(fontsize="small", frameon=False, ncols=len(names), **above)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def skill(scores: xr.Dataset, *, score: str = "rmse", ax: Axes | None = None) -> Axes:
    """Draw a score against lead time, persistence dashed.

    Parameters
    ----------
    scores : Dataset
        What ``verify`` gives for a forecast.
    score : str
        Which: "rmse", "csi", "fss", "bias", ...; those of events have a line for each threshold.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        Where there is no such score by lead time.
    """
    if score not in scores or "lead_time" not in scores[score].dims:
        known = ", ".join(repr(str(name)) for name, part in scores.items() if part.dims[:1] == ("lead_time",)) or "none"
        raise InputError(Fault(f"no score {score!r} by lead time", f"one of {known}", "forecast.var4d.verify(truth)"))
    ax = own_axes(ax)
    seconds = np.array([seconds_of(lead) for lead in scores["lead_time"].values])
    length, unit = unit_of_time(float(seconds.max(initial=0.0)))
    times = seconds / length
    thresholds = scores["threshold"].values if "threshold" in scores[score].dims else [None]
    kept = scores.get(f"{score}_persistence")
    dashed: dict[str, Any] = {"linestyle": "--", "marker": "s", "markersize": 4}
    events = in_symbols(scores["threshold"].attrs.get("units", "")) if "threshold" in scores.coords else ""
    for number, threshold in enumerate(thresholds):
        at = {} if threshold is None else {"threshold": number}
        label = "forecast" if threshold is None else f"at {threshold:g} {events}"
        ax.plot(times, scores[score].isel(at).values, marker="o", color=f"C{number}", label=label)
        if kept is not None:
            ax.plot(times, kept.isel(at).values, color=f"C{number}" if at else "0.4", **dashed)
    if kept is not None:
        ax.plot([], [], color="0.4", label="persistence", **dashed)
    units = scores[score].attrs.get("units", "1")
    name = score.upper() if len(score) <= 4 and score != "bias" else score.replace("_", " ")
    ax.set_ylabel(name if units == "1" else f"{name} ({in_symbols(units)})")
    ax.set_xlabel(f"lead time ({unit})")
    ax.set_title(str(scores[score].attrs.get("long_name", score)).removesuffix(" above the threshold"), fontsize=11)
    ax.set_xticks(times if times.size <= 12 else times[:: times.size // 12 + 1])
    if score in ("rmse", "mae"):
        ax.set_ylim(bottom=0)
    elif score in ("csi", "fss", "pod", "far"):
        ax.set_ylim(0, 1.02)
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", edgecolor="none", framealpha=0.85)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
