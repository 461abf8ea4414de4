"""F. Files, processes, clusters."""

from __future__ import annotations

import dask
import xarray as xr

from tests.faults.codes import Message
from tests.faults.images import rainy, warm
from tests.faults.shell import refused_by_shell
from tests.faults.table import elsewhere, fault


@fault(
    68,
    "an input file that is missing",
    'refused before anything runs; one that goes missing on the way names its windows, or marks them where `errors="continue"`',
)
def test_missing_file(tmp_path) -> str:
    words = ("assimilate", tmp_path / "absent.nc", "-o", tmp_path / "out.nc")
    message = refused_by_shell(*words, code="file-not-found", names=("absent.nc",))
    return Message.of(message.partition(", in the folder")[0], message.faults)


@fault(69, "a truncated file, an HTML page, an empty file", "refused, with the name of the file")
def test_broken_files(tmp_path) -> str:
    rainy().to_netcdf(tmp_path / "good.nc")
    whole = (tmp_path / "good.nc").read_bytes()
    for name, content, code in (
        ("truncated.nc", whole[: len(whole) // 2], "broken-file"),
        ("page.nc", b"<html><body>404</body></html>", "unknown-format"),
        ("empty.nc", b"", "empty-file"),
    ):
        (tmp_path / name).write_bytes(content)
        message = refused_by_shell("assimilate", tmp_path / name, "-o", tmp_path / "out.nc", code=code, names=(name,))
        assert not (tmp_path / "out.nc").exists()
    return message


CLUSTER, RUN, LOCK = "tests/execution/test_distributed.py", "tests/runs/test_run.py", "tests/runs/test_lock.py"
BATCHES, SHELL = "tests/execution/test_batches.py", "tests/cli/test_commands.py"
DAMAGE = "tests/runs/test_damage.py"

for number, title, does, *tests in (
    (70, "a worker that is killed", "run elsewhere, the same bits", f"{CLUSTER}::test_a_killed_worker_costs_nothing"),
    (
        *(71, "a window that kills its workers", "given up after three deaths with the reason, the others complete"),
        f"{CLUSTER}::test_a_window_that_kills_is_marked_and_the_others_are_done",
    ),
    (
        *(72, "a window that raises", '`errors="raise"` names it, `errors="continue"` marks it'),
        f"{RUN}::test_a_window_that_raises_ends_the_run_and_keeps_the_others",
        f"{RUN}::test_a_window_that_fails_is_marked_with_its_reason",
    ),
    (
        *(73, "the whole run killed", "the same call does what is missing, the same bits"),
        f"{RUN}::test_a_run_that_is_killed_goes_on",
    ),
    (
        *(74, "killed in the middle of writing", "no partial NetCDF file ever; a Zarr store says `not_run`"),
        f"{RUN}::test_an_unfinished_netcdf_is_no_file",
        f"{RUN}::test_windows_that_were_not_run_say_so",
    ),
    (
        *(75, "windows that are missing at the end", "refused; never taken for zeros"),
        f"{RUN}::test_a_part_that_went_missing_is_not_merged",
        f"{DAMAGE}::test_a_damaged_chunk_is_not_run_and_is_solved_again",
    ),
    (
        *(76, "resumed with other options, input or version", "refused, with what differs"),
        f"{RUN}::test_another_configuration_is_refused",
        f"{RUN}::test_another_input_is_refused",
        f"{RUN}::test_another_version_is_refused",
        f"{RUN}::test_another_attribute_of_a_model_is_refused",
        f"{RUN}::test_another_grid_or_mask_is_refused",
        "tests/runs/test_identity.py::test_a_change_is_found",
    ),
    (
        *(77, "an output that exists", "refused, or resumed where it is of the same run; the old stays until the end"),
        f"{RUN}::test_what_is_not_ours_is_refused_and_stays",
        f"{RUN}::test_the_old_stays_until_the_new_is_complete",
    ),
    (
        *(78, "a full disk, a folder that cannot be written", "an OSError with the path, no rubbish left"),
        f"{RUN}::test_a_disk_that_is_full",
        f"{RUN}::test_a_folder_that_cannot_be_written",
        "tests/io/test_writing.py::test_a_full_disk_names_the_path_and_leaves_nothing",
        f"{DAMAGE}::test_no_store_claims_what_is_not_on_the_disk",
    ),
    (
        *(79, "two runs in one place", "the second is refused with process and host; a dead one's lock is taken over"),
        f"{LOCK}::test_a_second_run_is_refused_with_process_and_host",
        f"{LOCK}::test_the_lock_of_a_dead_process_is_taken_over",
    ),
    (80, "a Zarr region that cuts a chunk", "refused", f"{RUN}::test_a_region_that_cuts_a_chunk_is_refused"),
    (81, "Ctrl-C", "what is finished is kept, the rest is listed", f"{RUN}::test_ctrl_c_keeps_what_is_done"),
    (82, "processes forked after torch", "refused, with the setting", f"{BATCHES}::test_a_fork_after_torch_is_refused"),
    (
        *(83, "more threads than cores", "one torch thread a task; warned of"),
        f"{BATCHES}::test_more_threads_than_cores_are_warned_of",
        f"{BATCHES}::test_torch_has_its_threads_back",
    ),
    (
        *(84, "a model that cannot be pickled", "refused before it is sent, with the attribute"),
        f"{BATCHES}::test_what_cannot_be_pickled_is_named",
        f"{CLUSTER}::test_what_cannot_be_pickled_is_refused_before_anything_is_sent",
    ),
    (
        *(85, "a script without its main guard", "refused, with the line that is missing"),
        f"{CLUSTER}::test_a_script_without_its_guard_is_told",
    ),
):
    elsewhere(number, title, does, *tests)


@fault(86, "lazy input (dask)", "stays lazy: nothing is computed at the call")
def test_lazy_input() -> str:
    def never(graph, keys, **options):
        raise AssertionError("computed")

    with dask.config.set(scheduler=never):
        result = warm(7).chunk(time=2).var4d.assimilate().var4d.forecast("4min")
    assert result["sst"].chunks is not None
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_equal(result["sst"].compute(), warm(7).var4d.assimilate().var4d.forecast("4min")["sst"])
    return f"chunks of 'sst': {result['sst'].chunks[0]}"
