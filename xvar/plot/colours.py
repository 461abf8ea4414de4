"""Colours of fields and of motion."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.units import rain_rate_factor
from xvar.plan.configuration import Configuration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# mm h-1, doubling; below the first it is dry. Blue, green, yellow, red, violet: what radar pictures are read by.
RATES = (0.1, 0.2, 0.5, 1, 2, 4, 8, 16, 32, 64)
REFLECTIVITIES = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50)
RADAR = ("#cfe8fb", "#9ccbf0", "#5b9fd9", "#2c6fb3", "#3f9d4f", "#97cf5a", "#f7e04b", "#f59a2c", "#dd3a26", "#a2195b")
DRY = "#ffffff"
#: What a variable is called -> its map of Thyng et al. (2016), doi:10.5670/oceanog.2016.66, and one of matplotlib's.
OWN = {
    "temperature": ("thermal", "inferno"),
    "salinity": ("haline", "viridis"),
    "chlorophyll": ("algae", "Greens"),
    "turbidity": ("turbid", "YlOrBr"),
    "oxygen": ("oxy", "viridis"),
    "ice": ("ice", "Blues_r"),
    "height": ("deep", "YlGnBu"),
}


@dataclass(frozen=True)
class Scale:
    """How values become colours.

    Attributes
    ----------
    factor : float
        Of the values of the variable.
    label : str
        Of the colour bar.
    style : dict
        Options of the image.
    bar : dict
        Options of the colour bar.
    """

    factor: float
    label: str
    style: dict[str, Any]
    bar: dict[str, Any]


def field_scale(field: xr.DataArray, configuration: Configuration) -> Scale:
    """Colours of a variable by what it measures: one scale for all fields of a picture.

    Parameters
    ----------
    field : DataArray
        All values that will be drawn.
    configuration : Configuration
        What it measures.
    """
    from matplotlib import colormaps

    units = str(field.attrs.get("units", "1"))
    if configuration.kind == "rain":
        factor = rain_rate_factor(units, configuration.frame)
        if factor is not None:
            return _classes(RATES, factor, "rain rate (mm h$^{-1}$)")
    if configuration.kind == "reflectivity":
        return _classes(REFLECTIVITIES, 1.0, f"reflectivity ({in_symbols(units)})")
    values = field.values[np.isfinite(field.values)]
    low, high = np.percentile(values, [1, 99]) if values.size else (0.0, 1.0)
    name = str(field.name or configuration.variable)
    words = f"{field.attrs.get('standard_name', '')} {name}".lower()
    own = next((pair for key, pair in OWN.items() if key in words), None)
    if configuration.kind == "temperature" and name.removesuffix("_observed") == configuration.variable:
        own = OWN["temperature"]
    colours: Any = colormaps["viridis"] if own is None else _ocean(*own)
    style = {"cmap": colours, "vmin": float(low), "vmax": float(high)}
    label = f"{name.removesuffix('_observed').replace('_', ' ')} ({in_symbols(units)})"
    return Scale(1.0, label, style, {"extend": "both"})


def in_symbols(units: str) -> str:
    """Units as they are printed: exponents raised, degrees as a sign."""
    raised = re.sub(r"(?<=[A-Za-z)])(-?\d+)\b", r"$^{\1}$", units)
    return re.sub(r"(?i)\bdeg(ree)?s?[ _]c(elsius)?\b", "°C", raised)


def difference_scale(values: NDArray[Any], label: str, factor: float = 1.0) -> Scale:
    """Colours of what has a sign: red above zero, blue below, white at zero.

    Parameters
    ----------
    values : ndarray
        All values that will be drawn.
    label : str
        Of the colour bar.
    factor : float
        Of the values.
    """
    known = np.abs(values[np.isfinite(values)]) * factor
    most = float(np.percentile(known, 99)) if known.size else 1.0
    most = most or float(known.max(initial=0.0)) or 1.0
    style = {"cmap": _ocean("balance", "RdBu_r"), "vmin": -most, "vmax": most}
    return Scale(factor, label, style, {"extend": "both"})


def speed_scale(values: NDArray[Any], label: str, factor: float = 1.0) -> Scale:
    """Colours of what has no sign and begins at zero."""
    known = values[np.isfinite(values)] * factor
    most = float(np.percentile(known, 99)) if known.size else 1.0
    style = {"cmap": _ocean("amp", "Reds"), "vmin": 0.0, "vmax": most or 1.0}
    return Scale(factor, label, style, {"extend": "max"})


def _ocean(name: str, else_: str) -> Any:
    """A colour map of cmocean, or one of matplotlib where that is not installed."""
    from matplotlib import colormaps

    try:
        from cmocean import cm
    except ImportError:
        return colormaps[else_]
    return getattr(cm, name)


def _classes(levels: tuple[float, ...], factor: float, label: str) -> Scale:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap(RADAR).with_extremes(under=DRY, over=RADAR[-1])
    bounds = (*levels, 2 * levels[-1])
    style = {"cmap": colours, "norm": BoundaryNorm(bounds, colours.N)}
    return Scale(factor, label, style, {"ticks": levels, "format": "%g", "spacing": "uniform"})


# The wheel of Baker et al. (2011), A database and evaluation methodology for optical flow,
# doi:10.1007/s11263-010-0390-2: red, yellow, green, cyan, blue, magenta, with the arcs between them as wide as the eye
# tells their hues apart.
_CORNERS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=float)
_ARCS = np.cumsum([0, 15, 6, 4, 11, 13, 6]) / 55


def motion_colours(u: NDArray[Any], v: NDArray[Any], fastest: float) -> NDArray[np.float64]:
    """Colours (y, x, 3) of motion: the hue is its direction, the saturation its speed over the fastest.

    Rest is white, what is faster than `fastest` is dark, where there is no motion it is grey.
    """
    around = np.arctan2(v, u) / (2 * np.pi) % 1.0
    speed = np.hypot(u, v) / fastest
    hue = np.stack([np.interp(around, _ARCS, _CORNERS[:, channel]) for channel in range(3)], axis=-1)
    share = np.clip(speed, 0, 1)[..., None]
    colours = 1 - share * (1 - hue)
    colours = np.where(speed[..., None] > 1, 0.75 * colours, colours)
    return np.where(np.isfinite(speed)[..., None], colours, 0.82)


def draw_wheel(ax: Axes, fastest: float) -> Axes:
    """The legend of the colours: a wheel in the corner."""
    wheel = ax.inset_axes((0.79, 0.02, 0.19, 0.19))
    line = np.linspace(-1, 1, 201)
    u, v = np.meshgrid(line, line)
    colours = motion_colours(u, v, 1.0)
    inside = np.hypot(u, v) <= 1
    wheel.imshow(np.dstack([colours, inside]), origin="lower", extent=(-1, 1, -1, 1), zorder=2)
    angle = np.linspace(0, 2 * np.pi, 200)
    wheel.plot(np.cos(angle), np.sin(angle), color="black", linewidth=0.6, zorder=3)
    wheel.set_axis_off()
    wheel.set_aspect("equal")
    wheel.text(0, 1.12, f"{fastest:.2g} m/s", ha="center", va="bottom", fontsize="small", bbox=_SOFT)
    return wheel


_SOFT = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
