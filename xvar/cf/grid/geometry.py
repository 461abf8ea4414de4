"""Geometry of a grid: its spacing in metres, by the kind of the grid, and the directions of its axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf import geodesy
from xvar.cf.axes import Axes, check_points, in_memory
from xvar.cf.faults import add
from xvar.cf.geodesy import EARTH_RADIUS, Floats, mapping_name
from xvar.cf.grid.coordinates import (
    Line,
    ascends,
    coordinate_along,
    coordinate_line,
    in_plane,
    measured,
    plane_coordinates,
    scaled,
)
from xvar.errors import Faults, InputWarning, warn

GridKind = Literal["projected", "geographic", "curvilinear", "index"]

#: Rows beyond this latitude have columns less than 2 % as wide as at the equator.
HIGHEST_LATITUDE = 89.0

#: Lengths by the mapping and by latitude and longitude that differ more than any choice of ellipsoid explains.
INCONSISTENT = 0.02

#: Share of the points beyond the domain of a mapping from which on it is the mapping that is wrong.
MOST_BEYOND = 0.5

#: Neighbours so many times farther apart than most are none: one of them has a wrong position.
FARTHEST = 50.0

_SPHERE = f"on a sphere of {EARTH_RADIUS / 1e3:g} km"


@dataclass(frozen=True)
class HorizontalGrid:
    """A horizontal grid in metres, with its local spacing (dy, dx) as a metric (2, ny, nx) unless it is uniform.

    The grid of a state of any shape has all its axes, the horizontal ones last, see `xvar.cf.lattice`.
    """

    shape: tuple[int, ...]  # (ny, nx)
    spacing: tuple[float, ...]  # (dy, dx), representative, positive, metres
    metric: Floats | None  # true metres with both coordinates ascending
    ascending: tuple[bool, ...]  # y and x along the index in the file
    kind: GridKind  # geographic axes run east and north; all others are relative to the grid
    periodic_x: bool  # the columns go once around the Earth
    description: str  # the origin of the metres
    #: Latitude and longitude in degrees, (ny, nx) or (ny, 1) and (1, nx), both coordinates ascending; of a rotated pole
    #: relative to it.
    positions: tuple[Floats, Floats] | None = None
    beyond: NDArray[np.bool_] | None = None  # (ny, nx) as the metric: points that have no place on the Earth

    def on_earth(self, image: xr.DataArray, axes: Axes) -> xr.DataArray:
        """Return an image (..., y, x) without values at points that have no place on the Earth."""
        if self.beyond is None:
            return image
        places = self.beyond[:: 1 if self.ascending[0] else -1, :: 1 if self.ascending[1] else -1]
        return image.where(~xr.DataArray(places, dims=axes.space))

    @classmethod
    def of_metric(
        cls,
        metric: Floats,
        ascending: tuple[bool, bool],
        kind: GridKind,
        description: str,
        *,
        periodic_x: bool = False,
        positions: tuple[Floats, Floats] | None = None,
    ) -> HorizontalGrid:
        """Return a grid of local spacing (2, ny, nx), which its mean represents."""
        shape, spacing = (metric.shape[1], metric.shape[2]), (float(metric[0].mean()), float(metric[1].mean()))
        return cls(shape, spacing, metric, ascending, kind, periodic_x, description, positions)


def horizontal_grid(
    array: xr.DataArray,
    axes: Axes,
    faults: Faults,
    dx: float | None = None,
    dy: float | None = None,
    *,
    mapping: xr.Dataset | None = None,
) -> HorizontalGrid | None:
    """Return the grid of a variable with its spacing in true metres; None if a fault was added.

    In this order: `dx` and `dy` as given; 2-D latitude and longitude, by great circles; x and y in a unit of length, by
    the local factor of the grid mapping if it can be read, else as they are; 1-D latitude and longitude, R dlat and
    R cos(lat) dlon on the sphere of 6371 km. `mapping` is the Dataset that holds the grid mapping.
    """
    if dx is not None or dy is not None:
        return stated_grid(array, axes, faults, dx, dy)
    if not check_points(array, axes, 2, faults):
        return None
    count = len(faults)
    plane = plane_coordinates(array, axes, faults)
    if len(faults) > count:
        return None
    y, x = (coordinate_along(array, dim) for dim in (axes.y, axes.x))
    kinds = (measured(y), measured(x))
    lines = None
    if y is not None and x is not None:
        # Axes that are themselves latitude and longitude need no 2-D ones, unless the pole is rotated.
        if kinds == ("latitude", "longitude") or (kinds == ("angle", "angle") and plane is None):
            return geographic_grid(y, x, faults, rotated=kinds[0] == "angle")
        if kinds == ("longitude", "latitude"):
            found = f"longitude along the y dimension {str(axes.y)!r} and latitude along x"
            add(faults, "axes-swapped", found, array.name)
            return None
    if plane is not None and is_mesh(*plane):
        rows, columns = (
            xr.DataArray(values, dims=[dim], name=dim)
            for values, dim in ((plane[0][:, 0], axes.y), (plane[1][0, :], axes.x))
        )
        return geographic_grid(rows, columns, faults)
    if y is not None and x is not None and kinds == ("length", "length"):
        first, second = coordinate_line(y, faults), coordinate_line(x, faults)
        if first is None or second is None:
            return None
        lines = (first, second)
    reference = geodesy.projection_of(array, mapping)
    reference = None if reference is None or reference.is_geographic else reference
    # Along the index without a coordinate.
    directions = [None if c is None or measured(c) == "none" else ascends(c) for c in (y, x)]
    ascending = (directions[0] is not False, directions[1] is not False)
    if plane is not None:
        return curvilinear_grid(array, plane, lines, ascending, faults, reference)
    if lines is not None:
        return projected_grid(array, lines, faults, reference)
    _missing(array, axes, mapping, faults)
    return None


def is_mesh(latitude: Floats, longitude: Floats) -> bool:
    """Return True if 2-D coordinates only repeat 1-D ones: latitude by row, longitude by column."""
    tolerance = 1e-5
    turn = (longitude - longitude[:1] + 180) % 360 - 180
    return bool(np.abs(latitude - latitude[:, :1]).max() < tolerance and np.abs(turn).max() < tolerance)


def _missing(array: xr.DataArray, axes: Axes, dataset: xr.Dataset | None, faults: Faults) -> None:
    """Add a fault with the coordinates that are present instead of metres or degrees."""
    parts = []
    for dim in (axes.y, axes.x):
        coordinate = coordinate_along(array, dim)
        if coordinate is None:
            parts.append(f"no coordinate on {str(dim)!r}")
        elif "units" not in coordinate.attrs:
            parts.append(f"coordinate {str(coordinate.name)!r} without units")
        else:
            parts.append(f"coordinate {str(coordinate.name)!r} in {coordinate.attrs['units']!r}")
    positions = None if dataset is None else in_plane(dataset.data_vars, axes)
    fix = "state the spacing in metres, dx=..., dy=..., or write the units of the coordinates"
    if positions is not None:
        names = [str(part.name) for part in positions]
        fix = f"ds = ds.set_coords({names}): the positions are in these data variables"
    add(faults, "spacing-unknown", "; ".join(parts), array.name, fix=fix)


def stated_grid(array: xr.DataArray, axes: Axes, faults: Faults, dx: Any, dy: Any) -> HorizontalGrid | None:
    """Spacing as the user states it; the coordinates, if any, give the direction alone."""
    count = len(faults)
    for label, value in (("dx", dx), ("dy", dy)):
        try:
            valid = not isinstance(value, bool) and 0 < float(value) < np.inf
        except (TypeError, ValueError):
            valid = False
        if not valid:
            add(faults, "spacing-invalid", f"{label}={value!r}")
    ascending = []
    for coordinate in (coordinate_along(array, dim) for dim in (axes.y, axes.x)):
        direction = True if coordinate is None else ascends(coordinate)
        if coordinate is not None and direction is None:
            coordinate_line(coordinate, faults)
        ascending.append(direction is not False)
    if len(faults) > count:
        return None
    shape, spacing = (array.sizes[axes.y], array.sizes[axes.x]), (float(dy), float(dx))
    description = f"dx = {spacing[1]:g} m, dy = {spacing[0]:g} m as stated in the call"
    return HorizontalGrid(shape, spacing, None, (ascending[0], ascending[1]), "index", False, description)


def geographic_grid(
    y: xr.DataArray, x: xr.DataArray, faults: Faults, *, rotated: bool = False
) -> HorizontalGrid | None:
    """Spacing on the sphere, R dlat and R cos(lat) dlon; of a rotated pole relative to the grid."""
    count = len(faults)
    _check_latitudes(y, faults)
    rows, columns = coordinate_line(y, faults), _columns(x, faults)
    if rows is None or columns is None or len(faults) > count:
        return None
    periodic = columns.uniform and abs(columns.step * columns.values.size - 360) < 0.5 * columns.step
    degree = np.deg2rad(1.0) * EARTH_RADIUS
    metric = np.stack(
        np.broadcast_arrays(
            (degree * rows.spacing)[:, None],
            degree * np.cos(np.deg2rad(rows.values))[:, None] * columns.spacing[None, :],
        )
    )
    name = "rotated latitude and longitude" if rotated else "latitude and longitude"
    return HorizontalGrid.of_metric(
        metric,
        (rows.ascending, columns.ascending),
        "curvilinear" if rotated else "geographic",
        f"from {name} {_SPHERE}" + (", columns around the globe" if periodic else ""),
        periodic_x=periodic,
        positions=(rows.values[:, None], columns.values[None]),
    )


def _check_latitudes(y: xr.DataArray, faults: Faults) -> None:
    latitudes = np.asarray(in_memory(y), dtype=np.float64)
    highest = float(np.nanmax(np.abs(latitudes))) if latitudes.size else 0.0
    if highest > 90 + 1e-6:
        index = int(np.nanargmax(np.abs(latitudes)))
        found = f"latitude {latitudes[index]:g} at index {index}: |lat| > 90"
        add(faults, "latitude-out-of-range", found, y.name, y.dims[0], index)
    elif highest > HIGHEST_LATITUDE:
        add(faults, "pole", f"rows at |lat| = {highest:g}", y.name, y.dims[0], highest=HIGHEST_LATITUDE)


def _columns(x: xr.DataArray, faults: Faults) -> Line | None:
    """Return longitudes without the step of 360 degrees at which the numbering starts again."""
    values = in_memory(x)
    steps = np.diff(np.asarray(values, dtype=np.float64))
    if steps.size > 1 and ((steps > 0).all() or (steps < 0).all()) and np.abs(steps).max() > 180:
        name = str(x.name)
        other = f"(ds[{name!r}] + 180) % 360 - 180" if values.max() > 180 else f"ds[{name!r}] % 360"
        found = (
            f"longitudes {float(values.min()):g} to {float(values.max()):g} in sorted order, with a gap of half "
            "the globe or more between two columns: an area across the meridian at which the numbering starts, sorted"
        )
        add(faults, "longitude-wrapped", found, x.name, x.dims[0], other=other)
        return None
    if np.isfinite(values).all() and (np.abs(steps) > 180).any():
        # In the file's own precision, so that the tolerance for rounding stays the one of that precision.
        x = x.copy(data=np.unwrap(values.astype(np.float64), period=360.0).astype(values.dtype))
    columns = coordinate_line(x, faults)
    if columns is not None and columns.step * columns.values.size - 360 > max(360e-6, 0.5 * columns.step):
        found = f"longitudes over {columns.values[-1] - columns.values[0]:g} degrees: columns that repeat others"
        add(faults, "longitude-repeated", found, x.name, x.dims[0])
        return None
    return columns


def projected_grid(
    array: xr.DataArray, lines: tuple[Line, Line], faults: Faults, reference: Any | None
) -> HorizontalGrid | None:
    """Spacing by the map if it can be read, else by the coordinates as they are."""
    rows, columns = lines
    ascending = (rows.ascending, columns.ascending)
    name = mapping_name(array)
    if reference is not None:
        metric = geodesy.projected_spacing(reference, rows.values, columns.values, rows.spacing, columns.spacing)
        beyond = np.isnan(metric[0])
        if beyond.mean() > MOST_BEYOND:
            found = f"{beyond.mean():.0%} of the points outside the domain of the grid mapping {name!r}"
            add(faults, "mapping-domain", found, array.name)
            return None
        factors = rows.step / metric[0]
        description = (
            f"from x and y by the map factor of {name!r} ({np.nanmin(factors):.4g} to {np.nanmax(factors):.4g})"
        )
        if not beyond.any():
            return HorizontalGrid.of_metric(metric, ascending, "projected", description)
        spacing = float(np.nanmean(metric[0])), float(np.nanmean(metric[1]))
        description += f"; {int(beyond.sum())} points beyond its domain are never observed"
        shape = (rows.values.size, columns.values.size)
        return HorizontalGrid(
            shape, spacing, nearest_known(metric, beyond), ascending, "projected", False, description, beyond=beyond
        )
    why = "there is no grid mapping" if name is None else f"the grid mapping {name!r} is missing or unreadable"
    unchecked = f"not checked against a map projection, since {why}"
    if name is not None:  # the file states a projection, and it is lost: distances may be some percent off
        warn(
            f"variable {array.name!r}: x and y taken as true metres, {unchecked}; add the variable that the attribute "
            "grid_mapping names, or drop the attribute",
            InputWarning,
        )
    description = f"from x and y as they are: {unchecked}"
    if not (rows.uniform and columns.uniform):
        metric = np.stack(np.broadcast_arrays(rows.spacing[:, None], columns.spacing[None, :]))
        return HorizontalGrid.of_metric(metric, ascending, "projected", description)
    shape = (rows.values.size, columns.values.size)
    return HorizontalGrid(shape, (rows.step, columns.step), None, ascending, "projected", False, description)


def nearest_known(fields: Floats, unknown: NDArray[np.bool_]) -> Floats:
    """Return fields (..., y, x) with the values of the nearest known point at those that are `unknown` (y, x)."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return np.asarray(fields[..., rows, columns])


def curvilinear_grid(
    array: xr.DataArray,
    plane: tuple[Floats, Floats],
    lines: tuple[Line, Line] | None,
    ascending: tuple[bool, bool],
    faults: Faults,
    reference: Any | None,
) -> HorizontalGrid | None:
    """Spacing by great circles, to check the spacing of the grid mapping, if there is one."""
    metric = geodesy.neighbour_spacing(*plane)
    order = slice(None, None, 1 if ascending[0] else -1), slice(None, None, 1 if ascending[1] else -1)
    metric = metric[(slice(None), *order)].copy()
    repeated = metric.min() <= 0
    distance = -metric if repeated else metric / np.median(metric, axis=(1, 2), keepdims=True)
    if repeated or distance.max() > FARTHEST:
        axis, row, column = (int(index) for index in np.unravel_index(int(distance.argmax()), metric.shape))
        found, code = "neighbouring points at the same latitude and longitude", "position-repeated"
        if not repeated:
            far, usual = metric[axis, row, column] / 1e3, np.median(metric[axis]) / 1e3
            found = f"a point {far:.4g} km from its neighbours; most are {usual:.4g} km apart"
            code = "position-outlier"
        add(faults, code, found, array.name, index=(row, column))
        return None
    by_map = None
    if lines is not None and reference is not None:
        rows, columns = lines
        by_map = geodesy.projected_spacing(reference, rows.values, columns.values, rows.spacing, columns.spacing)
    # A grid that leaves the domain of its mapping is not compared.
    difference = 0.0 if by_map is None or np.isnan(by_map).any() else float(np.abs(by_map / metric - 1).max())
    if difference > INCONSISTENT:
        found = f"the mapping {mapping_name(array)!r} differs by {difference:.1%} from 2-D latitude and longitude"
        add(faults, "mapping-inconsistent", found, array.name, share=INCONSISTENT)
        return None
    kind: GridKind = "curvilinear" if lines is None else "projected"
    description = f"from 2-D latitude and longitude, great circles {_SPHERE}"
    positions = (plane[0][order].copy(), plane[1][order].copy())
    return HorizontalGrid.of_metric(metric, ascending, kind, description, positions=positions)


def axis_directions(
    array: xr.DataArray, axes: Axes, grid: HorizontalGrid, faults: Faults, *, mapping: xr.Dataset | None = None
) -> Floats | None:
    r"""Return unit vectors (axis, component, y, x) along increasing x and y, towards east and north; None with a fault.

    A motion :math:`u\, e_x + v\, e_y`, of which u and v are metres a second along each axis, has the components

    .. math:: u_{east} = u\, e_x^{east} + v\, e_y^{east}, \qquad u_{north} = u\, e_x^{north} + v\, e_y^{north}

    also if the axes are not at right angles. Directions are those of the grid mapping if it can be read, else of 2-D
    latitude and longitude, in the order of the file.
    """
    if grid.kind == "geographic":
        return np.array(np.broadcast_to(np.eye(2)[:, :, None, None], (2, 2, *grid.shape)), dtype=np.float64)
    y, x = (coordinate_along(array, dim) for dim in (axes.y, axes.x))
    quantities = (measured(y), measured(x))
    reference = geodesy.projection_of(array, mapping)
    if y is not None and x is not None and reference is not None:
        fits = quantities == (("angle", "angle") if reference.is_geographic else ("length", "length"))
        by_map = geodesy.projected_directions(reference, scaled(y), scaled(x)) if fits else None
        if by_map is not None:
            return by_map
    count = len(faults)
    plane = plane_coordinates(array, axes, faults)
    if plane is not None:
        signs = np.array([1.0 if up else -1.0 for up in reversed(grid.ascending)])
        return np.asarray(geodesy.directions_of_positions(*plane) * signs[:, None, None, None])
    if len(faults) == count:
        name = mapping_name(array)
        mapped = "no grid mapping" if name is None else f"a grid mapping {name!r} that is missing or cannot be read"
        found = f"a grid without the direction of north: no 2-D latitude and longitude, and {mapped}"
        add(faults, "north-unknown", found, array.name)
    return None
