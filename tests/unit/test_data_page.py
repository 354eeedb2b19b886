"""The rows of the table in docs/reference/data.md are true."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from batchflow import ArrayBatch, Batch, Dataset

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "data.md"
ROWS = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE.read_text(), re.MULTILINE)


class Strict(ArrayBatch):
    components = "x"


class Loose(Batch):
    components = "x"


def value_of(given):
    return eval(given, {"np": np, "pd": pd})


def shown(value):
    return re.sub(r"\s+", " ", repr(value))


def test_the_table_is_found():
    assert len(ROWS) >= 18


@pytest.mark.parametrize(("given", "becomes"), ROWS)
def test_a_row_of_the_table_is_true_for_assignment(given, becomes):
    batch = Strict(len(value_of(given)))
    batch.x = value_of(given)
    assert shown(batch.x) == becomes


@pytest.mark.parametrize(("given", "becomes"), ROWS)
def test_a_row_of_the_table_is_true_for_a_dataset(given, becomes):
    value = value_of(given)
    classes = [Strict] if isinstance(value, pd.DataFrame) else [Strict, Loose]
    for cls in classes:
        batch = Dataset.from_arrays(cls, x=value).next_batch(len(value))
        assert shown(batch.x) == becomes
