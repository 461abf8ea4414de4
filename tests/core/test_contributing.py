"""The examples of CONTRIBUTING.md: a model, an operator and a covariance, each with its tests, run as printed there."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

for block in BLOCKS:
    exec(compile(block, "CONTRIBUTING.md", "exec"), globals())  # pytest collects the test classes


def test_there_is_an_example_of_each() -> None:
    assert {"TestLogistic", "TestSpeed", "TestExponential"} <= set(globals())
