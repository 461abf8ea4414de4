"""Images of geostationary satellites: the angles of their scan as metres on the plane of the projection."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import xarray as xr

from xvar.cf.axes import is_number
from xvar.cf.geodesy import mapping_attributes, mapping_name
from xvar.cf.units import are_convertible, convert, normalise_units


def in_metres(dataset: xr.Dataset, variable: Hashable, notes: list[str]) -> xr.Dataset:
    """Return a Dataset whose x and y are lengths on the plane of the geostationary projection of a variable.

    Satellites of the GOES-R series state x and y as the angles a of the instrument's scan. PROJ, and CF's
    ``projection_x_coordinate``, measure the same plane in metres, h a, with the height h of the satellite above the
    ellipsoid (``perspective_point_height``): CF conventions 1.11, appendix F, "Geostationary projection".
    """
    name = mapping_name(dataset[variable])
    height = None if name is None else _height(mapping_attributes(dataset, name) or {})
    if height is None:
        return dataset
    angles = [dim for dim in dataset[variable].dims if dim in dataset.coords and _is_angle(dataset[dim])]
    for dim in angles:
        coordinate = dataset[dim]
        attrs = {**coordinate.attrs, "units": "m"}
        if "standard_name" in attrs:
            attrs["standard_name"] = str(attrs["standard_name"]).replace("_angular_coordinate", "_coordinate")
        radians = convert(coordinate.values, str(coordinate.attrs["units"]), "radian")
        dataset = dataset.assign_coords({dim: (dim, height * radians, attrs)})
    if angles:
        words = " and ".join(repr(str(dim)) for dim in angles)
        notes.append(f"scan angles {words} read as metres on the plane of {name!r}: times {height:.8g} m")
    return dataset


def _is_angle(coordinate: xr.DataArray) -> bool:
    units = normalise_units(str(coordinate.attrs.get("units", "")))
    # UDUNITS takes plain numbers for radians; here they may count pixels.
    return is_number(coordinate) and units not in ("", "1") and are_convertible(units, "radian")


def _height(mapping: Mapping[str, Any]) -> float | None:
    """Return the metres above the ellipsoid from which a geostationary mapping is seen."""
    height = mapping.get("perspective_point_height")
    return float(height) if mapping.get("grid_mapping_name") == "geostationary" and height is not None else None
