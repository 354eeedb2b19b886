"""`python -m batchflow check FILE:pipeline`."""

import sys

import pytest

from batchflow.__main__ import main

SOURCE = """
import numpy as np
from batchflow import ArrayBatch, Dataset, action

class Numbers(ArrayBatch):
    @action
    def noise(self):
        self.data = self.data + np.random.rand(len(self))
        return self

    @action
    def double(self):
        self.data = self.data * 2
        return self

noisy = Dataset.from_arrays(Numbers, data=np.arange(4.0)).p.noise()
calm = Dataset.from_arrays(Numbers, data=np.arange(4.0)).p.double()
other = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "numbers_to_check.py"
    path.write_text(SOURCE)
    yield str(path)
    sys.modules.pop(path.stem, None)


def test_a_pipeline_without_problems_ends_in_0_and_prints_the_report(file, capsys):
    assert main(["check", f"{file}:calm", "--items", "3"]) == 0
    told = capsys.readouterr().out
    assert "a batch of 3 items" in told
    assert "no problems" in told


def test_a_pipeline_with_problems_ends_in_1(file, capsys):
    assert main(["check", f"{file}:noisy"]) == 1
    assert "draw from self.rng" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("{file}:missing", "missing is not there; pipelines of {file}: calm, noisy"),
        ("{file}:other", "other is 3, no pipeline"),
        ("{file}", "must be FILE:NAME"),
        ("{file}.not:calm", "there is no file"),
    ],
)
def test_what_is_no_pipeline_of_a_file_ends_in_2_and_says_why(file, capsys, target, told):
    assert main(["check", target.format(file=file)]) == 2
    assert told.format(file=file) in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["chekc"]])
def test_an_unknown_command_ends_in_2_and_lists_those_there_are(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
