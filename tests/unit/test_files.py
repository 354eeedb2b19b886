"""Files that are written whole or not at all."""

import os

import pytest

from batchflow.files import replacing


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
