"""The application of the shell: its commands, their faults and warnings as lines.

A command imports the modules that it needs when it runs.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from xvar.cli.analyses import diagnose, forecast, geographic, verify
from xvar.cli.exports import export
from xvar.cli.operation import follow, nowcast
from xvar.cli.pictures import animate, plot, view
from xvar.cli.records import check, info
from xvar.cli.runs import assimilate, status
from xvar.cli.terminal import UNUSABLE, complain, in_shell, say
from xvar.errors import AnalysisWarning, InputError, InputWarning


class Commands(TyperGroup):
    """All commands; a fault of the input is a message without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # The reader has closed the pipe; nothing more may be flushed into it at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from error
        except (InputError, OSError) as error:
            complain(in_shell(str(error), _typed(ctx)))
            raise typer.Exit(UNUSABLE) from error


application = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 2 a call, an input or a file that cannot be used, 3 windows failed, "
    "4 windows were not run, 130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"xvar {version('xvar')}")
        raise typer.Exit


@application.callback()
def options(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  (read by its callback)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """4D-Var for xarray: the motion in a sequence of images, and the forecast it gives."""
    command = _typed(context)

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        complain(f"warning: {in_shell(str(message), command)}")

    # Lines about the input and the analysis; a user of the shell cannot act on warnings of libraries.
    warnings.simplefilter("ignore")
    for category in (InputWarning, AnalysisWarning):
        warnings.simplefilter("always", category)
    warnings.showwarning = show


def _typed(context: typer.Context) -> Any:
    """Return the command that was typed, from the context of all commands."""
    commands: Any = context.command
    return commands.get_command(context, str(context.invoked_subcommand)) or commands


def demo() -> None:
    """Assimilate and forecast the storm that ships with xvar, in the current folder."""
    from xvar.cli.demonstration import demonstrate

    demonstrate()


#: Commands in the order of the help, and its last lines.
COMMANDS: dict[Callable[..., None], str] = {
    assimilate: "Examples: xvar assimilate radar.nc -o analysis.nc; "
    "xvar assimilate 'sst_*.nc' analysed_sst -o currents.zarr --window 3D",
    status: "Exit codes: 0 all windows done, 3 all were run and some failed, 4 some were not run or are damaged. "
    "Example: xvar status analysis.zarr && xvar forecast analysis.zarr -o forecast.nc",
    forecast: "Examples: xvar forecast analysis.nc -o forecast.nc --lead 30min; "
    "xvar forecast analysis.nc -o members.nc --members 20 --seed 1",
    geographic: "Example: xvar geographic currents.nc -o currents-east-north.nc",
    verify: "Example: xvar verify forecast.nc radar.nc --threshold 0.5 --threshold 5",
    diagnose: "Example: xvar diagnose analysis.nc, of xvar assimilate --save innovation --save residual",
    export: "Example: xvar export nowcast.nc -o motion.geojson --of motion --every 8",
    nowcast: "Example: xvar nowcast 'radar/*.nc' -o nowcast.nc --lead 60min --members 20",
    follow: "Example: xvar follow radar -o 'out/nowcast_{time:%Y%m%d%H%M}.nc' --every-frame --keep 6h",
    plot: "Examples: xvar plot analysis.nc -o motion.png --style colours; "
    "xvar plot forecast.nc radar.nc -o forecast.png --kind forecast",
    animate: "Example: xvar animate analysis.nc radar.nc -o storm.gif --lead 30min",
    view: "Example: xvar view analysis.nc radar.nc",
    info: "Example: xvar info radar.nc",
    check: "Example: xvar check radar.nc. Exit codes: 0 all passed, 1 a test failed, 2 unusable.",
    demo: "",
}

for command, epilog in COMMANDS.items():
    application.command(epilog=epilog or None)(command)
