from __future__ import annotations

import numpy as np

from tests.cf.grid.records import SPHERE
from xvar.cf.geodesy import great_circle


def test_great_circle_against_geodesics():
    generator = np.random.default_rng(1)
    latitude, longitude = generator.uniform(-90, 90, (2, 50)), generator.uniform(-180, 180, (2, 50))
    np.testing.assert_allclose(
        great_circle(latitude[0], longitude[0], latitude[1], longitude[1]),
        SPHERE.inv(longitude[0], latitude[0], longitude[1], latitude[1])[2],
        rtol=1e-9,
    )
