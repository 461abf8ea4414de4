"""A page to look at an analysis: ``xvar view``. It needs the extra ``xvar[view]``, and no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import xarray as xr

from xvar.errors import Fault, InputError
from xvar.plot.page.frames import Record

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.server.server import Server

__all__ = ["Record", "make_server", "serve", "view"]

ADDRESS = "localhost"


def make_server(analysis: xr.Dataset, truth: xr.Dataset | xr.DataArray | None = None, *, port: int = 0) -> Server:
    """Make the server of a page, for this machine alone.

    Parameters
    ----------
    analysis : Dataset
        An analysis.
    truth : Dataset or DataArray, optional
        The observed record. Default: the last frames of the windows, which the analysis itself holds.
    port : int
        Where it listens; 0 for one that is free.

    Returns
    -------
    bokeh Server
        Started by ``.start()``; ``.io_loop.start()`` runs it, ``.port`` says where.

    Raises
    ------
    InputError
        Where `analysis` is none, the truth does not fit it, Bokeh is not installed, or the port is taken.
    """
    try:
        from bokeh.application import Application
        from bokeh.application.handlers.function import FunctionHandler
        from bokeh.server.server import Server
    except ImportError as error:
        raise InputError(Fault("no Bokeh", "the extra xvar[view]", "pip install 'xvar[view]'")) from error
    record = Record(analysis, truth)
    application = Application(FunctionHandler(view(record)))
    try:
        return Server({"/": application}, address=ADDRESS, port=port)
    except OSError as error:
        raise InputError(Fault(f"port {port}: {error}", "a free port", "--port 0 takes one that is free")) from error


def view(record: Record) -> Callable[[Document], None]:
    """A function that fills a document of Bokeh: in a notebook ``bokeh.io.show(view(Record(analysis)))``."""

    def fill(document: Document) -> None:
        from xvar.plot.page.page import make_document

        make_document(document, record)

    return fill


def serve(
    analysis: xr.Dataset,
    truth: xr.Dataset | xr.DataArray | None = None,
    *,
    port: int = 0,
    browser: bool = True,
    say: Callable[[str], object] | None = None,
) -> None:
    """Serve the page until interrupted.

    Parameters
    ----------
    analysis, truth, port
        As for `make_server`.
    browser : bool
        Whether a browser is opened.
    say : callable, optional
        Is told the address.
    """
    server = make_server(analysis, truth, port=port)
    server.start()
    address = f"http://{ADDRESS}:{server.port}/"
    if say is not None:
        say(address)
    if browser:
        server.io_loop.add_callback(server.show, "/")
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
