"""The memory of a window is no more than the check of a grid reckons with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xvar.cf.record import FEWEST_FIELDS
from xvar.plan.memory import WORKING_FIELDS, working_fields

SCRIPT = """
import sys
import torch
import xvar
from benchmarks.twins import MOTIONS, rain_of

def resident(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

torch.set_num_threads(1)
images = rain_of("translation, 2 px", 0)
options = {"method": sys.argv[1]}
if sys.argv[1] == "currents":
    sea = {"standard_name": "sea_surface_temperature", "units": "degC", "long_name": "temperature of the sea"}
    images = (15 + images.rename(rain="sst")["sst"] / 10).assign_attrs(sea).to_dataset()
    images["sst"][:, 10:30, 20:40] = float("nan")  # a cloud
    options["constraint"] = "weak"
part = images.isel(y=slice(0, 48), x=slice(0, 48))
part.var4d.assimilate(**options)  # what is loaded at first use
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
images.var4d.assimilate(**options, memory=None if len(sys.argv) == 2 else sys.argv[2])
print((resident("VmHWM") - before) / 4 / images.sizes["y"] / images.sizes["x"])
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process")
@pytest.mark.parametrize("method", ["image_motion", "currents"])
def test_a_window_needs_no_more_fields_than_are_reckoned(method: str) -> None:
    most = working_fields(method, 4)  # type: ignore[arg-type]
    assert 0.5 * most < fields_of_a_window(method) <= most


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process")
def test_a_window_in_tiles_needs_no_more_memory_than_it_may_take() -> None:
    side, tile = 256, 128
    points = 4 * side**2
    may_take = 4 * (FEWEST_FIELDS * side**2 + WORKING_FIELDS["image_motion"] * tile**2)
    assert fields_of_a_window("image_motion", f"{may_take}B") * points <= may_take


def fields_of_a_window(*words: str) -> float:
    """Measure the peak of a window of rain or sea in a process of its own, in fields."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *words]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout)
