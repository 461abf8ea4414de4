"""Corrupted files: an analysis, or an error that names the file or says what is wrong with it; never anything else.

An analysis is a motion wherever the image that was read has a value in any frame.

Broken HDF5 can take the process with it, inside the library that reads it: files are tried in processes of their own.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import random
import shutil
import subprocess
import sys
import threading

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 60  # for one file: what takes longer hangs

WORKER = """
import json, sys, traceback, warnings
warnings.simplefilter("ignore")
from xvar.errors import InputError
from xvar.io.reading import open_files
for line in sys.stdin:
    path = line.strip()
    try:
        with open_files([path], trusted=False) as record:
            analysis = record.var4d.assimilate()
            image = record[json.loads(analysis.attrs["xvar_configuration"])["variable"]]
            frames = [dim for dim in image.dims if dim not in analysis["u"].dims or dim == "time"]
            unknown = analysis[["u", "v"]].where(image.notnull().any(frames).load(), 0).isnull().any().to_array()
        told = {"outcome": "silent NaN" if unknown.any() else "analysis", "text": str(analysis["status"].values)}
    except InputError as error:
        told = {"outcome": "refused", "text": str(error)}
    except OSError as error:
        told = {"outcome": "refused" if path.rpartition("/")[2] in str(error) else "no path", "text": str(error)}
    except BaseException:
        told = {"outcome": "unhandled", "text": traceback.format_exc()}
    print(json.dumps(told), flush=True)
"""


class Tried:
    """A process that tries files, started anew where one kills it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, path: pathlib.Path) -> dict[str, str]:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=ROOT,
            )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(SECONDS, process.kill)
        watch.start()
        try:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            hung = not watch.is_alive()
            watch.cancel()
        if line:
            told: dict[str, str] = json.loads(line)
            return told
        self._bury(process)
        return {"outcome": "hung" if hung else "crashed", "text": f"exit code {process.returncode}"}

    def close(self) -> None:
        if self.process is not None:
            self._bury(self.process)

    @staticmethod
    def _bury(process: subprocess.Popen[str]) -> None:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        process.wait()


@pytest.fixture
def tried():
    one = Tried()
    yield one
    one.close()


def corrupted(content: bytes, dice: random.Random) -> bytes:
    """The bytes of a file with one thing done to them."""
    data = bytearray(content)
    size = len(data)
    kind = dice.randrange(6)
    if kind == 0:
        return bytes(data[: dice.randrange(size)])
    if kind == 1:
        for _ in range(dice.randint(1, 20)):
            data[dice.randrange(size)] ^= 1 << dice.randrange(8)
    elif kind == 2:
        begin = dice.randrange(size)
        data[begin : begin + dice.randint(1, 500)] = bytes(dice.randint(1, 500))
    elif kind == 3:  # where the structure is
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(min(size, 4000))] = dice.randrange(256)
    elif kind == 4:
        begin, other = dice.randrange(size), dice.randrange(size)
        length = dice.randint(1, 200)
        data[begin : begin + length] = data[other : other + length]
    else:
        data[:0] = b"\r\n" * dice.randint(1, 9)
    return bytes(data)


def broken_netcdf(folder: pathlib.Path, whole: bytes, seed: int, suffix: str) -> pathlib.Path:
    path = folder / f"broken-{seed}{suffix}"
    path.write_bytes(corrupted(whole, random.Random(seed)))
    return path


def broken_zarr(folder: pathlib.Path, whole: pathlib.Path, seed: int) -> pathlib.Path:
    dice = random.Random(seed)
    path = folder / f"broken-{seed}.zarr"
    shutil.copytree(whole, path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    victim = dice.choice(files)
    if dice.random() < 0.2:
        victim.unlink()
    else:
        victim.write_bytes(corrupted(victim.read_bytes() or b"x", dice))
    return path


def outcomes(tried: Tried, paths) -> dict[str, int]:
    """How many files came to what. An analysis or a refusal; what crashes or hangs inside the reader is counted."""
    counts: dict[str, int] = {}
    for path in paths:
        told = tried(path)
        counts[told["outcome"]] = counts.get(told["outcome"], 0) + 1
        fine = told["outcome"] in ("analysis", "refused", "crashed", "hung")
        assert fine, f"{path}: {told['outcome']}\n{told['text']}"
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return counts


def whole_files(folder: pathlib.Path) -> tuple[bytes, bytes, pathlib.Path]:
    """A record of images as NetCDF-4, as NetCDF-3 and as a Zarr store."""
    from tests.faults.images import rainy

    record = rainy()
    packed = {"rain": {"zlib": True, "chunksizes": (1, 12, 12)}}
    record.to_netcdf(folder / "whole.nc", encoding=packed)
    record.to_netcdf(folder / "classic.nc", format="NETCDF3_64BIT")
    record.to_zarr(folder / "whole.zarr", zarr_format=3, consolidated=False)
    return (folder / "whole.nc").read_bytes(), (folder / "classic.nc").read_bytes(), folder / "whole.zarr"


def fuzz(folder: pathlib.Path, tried: Tried, seeds: range) -> dict[str, int]:
    netcdf, classic, zarr = whole_files(folder)
    kinds = (
        lambda seed: broken_netcdf(folder, netcdf, seed, ".nc"),
        lambda seed: broken_netcdf(folder, classic, seed, "-3.nc"),
        lambda seed: broken_zarr(folder, zarr, seed),
    )
    return outcomes(tried, (kinds[seed % 3](seed) for seed in seeds))


def test_corrupted_files(tmp_path, tried) -> None:
    pytest.importorskip("zarr", minversion="3.0")
    counts = fuzz(tmp_path, tried, range(60))
    assert counts.get("refused", 0) > 10
    assert not counts.get("crashed", 0) + counts.get("hung", 0)


@pytest.mark.long
def test_corrupted_files_for_long(tmp_path, tried) -> None:
    pytest.importorskip("zarr", minversion="3.0")
    counts = fuzz(tmp_path, tried, range(1000, 3000))
    # netCDF-C goes around in circles on some broken headers of the classic format: xvar.io.netcdf reads them first.
    assert not counts.get("crashed", 0) + counts.get("hung", 0), counts
