"""Faults state codes, warnings name the line that called xvar."""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import pickle
import re

import numpy as np
import pytest

import xvar
from tests.faults.images import warm
from xvar.errors import (
    OF_MINIMIZER,
    AnalysisWarning,
    Fault,
    Faults,
    InputError,
    InputWarning,
    nearest,
    printable,
    refuse_unknown,
)
from xvar.minimize import LBFGS


def test_an_input_warning_names_the_line_of_the_caller() -> None:
    record = warm()
    record["sst"].values[0, 3, 4] = np.inf
    with pytest.warns(InputWarning, match="1 infinite values") as told:
        record.var4d.assimilate()
    assert {warning.filename for warning in told} == {__file__}


def test_an_analysis_warning_names_the_line_of_the_caller() -> None:
    with pytest.warns(AnalysisWarning, match="not converged") as told:
        warm().var4d.assimilate(minimizer=LBFGS(max_evaluations=2))
    assert {warning.filename for warning in told} == {__file__}


PACKAGE = pathlib.Path(xvar.__file__).parent


def stated_codes() -> list[tuple[str, ast.expr | None]]:
    """Return place and code of each call that makes a fault, and of each mapping that has the fields of one."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            fields: dict[object, ast.expr] = {}
            if isinstance(node, ast.Call):
                name, fields = ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
                if None in fields and "code" not in fields:  # of a call that passes its own keywords
                    continue
                if name != "Fault" and name != "InputError" and not name.endswith(".add"):
                    continue
            elif isinstance(node, ast.Dict):
                fields = {getattr(key, "value", None): value for key, value in zip(node.keys, node.values, strict=True)}
            if {"found", "expected"} <= set(fields) or (isinstance(node, ast.Call) and name == "Fault"):
                found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", fields.get("code")))
    return found


def test_each_fault_states_its_code() -> None:
    """A word of the source, but for functions that are given the code of their fault."""
    codes = stated_codes()
    assert len(codes) > 150  # the walk finds calls at all; others are rows of tables
    for place, code in codes:
        choices = [code.body, code.orelse] if isinstance(code, ast.IfExp) else [code]
        for choice in choices:
            if isinstance(choice, ast.Constant):
                assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(choice.value)), place
            else:
                assert isinstance(choice, (ast.Name, ast.Attribute)), place
                assert ast.unparse(choice).rpartition(".")[2] == "code", place


def test_faults_are_collected_and_raised_together() -> None:
    faults = Faults()
    faults.raise_if_any()
    faults.add(code="one", found="a", expected="b", fix="c", variable="rain", index=3)
    faults.check_choice("kind", "shrp", ("sharp", "mean"), "sharp")
    with pytest.raises(InputError) as error:
        faults.raise_if_any()
    assert str(error.value).startswith("2 faults:\n- variable 'rain', index 3: found a; expected b; fix: c\n- ")
    assert [fault.code for fault in error.value.faults] == ["one", "unknown-choice"]
    assert error.value.faults[1].fix == "did you mean 'sharp'?"
    assert pickle.loads(pickle.dumps(error.value)).faults == error.value.faults


def test_text_of_a_message_is_printable() -> None:
    fault = Fault("a\x1b[2J\u202eb", "c\nd", "e", code="any")
    assert str(fault) == "found a\\x1b[2J\\u202eb; expected c\\nd; fix: e"
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"
    assert printable("\ud800") == "\\ud800"


def test_nearest() -> None:
    assert nearest("windw", ["window", "stride"], "none") == "did you mean 'window'?"
    assert nearest("xyz", ["window"], "none") == "none"
    assert nearest("iterations", ["observation", "window"], "none") == "none"


def test_options_of_the_minimiser_are_named_as_such() -> None:
    assert set(OF_MINIMIZER.values()) == {field.name for field in dataclasses.fields(LBFGS)}

    def fixes(*known: str) -> list[str]:
        with pytest.raises(InputError) as error:
            refuse_unknown(["max_iterations", "Ftol", "max_iter", "observations"], known, "assimilate()")
        assert {fault.code for fault in error.value.faults} == {"unknown-option"}
        return [fault.fix for fault in error.value.faults]

    *found, other = fixes("observation", "minimizer")
    names = ("max_evaluations", "ftol", "max_evaluations")
    assert found == [f"it belongs to the minimiser, minimizer=xvar.minimize.LBFGS({name}=...)" for name in names]
    assert other == "did you mean 'observation'?"
    assert fixes("observation") == ["leave it out"] * 3 + [other]
