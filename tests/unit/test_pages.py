"""What pages say of the code: maps, orders, and what is "not there yet"."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "batchflow"
ENGINE = PACKAGE / "engine"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# ---- batchflow/engine/README.md

IN_ORDER = re.findall(r"^  (\w+)(?:\.py|/) +\S", (ENGINE / "README.md").read_text(), re.MULTILINE)


def _engine_files():
    return sorted(path.stem for path in ENGINE.iterdir() if path.stem.isalpha() and _is_code(path))


def _is_code(path):
    return path.suffix == ".py" or (path / "__init__.py").exists()


def _imports(node):
    """Give the files of the engine that a file imports, but for its types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.module == "batchflow.engine":
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from re.findall(r"^batchflow\.engine\.(\w+)", child.module)
        elif isinstance(child, ast.Import):
            names = " ".join(alias.name for alias in child.names)
            yield from re.findall(r"\bbatchflow\.engine\.(\w+)", names)
        yield from _imports(child)


def test_the_map_of_the_engine_names_its_files():
    assert sorted(IN_ORDER) == _engine_files()


@pytest.mark.parametrize("name", _engine_files())
def test_a_file_of_the_engine_imports_only_those_above_it_in_the_map(name):
    room = ENGINE / name
    files = room.glob("*.py") if room.is_dir() else [ENGINE / f"{name}.py"]
    imported = {above for file in files for above in _imports(ast.parse(file.read_text()))}
    assert imported & set(IN_ORDER) <= {
        *IN_ORDER[: IN_ORDER.index(name)],
        *([name] * room.is_dir()),
    }


def test_the_import_contract_of_the_engine_has_all_its_files():
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    layers = " ".join(next(c["layers"] for c in contracts if "engine is a row" in c["name"]))
    assert sorted(re.findall(r"batchflow\.engine\.(\w+)", layers)) == _engine_files()


# ---- batchflow/inspection/__init__.py


def test_the_map_of_the_inspection_room_names_its_files():
    text = ast.get_docstring(ast.parse((PACKAGE / "inspection" / "__init__.py").read_text()))
    named = re.findall(r"^    (\w+\.py) +\S", text, re.MULTILINE)
    files = (path.name for path in (PACKAGE / "inspection").glob("*.py"))
    assert sorted(named) == sorted(set(files) - {"__init__.py"})


# ---- CONTRIBUTING.md

MAP = CONTRIBUTING.partition("```text\n")[2].partition("```")[0]
PLACES = CONTRIBUTING.partition("## Where a test lives\n")[2].partition("\n## ")[0]


def _tops(folder):
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "_")):
            yield f"{path.name}/"
        elif path.suffix == ".py" and not path.name.startswith("_"):
            yield path.name


def test_the_map_names_every_room_and_no_other():
    rooms = MAP.partition("constraints/")[0].removeprefix("batchflow/\n")
    named = re.findall(r"[\w]+(?:/|\.py)", " ".join(line[:27] for line in rooms.splitlines()))
    assert sorted(named) == sorted(_tops(PACKAGE))


def test_the_map_names_every_folder_of_tests():
    tests = ROOT / "tests"
    folders = [p.name for p in tests.iterdir() if p.is_dir() and p.name[0] not in "_."]
    named = re.findall(r"`(\w+)/`", "".join(re.findall(r"(?m)^\| (`.*?) \|", PLACES)))
    assert sorted(named) == sorted(folders)


def test_the_places_of_tests_are_files_that_are_there():
    files = re.findall(r"`(\w+\.py)`", PLACES)
    there = {path.name for path in (ROOT / "tests").rglob("*.py")}
    assert files
    assert [name for name in files if name not in there] == []


def test_the_index_of_old_mistakes_has_every_letter():
    (row,) = re.findall(r"(?m)^\| `harms/` .*", PLACES)
    harms = "".join(path.read_text() for path in (ROOT / "tests/harms").glob("test_*.py"))
    letters = set(re.findall(r"def test_([a-z])\d+_", harms))
    assert {letter.lower() for letter in re.findall(r"\b([A-Z]) \w", row)} == letters


def test_every_target_of_make_that_it_names_has_a_rule():
    rules = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`make (?:-k )?([\w-]+)`", CONTRIBUTING))
    assert {"test", "docs", "notebooks", "constraints"} <= named
    assert [name for name in sorted(named) if not re.search(rf"(?m)^[\w -]*\b{name}:", rules)] == []


# ---- what is not there yet


def _pages():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *PACKAGE.rglob("*.md")]:
        if "not there yet" in path.read_text().lower():
            yield str(path.relative_to(ROOT))


def test_no_page_says_that_something_is_not_there_yet():
    """One that does has a test here, which fails when it is there."""
    assert sorted(_pages()) == []


def test_the_laws_say_where_they_are_checked():
    laws = (ROOT / "docs/explanation/laws.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+)`", laws)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert laws.count("\n## ") == 10
    assert len(re.findall(r"\*Checked", laws)) >= 10
