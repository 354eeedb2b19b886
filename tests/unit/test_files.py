"""Files that are written whole or not at all."""

import os

import pytest

from batchflow.errors import ArgumentValueError
from batchflow.files import checked_path, making_folder, replacing


def written(path, text):
    with replacing(path) as temporary, open(temporary, "x", encoding="utf-8") as stream:
        stream.write(text)


def test_what_is_written_takes_the_place_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("one", "other"):
        written("file", text)
        assert (tmp_path / "file").read_text() == text
    assert os.listdir(tmp_path) == ["file"]


def test_it_is_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace

    def traced_fsync(descriptor):
        calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def traced_replace(source, target):
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    written(tmp_path / "file", "text")
    file, *rest = calls
    assert file.endswith(".tmp")
    assert rest == ["replace", tmp_path.name]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path, kind):
    (tmp_path / "file").write_text("old")
    with pytest.raises(kind), replacing(tmp_path / "file") as temporary:
        with open(temporary, "x", encoding="utf-8") as stream:
            stream.write("half")
        raise kind
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_path_is_the_file_behind_its_links(tmp_path):
    (tmp_path / "link").symlink_to("file")
    assert checked_path(tmp_path / "link") == str((tmp_path / "file").resolve())


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path):
    with pytest.raises(ArgumentValueError, match="is a folder: give the path of a file"):
        checked_path(tmp_path)
    with pytest.raises(ArgumentValueError, match="does not exist: make it first"):
        checked_path(tmp_path / "no" / "file")


# ---- folders


def filled(folder):
    with making_folder(folder) as temporary:
        os.makedirs(os.path.join(temporary, "inner"))
        with open(os.path.join(temporary, "inner", "file"), "x", encoding="utf-8") as stream:
            stream.write("text")


def test_a_folder_gets_its_name_when_all_in_it_is_on_the_disk(tmp_path, monkeypatch):
    calls, fsync, rename = [], os.fsync, os.rename

    def traced_fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append(os.path.relpath(path, tmp_path))
        fsync(descriptor)

    def traced_rename(source, target):
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "rename", traced_rename)
    filled(str(tmp_path / "made"))
    assert calls == ["temp-made", "temp-made/inner/file", "temp-made/inner", "rename", "."]
    assert os.listdir(tmp_path) == ["made"]
    assert (tmp_path / "made/inner/file").read_text() == "text"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_no_folder(tmp_path, kind):
    with pytest.raises(kind), making_folder(str(tmp_path / "made")) as temporary:
        os.makedirs(temporary)
        raise kind
    assert os.listdir(tmp_path) == []
