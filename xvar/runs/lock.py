"""One run at a time in one place."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xvar.errors import Fault, InputError

_TRIES = 5


def lock_path(path: Path) -> Path:
    """The lock file of a store: beside it, so that a store of any kind can be locked before it exists."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a store.

    Parameters
    ----------
    path : Path
        The store.

    Raises
    ------
    InputError
        Where another run holds it, with its process and host. The lock of a process of this host that is dead is taken
        over.
    OSError
        Where the lock cannot be written.
    """
    lock = lock_path(path)
    mine = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "born": _born(os.getpid())})
    for _ in range(_TRIES):
        if _create(lock, mine):
            break
        holder = _read(lock)
        if holder is None:
            continue  # gone in the meantime
        if is_alive(holder):
            raise InputError(
                Fault(
                    found=f"{str(path)!r}, in which another run writes: {describe(holder)}",
                    expected="one run at a time in one place",
                    fix=f"wait for it, or remove {str(lock)!r} where that process is gone for good",
                )
            )
        # Of several that find the same dead lock one alone can move it away.
        away = lock.with_name(f"{lock.name}.{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            lock.replace(away)
            if _read(away) != holder:  # someone else was faster, and this is the new lock
                away.replace(lock)
            else:
                away.unlink()
    else:
        raise InputError(Fault(f"the lock {str(lock)!r} changes hands", "one run at a time", "start one run"))
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()


def holder_of(path: Path) -> str | None:
    """Who writes in a store now, None where nobody does."""
    holder = _read(lock_path(path))
    return describe(holder) if holder is not None and is_alive(holder) else None


def describe(holder: dict[str, object]) -> str:
    """Process and host, for a message."""
    return f"process {holder.get('pid')} on {holder.get('host')}"


def _create(lock: Path, text: str) -> bool:
    """Make the lock with its text in one step, so that nobody reads half of it; False where it exists."""
    draft = lock.with_name(f"{lock.name}.{uuid.uuid4().hex}")
    draft.write_text(text, encoding="utf-8")
    try:
        os.link(draft, lock)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with lock.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    return True


def _read(lock: Path) -> dict[str, object] | None:
    try:
        holder = json.loads(lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def is_alive(holder: dict[str, object]) -> bool:
    """Whether the process that wrote a lock may still run; of another host nobody knows."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or holder.get("host") != socket.gethostname():
        return bool(holder)
    if os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    # Another process may have got the number since.
    born = _born(pid)
    return born is None or holder.get("born") in (None, born)


def _born(pid: int) -> str | None:
    """When a process began, where the system says so; none for one that is dead but not yet buried."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return "dead" if words[0] in "ZX" else words[19]
