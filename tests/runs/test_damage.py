"""Damaged, absent and unsynced bytes of a store: found, reported and repaired to the same bits."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from typing import Any

import dask
import netCDF4
import pytest
import xarray as xr

import xvar
from tests.faults.codes import codes
from tests.faults.shell import shell
from tests.runs.records import OPTIONS, same, shower
from tests.runs.test_run import FORMATS, Stopping, load
from xvar.io import structure, writing
from xvar.io.reading import open_files
from xvar.io.writing import StoreError
from xvar.runs import Interrupted, status

KINDS = [*(f"{version}.zarr" for version in FORMATS), "a.nc"]
FIRST = {"3.zarr": "c/0", "2.zarr": "0"}  # the only chunk of the status


pytestmark = pytest.mark.usefixtures("one_thread")


def complete(path: pathlib.Path, **options: Any) -> Any:
    """Run, or complete a run, into a store."""
    if path.suffix == ".zarr":
        options["zarr_format"] = int(path.stem)
    return xvar.run(shower(), path, **OPTIONS, batch=2, **options)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A finished store of each kind."""
    folder = tmp_path_factory.mktemp("stores")
    for name in KINDS:
        complete(folder / name)
    return folder


@pytest.fixture(scope="module")
def whole(stores: pathlib.Path) -> xr.Dataset:
    return shower().var4d.assimilate(**OPTIONS)


def copied(stores: pathlib.Path, name: str, folder: pathlib.Path) -> pathlib.Path:
    """A copy of a store; rain in it belongs to the run as well."""
    target = folder / name
    shutil.copytree(stores / name, target) if (stores / name).is_dir() else shutil.copy(stores / name, target)
    return target


def files(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def flip(file: pathlib.Path, place: int, bits: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= bits
    file.write_bytes(content)


# --- single files ---


@pytest.mark.parametrize("name", [name for name in KINDS if name != "a.nc"])
@pytest.mark.parametrize("harm", ["flip", "remove", "truncate", "old"])
def test_a_damaged_chunk_is_not_run_and_is_solved_again(
    name: str, harm: str, stores: pathlib.Path, whole: xr.Dataset, tmp_path: pathlib.Path
) -> None:
    path = copied(stores, name, tmp_path)
    chunk = path / {"3.zarr": "u/c/1/0/0/0", "2.zarr": "u/1.0.0.0"}[name]
    if harm == "flip":
        flip(chunk, chunk.stat().st_size // 2, 4)
    elif harm == "remove":
        chunk.unlink()
    elif harm == "truncate":
        os.truncate(chunk, 10)
    else:  # the chunk of other windows, whose own checksum is right
        shutil.copy(path / {"3.zarr": "u/c/0/0/0/0", "2.zarr": "u/0.0.0.0"}[name], chunk)
    assert status(path).done == 4  # the journal alone
    found = status(path, verify=True)
    assert found.not_run == [2, 3]
    assert str(chunk) in found.damaged[0]
    report = complete(path)
    assert report.damaged == found.damaged
    assert (report.before, report.done) == (2, 4)
    assert same(load(path), whole) == []
    assert status(path, verify=True).damaged == ()


def test_a_damaged_field_of_a_netcdf_file_is_solved_again(
    stores: pathlib.Path, whole: xr.Dataset, tmp_path: pathlib.Path
) -> None:
    path = copied(stores, "a.nc", tmp_path)
    values = load(path)["u"].values[3, 1].tobytes()
    flip(path, path.read_bytes().index(values) + 5, 1)
    with pytest.raises((OSError, RuntimeError), match="HDF error"):
        load(path)
    assert status(path, verify=True).not_run == [2, 3]
    report = complete(path)
    assert (report.before, report.done) == (2, 4)
    assert same(load(path), whole) == []
    assert status(path, verify=True).damaged == ()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nc"]


@pytest.mark.parametrize("name", KINDS)
def test_a_changed_attribute_is_found_and_written_again(
    name: str, stores: pathlib.Path, whole: xr.Dataset, tmp_path: pathlib.Path
) -> None:
    path = copied(stores, name, tmp_path)
    if name == "a.nc":  # HDF5 finds a damaged byte there itself
        with netCDF4.Dataset(path, "a") as opened:
            opened["rain"].units = "mm d-1"
    for file in files(path) if path.is_dir() else ():
        if b"mm h-1" in file.read_bytes() and "journal" not in file.name:
            flip(file, file.read_bytes().index(b"mm h-1"), 7)
    found = status(path, verify=True)
    assert found.damaged
    assert found.left == 0
    assert complete(path).done == 4
    assert load(path)["rain"].attrs["units"] == "mm h-1"
    assert same(load(path), whole) == []
    assert status(path, verify=True).damaged == ()


@pytest.mark.parametrize("name", [name for name in KINDS if name != "a.nc"])
def test_a_truncated_status_is_an_error_with_path_and_fix(
    name: str, stores: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = copied(stores, name, tmp_path)
    chunk = path / "status" / FIRST[name]
    os.truncate(chunk, 3)
    with pytest.raises(StoreError, match=rf"(?s)Fix: .*{path}"):
        status(path)
    assert complete(path).before == 4  # the journal knows
    assert status(path, verify=True).damaged == ()


@pytest.mark.parametrize("name", KINDS)
def test_a_journal_that_ends_within_a_line_is_continued(name: str, whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    with pytest.raises(Interrupted), dask.config.set(scheduler="sync"):
        complete(path, progress=Stopping(2, KeyboardInterrupt()))
    journal = path / "status" / "xvar.journal" if path.is_dir() else path.with_name(".a.nc.parts") / "journal"
    with journal.open("ab") as file:
        file.write(journal.read_bytes()[-400:-100])
    assert status(path).done == 2
    assert complete(path).before == 2
    assert same(load(path), whole) == []


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("variable", ["u", "status"])
def test_a_forecast_from_damaged_bytes_names_the_file_and_the_fix(
    name: str, variable: str, stores: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = copied(stores, name, tmp_path)
    if name == "a.nc":
        if variable == "status":
            pytest.skip("a few bytes, which are also those of other variables")
        values = load(path)["u"].values[3, -1].tobytes()
        flip(path, path.read_bytes().index(values) + 5, 1)
    else:
        chunk = {"3.zarr": "c/0/0/0/0", "2.zarr": "0.0.0.0"}[name] if variable == "u" else FIRST[name]
        flip(path / variable / chunk, (path / variable / chunk).stat().st_size // 2, 4)
    with open_files([path]) as analysis, pytest.raises(xvar.InputError) as info:
        analysis.var4d.forecast("10min").load()
    assert codes(info.value) == ["damaged-analysis"]
    assert info.value.faults[0].variable == variable
    assert str(path) in info.value.faults[0].found
    code, text = shell("forecast", path, "-o", tmp_path / "forecast.nc", "--lead", "10min")
    assert code == 2
    assert str(path) in text.replace("\n", "")
    assert not (tmp_path / "forecast.nc").exists()
    complete(path)
    code, text = shell("forecast", path, "-o", tmp_path / "forecast.nc", "--lead", "10min")
    assert code == 0, text


def test_a_file_that_hdf5_would_read_without_end_is_an_error(
    stores: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libhdf5 1.14 searches a file without end if the size of an object of a heap, without checksum, is wrong."""
    path = copied(stores, "a.nc", tmp_path)
    flip(path, path.read_bytes().index(b"GCOL") + 25, 8)
    monkeypatch.setattr(structure, "SECONDS", 0.5)
    with pytest.raises(xvar.InputError) as info:
        status(path)
    assert codes(info.value) == ["not-an-analysis"]
    code, text = shell("forecast", path, "-o", tmp_path / "forecast.nc", "--lead", "10min")
    assert code == 2
    assert str(path) in text.replace("\n", "")
    assert complete(path, overwrite=True).done == 4


def test_a_damaged_structure_that_hdf5_reads_is_written_again(
    stores: pathlib.Path, whole: xr.Dataset, tmp_path: pathlib.Path
) -> None:
    path = copied(stores, "a.nc", tmp_path)
    content = path.read_bytes()
    flip(path, content.index(b"xvarseal") - 1, 1)  # harmless: an address in one copy of the seal
    assert status(path, verify=True).damaged == ()
    path.write_bytes(content[:-1])
    flip(path, content.index(b"GCOL") + 20, 1)  # a reserved byte
    assert status(path, verify=True).damaged == ()  # without a seal
    path.write_bytes(content)
    flip(path, content.index(b"GCOL") + 20, 1)
    found = status(path, verify=True)
    assert (found.done, found.damaged) == (4, (f"{path}: structure is damaged or absent",))
    report = complete(path)
    assert (report.before, report.damaged) == (4, found.damaged)
    assert same(load(path), whole) == []
    assert status(path, verify=True).damaged == ()


# --- any byte ---


def corrupt_and_judge(
    stores: pathlib.Path,
    name: str,
    folder: pathlib.Path,
    chance: random.Random,
    pristine: dict[str, Any],
    repair: bool = True,
) -> str:
    """Change one byte of a store with `pristine` content; return how that was noticed, after a repair of its bits."""
    path = copied(stores, name, folder)
    every = files(path)
    file = chance.choices(every, [max(1, one.stat().st_size) for one in every])[0]
    place = chance.randrange(max(1, file.stat().st_size))
    flip(file, place, 1 << chance.randrange(8))
    label = f"{file.relative_to(folder)} byte {place}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if status(path, verify=True).damaged:
                if repair:
                    complete(path)
                    assert content(path) == pristine, f"{label}: repaired to other bits"
                return "repaired" if repair else "verified"
            return "without effect" if content(path) == pristine else f"SILENT {label}"
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        return f"{type(error).__name__}"
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for rest in folder.iterdir():
            shutil.rmtree(rest) if rest.is_dir() else rest.unlink()


def content(path: pathlib.Path) -> dict[str, Any]:
    """Everything that a reader finds, but for the time at which it was written."""
    found = load(path)
    variables = {
        str(name): (part.dims, str(part.dtype), part.values.tobytes(), sorted(map(str, part.attrs.items())))
        for name, part in found.variables.items()
    }
    return variables | {"": sorted(str(item) for item in found.attrs.items() if item[0] != "history")}


@pytest.mark.long
def test_no_damaged_byte_is_silent(stores: pathlib.Path, tmp_path: pathlib.Path) -> None:
    chance, count = random.Random(int(os.environ.get("XVAR_SEED", "0"))), int(os.environ.get("XVAR_CORRUPTIONS", "500"))
    repaired = int(os.environ.get("XVAR_REPAIRS", str(count)))
    pristine = {name: content(stores / name) for name in KINDS}
    names = [KINDS[index % len(KINDS)] for index in range(count)]
    outcomes = [
        corrupt_and_judge(stores, name, tmp_path, chance, pristine[name], index < repaired)
        for index, name in enumerate(names)
    ]
    print({outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))})
    assert [outcome for outcome in outcomes if outcome.startswith("SILENT")] == []


# --- power cuts ---


@pytest.mark.skipif(not pathlib.Path("/proc/self/fd").exists(), reason="the paths of descriptors")
@pytest.mark.parametrize("name", KINDS)
def test_no_store_claims_what_is_not_on_the_disk(
    name: str, whole: xr.Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each line of the journal the power goes, and with it every file that was not synced since it was written."""
    synced: dict[int, int] = {}  # by inode: files are renamed after they are synced
    claims: list[pathlib.Path] = []
    place = tmp_path / "live" / name
    place.parent.mkdir()

    def fsync(descriptor: int) -> None:
        path = pathlib.Path(f"/proc/self/fd/{descriptor}").readlink()
        synced[path.stat().st_ino] = path.stat().st_mtime_ns
        if path.name in ("xvar.journal", "journal"):
            after = tmp_path / f"after-{len(claims)}"
            shutil.copytree(place.parent, after)
            for file in place.parent.rglob("*"):
                if file.is_file() and synced.get(file.stat().st_ino) != file.stat().st_mtime_ns:
                    (after / file.relative_to(place.parent)).write_bytes(b"")
            claims.append(after / name)

    with monkeypatch.context() as patch, dask.config.set(scheduler="sync"):
        patch.setattr(writing.os, "fsync", fsync)
        complete(place)
    done = []
    for path in claims:
        report = status(path, verify=True)
        done.append(report.done)
        assert [text for text in report.damaged if ", windows " in text] == []
    assert done[:3] == [0, 2, 4]  # the frames of all windows are noted first
    assert complete(claims[1]).before == 2
    assert same(load(claims[1]), whole) == []


# --- overwriting ---


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")
@pytest.mark.parametrize("name", KINDS)
def test_what_a_link_leads_to_is_replaced(
    name: str, stores: pathlib.Path, whole: xr.Dataset, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data" / "kept", tmp_path / name
    xvar.run(shower(), copied_to := target.with_suffix(link.suffix), **{**OPTIONS, "window": 3})
    link.symlink_to(copied_to)
    complete(link, overwrite=True)
    assert link.is_symlink()
    assert same(load(copied_to), whole) == []
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == [copied_to.name]


@pytest.mark.parametrize("exchanged", [True, False])
def test_the_place_is_never_lost_while_it_is_replaced(
    exchanged: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = tmp_path / ".a.zarr.new", tmp_path / "a.zarr"
    for folder in (new, old):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    if not exchanged:
        monkeypatch.setattr(writing, "_exchange", lambda *_: False)

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    rename, calls = pathlib.Path.replace, iter([exchanged, True])

    def replaced(self: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        if next(calls):
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(writing, "remove", killed if exchanged else writing.remove)
    monkeypatch.setattr(pathlib.Path, "replace", replaced)
    with pytest.raises(Killed):
        writing.replace(new, old)
    monkeypatch.undo()
    assert old.exists() == exchanged
    writing.restore(old)  # as the next run does
    assert (old / "name").read_text() == (".a.zarr.new" if exchanged else "a.zarr")


# --- kills ---

SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from tests.runs.records import OPTIONS, Slow, shower
import xvar
if __name__ == "__main__":
    slow = Slow(max_evaluations=12, ftol=0.99, seconds=0.05)
    xvar.run(shower(), sys.argv[1], **{**OPTIONS, "minimizer": slow}, batch=1, overwrite=True,
             workers=int(sys.argv[2]) or None)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_kills_at_any_moment_lose_nothing(whole: xr.Dataset, tmp_path: pathlib.Path) -> None:
    """Kill a run that replaces another, at random moments and with 0, 1 and 2 workers, and resume it."""
    chance, kills = random.Random(int(os.environ.get("XVAR_SEED", "0"))), 0
    for index in range(int(os.environ.get("XVAR_KILLED_RUNS", "20"))):
        path = tmp_path / f"{index}{('.zarr', '.nc')[index % 2]}"
        former = xvar.run(shower(), path, **{**OPTIONS, "window": 3}) if index % 4 < 2 else None
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), str(index % 3)]
        began = time.monotonic()
        for attempt in range(20):
            with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
                try:
                    process.wait(timeout=chance.uniform(2, 12) * (1 + attempt))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            kills += 1
            if former is not None:
                assert status(path).windows in (former.windows, 4)  # the former store, or the complete new one
        else:
            pytest.fail(f"not finished after {time.monotonic() - began:.0f} s")
        assert same(load(path), whole) == []
        assert status(path, verify=True).damaged == ()
    print(f"{kills} kills")
    assert kills
