"""A directory of checkpoints: always a whole one, whatever is cut, damaged or full."""

import contextlib
import errno
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from batchflow import Checkpoint, Keep
from batchflow.checkpoints import copies
from batchflow.checkpoints import store as store_module
from batchflow.checkpoints.store import Store, checked, found, newest
from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError

RUN = {"run_id": "r"}


def fill(text="data"):
    def write(folder):
        Path(folder, "inner").mkdir()
        Path(folder, "inner", "a.txt").write_text(text)
        Path(folder, "b.txt").write_text(text)

    return write


def saved(directory, *steps, keep=None, **facts):
    store = Store(directory, keep or Keep())
    try:
        for step in steps:
            store.save(step, fill(f"step {step}"), RUN | facts)
            store.wait()
    finally:
        store.close()


def steps_in(directory):
    return [step for step, _ in found(directory)]


def test_what_was_written_is_found_and_whole(tmp_path):
    saved(tmp_path / "new" / "a", 3, 7)
    last = newest(str(tmp_path / "new" / "a"))
    assert last.step == 7
    assert Path(last.folder, "inner", "a.txt").read_text() == "step 7"
    assert set(last.manifest["files"]) == {"b.txt", "inner/a.txt"}


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (Keep(), [60, 50, 40]),
        (Keep(last=1), [60]),
        (Keep(last=1, every=25), [60, 50, 30, 10]),
        (Keep(last=1, best=("loss", "min", 2)), [60, 30, 20]),
        (Keep(last=1, best=("loss", "max", 1)), [60, 10]),
    ],
)
def test_it_keeps_what_it_is_told_to(tmp_path, keep, kept):
    losses = {10: 9.0, 20: 1.0, 30: 2.0, 40: 5.0, 50: float("nan"), 60: 6.0}
    store = Store(tmp_path, keep)
    for step, loss in losses.items():
        store.save(step, fill(), RUN | {"values": {"loss": loss}})
    store.close()
    assert steps_in(tmp_path) == kept


def test_another_run_takes_the_place_of_one_when_its_first_is_there(tmp_path):
    saved(tmp_path, 5, 6)
    store = Store(tmp_path, Keep())
    assert steps_in(tmp_path) == [6, 5]
    store.save(1, fill(), {"run_id": "other"})
    store.close()
    assert steps_in(tmp_path) == [1]


def damage(folder, how):
    file = Path(folder, "inner", "a.txt")
    if how == "missing":
        file.unlink()
    elif how == "other bytes":
        file.write_text("stEp 7")
    elif how == "a link":
        shutil.move(file, Path(folder).parent / "away.txt")
        file.symlink_to(Path(folder).parent / "away.txt")
    elif how == "a linked folder":
        shutil.move(file.parent, Path(folder).parent / "away")
        file.parent.symlink_to(Path(folder).parent / "away")
    elif how == "no manifest":
        Path(folder, "manifest.json").unlink()
    elif how == "half a manifest":
        Path(folder, "manifest.json").write_text('{"format": 1, "fi')
    elif how == "a path outside":
        manifest = json.loads(Path(folder, "manifest.json").read_text())
        manifest["files"]["../x"] = {"size": 1, "sha256": "0"}
        Path(folder, "manifest.json").write_text(json.dumps(manifest))
    else:
        manifest = json.loads(Path(folder, "manifest.json").read_text())
        Path(folder, "manifest.json").write_text(json.dumps(manifest | {"format": 99}))


HOWS = ["missing", "other bytes", "a link", "a linked folder", "no manifest", "half a manifest"]


@pytest.mark.parametrize("how", [*HOWS, "a path outside", "another format"])
def test_a_damaged_one_is_told_by_its_file_and_the_one_before_is_found(tmp_path, how):
    saved(tmp_path, 3, 7)
    damage(next(found(tmp_path))[1], how)
    with pytest.warns(UserWarning, match="a checkpoint is left out: .*step-000000000007"):
        assert newest(str(tmp_path)).step == 3


def test_one_writer_at_a_time_and_the_next_when_it_is_closed(tmp_path):
    first = Store(tmp_path, Keep())
    with pytest.raises(BatchflowError, match=r"another run writes .*\(process this one\)"):
        Store(tmp_path, Keep())
    first.close()
    Store(tmp_path, Keep()).close()
    abandoned = Store(tmp_path, Keep())
    del abandoned
    Store(tmp_path, Keep()).close()


class Cut(BaseException):
    """The process ends here: nothing that follows is done."""


OPERATIONS = [(os, "fsync"), (os, "rename"), (os, "mkdir"), (shutil, "rmtree"), (json, "dump")]


def run_cut(directory, monkeypatch, at, error):
    """Save a checkpoint, and cut that before or behind one of the operations on files.

    Returns:
        Whether there was such an operation.
    """
    count = 0

    def cutting(plain):
        def operation(*args, **kwargs):
            nonlocal count
            count += 1
            if count == at or (count > at and error is Cut):
                raise error() if error is Cut else OSError(errno.ENOSPC, "no space left")
            return plain(*args, **kwargs)

        return operation

    store = Store(directory, Keep(last=1))
    with monkeypatch.context() as patch:
        for module, name in OPERATIONS:
            patch.setattr(module, name, cutting(getattr(module, name)))
        store.save(20, fill("step 20"), RUN)
        with contextlib.suppress(OSError, Cut):
            store.wait()
    store.close()
    return count >= at


@pytest.mark.parametrize("error", [Cut, OSError])
@pytest.mark.parametrize("before", [10, 20])
def test_wherever_a_save_is_cut_there_is_a_whole_one_and_leftovers_go(
    tmp_path, monkeypatch, error, before
):
    n_cuts = 0
    for at in range(1, 100):
        directory = tmp_path / str(at)
        saved(directory, before, run_id="other")  # of another run, and maybe of the same step
        if not run_cut(directory, monkeypatch, at, error):
            break
        n_cuts += 1
        Store(directory, Keep()).close()  # the next start, which clears up
        last = newest(str(directory))
        assert last.step in (before, 20)
        assert Path(last.folder, "b.txt").read_text() == f"step {last.step}"
        saved(directory, 30, keep=Keep(last=1))
        assert sorted(os.listdir(directory)) == ["lock", "step-000000000030"]
    assert n_cuts > 8


def test_the_one_before_is_written_while_the_next_is_taken(tmp_path):
    may_go_on, began = threading.Event(), []

    def slow(folder):
        began.append(folder)
        assert may_go_on.wait(30)
        fill()(folder)

    store = Store(tmp_path, Keep())
    store.save(1, slow, RUN)
    store.save(2, fill(), RUN)  # it waits for its turn, and nobody waits for it
    assert steps_in(tmp_path) == []
    assert store.cost == float("inf")
    third = threading.Thread(target=store.save, args=(3, fill(), RUN))
    third.start()
    third.join(0.2)
    assert third.is_alive()  # more than one does not wait
    may_go_on.set()
    third.join()
    store.close()
    assert steps_in(tmp_path) == [3, 2, 1]
    assert 0 < store.cost < 30


def test_an_error_of_a_save_is_raised_at_the_next_or_at_the_end(tmp_path):
    def failing(folder):
        raise OSError(errno.ENOSPC, "no space left")

    store = Store(tmp_path, Keep())
    store.save(1, failing, RUN)
    store._writing[0].join()
    with pytest.raises(OSError, match="no space") as e:
        store.save(2, fill(), RUN)
    assert "while the checkpoint of step 1 was written" in e.value.__notes__
    store.save(2, failing, RUN)
    with pytest.raises(OSError, match="no space"):
        store.close()
    assert steps_in(tmp_path) == []


def in_memory(directory):
    prefix = copies._prefix(str(directory))
    return [name for name in os.listdir(copies.MEMORY) if name.startswith(prefix)]


def test_copies_of_a_killed_run_go_when_the_next_one_starts(tmp_path):
    left = [copies.taken(str(tmp_path), lambda folder: Path(folder, "a").write_text("x"))[0]]
    left.append(str(tmp_path / "copy-killed"))
    os.mkdir(left[1])
    Store(tmp_path, Keep()).close()
    assert not any(map(os.path.exists, left))


def test_copies_go_beside_the_checkpoints_where_memory_has_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "MEMORY", str(tmp_path / "shared"))
    os.mkdir(tmp_path / "shared")
    os.mkdir(tmp_path / "a")

    def take(folder):
        if Path(folder).parent.name == "shared":
            raise OSError(errno.ENOSPC, "no space left")
        return 3

    folder, given = copies.taken(str(tmp_path / "a"), take)
    assert given == 3
    assert Path(folder).parent == tmp_path / "a"
    assert in_memory(tmp_path / "a") == []
    with pytest.raises(ZeroDivisionError):
        copies.taken(str(tmp_path / "a"), lambda _: 1 / 0)
    assert os.listdir(tmp_path / "a") == [Path(folder).name]


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentValueError, match="cannot be written to"):
        Store(tmp_path / "file", Keep())


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Keep(last=0), ArgumentValueError),
        (lambda: Keep(every=1.5), ArgumentTypeError),
        (lambda: Keep(best="loss"), ArgumentTypeError),
        (lambda: Keep(best=("loss", "least", 1)), ArgumentValueError),
        (lambda: Checkpoint(3), ArgumentTypeError),
        (lambda: Checkpoint("a", every_n_batches=0), ArgumentValueError),
        (lambda: Checkpoint("a", every_seconds=-1), ArgumentValueError),
        (lambda: Checkpoint("a", overhead=1.0), ArgumentValueError),
        (lambda: Checkpoint("a", keep=3), ArgumentTypeError),
        (lambda: Checkpoint("a", signals=("SIGNOTHING",)), ArgumentValueError),
        (lambda: Checkpoint("a", signals="SIGTERM"), ArgumentValueError),
        (lambda: Checkpoint("a", changed="yes"), ArgumentValueError),
    ],
)
def test_wrong_fields_are_refused(make, error):
    with pytest.raises(error):
        make()


def test_a_checked_checkpoint_is_what_its_manifest_says(tmp_path):
    saved(tmp_path, 1)
    folder = next(found(tmp_path))[1]
    assert checked(folder)["step"] == 1
    assert store_module.FORMAT == 1
