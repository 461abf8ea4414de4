"""A grid mapping as CF wants it: what is kept, mended and told."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from tests.cf.grid.records import STEREOGRAPHIC
from xvar.cf.geodesy import rewritten

PLAIN = {"grid_mapping_name": "latitude_longitude", "earth_radius": 6371000.0}
SPHERE = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=58 +a=6371000 +b=6371000"
FLATTENED = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=58 +a=6378000 +rf=300"
OPEN = {key: value for key, value in STEREOGRAPHIC.items() if key != "earth_radius"}
NONE = "attribute {} of crs dropped: no attribute of latitude_longitude"
FIGURE = "figure of the Earth of crs completed from its PROJ string"


@pytest.mark.parametrize(
    ("given", "kept", "notes"),
    [
        (PLAIN, PLAIN, []),
        (STEREOGRAPHIC, STEREOGRAPHIC, []),
        ({**PLAIN, "coordinates": "lat lon", "_FillValue": 0, "units": "m"}, PLAIN, []),
        ({"colour": 1, **PLAIN, "standard_parallel": 60.0}, PLAIN,
         [NONE.format("colour"), NONE.format("standard_parallel")]),
        ({**PLAIN, "long_name": b"map\xff", "comment": "x", "GeoTransform": "0 1"},
         {**PLAIN, "long_name": "map\ufffd", "comment": "x", "GeoTransform": "0 1"}, []),
        ({**OPEN, "proj4": SPHERE}, {**OPEN, "proj4": SPHERE, "earth_radius": 6371000.0}, [FIGURE]),
        ({**OPEN, "proj4": FLATTENED},
         {**OPEN, "proj4": FLATTENED, "semi_major_axis": 6378000.0, "inverse_flattening": 300.0}, [FIGURE]),
        ({**STEREOGRAPHIC, "proj4": FLATTENED}, {**STEREOGRAPHIC, "proj4": FLATTENED}, []),
    ],
)  # fmt: skip
def test_what_cf_has_is_kept_and_the_rest_is_told(given, kept, notes) -> None:
    told: list[str] = []
    before = dict(given)
    variable = rewritten(given, told, "crs")
    assert (variable.attrs, told) == (kept, notes)
    assert (variable.dims, variable.dtype, variable.item()) == ((), np.int32, 0)
    assert given == before


@pytest.mark.parametrize("given", [{"grid_mapping_name": "flat_disc"}, {}, {"proj4": "+proj=robin"}])
def test_what_is_no_mapping_of_cf_is_dropped_and_told(given) -> None:
    told: list[str] = []
    assert rewritten(given, told, "crs") is None
    assert told == ["grid mapping crs dropped: no mapping of CF"]


def test_a_mapping_is_completed_from_its_proj_string() -> None:
    told: list[str] = []
    attrs = rewritten({"proj4": SPHERE, "grid_mapping_name": "stere"}, told, "crs").attrs
    pole = "latitude_of_projection_origin of crs: 90"
    assert told == ["grid mapping crs completed as polar_stereographic", pole]
    assert (attrs["grid_mapping_name"], attrs["standard_parallel"]) == ("polar_stereographic", 60.0)
    assert (attrs["earth_radius"] if "earth_radius" in attrs else attrs["semi_major_axis"]) == 6371000.0


@pytest.mark.parametrize("parallel", [60.0, -71.0])
def test_a_polar_mapping_states_its_pole(parallel) -> None:
    """CF requires the pole; pyproj leaves it out where the standard parallel implies it."""
    given = pyproj.CRS(f"+proj=stere +lat_0={90 if parallel > 0 else -90} +lat_ts={parallel}").to_cf()
    given.pop("latitude_of_projection_origin", None)
    assert rewritten(given, [], "crs").attrs["latitude_of_projection_origin"] == np.copysign(90, parallel)


def test_numbers_are_of_double_precision_and_lists_stay_lists() -> None:
    mapping = {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": [30, 60], "earth_radius": 6371000}
    mapping |= {"longitude_of_central_meridian": np.float32(4.5), "latitude_of_projection_origin": "50"}
    attrs = rewritten(mapping, [], "crs").attrs
    assert attrs["standard_parallel"].dtype == np.float64
    assert attrs["standard_parallel"].tolist() == [30.0, 60.0]
    assert [type(attrs[key]) for key in ("earth_radius", "longitude_of_central_meridian")] == [float, float]
    assert attrs["latitude_of_projection_origin"] == "50"
