"""Colours of fields and of motion."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.units import rain_rate_factor, same_units
from xvar.plan.configuration import Configuration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Class limits: mm h-1, doubling, dry below the first; dBZ. Colours from blue to violet, as usual for radar.
RATES = (0.1, 0.2, 0.5, 1, 2, 4, 8, 16, 32, 64)
REFLECTIVITIES = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50)
RADAR = ("#cfe8fb", "#9ccbf0", "#5b9fd9", "#2c6fb3", "#3f9d4f", "#97cf5a", "#f7e04b", "#f59a2c", "#dd3a26", "#a2195b")
DRY = "#ffffff"
RATE, SPEED = "mm h⁻¹", "m s⁻¹"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
KELVIN = -273.15  # of 0 K in degrees Celsius
TENTHS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of a probability
Levels = tuple[float, ...]
#: Word in a variable's name -> map of cmocean (Thyng et al., 2016, doi:10.5670/oceanog.2016.66), else of matplotlib.
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
    """Map from values in the units of its label to colours: options of the image (`style`) and its bar (`bar`)."""

    factor: float
    label: str
    style: dict[str, Any]
    bar: dict[str, Any]
    offset: float = 0.0

    def convert(self, values: Any) -> Any:
        """Return values of the data in the units of the label."""
        return values * self.factor + self.offset

    def original(self, values: Any) -> Any:
        """Return values in the units of the label in those of the data."""
        return (values - self.offset) / self.factor


def known(fields: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Return all finite values of the fields, flat."""
    values = np.concatenate([np.ravel(field) for field in fields])
    finite: NDArray[Any] = values[np.isfinite(values)]
    return finite


def field_scale(fields: Iterable[NDArray[Any]], like: xr.DataArray, configuration: Configuration) -> Scale:
    """Return one scale for all fields that are drawn of a variable; `like` has its name and attributes."""
    units = str(like.attrs.get("units", "1"))
    if configuration.kind == "rain":
        factor = rain_rate_factor(units, configuration.frame)
        if factor is not None:
            return _classes(RATES, (*RATES, 128), RADAR, factor, f"rain rate ({RATE})")
    if configuration.kind == "reflectivity":
        return _classes(REFLECTIVITIES, (*REFLECTIVITIES, 100), RADAR, 1.0, f"reflectivity ({in_symbols(units)})")
    values = known(fields)
    low, high = np.percentile(values, [1, 99]) if values.size else (0.0, 1.0)
    name = str(like.name or configuration.variable).removesuffix("_observed")
    words = f"{like.attrs.get('standard_name', '')} {name}".lower()
    maps = next((pair for key, pair in OWN.items() if key in words), ("", "viridis"))
    if configuration.kind in ("temperature", "sea_temperature") and name == configuration.variable:
        maps = OWN["temperature"]
    # A brightness temperature is a radiance in other words: it stays in K.
    celsius = maps == OWN["temperature"] and "brightness" not in words and same_units(units, "K")
    offset, printed = (KELVIN, "°C") if celsius else (0.0, in_symbols(units))
    style = {"cmap": _colour_map(*maps), "vmin": float(low) + offset, "vmax": float(high) + offset}
    label = f"{name.replace('_', ' ')} ({printed})".removesuffix(" (1)")
    return Scale(1.0, label, style, {"extend": "both"}, offset)


def in_symbols(units: str) -> str:
    """Return units as they are printed: exponents raised, divisions as exponents, degrees as a sign."""
    powers = re.sub(r"(?<=[A-Za-z)]) ?/ ?([A-Za-z]+)$", r" \1-1", units.strip())
    raised = re.sub(r"(?<=[A-Za-z)])(?:\^|\*\*)?(-?\d+)\b", lambda found: found[1].translate(RAISED), powers)
    return re.sub(r"(?i)^(deg(ree)?s?[ _]?)?c(elsius)?$", "°C", raised)


def difference_scale(fields: Iterable[NDArray[Any]], label: str, factor: float = 1.0) -> Scale:
    """Return a scale for signed fields: red above zero, blue below, white at zero."""
    values = np.abs(known(fields)) * factor
    most = float(np.percentile(values, 99)) if values.size else 1.0
    most = most or float(values.max(initial=0.0)) or 1.0
    style = {"cmap": _colour_map("balance", "RdBu_r"), "vmin": -most, "vmax": most}
    return Scale(factor, label, style, {"extend": "both"})


def probability_scale(label: str) -> Scale:
    """Return a scale in classes of a tenth; a probability below a twentieth is white."""
    colours = _colour_map("", "YlGnBu")(np.linspace(0.1, 1, len(TENTHS) - 1))
    return _classes(TENTHS[::2], TENTHS, colours, 1.0, label, extend="min")


def speed_scale(speeds: Iterable[NDArray[Any]], label: str) -> Scale:
    """Return a scale for fields that begin at zero."""
    values = known(speeds)
    most = float(np.percentile(values, 99)) if values.size else 1.0
    style = {"cmap": _colour_map("amp", "Reds"), "vmin": 0.0, "vmax": most or 1.0}
    return Scale(1.0, label, style, {"extend": "max"})


def _colour_map(ocean: str, otherwise: str) -> Any:
    """Return a colour map of cmocean, or one of matplotlib if cmocean is not installed or has none."""
    from matplotlib import colormaps

    if not ocean or find_spec("cmocean") is None:
        return colormaps[otherwise]
    from cmocean import cm

    return getattr(cm, ocean)


def _classes(levels: Levels, bounds: Levels, colours: Any, factor: float, label: str, **bar: str) -> Scale:
    """Return a scale of a colour for each class between bounds, labelled at levels."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    shown = ListedColormap(colours).with_extremes(under=DRY, over=colours[-1])
    style = {"cmap": shown, "norm": BoundaryNorm(bounds, shown.N)}
    return Scale(factor, label, style, {"ticks": levels, "format": "%g", "spacing": "uniform", **bar})


# The colour wheel of Baker et al. (2011), doi:10.1007/s11263-010-0390-2: red, yellow, green, cyan, blue, magenta, each
# arc as wide as the eye distinguishes its hues.
_CORNERS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=float)
_ARCS = np.cumsum([0, 15, 6, 4, 11, 13, 6]) / 55


def motion_colours(u: NDArray[Any], v: NDArray[Any], fastest: float) -> NDArray[np.float64]:
    """Return colours (y, x, 3) of motion: hue by direction, saturation by speed over the fastest.

    Rest is white, speeds above `fastest` are darker, missing motion is grey.
    """
    direction = np.arctan2(v, u) / (2 * np.pi) % 1.0
    speed = (np.hypot(u, v) / fastest)[..., None]
    hue = np.stack([np.interp(direction, _ARCS, channel) for channel in _CORNERS.T], axis=-1)
    colours = (1 - np.clip(speed, 0, 1) * (1 - hue)) * np.where(speed > 1, 0.75, 1.0)
    return np.where(np.isfinite(speed), colours, 0.82)


def draw_wheel(ax: Axes, fastest: float, north: float | None) -> None:
    """Draw the legend of the colours beside the axes, with compass points if `north` is known.

    `north` is its angle in degrees, clockwise from the top of the picture.
    """
    wheel = ax.inset_axes((1.06, 0.0, 0.2, 0.2))
    u, v = np.meshgrid(np.linspace(-1, 1, 201), np.linspace(-1, 1, 201))
    colours = np.dstack([motion_colours(u, v, 1.0), np.hypot(u, v) <= 1])
    wheel.imshow(colours, origin="lower", extent=(-1, 1, -1, 1), zorder=2)
    angle = np.linspace(0, 2 * np.pi, 200)
    wheel.plot(np.cos(angle), np.sin(angle), color="black", linewidth=0.6, zorder=3)
    wheel.set_axis_off()
    wheel.set_aspect("equal")
    points = dict(zip(range(0, 360, 90), "NESW", strict=True)) if north is not None else {0: "y", 90: "x"}
    for bearing, letter in points.items():
        turned = np.deg2rad(bearing + (north or 0.0))
        x, y = 1.25 * np.sin(turned), 1.25 * np.cos(turned)
        wheel.text(x, y, letter, ha="center", va="center", fontsize="x-small")
    wheel.text(0, 1.6, f"{fastest:.2g} {SPEED}", ha="center", va="bottom", fontsize="small")
