"""State of a service on disk: what it has done, so that it continues after a kill, and what it is doing now."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from xvar.errors import Fault, InputError
from xvar.io.writing import durable

STATE, STATUS = ".follow-state.json", "status.json"
COUNTS = ("frames", "forecasts", "late", "duplicates", "broken", "failed")


def text_of(moment: Any) -> str:
    """Return a time as text, in whole seconds, UTC."""
    return f"{moment.astype('datetime64[s]')}Z"


@dataclass
class Journal:
    """Files and forecasts that are done; it is written whole after each change.

    A file is `done` if no forecast of its frames is missing. What is not in the journal is done again: a forecast whose
    file exists is not made twice.
    """

    path: Path
    files: dict[str, list[Any]] = field(default_factory=dict)  # name: size, time of change, outcome, times of frames
    done: set[str] = field(default_factory=set)  # times of frames whose forecast was made, or is not to be made
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read a journal, or begin one; InputError if it is none."""
        if not path.exists():
            return cls(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            counts = {**dict.fromkeys(COUNTS, 0), **content["counts"]}
            return cls(path, content["files"], set(content["done"]), counts)
        except (ValueError, KeyError, TypeError) as error:
            found = f"{path}: a state that cannot be read: {error}"
            fix = f"rm {path}; forecasts whose files exist are not made again"
            raise InputError(Fault(found, "the state of xvar follow", fix, code="state-unreadable")) from error

    def write(self) -> None:
        """Bring the journal to the disk."""
        content = {"files": self.files, "done": sorted(self.done), "counts": self.counts}
        with durable(self.path) as file:
            file.write(json.dumps(content).encode())


@dataclass
class Status:
    """Report of a service about itself, for `xvar status` and monitors."""

    state: str = "running"
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    since: str = field(default_factory=lambda: now())
    updated: str = ""
    last_frame: str = ""
    last_forecast: str = ""
    output: str = ""
    frames_of_window: str = ""
    latency_seconds: float | None = None  # from the arrival of the file to the forecast on disk
    solving_seconds: float | None = None
    late_after: str = ""  # without a new frame until then the service counts as not healthy
    last_error: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)  # by lead time

    def write(self, path: Path) -> None:
        """Bring the status to the disk."""
        self.updated = now()
        with durable(path) as file:
            file.write(json.dumps(asdict(self), indent=1).encode())


def read_status(path: Path) -> tuple[dict[str, Any], bool]:
    """Return the status of a service, and whether it is healthy: it runs, and its frames arrive."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        late = found["late_after"]
        healthy = found["state"] == "running" and (not late or now() < late)
        return found, healthy
    except (ValueError, KeyError, TypeError, OSError) as error:
        what, fix = f"{path}: no status that can be read: {error}", "xvar follow, which writes it"
        raise InputError(Fault(what, "the status file of xvar follow", fix, code="status-unreadable")) from error


def now() -> str:
    """Return the time, in whole seconds, UTC."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
