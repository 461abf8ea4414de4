"""The statements of docs/mathematics.md about lengths and coasts, against the covariances themselves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import xvar
from xvar.core.covariance import Diagonal, Diffusion, Helmholtz, Matern, Specification, Tikhonov
from xvar.core.covariance.balance import Geostrophic, Streamfunction
from xvar.core.covariance.channels import Channels
from xvar.core.covariance.composite import Ensemble
from xvar.core.covariance.diffusion import SHORTEST_LENGTH
from xvar.core.covariance.gaspari_cohn import GaspariCohn
from xvar.core.covariance.homogeneous import Homogeneous
from xvar.core.grid import Grid
from xvar.errors import InputError

PAGE = (Path(__file__).parents[3] / "docs/mathematics.md").read_text(encoding="utf-8")
COASTS = {
    name: text
    for names, text in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (respected|ignored)", PAGE, re.MULTILINE)
    for name in re.findall(r"`(\w+)`", names)
}
SHAPE = (16, 12)
WATER = torch.ones(SHAPE, dtype=torch.bool)
WATER[:, 5] = False
FIELDS = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MATERN, DIAGONAL = Matern(0.3, 3e3, 2), Diagonal(1e-3)


@pytest.mark.parametrize(
    ("specification", "components", "respects"),
    [
        (DIAGONAL, 1, False),
        (MATERN, 1, False),
        (Tikhonov(1e6, mean_std=1.0), 1, False),
        (Homogeneous(FIELDS), 1, False),
        (Ensemble(FIELDS[:, None], MATERN), 1, False),
        (Channels(((1.0,),), MATERN), 1, False),
        (GaspariCohn(0.3, 2e3), 1, False),
        (Helmholtz(0.3, 3e3, 0.3), 2, False),
        (Helmholtz(0.3, 3e3, 0.3, coast="no_flow"), 2, True),
        (Diffusion(0.3, 3e3), 1, True),
        (Geostrophic(MATERN, DIAGONAL), 3, True),
        (Streamfunction(MATERN, DIAGONAL, DIAGONAL), 3, True),
    ],
)
def test_coasts_are_respected_as_documented(specification: Specification, components: int, respects: bool) -> None:
    state = torch.randn(1, components, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with_land, without = (
        specification.bind(Grid(SHAPE, (1e3, 1e3), water=water), dtype=torch.float64).apply(state)
        for water in (WATER, None)
    )
    assert torch.equal(with_land, without) != respects
    if getattr(specification, "coast", "free") == "free":
        assert COASTS[type(specification).__name__] == ("respected" if respects else "ignored")


def test_the_table_has_all_public_covariances() -> None:
    assert set(COASTS) == set(xvar.covariance.__all__) - {"Covariance", "Specification", "ensemble"}


def test_the_shortest_lengths_are_the_documented_ones() -> None:
    documented = re.search(r"below (\d+) grid cell.*?needs (\d+) cells", PAGE, re.DOTALL)
    assert documented is not None
    cells, of_diffusion = map(int, documented.groups())
    assert of_diffusion == SHORTEST_LENGTH
    coords = {name: (name, 1e3 * np.arange(n), {"units": "m"}) for name, n in (("y", 9), ("x", 8))}
    coords["time"] = ("time", np.arange(4), {"units": "hours since 2020-01-01"})
    sst = xr.Dataset({"sst": (("time", "y", "x"), 280 + FIELDS[:, :9, :8].numpy(), {"units": "K"})}, coords)
    sst = xr.decode_cf(sst)
    options = {"dynamics": "advection", "minimizer": xvar.minimize.LBFGS(max_evaluations=1)}
    with pytest.raises(InputError) as report:
        sst.var4d.assimilate(background_error={"sst": Matern(1.0, 999.0 * cells)}, **options)
    assert [fault.variable for fault in report.value.faults] == ["background_error of 'tracer'"]
    with pytest.warns(xvar.AnalysisWarning):  # one evaluation does not converge
        sst.var4d.assimilate(background_error={"sst": Matern(1.0, 1000.0 * cells)}, **options)
