"""The paper's sea surface temperature case: currents by the weak constraint, and by the strong one beside it.

Filoche, Béréziat, Brajard and Charantonis (2021), "Variational assimilation of geophysical images leveraging deep
learning tools", assimilate four daily images of sea surface temperature, 240 by 240, with a model error under a
Tikhonov regularisation. Their product is not available: a twin of geostrophic currents replaces it. Output of an ocean
model is analysed with xvar's defaults beside it.

    python examples/filoche2021_sst.py [CURRENTS] [--ocean FILE] [--json -]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xvar
from xvar.covariance import Diagonal, Tikhonov
from xvar.dynamics import Advection
from xvar.errors import AnalysisWarning
from xvar.minimize import LBFGS

DATA = Path(__file__).parents[2] / "shared" / "data"
CURRENTS, OCEAN = DATA / "currents-duacs-ionian-202401.nc", DATA / "ocean-norkyst800-20160114.nc"
SIDE, FRAMES = 240, 4
DAY = 86400.0
STEP = DAY / 4
EDGE = 5  # pixels, beyond which it is scored
STD_IMAGE, NOISE = 0.1, 0.05  # K, of an image as the first guess, and of what is observed
# |grad w|^2 and (div w)^2 of a motion in m/s, metres and seconds: 0.6 m/s over eddies of 30 km.
GRADIENT, DIVERGENCE, MEAN = 1e9, 5e9, 0.3
SHARE = 0.15  # of the motion that changes in a day


def twin(currents: xr.Dataset) -> xr.Dataset:
    """Four daily images, 240 by 240, that the file's currents move."""
    names = next(pair for pair in xvar.datasets.VELOCITIES if set(pair) <= set(currents.data_vars))
    y, x = currents[names[0]].dims[-2:]
    four = currents[list(names)].isel(time=slice(0, FRAMES)).load()
    fine = {dim: np.linspace(float(four[dim][0]), float(four[dim][-1]), SIDE) for dim in (y, x)}
    truth = four.fillna(0).interp(fine)
    for name in (*names, y, x):
        truth[name].attrs = four[name].attrs
    images = xvar.datasets.twin(truth, velocity=names, noise=NOISE)
    sea = (
        four[names[0]]
        .isel(time=0)
        .notnull()
        .astype("float32")
        .interp({dim: fine[dim] for dim in (y, x)}, method="nearest")
        > 0
    )
    return images.where(sea).rename({names[0]: "u", names[1]: "v"})


def end_point_error(analysis: xr.Dataset | None, truth: xr.Dataset, image: str) -> float:
    """Mean distance to the true currents at the end of the window, in m/s; of no motion without an analysis."""
    last = truth.isel(time=-1)
    known = (truth[image].notnull().all("time") & (last["u"] + last["v"]).notnull()).values
    inner = np.zeros_like(known)
    inner[EDGE:-EDGE, EDGE:-EDGE] = known[EDGE:-EDGE, EDGE:-EDGE]
    parts = [last[name].values if analysis is None else (analysis[name][0, -1] - last[name]).values for name in "uv"]
    return float(np.hypot(*parts)[inner].mean())


def figures(analysis: xr.Dataset, seconds: float, truth: xr.Dataset, image: str) -> dict[str, Any]:
    """What is printed of one analysis."""
    terms = sorted(str(name) for name in analysis if str(name).startswith("cost_"))
    return {
        "cost_first_guess": float(analysis["cost"][0, 0]),
        "cost": float(analysis["cost"][0, 1]),
        **{name: float(analysis[name][0, 1]) for name in terms},
        "evaluations": int(analysis["evaluations"][0]),
        "seconds": seconds,
        "epe": end_point_error(analysis, truth, image),
    }


def papers(images: xr.Dataset, *, weak: bool) -> xr.Dataset:
    """The paper's structure: a motion that carries itself, Tikhonov B, and Q of the same shape in a day."""
    error = Tikhonov(GRADIENT, divergence=DIVERGENCE, mean_std=MEAN)
    change = Tikhonov(GRADIENT / SHARE**2, divergence=DIVERGENCE / SHARE**2, mean_std=MEAN * SHARE)
    # Q is the covariance of a day's change, so that it is stated for one second.
    in_a_second = Tikhonov(change.gradient * DAY, divergence=change.divergence * DAY, mean_std=MEAN * SHARE / DAY**0.5)
    return images["temperature"].var4d.assimilate(
        window=FRAMES,
        constraint="weak" if weak else "strong",
        dynamics=Advection("inertial", "arrival", step=STEP),
        background_error={"velocity": error, "temperature": Diagonal(STD_IMAGE)},
        observation_error=NOISE,
        model_error={"velocity": in_a_second} if weak else None,
        minimizer=LBFGS(max_evaluations=300, ftol=1e-5),
    )


def run(currents: xr.Dataset, ocean: xr.Dataset | None) -> dict[str, Any]:
    """All figures, weak beside strong."""
    images = twin(currents)
    results: dict[str, Any] = {"twin": {"epe_no_motion": end_point_error(None, images, "temperature")}}
    for name, weak in (("weak", True), ("strong", False)):
        begin = time.perf_counter()
        analysis = papers(images, weak=weak)
        results["twin"][f"paper_{name}"] = figures(analysis, time.perf_counter() - begin, images, "temperature")
    cases = {"twin": images} if ocean is None else {"twin": images, "ocean": ocean}
    for case, truth in cases.items():
        results.setdefault(case, {"epe_no_motion": end_point_error(None, truth, "temperature")})
        for name in ("weak", "strong"):
            begin = time.perf_counter()
            analysis = truth.var4d.assimilate("temperature", constraint=name, window=truth.sizes["time"])
            results[case][f"default_{name}"] = figures(analysis, time.perf_counter() - begin, truth, "temperature")
    return results


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=CURRENTS, help="NetCDF with daily currents")
    parser.add_argument("--ocean", type=Path, default=OCEAN, help="NetCDF with temperature, u and v of the same sea")
    parser.add_argument("--json", metavar="FILE", help="write JSON there, - for standard output")
    options = parser.parse_args()
    warnings.simplefilter("ignore", AnalysisWarning)  # evaluations are among what is printed
    ocean = xr.open_dataset(options.ocean) if options.ocean.exists() else None
    results = run(xr.open_dataset(options.file), ocean)
    if options.json:
        text = json.dumps(results, indent=2)
        sys.stdout.write(text + "\n") if options.json == "-" else Path(options.json).write_text(text + "\n")
        return
    for case, parts in results.items():
        sys.stdout.write(f"{case}: EPE of no motion {parts.pop('epe_no_motion'):.4f} m/s\n")
        for name, values in parts.items():
            shown = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
            sys.stdout.write(f"  {name:15s} {shown}\n")


if __name__ == "__main__":
    main()
