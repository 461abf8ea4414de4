"""One table of what xvar writes: names, units and flags of every output variable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from xvar.cf.units import are_convertible
from xvar.errors import Status

#: What became of a window; a region of a store that was never written reads as 0.
STATUS = tuple(status.word for status in Status)
STAGES = ("background", "analysis")
BACKGROUND_SOURCES = ("stated", "window_before")
ORIGINS = ("inside_domain", "last_frame")

_OCEAN_SURFACE = re.compile(r"^(sea_surface|surface_sea_water)_?(skin|subskin|foundation)?_?(temperature|salinity)?$")
_OCEAN = re.compile(r"(sea_water_.*(temperature|salinity)|_in_sea_water$|^sea_water_(temperature|salinity))")
_COMPASS = {"u": "eastward", "v": "northward"}
_AXIS = {"u": "x", "v": "y"}
_OCEAN_SURFACE_NAMES = re.compile(r"(^|_)(sst|sss|analysed_sst|tos)($|_)|sea_?surface_?(temp|sal)", re.IGNORECASE)


@dataclass(frozen=True)
class _Entry:
    """One row: ``units`` of None stands for those of the variable, and "" for none."""

    long_name: str
    units: str | None = "1"
    standard_name: str | None = None
    flags: tuple[str, ...] = ()
    difference: bool = False


_COORDINATES: dict[str, _Entry] = {
    "window": _Entry("assimilation window"),
    "step": _Entry("observation time within the window"),
    "interval": _Entry("interval of the window on which the model error forcing acts"),
    "time": _Entry("valid time", "", "time"),
    "forecast_reference_time": _Entry("end of the window", "", "forecast_reference_time"),
    "frame_time": _Entry("time of the frames of the window", "", "time"),
    "recent_reference_time": _Entry("end of the window of the earlier forecast", "", "time"),
    "lead_time": _Entry("time since the end of the window", "", "forecast_period"),
    "member": _Entry("member of the ensemble", "1", "realization"),
    "forcing_time": _Entry("time at which the model error forcing acts", "", "time"),
    "stage": _Entry("stage of the minimisation", "", flags=STAGES),
    "rule": _Entry("rule of quality control", ""),
    "observation_type": _Entry("source of the observations", ""),
    "check": _Entry("check of the values of a source", ""),
    "evaluation": _Entry("evaluation of the cost function and its gradient, counted from 1"),
    "threshold": _Entry("threshold of the event", None),
    "rank": _Entry("rank of the truth among the members, from 1"),
    "probability": _Entry("forecast probability: share of the members"),
    "scale": _Entry("side of the neighbourhood", "m"),
}
#: Of a variable, under its own name or one made of it.
_OF_A_VARIABLE: dict[str, _Entry] = {
    "analysis": _Entry("analysis of {variable}", None),
    "state": _Entry("analysis of {variable}", ""),
    "observed": _Entry("last observed frame of {variable}", None),
    "forcing": _Entry("model error forcing of {variable}", None, difference=True),
    "background": _Entry("background of {variable}", None),
    "increment": _Entry("increment of {variable}: analysis minus background", None, difference=True),
    "innovation": _Entry("innovation of {variable}: observation minus background", None, difference=True),
    "residual": _Entry("residual of {variable}: observation minus analysis", None, difference=True),
    "observation_background": _Entry("equivalent of the background", ""),
    "observation_analysis": _Entry("equivalent of the analysis", ""),
    "observation_rejected": _Entry("1 for an observation that the background check rejected, else 0"),
    "standard_error": _Entry("standard error of {variable}", ""),
    "samples": _Entry("members of {variable} from the posterior", ""),
    "members": _Entry("members of {variable} from which the next window begins", ""),
    "observation_error": _Entry("root mean square stated error of {variable}", None, difference=True),
    "parameter": _Entry("analysis of the parameter {variable}", ""),
}
_FIELDS: dict[str, _Entry] = {
    "u": _Entry("motion towards increasing x", "m s-1"),
    "v": _Entry("motion towards increasing y", "m s-1"),
    "u_steady": _Entry("steady motion towards increasing x", "m s-1"),
    "v_steady": _Entry("steady motion towards increasing y", "m s-1"),
    "u_transient": _Entry("part of the motion towards increasing x that fades", "m s-1"),
    "v_transient": _Entry("part of the motion towards increasing y that fades", "m s-1"),
    "growth": _Entry("growth of {variable} in a frame, as it is compared, over its standard deviation in the window"),
    "image_scale": _Entry("standard deviation of {variable} in the window, as it is compared", None, difference=True),
    "motion_skill": _Entry("share of the misfit of earlier frames that the steady motion explains, by age in frames"),
    "octave_correlation": _Entry(
        "correlation of the root of {variable} with that of the last frame carried back, by octave of wavelength"
    ),
    "growth_error": _Entry(
        "root mean square logarithm of the ratio of smoothed {variable} to that of the last frame carried back"
    ),
    "source": _Entry("change of {variable} that is not motion", None, difference=True),
    "land": _Entry("land", "", flags=("water", "land")),
    "origin": _Entry("where the value of the forecast comes from", "", flags=ORIGINS),
}
_DIAGNOSTICS: dict[str, _Entry] = {
    "status": _Entry("what became of the window", "", "status_flag", flags=STATUS),
    "background_source": _Entry("where the background of the window comes from", "", flags=BACKGROUND_SOURCES),
    "cost": _Entry("cost function J"),
    "cost_background": _Entry("background term of the cost function"),
    "cost_observation": _Entry("observation term of the cost function"),
    "cost_model_error": _Entry("model error term of the cost function"),
    "cost_history": _Entry("lowest cost function J of the minimisation, so far"),
    "minimisation": _Entry("minimisation that the evaluation belongs to", ""),
    "gradient_norm": _Entry("norm of the gradient of the cost function in the control space"),
    "evaluations": _Entry("evaluations of the cost function and its gradient"),
    "iterations": _Entry("iterations of the minimiser"),
    "number_of_observations": _Entry("observations used in the window", "1", "number_of_observations"),
    "number_of_rejected_observations": _Entry("values of the window that quality control took as missing"),
    "rejected_observations": _Entry("values of the window that the rule took as missing"),
    "rejected_by_check": _Entry("values of a source that the check took as missing"),
    "degrees_of_freedom_for_signal": _Entry("degrees of freedom for signal: trace of HK, estimated"),
    "degrees_of_freedom_for_signal_std": _Entry("standard error of the degrees of freedom for signal"),
    "observed_share": _Entry("share of the points that the frame observed"),
    "deformation_number": _Entry("largest time step times velocity gradient: trajectories cross above one"),
}
_SCORES: dict[str, _Entry] = {
    "bias": _Entry("mean of forecast minus truth of {variable}", None, difference=True),
    "rmse": _Entry("root mean square error of {variable}", None, difference=True),
    "mae": _Entry("mean absolute error of {variable}", None, difference=True),
    "rmse_persistence": _Entry("root mean square error of {variable} kept as last observed", None, difference=True),
    "csi_persistence": _Entry("critical success index of {variable} kept as last observed"),
    "fss_persistence": _Entry("fractions skill score of {variable} kept as last observed"),
    "crps": _Entry("continuous ranked probability score of {variable}", None, difference=True),
    "crps_fair": _Entry("continuous ranked probability score of {variable}, fair", None, difference=True),
    "crps_skill": _Entry("continuous ranked probability skill score of {variable} over the last observed frame"),
    "spread": _Entry("standard deviation of the members of {variable}", None, difference=True),
    "spread_over_error": _Entry("spread of {variable} over the root mean square error of the ensemble mean"),
    "rank_histogram": _Entry("relative frequency of the rank of the truth among the members of {variable}"),
    "reliability_index": _Entry("sum of the absolute differences of the rank histogram from a flat one"),
    "brier": _Entry("Brier score of {variable} above the threshold"),
    "brier_skill": _Entry("Brier skill score of {variable} above the threshold, over its observed frequency"),
    "roc_area": _Entry("area under the relative operating characteristic of {variable} above the threshold"),
    "observed_frequency": _Entry("observed frequency of {variable} above the threshold, by forecast probability"),
    "forecast_frequency": _Entry("frequency of the forecast probability of {variable} above the threshold"),
    "event_probability": _Entry("probability of {variable} at or above the threshold"),
    "quantile": _Entry("probability that the quantile is not exceeded"),
    "accumulation": _Entry("{variable} accumulated since the end of the window", None),
    "end_point_error": _Entry("mean length of the difference to the true motion", "m s-1"),
    "vector_rmse": _Entry("root mean square length of the difference to the true motion", "m s-1"),
    "angular_error": _Entry("mean angle to the true motion", "degree"),
    "vector_correlation": _Entry("correlation of the motion with the true motion"),
    "correlation": _Entry("correlation of forecast and truth of {variable}"),
    "csi": _Entry("critical success index of {variable} above the threshold"),
    "pod": _Entry("probability of detection of {variable} above the threshold"),
    "far": _Entry("false alarm ratio of {variable} above the threshold"),
    "fss": _Entry("fractions skill score of {variable} above the threshold"),
    "hits": _Entry("points at or above the threshold in forecast and truth"),
    "misses": _Entry("points at or above the threshold in the truth alone"),
    "false_alarms": _Entry("points at or above the threshold in the forecast alone"),
    "correct_negatives": _Entry("points below the threshold in forecast and truth"),
    "number_of_pairs": _Entry("pairs of a forecast and a true value"),
    "number_without_truth": _Entry("forecast times without a truth"),
}
_CONSISTENCY: dict[str, _Entry] = {
    "term": _Entry("term of the cost function", ""),
    "cost_ratio": _Entry("2 J over the number of observations"),
    "cost_ratio_spread": _Entry(
        "standard deviation of 2 J over the number of observations, if all errors are as stated"
    ),
    "term_ratio": _Entry("twice the term of the cost function over the number of observations"),
    "observation_variance": _Entry("estimated variance of the errors of observation", ""),
    "background_variance": _Entry("estimated variance of the errors of the background, as it is observed", ""),
    "stated_observation_variance": _Entry("stated variance of the errors of observation", ""),
    "chi_square": _Entry("mean square of the residuals over their stated deviations"),
    "innovation_bias": _Entry("mean of the innovations", ""),
    "residual_bias": _Entry("mean of the residuals", ""),
    "residual_correlation": _Entry("correlation of residuals with their neighbours in time, y and x"),
    "effective_observations": _Entry("number of independent observations with the information of the correlated ones"),
    "influence": _Entry("degrees of freedom for signal over the number of observations"),
}
#: Of a term of the cost function, whatever its name.
_TERMS = {
    "cost_history_": "{term} term of the cost function where it is lowest, so far",
    "cost_": "{term} term of the cost function",
}
_TABLE = {**_COORDINATES, **_OF_A_VARIABLE, **_FIELDS, **_DIAGNOSTICS, **_SCORES, **_CONSISTENCY}

#: Names of what is written beside any variable, and of the fields that are written beside images that xvar's own
#: models move.
NAMES = frozenset({**_COORDINATES, **_DIAGNOSTICS, **_SCORES})
NAMES_OF_FIELDS = frozenset(_FIELDS)


def flag_attributes(meanings: tuple[str, ...]) -> dict[str, Any]:
    """``flag_values`` (int8, counted from 0) and ``flag_meanings`` of an int8 variable."""
    return {"flag_values": np.arange(len(meanings), dtype=np.int8), "flag_meanings": " ".join(meanings)}


def _velocity_name(component: str, variable: str, standard_name: str | None, grid_kind: str) -> str | None:
    """Return the standard name of a motion: water alone has one. A variable without a standard name counts by name."""
    name = (standard_name or "").split(" ")[0]
    surface = bool(_OCEAN_SURFACE.match(name) if name else _OCEAN_SURFACE_NAMES.search(variable))
    if not surface and not _OCEAN.search(name):
        return None
    prefix = "surface_" if surface else ""
    if grid_kind == "geographic":
        return f"{prefix}{_COMPASS[component]}_sea_water_velocity"
    return f"{prefix}sea_water_{_AXIS[component]}_velocity"


def attributes(
    name: str,
    *,
    variable: str = "",
    units: str | None = None,
    kind: str = "other",
    grid_kind: str = "projected",
    standard_name: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Return new attributes of an output variable: a row of the table, or ``cost_<term>`` or ``cost_history_<term>``.

    Names, units and kind are those of the assimilated variable, except units of "forcing". `extra` overrides the table.
    Differences of a temperature are marked as such. KeyError if the table has no such row.
    """
    entry = _TABLE.get(name)
    prefix = next((prefix for prefix in _TERMS if name.startswith(prefix)), name)
    if entry is None and prefix != name:
        entry = _Entry(_TERMS[prefix].format(term=name.removeprefix(prefix).replace("_", " ")))
    if entry is None:
        message = f"no output variable {name!r} in the table of metadata"
        raise KeyError(message)
    result: dict[str, Any] = {"long_name": entry.long_name.format(variable=variable or "the variable")}
    if entry.standard_name:
        result["standard_name"] = entry.standard_name
    own = units if entry.units is None else entry.units
    if own:
        result["units"] = own
    if entry.flags:
        result.update(flag_attributes(entry.flags))
    if own and entry.units is None and any(are_convertible(own, known) for known in ("K", "K s-1")):
        result["units_metadata"] = "temperature: difference" if entry.difference else "temperature: on_scale"
    component, _, part = name.partition("_")
    if component in _AXIS and part in ("", "steady"):
        moved = {"rain": "rain", "reflectivity": "reflectivity"}.get(kind)  # of radars and satellites
        direction = _COMPASS[component] if grid_kind == "geographic" else f"towards increasing {_AXIS[component]}"
        result["long_name"] = f"{part} motion of {moved or variable or 'the images'}, {direction}".lstrip()
        known = _velocity_name(component, variable, standard_name, grid_kind)
        if known is not None and moved is None and not part:
            result["standard_name"] = known
    return result | extra
