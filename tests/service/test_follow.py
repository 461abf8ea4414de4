"""A service that follows a radar: each forecast once and right, whatever arrives, and after kills."""

from __future__ import annotations

import json
import pathlib
import threading
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.codes import codes
from tests.runs.records import same
from tests.service.radar import CADENCE, LEAD, START, expected, pairs, storm, write_frame
from xvar.errors import InputError
from xvar.service.follow import follow
from xvar.service.journal import read_status

pytestmark = pytest.mark.usefixtures("one_thread")
PATTERN = "nowcast_{time:%Y%m%d%H%M}.nc"


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    (tmp_path / "in").mkdir()
    return tmp_path


def run(folder: pathlib.Path, **options: Any) -> Any:
    given = {"every_frame": True, "once": True, "settle": 0.0, "patience": 0.2, "cadence": "5min", "say": [].append}
    return follow(str(folder / "in" / "*.nc"), str(folder / "out" / PATTERN), LEAD, **{**given, **options})


def drafts(record: xr.Dataset, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write all frames elsewhere: netCDF is not safe in two threads at once."""
    (folder / "drafts").mkdir()
    return [write_frame(record, index, folder / "drafts") for index in range(record.sizes["time"])]


def arrive(frame: pathlib.Path, folder: pathlib.Path) -> None:
    frame.replace(folder / "in" / frame.name)


def outputs_of(folder: pathlib.Path) -> list[xr.Dataset]:
    found = []
    for path in sorted((folder / "out").glob("nowcast_*.nc")):
        with xr.open_dataset(path) as output:
            found.append(output.load())
    return found


def check_outputs(record: xr.Dataset, folder: pathlib.Path) -> list[xr.Dataset]:
    found = outputs_of(folder)
    for output in found:
        assert same(expected(record, output, folder / "out", PATTERN), output) == []
    return found


def test_each_frame_has_its_forecast_and_the_scores_are_those_of_verify(folder) -> None:
    record = storm(9)
    for index in range(9):
        write_frame(record, index, folder / "in")
    lines: list[str] = []
    status = run(folder, say=lines.append)
    found = check_outputs(record, folder)
    times = [output["forecast_reference_time"].values[0] for output in found]
    assert times == list(record["time"].values[1:])  # the first has no frame before it
    assert status.counts == {
        "frames": 9,
        "forecasts": 8,
        "late": 0,
        "duplicates": 0,
        "broken": 0,
        "failed": 0,
    }
    assert len(lines) == 8
    assert [output.attrs["first_guess"] for output in found[:2]] == ["none", "2020-06-01T00:05:00.000000"]
    assert sum(output["evaluations"].item() for output in found[4:]) < 25 * len(found[4:])
    true = pairs(record, found, set(record["time"].values))
    for lead, (count, square, persistence) in true.items():
        known = status.scores[str(lead)]
        assert known["forecasts"] == count
        assert known["rmse"] == pytest.approx(square**0.5, rel=1e-5)
        assert known["rmse_persistence"] == pytest.approx(persistence**0.5, rel=1e-5)
    forecasts = xr.concat([one[["rain"]] for one in found], "window", combine_attrs="override")
    scores = forecasts.var4d.verify(record)
    before = pairs(record, found[:-1], set(record["time"].values[:-1]))
    np.testing.assert_allclose(found[-1]["recent_rmse"] ** 2, [row[1] for row in before.values()], rtol=1e-6)
    assert scores["rmse"].values[0] == pytest.approx(status.scores["5"]["rmse"], rel=1e-5)


def test_missing_frames_are_frames_without_values(folder) -> None:
    record = storm(9)
    for index in (0, 1, 2, 4, 5, 8):
        write_frame(record, index, folder / "in")
    status = run(folder)
    found = check_outputs(record, folder)
    assert [output["observed_share"].values[0].tolist() for output in found] == [
        [0, 0, 1, 1],
        [0, 1, 1, 1],
        [1, 1, 0, 1],
        [1, 0, 1, 1],
        [1, 0, 0, 1],
    ]
    assert status.frames_of_window == "2 of 4"


def test_frames_before_a_gap_can_be_left_out(folder) -> None:
    record = storm(8)
    for index in (0, 1, 2, 4, 5, 7):
        write_frame(record, index, folder / "in")
    status = run(folder, gaps="split")
    found = check_outputs(record, folder)
    assert [output["observed_share"].values[0].tolist() for output in found] == [
        [0, 0, 1, 1],
        [0, 1, 1, 1],
        [0, 0, 1, 1],
    ]
    assert status.counts["failed"] == 0


def test_late_frames_get_their_forecast_and_change_no_other(folder) -> None:
    record = storm(8)
    for index in (0, 1, 2, 3, 5, 6):
        write_frame(record, index, folder / "in")
    run(folder)
    before = {path.name: path.read_bytes() for path in (folder / "out").glob("nowcast_*.nc")}
    write_frame(record, 4, folder / "in")
    status = run(folder)
    assert status.counts["late"] == 1
    found = check_outputs(record, folder)
    assert len(found) == len(before) + 1
    assert all((folder / "out" / name).read_bytes() == content for name, content in before.items())
    write_frame(record, 7, folder / "in")
    status = run(folder)
    assert check_outputs(record, folder)[-1]["observed_share"].values.tolist() == [[1, 1, 1, 1]]
    true = pairs(record, outputs_of(folder), set(record["time"].values))
    assert {lead: status.scores[str(lead)]["forecasts"] for lead in true} == {
        lead: row[0] for lead, row in true.items()
    }


def test_the_newest_frame_alone_without_every_frame(folder) -> None:
    record = storm(8)
    for index in range(6):
        write_frame(record, index, folder / "in")
    assert run(folder, every_frame=False).counts["forecasts"] == 1
    for index in (6, 7):
        write_frame(record, index, folder / "in")
    assert run(folder, every_frame=False).counts["forecasts"] == 2
    found = check_outputs(record, folder)
    assert [output["forecast_reference_time"].values[0] for output in found] == list(record["time"].values[[5, 7]])
    assert found[0]["observed_share"].values.tolist() == [[1, 1, 1, 1]]


def test_partial_broken_and_duplicate_files(folder) -> None:
    record = storm(7)
    lines: list[str] = []
    for index in (0, 1, 3):
        write_frame(record, index, folder / "in")
    whole = write_frame(record, 2, folder).read_bytes()
    partial = folder / "in" / "radar_0002.nc"
    partial.write_bytes(whole[: len(whole) // 2])
    (folder / "in" / "notes.nc").write_text("no radar")
    write_frame(record, 1, folder / "in", "again_0001.nc")
    write_frame(storm(4, size=20), 3, folder / "in", "small.nc")
    empty = record.copy(deep=True)
    empty["rain"][4] = np.nan
    write_frame(empty, 4, folder / "in")
    status = run(folder, say=lines.append)
    assert (status.counts["duplicates"], status.counts["broken"], status.counts["forecasts"]) == (1, 4, 2)
    assert sum("another grid" in line for line in lines) == 1
    assert "radar_0004" in str(lines)
    again = run(folder, say=[].append)
    assert again.counts == status.counts  # nothing is tried or counted twice
    partial.write_bytes(whole)  # a file that was broken is complete at last
    status = run(folder)
    assert (status.counts["broken"], status.counts["forecasts"], status.counts["late"]) == (4, 3, 1)
    for index in (5, 6):
        write_frame(record, index, folder / "in")
    run(folder)
    found = check_outputs(record, folder)
    assert found[-1]["observed_share"].values.tolist() == [[1, 0, 1, 1]]


def test_several_frames_in_a_file_and_a_file_that_grows(folder) -> None:
    record = storm(8)
    record.isel(time=slice(0, 5)).to_netcdf(folder / "in" / "day.nc")
    assert run(folder).counts["forecasts"] == 4
    record.to_netcdf(folder / "in" / "more.nc")
    (folder / "in" / "more.nc").replace(folder / "in" / "day.nc")
    status = run(folder)
    assert (status.counts["forecasts"], status.counts["duplicates"]) == (7, 0)
    check_outputs(record, folder)


@pytest.mark.parametrize("when", ["written", "noted"])
def test_a_process_that_dies_with_a_forecast_goes_on_from_it(folder, monkeypatch, when) -> None:
    record = storm(8)
    for index in range(8):
        write_frame(record, index, folder / "in")
    from xvar.service import follower

    alone = folder / "alone"
    (alone / "in").mkdir(parents=True)
    for index in range(8):
        write_frame(record, index, alone / "in")
    run(alone)

    class Killed(BaseException):
        pass

    calls = iter(range(100))
    where, name = (follower, "write") if when == "written" else (follower.Journal, "write")
    own = getattr(where, name)

    def dying(*arguments: Any) -> None:
        own(*arguments)
        if next(calls) == 3:
            raise Killed

    monkeypatch.setattr(where, name, dying)
    with pytest.raises(Killed):
        run(folder)
    monkeypatch.undo()
    assert 0 < len(outputs_of(folder)) < 7
    assert read_status(folder / "out" / "status.json")[1] is False
    status = run(folder)
    assert status.counts["forecasts"] == 7
    for one, other in zip(outputs_of(folder), outputs_of(alone), strict=True):
        assert same(one, other) == []
    assert (folder / "out" / "scores.csv").read_text() == (alone / "out" / "scores.csv").read_text()


def test_a_forecast_that_fails_is_reported_and_the_next_is_made(folder) -> None:
    record = storm(5)
    record["rain"].attrs["units"] = "furlong"
    for index in range(5):
        write_frame(record, index, folder / "in")
    lines: list[str] = []
    status = run(folder, say=lines.append)
    assert (status.counts["failed"], status.counts["forecasts"]) == (4, 0)
    assert "no forecast" in status.last_error
    assert len(lines) == 4


def test_old_outputs_are_removed_and_the_command_gets_each(folder) -> None:
    record = storm(12)
    for index in range(12):
        write_frame(record, index, folder / "in")
    script = folder / "note.sh"
    script.write_text(f'#!/bin/sh\necho "$1" >> {folder}/noted\n')
    script.chmod(0o755)
    run(folder, keep="40min", command=str(script))
    noted = (folder / "noted").read_text().split()
    assert len(noted) == len(set(noted)) == 11
    kept = [output["forecast_reference_time"].values[0] for output in outputs_of(folder)]
    assert kept == list(record["time"].values[3:])
    failing = run(folder, keep="40min", command="false")
    assert failing.counts["failed"] == 0  # nothing was new


def test_it_waits_for_frames_and_stops(folder) -> None:
    record, stop = storm(6), threading.Event()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 5:
            stop.set()

    frames = drafts(record, folder)

    def feed() -> None:
        for frame in frames:
            arrive(frame, folder)

    thread = threading.Thread(target=feed)
    thread.start()
    status = run(folder, once=False, stop=stop, say=say)
    thread.join()
    assert status.counts["forecasts"] == 5
    check_outputs(record, folder)
    assert status.state == "stopped"
    assert 0 < status.latency_seconds < 60


def test_it_looks_by_itself_where_no_events_come(folder) -> None:
    record, stop = storm(3), threading.Event()
    frames = drafts(record, folder)
    threading.Timer(0.3, lambda: [arrive(frame, folder) for frame in frames]).start()
    lines: list[str] = []
    run(folder, once=False, poll=0.1, stop=stop, say=lambda line: (lines.append(line), len(lines) == 2 and stop.set()))
    assert len(check_outputs(record, folder)) == 2


def test_the_status_says_whether_it_is_healthy(folder) -> None:
    record = storm(3)
    for index in range(3):
        write_frame(record, index, folder / "in")
    run(folder)
    path = folder / "out" / "status.json"
    found, healthy = read_status(path)
    assert (found["state"], healthy) == ("stopped", False)
    assert found["last_frame"] == "2020-06-01T00:10:00Z"
    for late, well in (("2999-01-01T00:00:00Z", True), ("2001-01-01T00:00:00Z", False)):
        path.write_text(json.dumps({**found, "state": "running", "late_after": late}))
        assert read_status(path)[1] is well


def test_a_cold_start_gives_the_bits_of_a_nowcast(folder) -> None:
    record = storm(5)
    for index in range(5):
        write_frame(record, index, folder / "in")
    run(folder, first_guess=None, members=3)
    last = outputs_of(folder)[-1]
    alone = xvar.nowcast(record.isel(time=slice(-4, None)), LEAD, members=3)
    assert same(alone, last) == []
    assert "probability_of_rain_above_threshold" in last


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"output": "out/nowcast.nc"}, "output-pattern"),
        ({"output": "out/nowcast_{time:%H%M}.txt"}, "output-pattern"),
        ({"output": "out/{time:%H%M}/nowcast.nc"}, "output-pattern"),
        ({"output": "out/nowcast_{date}.nc"}, "output-pattern"),
        ({"pattern": "absent/*.nc"}, "missing-folder"),
        ({"lead": "soon"}, "duration-invalid"),
        ({"keep": "soon"}, "duration-invalid"),
        ({"first_guess": "previous"}, "unknown-choice"),
        ({"stride": 1}, "unknown-option"),
    ],
)
def test_what_is_wrong_is_refused(folder, monkeypatch, options, code) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InputError) as info:
        follow(**{"pattern": "in/*.nc", "output": f"out/{PATTERN}", "once": True, **options})
    assert codes(info.value) == [code]


def test_two_processes_into_one_folder_are_refused(folder) -> None:
    from xvar.runs.lock import locked
    from xvar.service.journal import STATE

    (folder / "out").mkdir()
    with locked(folder / "out" / STATE), pytest.raises(InputError) as info:
        run(folder)
    assert codes(info.value) == ["store-locked"]


def test_a_state_that_cannot_be_read_is_refused(folder) -> None:
    (folder / "out").mkdir()
    (folder / "out" / ".follow-state.json").write_text("{")
    with pytest.raises(InputError) as info:
        run(folder)
    assert codes(info.value) == ["state-unreadable"]
    with pytest.raises(InputError) as info:
        read_status(folder / "out" / "status.json")
    assert codes(info.value) == ["status-unreadable"]


def test_the_picture_of_a_forecast(folder) -> None:
    pytest.importorskip("matplotlib")
    record = storm(4)
    for index in range(4):
        write_frame(record, index, folder / "in")
    status = run(folder, every_frame=False, png=True, geojson=True)
    assert "positions" in status.last_error or "latitude" in status.last_error  # a grid in metres without a map
    (picture,) = (folder / "out").glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stem == "nowcast_202006010015"
    assert outputs_of(folder)[0]["forecast_reference_time"].values[0] == START + 3 * CADENCE
