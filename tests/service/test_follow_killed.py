"""The service as a process that is killed again and again while frames are fed at speed, good ones and others."""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import xarray as xr

from tests.runs.records import same
from tests.service.radar import expected, pairs, storm, write_frame

PATTERN = "nowcast_{time:%Y%m%d%H%M}.nc"
AHEAD = 8  # frames that arrive before those before them have their forecasts, at most
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
    pytest.mark.filterwarnings("ignore::xvar.errors.InputWarning"),  # small showers look like ground echoes
]


class Feed(threading.Thread):
    """Frames in a random order of arrival: late, written twice or in two parts, broken, or not at all."""

    def __init__(self, record: xr.Dataset, folder: pathlib.Path, seconds: float) -> None:
        super().__init__()
        self.record, self.folder, self.seconds = record, folder, seconds
        self.random = random.Random(7)
        count = record.sizes["time"]
        kinds = ["missing", "broken", "late", "twice", "in parts", "rewritten"]
        self.kinds = [self.random.choice(kinds) if self.random.random() < 0.25 else "good" for _ in range(count)]
        self.kinds[:3], self.kinds[-6:] = ["good"] * 3, ["good"] * 6
        self.counts = {kind: self.kinds.count(kind) for kind in (*kinds, "good")}

    @property
    def arriving(self) -> list[np.datetime64]:
        """Times of the frames that arrive whole, sooner or later."""
        times = self.record["time"].values
        return [one for one, kind in zip(times, self.kinds, strict=True) if kind not in ("missing", "broken")]

    def run(self) -> None:
        pending: list[tuple[int, int]] = []  # when, frame
        for index, kind in enumerate(self.kinds):
            patient = time.monotonic() + 10
            whole = sum(kind not in ("missing", "broken") for kind in self.kinds[:index])
            while whole - made(self.folder.parent) > AHEAD and time.monotonic() < patient:
                time.sleep(0.01)
            if kind == "late":
                pending.append((index + self.random.randint(1, 4), index))
            elif kind == "broken":
                whole = write_frame(self.record, index, self.folder.parent).read_bytes()
                (self.folder / f"radar_{index:04d}.nc").write_bytes(whole[: self.random.randint(1, len(whole) - 1)])
            elif kind == "in parts":
                whole = write_frame(self.record, index, self.folder.parent).read_bytes()
                with (self.folder / f"radar_{index:04d}.nc").open("wb") as file:
                    file.write(whole[: len(whole) // 2])
                    file.flush()
                    time.sleep(0.1)
                    file.write(whole[len(whole) // 2 :])
            elif kind != "missing":
                write_frame(self.record, index, self.folder)
            if kind == "twice":
                write_frame(self.record, index, self.folder, f"radar_{index:04d}_again.nc")
            if kind == "rewritten":
                time.sleep(0.05)
                write_frame(self.record, index, self.folder)
            for when, late in list(pending):
                if when <= index:
                    write_frame(self.record, late, self.folder)
                    pending.remove((when, late))
            time.sleep(self.seconds)


def start(folder: pathlib.Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "xvar", "follow", "in/radar_*.nc", "-o", f"out/{PATTERN}", "--every-frame"]
    options = ["--lead", "15min", "--cadence", "5min", "--settle", "0.03", "--patience", "1", "--window", "4"]
    options += ["--scores-of", "1000h"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("a") as log:
        return subprocess.Popen([*command, *options], cwd=folder, env=environment, stdout=log, stderr=log, text=True)


def made(folder: pathlib.Path) -> int:
    return len(list((folder / "out").glob("nowcast_*.nc")))


@pytest.mark.long
@pytest.mark.parametrize(("frames", "kills"), [(24, 2), (500, 20)], ids=["short", "long"])
def test_each_forecast_once_none_wrong_and_the_scores_right(tmp_path, frames, kills) -> None:
    (tmp_path / "in").mkdir()
    record = storm(frames)
    feed = Feed(record, tmp_path / "in", 0.02)
    feed.start()
    service, first_written = start(tmp_path), {}
    draws = random.Random(3)
    for _ in range(kills):
        target = made(tmp_path) + max(1, frames // (kills + 2) - 2)
        while made(tmp_path) < target and service.poll() is None:
            time.sleep(0.01)
        time.sleep(draws.random() * 0.3)
        service.kill()
        service.wait()
        for path in (tmp_path / "out").glob("nowcast_*.nc"):
            first_written.setdefault(path.name, (path.stat().st_ino, path.stat().st_mtime_ns))
        service = start(tmp_path)
    feed.join()
    deadline = time.monotonic() + 1800
    wanted = {str(one.astype("datetime64[us]")) for one in feed.arriving}
    state = tmp_path / "out" / ".follow-state.json"
    while time.monotonic() < deadline:
        noted = json.loads(state.read_text()) if state.exists() else {"files": {}}
        known = {text for entry in noted["files"].values() for text in entry[3]}
        if wanted - {str(record["time"].values[0].astype("datetime64[us]"))} <= known:
            break
        assert service.poll() is None, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.1)
    time.sleep(1.5)
    service.send_signal(signal.SIGTERM)
    assert service.wait(60) == 0, (tmp_path / "log").read_text()[-3000:]
    check(record, feed, tmp_path, first_written)


def check(record: xr.Dataset, feed: Feed, folder: pathlib.Path, first_written: dict) -> None:
    outputs = []
    for path in sorted((folder / "out").glob("nowcast_*.nc")):
        with xr.open_dataset(path) as output:
            outputs.append(output.load())
        if path.name in first_written:  # what was there at a kill was not written again
            assert first_written[path.name] == (path.stat().st_ino, path.stat().st_mtime_ns)
    assert not list((folder / "out").glob("*.part"))
    times = [output["forecast_reference_time"].values[0] for output in outputs]
    without = set(feed.arriving) - set(times)
    assert len(times) == len(set(times))
    assert set(times) <= set(feed.arriving)
    # A frame has none if no other was in its window then: the first, and ones that came when those before had not.
    assert record["time"].values[0] in without
    assert len(without) <= 1 + 0.02 * len(times)
    every = max(1, len(outputs) // 60)
    for output in outputs[::every]:
        assert same(expected(record, output, folder / "out", PATTERN), output) == []
    status = json.loads((folder / "out" / "status.json").read_text())
    assert status["state"] == "stopped"
    assert status["counts"]["forecasts"] == len(outputs)
    assert status["counts"]["failed"] == 0
    true = pairs(record, outputs, set(feed.arriving))
    for lead, (count, square, persistence) in true.items():
        found = status["scores"][str(lead)]
        assert found["forecasts"] == count
        assert found["rmse"] == pytest.approx(square**0.5, rel=1e-5)
        assert found["rmse_persistence"] == pytest.approx(persistence**0.5, rel=1e-5)
