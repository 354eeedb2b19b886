"""The examples on rare classes and on mixed sources run as a user would run them."""

import shutil
from pathlib import Path

from own_process import run_alone

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder, name):
    return run_alone(Path(shutil.copy(EXAMPLES / name, folder)), timeout=120).stdout


def test_rare_digits_are_found_where_orders_show_them_more_often(tmp_path):
    told = run(tmp_path, "imbalance.py")
    nines, others = (
        {line.split(":")[0]: float(line.split(word)[1][:4]) for line in told.splitlines()[1:]}
        for word in ("nines ", "others ")
    )
    assert min(nines["weighted"], nines["balanced"]) > nines["shuffled"] + 0.1
    assert min(others.values()) > 0.85


def test_two_sources_are_mixed_by_weight(tmp_path):
    told = run(tmp_path, "mixed_sources.py")
    assert "clean rows: 25.0% of 8000" in told
    assert float(told.split("largest error of the line: ")[1].split()[0]) < 0.1
    assert "four ahead: True; in two shares: True" in told
