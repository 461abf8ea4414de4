"""A page to browse an analysis: ``xvar view``. It needs the extra ``xvar[view]``, and no network."""

from __future__ import annotations

import secrets
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from xvar.analysis.motion import SHOWN, Part
from xvar.errors import Fault, InputError, require
from xvar.plot.page.frames import Record

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.server.server import Server

__all__ = ["make_server", "serve", "view"]

ADDRESS = "localhost"


def make_server(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    part: Part = SHOWN,
    members: int | None = None,
    port: int = 0,
) -> Server:
    """Make the server of a page, reachable from this machine only.

    Parameters
    ----------
    analysis : Dataset
        An analysis.
    truth : Dataset or DataArray, optional
        The observed record. Default: the last frames of the windows, which the analysis holds.
    part : {"steady", "total"}
        Arrows of the steady motion, if the analysis has one, or of the total at each frame.
    members : int, optional
        Of an analysis of rain: members of the forecast, of which the page can show the probability of as much rain.
    port : int
        Port of the server; 0 for a free one.

    Returns
    -------
    bokeh Server
        Started by ``.start()``; ``.io_loop.start()`` runs it. Its page is at ``.prefix``, a random token, of ``.port``.

    Raises
    ------
    InputError
        If `analysis` is no analysis, the truth does not fit it, Bokeh is not installed, or the port is in use.
    """
    require("bokeh", "view", "the page")
    from bokeh.application import Application
    from bokeh.application.handlers.function import FunctionHandler
    from bokeh.server.server import Server

    application = Application(FunctionHandler(view(analysis, truth, part=part, members=members)))
    try:
        # Other users of this machine reach the port, too: only the address that is printed has the token.
        return Server({"/": application}, address=ADDRESS, port=port, prefix=f"/{secrets.token_urlsafe(24)}")
    except OSError as error:
        raise InputError(Fault(f"port {port}: {error}", "a free port", "--port 0", code="port-in-use")) from error


def view(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    part: Part = SHOWN,
    members: int | None = None,
) -> Callable[[Document], None]:
    """Return a function that fills a document of Bokeh; in a notebook ``bokeh.io.show(view(analysis))`` shows it.

    The arguments are those of `make_server`.
    """
    from xvar.plot.page.page import make_document

    record = Record(analysis, truth, part, members)
    return lambda document: make_document(document, record)


def serve(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    part: Part = SHOWN,
    members: int | None = None,
    port: int = 0,
    browser: bool = True,
    say: Callable[[str], object] | None = None,
) -> None:
    """Serve the page of `make_server` until interrupted; `say` is called with the address."""
    server = make_server(analysis, truth, part=part, members=members, port=port)
    server.start()
    address = f"http://{ADDRESS}:{server.port}{server.prefix}/"
    if say is not None:
        say(address)
    with tempfile.TemporaryDirectory(prefix="xvar-") as folder:
        if browser:
            # The arguments of a browser are shown to other users: it gets a file that only this user reads.
            page = Path(folder) / "view.html"
            page.write_text(f'<meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8")
            server.io_loop.add_callback(webbrowser.open, page.as_uri())
        try:
            server.io_loop.start()
        except KeyboardInterrupt:
            pass
        finally:
            server.stop()
