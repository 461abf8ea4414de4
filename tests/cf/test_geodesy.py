from __future__ import annotations

import numpy as np
import pytest

from tests.cf.grid.records import SPHERE, STEREOGRAPHIC
from xvar.cf.geodesy import great_circle, projection


def test_great_circle_against_geodesics():
    generator = np.random.default_rng(1)
    latitude, longitude = generator.uniform(-90, 90, (2, 50)), generator.uniform(-180, 180, (2, 50))
    np.testing.assert_allclose(
        great_circle(latitude[0], longitude[0], latitude[1], longitude[1]),
        SPHERE.inv(longitude[0], latitude[0], longitude[1], latitude[1])[2],
        rtol=1e-9,
    )


def test_a_proj_string_tells_the_figure_that_cf_leaves_open():
    text = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=58 +a=6371000 +b=6371000"
    mapping = {key: value for key, value in STEREOGRAPHIC.items() if key != "earth_radius"}
    for name in ("proj4", "proj4_string", "proj4_params"):
        assert projection({**mapping, name: text}).ellipsoid.semi_minor_metre == 6371000
    assert projection(mapping).ellipsoid.inverse_flattening == pytest.approx(298.257, abs=1e-3)
    # Where CF states it, it is that.
    stated = projection({**mapping, "earth_radius": 6.3e6, "proj4": text})
    assert stated.ellipsoid.semi_major_metre == 6.3e6
    assert projection({"proj4": text}).ellipsoid.semi_major_metre == 6371000
    assert projection({"proj4": "+proj=flat_disc"}) is None
    assert projection({"grid_mapping_name": "flat_disc"}) is None
