"""The memory of a window is no more than the check of a grid reckons with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xvar.cf.record import WORKING_FIELDS

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
if sys.argv[1] == "currents":
    sea = {"standard_name": "sea_surface_temperature", "units": "degC", "long_name": "temperature of the sea"}
    images = (15 + images.rename(rain="sst")["sst"] / 10).assign_attrs(sea).to_dataset()
part = images.isel(y=slice(0, 48), x=slice(0, 48))
part.var4d.assimilate(method=sys.argv[1])  # what is loaded at first use
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
images.var4d.assimilate(method=sys.argv[1])
print((resident("VmHWM") - before) / 4 / images.sizes["y"] / images.sizes["x"])
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process")
@pytest.mark.parametrize("method", ["image_motion", "currents"])
def test_a_window_needs_no_more_fields_than_are_reckoned(method: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, method]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    fields = float(run.stdout)
    assert 0.5 * WORKING_FIELDS < fields <= WORKING_FIELDS
