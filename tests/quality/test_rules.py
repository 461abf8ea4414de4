"""Rules of quality control: the table, the option quality=, and counts by window and rule."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from tests.faults.codes import codes
from tests.faults.images import warm
from tests.quality.rejection import control
from xvar.errors import Faults, InputError, InputWarning
from xvar.quality.rules import NAMES, RULES, read_quality

PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
VALUES = ["infinite", "fill_value", "range"]


def names(option: object, kind: str = "sea_temperature", **more: bool) -> list[str]:
    faults = Faults()
    rules = read_quality(option, kind, faults, **more)
    faults.raise_if_any()
    return [rule.name for rule in rules]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (None, [*VALUES, "cloud_rims", "broken_lines"]),
        ("default", [*VALUES, "cloud_rims", "broken_lines"]),
        ({}, [*VALUES, "cloud_rims", "broken_lines"]),
        ((), [*VALUES, "cloud_rims", "broken_lines"]),
        ({"broken_lines": False}, [*VALUES, "cloud_rims"]),
        (["-broken_lines", "-range"], ["infinite", "fill_value", "cloud_rims"]),
        (("broken_lines", "range"), ["infinite", "range", "broken_lines"]),
        ("range", ["infinite", "range"]),
        ({"range": True}, [*VALUES, "cloud_rims", "broken_lines"]),
        ({"ground_echoes": False}, [*VALUES, "cloud_rims", "broken_lines"]),
    ],
)
def test_rules_that_the_option_asks_for(option, expected) -> None:
    assert names(option) == expected


def test_a_model_of_the_users_own_has_no_rules_for_artefacts_by_default() -> None:
    assert names(None, images=False) == VALUES
    assert names({"cloud_rims": True}, images=False) == [*VALUES, "cloud_rims"]
    assert names(None, "rain")[-3:] == ["dry_frames", "ground_echoes", "blocked_sectors"]
    assert names(None, "other") == VALUES


@pytest.mark.parametrize(
    ("option", "code", "fix"),
    [
        (["brokenlines"], "unknown-rule", "did you mean 'broken_lines'?"),
        ({"xyz": False}, "unknown-rule", "quality={'range': False}"),
        (["ground_echoes"], "rule-of-other-kind", "leave 'ground_echoes' out"),
        ({"infinite": False}, "required-rule", "leave 'infinite' out; strict=True raises if there are infinite values"),
        (7, "quality-type", 'quality={"range": False}'),
        ({"range": "no"}, "quality-type", 'quality={"range": False}'),
        ([1], "quality-type", 'quality={"range": False}'),
    ],
)
def test_an_option_that_cannot_be_used(option, code, fix) -> None:
    with pytest.raises(InputError) as caught:
        names(option)
    assert codes(caught.value) == [code]
    assert caught.value.faults[0].fix == fix
    with pytest.raises(InputError) as caught:
        warm().var4d.assimilate(quality=option)
    assert codes(caught.value) == [code]


def test_rules_can_be_pickled() -> None:
    for rule in RULES:
        assert pickle.loads(pickle.dumps(rule)) is rule


def test_counts_and_frames_of_a_window_do_not_depend_on_the_others() -> None:
    windows = np.random.default_rng(0).normal(15, 1, (3, 4, 30, 30)).astype("f4")
    windows[1, 2, 7] += 50.0
    windows[1, 0, 0, 0], windows[2, 0, 0, :3] = np.inf, 5000.0
    quality = control("sea_temperature")
    clean, counts = quality(windows)
    assert counts.tolist() == [[0, 0, 0, 0, 0], [1, 0, 0, 0, 30], [0, 0, 3, 0, 0]]
    assert clean.dtype == "f4"
    for window, one, count in zip(windows, clean, counts, strict=True):
        alone, number = quality(window[None])
        np.testing.assert_array_equal(alone[0], one)
        np.testing.assert_array_equal(number[0], count)
    assert quality(windows[:1])[0].base is windows or np.shares_memory(quality(windows[:1])[0], windows)
    assert control("other")(np.zeros((1, 4, 5, 5), "i2"))[0].dtype == "i2"


def test_the_output_counts_by_rule_and_the_warning_has_the_switch() -> None:
    record = warm(size=30)
    record["sst"][1, 7] += 50.0
    with pytest.warns(InputWarning, match="^broken_lines rejected 30 values") as caught:
        result = record.var4d.assimilate(method="currents")
    assert 'quality={"broken_lines": False} keeps them' in str(caught[0].message)
    rejected = result["rejected_observations"]
    assert rejected.dims == ("window", "rule")
    assert rejected["rule"].attrs["flag_meanings"].split() == list(NAMES)
    by_name = {NAMES[code]: n for code, n in zip(rejected["rule"].values, rejected.values[0], strict=True)}
    assert by_name == {"infinite": 0, "fill_value": 0, "range": 0, "cloud_rims": 0, "broken_lines": 30}
    assert int(result["number_of_rejected_observations"][0]) == 30
    assert "by the rule broken_lines: 30" in str(result.var4d.summary())
    lazy = record.chunk(time=2).var4d.assimilate(method="currents").compute()
    np.testing.assert_array_equal(lazy["rejected_observations"], rejected)


def test_the_page_has_the_table_of_rules() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("<!-- rules -->\n")[2].partition("<!-- end of rules -->")[0]
    rows = [re.split(r" *\| *", line.strip("| ")) for line in table.splitlines()[2:]]
    expected = [
        [
            f"`{rule.name}`",
            rule.doc,
            "all" if len(rule.kinds) > 2 else ", ".join(rule.kinds),
            "always" if rule.required else "images" if rule.artefact else "yes",
        ]
        for rule in RULES
    ]
    assert rows == expected
