"""Mutation testing, beside CI: ``python -m tests.mutants 300`` changes the code in one place after another.

A random sample of the mutants that mutmut makes of J, the covariances and the CF floor. Each is met first by the tests
that mirror its file, then by those of what is built upon them, up to the first that fails, which kills it. What
survives is printed: read it, and write the test that states the property which it breaks. `--file cf/land` stays with
one file. One process; what is done is kept in the folder of `--folder`, and another call goes on from there. Needs
mutmut (``pip install mutmut``), on Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pathlib
import random
import re
import resource
import shutil
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
MUTATED = (
    *("xvar/core/cost*.py", "xvar/core/linearisation.py", "xvar/core/control.py"),
    *("xvar/core/covariance/*.py", "xvar/cf/**/*.py"),
)
#: Tests beside those that mirror a file, and of what is built upon it.
NEAR = {
    "cf/geodesy": "test_points test_geographic", "cf/quality": "test_untidy_files",
    "cf/kinds": "test_odim faults/test_c_units", "cf/size": "faults/test_d_grids faults/test_g_hostile",
    "cf/grid_mapping": "cf/test_conventions",
    "core/covariance/diffusion": "core/covariance/test_balance",
    "core/covariance/spectral": "core/covariance/test_matern core/covariance/test_tikhonov "
    "core/covariance/test_homogeneous core/covariance/test_streamfunction",
    "core/linear_maps": "core/covariance/test_sum core/covariance/test_stream_potential",
    "core/covariance/balance": "core/covariance/test_streamfunction",
    "core/covariance/composite": "core/covariance/test_sum core/covariance/test_ensemble core/covariance/test_balance",
    "core/covariance/helmholtz": "core/covariance/test_stream_potential",
    "core/covariance/homogeneous": "core/covariance/test_matern core/covariance/test_tikhonov",
    "core/covariance/base": "core/covariance/test_diagonal check/test_covariance core/covariance/test_faults",
}  # fmt: skip
BUILT = {
    "cf/grid": "test_untidy_files faults/test_d_grids test_products",
    "cf/times": "faults/test_a_time test_untidy_files",
    "cf/axes": "test_untidy_files test_products faults/test_d_grids",
    "cf/values": "faults/test_b_values faults/test_c_units test_untidy_files", "cf/land": "faults/test_d_grids",
    "cf/units": "faults/test_c_units test_quantities", "cf/metadata": "cf/test_conventions",
    "cf/record": "test_untidy_files test_quantities faults/test_a_time faults/test_b_values faults/test_c_units "
    "test_check_record test_odim",
    "cf/geodesy": "cf/grid test_geographic faults/test_d_grids",
    "cf/alignment": "faults/test_d_grids faults/test_a_time",
    "quality/radiometer": "faults/test_b_values",
    "cf": "test_products test_untidy_files",
    "core/covariance": "core/covariance core/test_control test_check_covariance core/test_currents",
    "core": "core/test_linear_gaussian core/test_experiment core/minimize/test_gauss_newton core/test_parameters "
    "core/test_descent core/test_digital_filter core/test_cost core/test_control",
}  # fmt: skip
SLOW = "not real_file and not whole_files and not lose_nothing and not real_sea and not real_radar"
SECONDS = 90  # of the processor, for each of the two: what takes longer hangs
QUIET = ["-x", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=no", "-k", SLOW]


def made(folder: pathlib.Path) -> dict[str, str]:
    """A copy of the project whose files hold all their mutants; the file of each mutant by its name."""
    for part in ("xvar", "tests", "docs", "examples", "benchmarks"):
        shutil.copytree(ROOT / part, folder / part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.cfg")):
        shutil.copy(file, folder)
    (folder / "setup.cfg").write_text("[mutmut]\nsource_paths=xvar\n", encoding="utf-8")
    # Without shrinking: that an example fails is enough.
    profile = "settings.register_profile('xvar', max_examples=12, database=None, phases=['explicit', 'generate'], "
    conftest = folder / "tests" / "conftest.py"
    text = conftest.read_text(encoding="utf-8").replace('settings.register_profile("xvar", ', profile)
    text = text.replace("['explicit', 'generate']", "[Phase.explicit, Phase.generate]")
    conftest.write_text(text.replace("import settings", "import Phase, settings"), encoding="utf-8")
    os.chdir(folder)
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    names = {}
    for file in sorted({found for pattern in MUTATED for found in folder.glob(pattern)}):
        path = file.relative_to(folder)
        mutated = mutate_file_contents(str(path), file.read_text(encoding="utf-8"), None, None)
        if mutated.mutant_names:
            file.write_text(mutated.code, encoding="utf-8")
        names |= {get_mutant_name(path, name): str(path) for name in mutated.mutant_names}
    return names


def tests_of(file: str) -> list[list[str]]:
    """The tests that mirror a file, and those of what is built upon it."""
    key = file.removeprefix("xvar/").removesuffix(".py")
    mirror = f"{pathlib.PurePath(key).parent}/test_{pathlib.PurePath(key).name}"
    near = [mirror, *NEAR.get(key, "").split()]
    if key.startswith("cf/grid/"):
        near.append("cf/grid")
    built = next(BUILT[start] for start in sorted(BUILT, reverse=True) if key.startswith(start)).split()
    paths = [
        [f"tests/{name}" if "test_" not in name else f"tests/{name}.py" for name in part] for part in (near, built)
    ]
    return [[path for path in part if pathlib.Path(path).exists()] for part in paths]


def run(mutant: str, tests: list[str], left_out: set[str]) -> tuple[str, str]:
    """What became of a mutant, and the test that failed."""
    told = pathlib.Path("told.txt")
    child = os.fork()
    if not child:
        _meet(mutant, tests, left_out, told)
    _, status = os.waitpid(child, 0)
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", told.read_text(errors="replace"), re.MULTILINE)
    if os.WIFSIGNALED(status):
        return "hung", ""
    return ("killed" if os.WEXITSTATUS(status) in (1, 2) else "survived"), (failed or [""])[0]


def _meet(mutant: str, tests: list[str], left_out: set[str], told: pathlib.Path) -> None:
    """In a process of its own: run the tests with a mutant in place."""
    import pytest

    import xvar.execution.workers

    with told.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ["MUTANT_UNDER_TEST"] = mutant
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    xvar.execution.workers.refuse_fork = lambda: None  # with one thread, torch survives it
    code = 3
    try:
        code = int(pytest.main([*QUIET, *(word for test in left_out for word in ("--deselect", test)), *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def _load(paths: set[str]) -> None:
    """Import the tests, and what they import, once and not in each process."""
    import pytest

    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sorted(paths)])


def met(mutant: str, file: str, left_out: set[str], sound: set[str]) -> tuple[str, str]:
    """What became of a mutant; a test that fails without it too counts for nothing."""
    for tests in filter(None, tests_of(file)):
        outcome, test = run(mutant, tests, left_out)
        while outcome == "killed" and test and test not in sound:
            if run("", [test], set())[0] == "survived":
                sound.add(test)
            else:
                left_out.add(test)
                outcome, test = run(mutant, tests, left_out)
        if outcome != "survived":
            return outcome, test
    return "survived", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int, help="mutants of the sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", default="", help="of files whose path has this, such as cf/land")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "xvar-mutants")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no further one is tried")
    options = parser.parse_args()
    os.environ |= {"MUTANT_UNDER_TEST": "", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    os.environ.setdefault("XVAR_TEST_DATA", str(ROOT.parent / "shared" / "data"))
    options.folder.mkdir(parents=True, exist_ok=True)
    listed, done = options.folder / "mutants.json", options.folder / "done.jsonl"
    if not listed.exists():
        listed.write_text(json.dumps(made(options.folder)), encoding="utf-8")
    os.chdir(options.folder)
    sys.path.insert(0, str(options.folder))
    for name in [name for name in sys.modules if name.split(".")[0] in ("xvar", "tests")]:
        del sys.modules[name]
    names = json.loads(listed.read_text(encoding="utf-8"))
    names = {name: file for name, file in names.items() if options.file in file}
    sample = random.Random(options.seed).sample(sorted(names), min(options.count, len(names)))
    rows = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
    left_out, sound, known = set[str](), set[str](), {row["mutant"] for row in rows}
    until = time.monotonic() + 60 * options.minutes
    _load({path for mutant in sample for part in tests_of(names[mutant]) for path in part})
    with done.open("a") as file:
        for mutant in sample:
            if mutant not in known and time.monotonic() < until:
                outcome, test = met(mutant, names[mutant], left_out, sound)
                rows.append({"mutant": mutant, "outcome": outcome, "test": test})
                file.write(json.dumps(rows[-1]) + "\n")
                file.flush()
    rows = [row for row in rows if row["mutant"] in sample]
    alive = [row["mutant"] for row in rows if row["outcome"] == "survived"]
    print(*alive, f"{len(rows) - len(alive)} of {len(rows)} killed; {len(names)} there are", sep="\n")
    if left_out:
        print("left out, as they fail without a mutant:", *sorted(left_out), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
