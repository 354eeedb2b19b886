"""Boards: what of a run is written, and what of one that goes on."""

import gc
import json
import math

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Checkpoint, Dataset, V
from batchflow.boards import JsonLines, TensorBoard
from batchflow.errors import ArgumentTypeError, ArgumentValueError


def training():
    p = Dataset.from_arrays(ArrayBatch, data=np.arange(12.0)).p
    p = p.init_variable("losses", init=list).init_variable("n", 0).init_variable("text", "a")
    return p.update(V("losses", "a"), B.data.sum()).update(V("n"), V("n") + 1)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_numbers_and_the_last_ones_of_lists_are_written_behind_each_batch(tmp_path):
    training().run(4, track=tmp_path / "new" / "a.jsonl")
    assert lines(tmp_path / "new" / "a.jsonl") == [
        {"step": 1, "losses": 6.0, "n": 1.0},
        {"step": 2, "losses": 22.0, "n": 2.0},
        {"step": 3, "losses": 38.0, "n": 3.0},
    ]


def test_what_is_no_finite_number_is_written_as_a_text_and_every_leaves_some_out(tmp_path):
    board = JsonLines(tmp_path / "a.jsonl", every=2)
    for step in (1, 2, 4):
        board.log(step, {"loss": math.nan if step == 2 else 0.5})
    board.close()
    assert lines(tmp_path / "a.jsonl") == [{"step": 2, "loss": "nan"}, {"step": 4, "loss": 0.5}]


def test_a_run_that_goes_on_writes_each_step_once(tmp_path):
    saving = Checkpoint(tmp_path / "run", every_n_batches=2)
    options = {"batch_size": 2, "n_epochs": 2, "checkpoint": saving, "track": tmp_path / "a.jsonl"}
    run = training().gen_batch(**options)
    with pytest.raises(ZeroDivisionError), run:
        for batch in run:
            if batch.number == 6:
                1 / 0  # noqa: B018  saved behind batch 5
    with (tmp_path / "a.jsonl").open("a") as stream:
        stream.write('{"step": 8, "lo')  # half a line: killed while it wrote
    training().run(**options)
    assert [line["step"] for line in lines(tmp_path / "a.jsonl")] == list(range(1, 13))
    assert [line["n"] for line in lines(tmp_path / "a.jsonl")] == list(range(1, 13))


def test_anything_with_log_and_close_is_a_board_also_beside_a_bar(capsys):
    class Board:
        def __init__(self):
            self.logged, self.is_closed = [], False

        def log(self, step, values):
            self.logged.append((step, values["n"]))

        def close(self):
            self.is_closed = True

    board = Board()
    training().run(4, track=board, bar=True, prefetch=2)
    assert board.logged == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert board.is_closed
    assert "3/3" in capsys.readouterr().err


class Board:
    def __init__(self, breaks=""):
        self.steps, self.n_closed, self._breaks = [], 0, breaks

    def log(self, step, values):
        self.steps.append(step)
        if self._breaks == "log" and step == 2:
            raise OSError("disk full")

    def close(self):
        self.n_closed += 1
        if self._breaks == "close":
            raise OSError("gone")


def failing(error):
    def fail(batch):
        if batch.number == 2:
            raise error

    return training().call(fail, B())


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("error", [LookupError("gone"), KeyboardInterrupt()])
def test_a_board_is_closed_once_where_an_action_fails(error, prefetch):
    board = Board()
    with pytest.raises(type(error)):
        failing(error).run(3, track=board, prefetch=prefetch)
    assert (board.steps, board.n_closed) == ([1, 2], 1)


@pytest.mark.parametrize("profile", [False, True])
def test_a_board_is_closed_where_a_loop_is_left(profile):
    board = Board()
    for _ in training().gen_batch(3, track=board, profile=profile):
        break
    gc.collect()
    assert (board.steps, board.n_closed) == ([1], 1)
    board, run = Board(), training().gen_batch(3, n_epochs=2, track=(one := Board()))
    for epoch in run.epochs():
        next(epoch)
    run.close()
    run.close()
    assert (one.steps, one.n_closed, board.n_closed) == ([1, 2], 1, 0)


@pytest.mark.parametrize("breaks", ["log", "close"])
def test_what_a_board_raises_arrives_and_it_is_closed(breaks):
    board = Board(breaks)
    with pytest.raises(OSError, match=r"disk full|gone"):
        training().run(3, track=board)
    assert board.n_closed == 1


def test_numbers_that_no_float_can_hold_are_left_out(tmp_path):
    huge = training().init_variable("huge", 10**400).init_variable("one", np.float32(1))
    huge.run(12, track=tmp_path / "a.jsonl")
    assert lines(tmp_path / "a.jsonl") == [{"step": 1, "losses": 66.0, "n": 1.0, "one": 1.0}]


def test_tensorboard_reads_its_file(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    training().run(4, track=TensorBoard(tmp_path))
    (file,) = tmp_path.iterdir()
    events = [e for e in loader.EventFileLoader(str(file)).Load() if e.summary.value]
    found = {(e.step, v.tag): v.tensor.float_val[0] for e in events for v in e.summary.value}
    assert found[2, "losses"] == 22.0
    assert len(found) == 6


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: training().run(4, track=3), ArgumentTypeError),
        (lambda: training().run(4, track=JsonLines), ArgumentTypeError),
        (lambda: JsonLines("a", every=0), ArgumentValueError),
        (lambda: JsonLines("a", every=1.5), ArgumentTypeError),
        (lambda: training().gen_batch(4, track="."), ArgumentValueError),
    ],
)
def test_wrong_boards_are_refused(make, error):
    with pytest.raises(error):
        make()
