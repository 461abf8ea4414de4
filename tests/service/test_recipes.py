"""The recipes of docs/howto/operations.md: the lines of systemd, cron and a container make forecasts."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from tests.service.radar import storm, write_frame
from xvar.cli import application

pytestmark = pytest.mark.usefixtures("one_thread")
PAGE = (pathlib.Path(__file__).parents[2] / "docs/howto/operations.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def words(recipe: str) -> list[str]:
    """The words behind `xvar` as the shell that each recipe has would pass them on."""
    if recipe == "systemd":
        (line,) = re.findall(r"^ExecStart=(.*)$", block("ini"), re.MULTILINE)
        return shlex.split(line.replace("%%", "%"))[1:]
    if recipe == "cron":
        command = block("text").replace("\\%", "%").partition("&&")[2].partition(">>")[0]
        return shlex.split(command)[1:]
    (command,) = re.findall(r"^CMD (\[.*\])$", block("docker"), re.MULTILINE)
    return json.loads(command)[1:]


@pytest.mark.filterwarnings("ignore::xvar.AnalysisWarning")
@pytest.mark.parametrize("recipe", ["systemd", "cron", "container"])
def test_the_line_of_a_recipe_makes_forecasts(recipe: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    record = storm(3)
    for index in range(3):
        write_frame(record, index, tmp_path / "in")
    arguments = words(recipe)
    done = CliRunner().invoke(application, [*arguments, *([] if "--once" in arguments else ["--once"])])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out/nowcast_202006010010.nc").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_systemd_knows_the_unit(tmp_path) -> None:
    unit = tmp_path / "nowcast.service"
    program = tmp_path / "xvar"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit.write_text(block("ini").replace("/srv/radar/.venv/bin/xvar", str(program)))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
