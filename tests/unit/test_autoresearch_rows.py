"""What an agent's results.tsv, run.log and train.py say, however they were written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from tracecraft_cli.autoresearch import assignments, naming, rows, training_log, trial

if TYPE_CHECKING:
    from tracecraft_cli.autoresearch.rows import Row

HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
KEPT = "a1b2c3d\t0.997900\t44.0\tkeep\tbaseline\n"
CRASHED = "b2c3d4e\t0.000000\t0.0\tcrash\tdouble model width (OOM)\n"

LOG = (
    "Vocab size: 8,192\nTime budget: 300s\n"
    "\rstep 00000 (0.0%) | loss: 9.011213 | lrm: 1.00 | dt: 812ms | tok/sec: 645,277 | remaining: 300s    "
    "\rstep 00001 (0.3%) | loss: 8.5 | lrm: 1.00 | dt: 300ms | tok/sec: 1,747,626 | remaining: 299s    \n"
    "Starting final eval...\n---\nval_bpb:          0.997900\ntraining_seconds: 300.1\npeak_vram_mb:     45060.2\n"
    "num_params_M:     50.3\nmax_drawdown:     -15.2%\nval_pass:         true\n"
)


def read(text: str, *, settled: bool = True) -> list[Row]:
    return list(rows.parse(text, settled=settled).rows)


def test_a_row_is_commit_metrics_status_and_description() -> None:
    kept, crashed = read(HEADER + KEPT + CRASHED)
    assert (kept.commit, kept.status, kept.description, kept.number) == ("a1b2c3d", "keep", "baseline", 1)
    assert kept.metrics == {"val_bpb": 0.9979, "memory_gb": 44.0}
    assert (crashed.crashed, crashed.metrics, crashed.description) == (True, {}, "double model width (OOM)")


def test_the_zeros_of_a_crash_are_no_result_that_could_be_the_best() -> None:
    branch = trial.Branch("repo", "autoresearch/mar5", "val_bpb", higher=False)
    better = "c3d4e5f\t0.990000\t44.0\tdiscard\tuglier\n"
    worse = "d4e5f6a\t0.999\t44.0\tkeep\tsimpler\n"
    best = trial.best_of(read(HEADER + CRASHED + worse + KEPT + better), branch)
    assert best is not None
    assert best.commit == "a1b2c3d"
    upwards = trial.best_of(read(HEADER + KEPT + worse), trial.Branch("repo", "b", "val_bpb", higher=True))
    assert upwards is not None
    assert upwards.commit == "d4e5f6a"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param(KEPT, ["a1b2c3d"], id="no header"),
        pytest.param(HEADER.replace("\n", "\r\n") + KEPT.replace("\n", "\r\n"), ["a1b2c3d"],
                     id="windows"),
        pytest.param(HEADER + "\n# by hand\n\n" + KEPT, ["a1b2c3d"], id="empty lines and remarks"),
        pytest.param(HEADER + KEPT.rstrip("\n"), ["a1b2c3d"], id="no last line break"),
        pytest.param(HEADER + "`A1B2C3D` \t 0.99\t44\t Keep \tx\n", ["a1b2c3d"], id="other spelling"),
        pytest.param(HEADER + "what is this\n" + KEPT, ["a1b2c3d"], id="a line that is none"),
        pytest.param(HEADER + "zzzz\t1\t2\tkeep\tx\n" + KEPT, ["a1b2c3d"], id="no commit"),
        pytest.param(HEADER, [], id="only a header"),
        pytest.param("", [], id="nothing"),
    ],
)  # fmt: skip
def test_a_table_that_was_written_by_hand_is_read(text: str, wanted: list[str]) -> None:
    assert [row.commit for row in read(text)] == wanted


def test_a_last_line_that_is_being_written_waits() -> None:
    assert len(read(HEADER + KEPT + "b2c3d4e\t0.99", settled=False)) == 1
    assert len(read(HEADER + KEPT + CRASHED, settled=False)) == 2


def test_lines_that_are_no_rows_are_told() -> None:
    found = rows.parse(HEADER + "what is this\n" + KEPT)
    assert found.problems == ["line 2 is no row: 'what is this'"]


def test_another_header_counts_from_there_on() -> None:
    other = "commit\tscore\tmax_dd\tval_pass\tstatus\tdescription\ne5f6a7b\t1,234.5\t-15.2%\ttrue\tkeep\tx\n"
    _, row = read(HEADER + KEPT + other)
    assert row.metrics == {"score": 1234.5, "max_dd": -15.2}
    assert row.labels == {"val_pass": "true"}
    assert rows.parse(other).metric == "score"


def test_tabs_in_a_description_and_columns_that_are_left_out_do_no_harm() -> None:
    tabs, short = read(HEADER + "a1b2c3d\t0.9\t44\tkeep\tone\ttwo\nb2c3d4e\tcrash\tOOM\n")
    assert (tabs.description, tabs.status) == ("one two", "keep")
    assert (short.status, short.description, short.metrics) == ("crash", "OOM", {})


def test_a_commit_that_was_tried_again_is_another_experiment() -> None:
    found = read(HEADER + KEPT + KEPT.replace("a1b2c3d", "a1b2c3d4e5f6") + CRASHED)
    assert [row.occurrence for row in found] == [0, 1, 0]
    ids = {naming.trial("repo", "autoresearch/mar5", row.key, row.occurrence) for row in found}
    assert len(ids) == 3
    assert all(len(one) <= 64 and one.startswith("ar-mar5-") for one in ids)


def test_a_log_has_its_steps_and_its_summary() -> None:
    found = training_log.parse(LOG)
    assert [point.step for point in found.points] == [0, 1]
    assert found.points[1].values == {"loss": 8.5, "lrm": 1.0, "dt": 300.0, "tok/sec": 1_747_626.0}
    assert found.summary == {
        "val_bpb": 0.9979, "training_seconds": 300.1, "peak_vram_mb": 45060.2, "num_params_M": 50.3,
        "max_drawdown": -15.2,
    }  # fmt: skip
    assert found.labels == {"val_pass": "true"}


@pytest.mark.parametrize("size", [0, 60, 150, 200, 260, len(LOG) - 30])
def test_the_beginning_of_a_log_says_the_beginning_of_what_all_of_it_says(size: int) -> None:
    whole, part = training_log.parse(LOG), training_log.parse(LOG[:size])
    assert list(part.points) == list(whole.points)[: len(part.points)]
    assert part.summary.items() <= whole.summary.items()


def test_a_crash_is_told_by_the_end_of_its_log() -> None:
    lines = "\n".join(f"line {number}" for number in range(100))
    found = training_log.parse(f"{lines}\n\rstep 1 | loss: 1\rstep 2 | loss: nan\nTraceback:\nOutOfMemoryError: CUDA\n")
    assert found.last_line == "OutOfMemoryError: CUDA"
    assert "step 2" in found.tail
    assert "step 1" not in found.tail
    assert "line 99" in found.tail
    assert "line 10\n" not in found.tail
    assert math.isnan(found.points[-1].values["loss"])


def test_constants_are_literals_sums_of_them_or_their_text() -> None:
    source = "import os\nMATRIX_LR = 0.04  # x\nBATCH = 2**19\nNEG: float = -3\nBETAS = (0.8, 0.95)\nNAME = 'L'\n"
    source += (
        "PATH = os.path.join('a', 'b')\nlower = 1\nON = True\nHUGE = 10**1000\nA, B = 1, 2\ndef f():\n    IN = 1\n"
    )
    assert assignments.constants(source) == {
        "MATRIX_LR": 0.04, "BATCH": 524288, "NEG": -3, "BETAS": [0.8, 0.95], "NAME": "L",
        "PATH": "os.path.join('a', 'b')", "ON": True, "HUGE": "10 ** 1000",
    }  # fmt: skip


def test_a_script_that_is_no_program_still_has_constants() -> None:
    assert assignments.constants("DEPTH = 8\ndef (:\n") == {"DEPTH": "8"}


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ({"A": 1, "B": 2}, {"A": 1, "B": 3}, {"B": [2, 3]}),
        ({}, {"A": 1}, {"A": [None, 1]}),
        ({"A": 1}, {}, {"A": [1, None]}),
    ],
)
def test_what_changed_has_its_old_and_its_new_value(before: Any, after: Any, wanted: Any) -> None:
    assert assignments.changed(before, after) == wanted


def test_the_same_row_is_written_by_the_same_writer_and_a_changed_one_by_another() -> None:
    branch = trial.Branch("repo", "autoresearch/mar5", "val_bpb", higher=False)
    (row,) = read(HEADER + KEPT)
    one = trial.Trial("r", branch, trial.Change(), 1, 2)
    assert one.result(row, None).writer == one.result(row, training_log.parse(LOG)).writer
    assert len(one.result(row, None).events) == len(one.result(row, training_log.parse(LOG)).events)
    (edited,) = read(HEADER + KEPT.replace("keep", "discard"))
    assert one.result(edited, None, before=row).writer != one.result(row, None).writer
