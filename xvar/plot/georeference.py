"""Latitude and longitude on a picture: its projection, the direction of north, graticule, coastlines and borders."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes as AxisNames
from xvar.cf.geodesy import on_curvilinear, projection_of
from xvar.cf.grid import HorizontalGrid
from xvar.cf.grid.coordinates import plane_coordinates
from xvar.errors import Fault, Faults, InputError, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

SAMPLES = 65  # rows and columns of known position, at most
#: Resolutions of Natural Earth, and its outlines.
RESOLUTIONS = ("10m", "50m", "110m")
OUTLINES = (("physical", "coastline"), ("cultural", "admin_0_boundary_lines_land"))
MARGIN = 1.0  # degrees around the picture


@dataclass(frozen=True)
class Georeference:
    """Positions (row, column) in degrees of some rows and columns of a picture; longitudes are without a jump."""

    y: Floats  # (row,), on the canvas
    x: Floats  # (column,)
    latitude: Floats
    longitude: Floats
    crs: Any = None  # of pyproj, whose x and y in km are those of the canvas

    def north(self, aspect: float) -> float | None:
        """Return the direction of north in the middle of the picture, in degrees clockwise from its top."""
        up, right = (np.asarray(part) for part in np.gradient(self.latitude, self.y * aspect, self.x))
        middle = self.y.size // 2, self.x.size // 2
        angle = float(np.degrees(np.arctan2(right[middle], up[middle])))
        return angle if np.isfinite(angle) else None

    def locate(self, latitude: Floats, longitude: Floats) -> tuple[Floats, Floats]:
        """Return x and y on the canvas of positions (point,) in degrees, NaN outside of the picture."""
        if self.crs is not None:
            import pyproj

            forward = pyproj.Transformer.from_crs(self.crs.geodetic_crs, self.crs, always_xy=True)
            x, y = (np.where(np.isfinite(part), part, np.nan) / 1e3 for part in forward.transform(longitude, latitude))
            return x, y
        column, row = on_curvilinear(self.latitude, self.longitude, latitude, longitude)
        return _between(column, self.x), _between(row, self.y)

    def outlines(self, resolution: str) -> list[Floats]:
        """Return coastlines and borders of Natural Earth, each (point, 2) of x and y on the canvas.

        InputError if there is no such resolution, or the data are neither in cartopy's folders nor can be downloaded.
        """
        low, high = (_limit(self.latitude) for _limit in (np.nanmin, np.nanmax))
        west, east = (_limit(self.longitude) for _limit in (np.nanmin, np.nanmax))
        lines = []
        for line in _natural_earth(resolution):
            longitude, latitude = line.T
            turned = longitude + 360 * np.round(((west + east) / 2 - longitude) / 360)
            near = (latitude > low - MARGIN) & (latitude < high + MARGIN)
            near &= (turned > west - MARGIN) & (turned < east + MARGIN)
            if near.any():
                where = np.where(near, latitude, np.nan), np.where(near, longitude, np.nan)
                lines.append(np.stack(self.locate(*where), axis=-1))
        return lines

    def graticule(self, north: float, *, vertical: bool) -> tuple[Floats, Floats, dict[float, str]]:
        """Return the lines that cross the left (`vertical`) or the lower edge, and their labels by place.

        The lines are levels of values (row, column): latitude at the left edge, unless the picture is turned.
        """
        from matplotlib.ticker import MaxNLocator

        turned = 45 < abs(north) < 135
        values, letters = (self.latitude, "NS") if vertical is not turned else (self.longitude, "EW")
        locator = MaxNLocator(8, steps=[1, 2, 5, 10])
        levels = np.asarray(locator.tick_values(np.nanmin(values), np.nanmax(values)), dtype=np.float64)
        edge, places = (values[:, self.x.argmin()], self.y) if vertical else (values[self.y.argmin()], self.x)
        ticks = {place: _degrees(level, letters) for place, level in _crossings(edge, places, levels)}
        return values, levels, ticks

    def draw_graticule(self, ax: Axes, north: float, *, left: bool, bottom: bool) -> None:
        """Draw lines of latitude and longitude on plain axes, labelled at the left and lower edges."""
        style: dict[str, Any] = {"colors": "0.3", "alpha": 0.4, "linewidths": 0.4, "linestyles": "dotted"}
        for vertical, shown in ((True, left), (False, bottom)):
            values, levels, ticks = self.graticule(north, vertical=vertical)
            ax.contour(self.x, self.y, values, levels, **style)
            axis = ax.yaxis if vertical else ax.xaxis
            axis.set_ticks(list(ticks), list(ticks.values()), fontsize=8)
            axis.set_tick_params(labelleft=left, labelbottom=bottom) if shown else axis.set_ticklabels([])


def _between(place: Floats, coordinate: Floats) -> Floats:
    return np.interp(place, np.arange(coordinate.size), coordinate)


def _crossings(values: Floats, places: Floats, levels: Floats) -> Iterator[tuple[float, float]]:
    """Return each place along an edge at which the values first pass a level, and the level."""
    for level in levels:
        above = values > level
        index = np.flatnonzero((above[1:] != above[:-1]) & np.isfinite(values[1:] + values[:-1]))[:1]
        for one in index:
            share = (level - values[one]) / (values[one + 1] - values[one])
            yield float(places[one] + share * (places[one + 1] - places[one])), float(level)


def _degrees(value: float, letters: str) -> str:
    wrapped = (value + 180) % 360 - 180 if letters == "EW" else value
    return f"{abs(round(wrapped, 6)):g}°{letters[int(wrapped < 0)]}"


def _natural_earth(resolution: str) -> list[Floats]:
    """Return the outlines of Natural Earth (point, 2), longitude and latitude; cartopy downloads them once."""
    faults = Faults()
    faults.check_choice("coastlines", resolution, RESOLUTIONS, RESOLUTIONS[0])
    faults.raise_if_any()
    require("cartopy", "plot", "coastlines")
    from cartopy.io.shapereader import natural_earth

    try:
        paths = [Path(natural_earth(resolution, *layer)) for layer in OUTLINES]
    except OSError as error:
        fix = f"cartopy_feature_download physical cultural --scale {resolution}, where there is a network"
        expected = f"files of Natural Earth in a folder of cartopy, {resolution}"
        raise InputError(Fault(f"no coastlines: {error}", expected, fix, code="coastlines-missing")) from error
    return [line for path in paths for line in _lines(path)]


@functools.lru_cache
def _lines(path: Path) -> tuple[Floats, ...]:
    from cartopy.io.shapereader import Reader

    shapes = Reader(str(path)).geometries()
    return tuple(np.asarray(part.coords)[:, :2] for shape in shapes for part in getattr(shape, "geoms", [shape]))


def find_georeference(
    field: xr.DataArray, names: AxisNames, grid: HorizontalGrid, data: xr.Dataset, y: Floats, x: Floats
) -> Georeference | None:
    """Return positions of a field (y, x) with canvas coordinates y and x; None if the data do not state them."""
    rows, columns = (np.unique(np.linspace(0, n - 1, min(n, SAMPLES)).round().astype(int)) for n in (y.size, x.size))
    some = field.isel({names.y: rows, names.x: columns})
    y, x = y[rows], x[columns]
    located = names.y in field.coords and names.x in field.coords
    if grid.kind == "geographic" and located:
        longitude, latitude = np.meshgrid(x, y)
        return Georeference(y, x, latitude, longitude)
    crs = projection_of(field, data)
    if grid.kind == "projected" and located and crs is not None and crs.is_projected:
        import pyproj

        inverse = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        east, north = np.meshgrid(x, y)
        longitude, latitude = inverse.transform(1e3 * east, 1e3 * north)
        known = np.isfinite(longitude) & np.isfinite(latitude)
        latitude, longitude = (np.where(known, part, np.nan) for part in (latitude, longitude))
        return Georeference(y, x, latitude, _unwrapped(longitude), crs) if known.any() else None
    plane = plane_coordinates(some, names, Faults())
    return None if plane is None else Georeference(y, x, plane[0], _unwrapped(plane[1]))


def _unwrapped(longitude: Floats) -> Floats:
    """Return longitudes within half a turn of the middle of the picture."""
    middle = longitude[longitude.shape[0] // 2, longitude.shape[1] // 2]
    middle = middle if np.isfinite(middle) else np.nanmean(longitude)
    return np.asarray((longitude - middle + 180) % 360 - 180 + middle)


def cartopy_projection(reference: Georeference, *, geographic: bool) -> Any:
    """Return a projection of cartopy with straight rows and columns, bounded by the data; None without cartopy.

    A mapping of CF has no area of use.
    """
    if find_spec("cartopy") is None or not (geographic or reference.crs is not None):
        return None
    y, x = reference.y, reference.x
    if geographic:
        return resolve_name("cartopy.crs:PlateCarree")(float((x.min() + x.max()) / 2))
    result = resolve_name("cartopy.crs:Projection")(reference.crs.to_wkt())
    margin = 50 * max(np.ptp(y), np.ptp(x))  # metres: a twentieth of the longer side
    low_x, high_x, low_y, high_y = (1e3 * limit for limit in (x.min(), x.max(), y.min(), y.max()))
    result.bounds = (low_x - margin, high_x + margin, low_y - margin, high_y + margin)
    result.threshold = margin / 10
    return result
