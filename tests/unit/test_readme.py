"""The README: short, true of the package, and its examples can be typed in."""

import code
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BLOCKS = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if ">>>" not in b]


class _Console(code.InteractiveConsole):
    """Python's prompt, in which a blank line ends a class."""

    def __init__(self, *, runs):
        super().__init__({"__name__": "__main__"})
        self.runs, self.errors = runs, []

    def runcode(self, compiled):
        if self.runs:
            try:
                exec(compiled, self.locals)
            except Exception as error:
                self.errors.append(error)

    def showsyntaxerror(self, *args, **kwargs):
        self.errors.append(sys.exc_info()[1])


def pasted(text, *, runs):
    console = _Console(runs=runs)
    for line in [*text.splitlines(), ""]:
        console.push(line)
    return console


def test_the_first_example_can_be_pasted_at_the_prompt():
    console = pasted(BLOCKS[0], runs=True)
    assert console.errors == []
    assert [b.number for b in console.locals["pipeline"].gen_batch(4)] == [0, 1, 2]


@pytest.mark.parametrize("block", BLOCKS)
def test_no_example_is_cut_in_two_at_the_prompt(block):
    assert pasted(block, runs=False).errors == []


def test_it_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def test_it_names_every_extra_for_users():
    extras = set(PROJECT["optional-dependencies"]) - {"dev", "docs"}
    assert [name for name in sorted(extras) if not re.search(rf"[`,\[]{name}[`,\]]", README)] == []


def test_it_names_the_pythons_that_are_tested():
    kinds = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert f"Python {kinds[0]} to {kinds[-1]}" in README


def test_each_figure_names_the_benchmark_that_it_comes_from():
    table = README.partition("## Numbers")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    scripts = [re.match(r"\| `(\w+)\.py`: ", row)[1] for row in rows]
    assert len(scripts) == table.count("\n|") - 2  # all but the head
    runs = re.findall(r'"(\w+)"', (ROOT / "benchmarks" / "run_all.py").read_text())
    assert [name for name in scripts if name not in runs] == []
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in scripts)


def test_no_picture_is_kept_as_a_file():
    """What pages and notebooks show is drawn by the code that they show."""
    kinds = ("png", "jpg", "jpeg", "gif", "svg", "webp")
    shown = [p for p in ROOT.glob("docs/**/*") if p.suffix.lstrip(".") in kinds]
    shown += [p for p in ROOT.glob("notebooks/**/*") if p.suffix.lstrip(".") in kinds]
    assert shown == []
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    assert [page for page in pages if re.search(r"!\[|<img", page.read_text())] == []


def test_links_lead_to_files():
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
