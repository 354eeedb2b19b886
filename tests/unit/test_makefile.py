"""The Makefile: which Python will do, what is installed, and that its targets have rules."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
SETS = sorted(path.stem for path in (ROOT / "constraints").glob("*.txt"))

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def make(*arguments, **environment):
    """Call make in a folder of its own, which has all but the package."""
    # What make was called with, should it run these tests, stands in the environment.
    told = ("MFLAGS", "SETS", "VENV", "TORCH", "TORCH_INDEX")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k not in told}
    return subprocess.run(
        ["make", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=environment.pop("cwd", ROOT),
        env={**clean, **environment},
    )


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with what make reads before it installs anything."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    shutil.copytree(ROOT / "constraints", tmp_path / "constraints")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def a_python(folder, version, implementation="CPython"):
    """Make a stand-in for another Python, which notes each use of it that is not the check."""
    file = folder / f"python{version}"
    major, minor = version.split(".")
    file.write_text(f"""#!/bin/sh
case "$1" in
*python_fits.py)
    exec {sys.executable} -c 'import platform, runpy, sys
sys.version_info = ({major}, {minor}, 0, "final", 0)
platform.python_implementation = lambda: "{implementation}"
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")' "$@";;
esac
echo "$@" >> {folder}/used
exit 1
""")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("target", ["demo", "test", "test-jax", "test-cluster"])
@pytest.mark.parametrize("version", ["3.14", "3.10", "2.7"])
def test_a_python_that_will_not_do_is_told_before_anything_is_installed(elsewhere, target, version):
    python = a_python(elsewhere, version)
    done = make(target, f"PYTHON={python}", cwd=elsewhere)
    assert done.returncode != 0
    assert f"This is Python {version}" in done.stderr
    assert "make needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.13" in done.stdout
    assert not (elsewhere / "used").exists()
    assert not list(elsewhere.glob(".venv*"))


def test_another_implementation_of_python_is_told(elsewhere):
    python = a_python(elsewhere, "3.11", "PyPy")
    done = make("demo", f"PYTHON={python}", cwd=elsewhere)
    assert "This is PyPy: TensorFlow has wheels for CPython" in done.stderr
    assert not (elsewhere / "used").exists()


def test_the_oldest_versions_are_for_the_lowest_python(elsewhere):
    done = make("test-oldest", f"PYTHON={a_python(elsewhere, '3.12')}", cwd=elsewhere)
    assert done.returncode != 0
    assert "make test-oldest needs Python 3.11" in done.stdout


def test_the_demo_says_what_it_installs_and_how_long_that_takes():
    done = make("--dry-run", "demo", "VENV=.venv-fresh")
    said = next(line for line in done.stdout.splitlines() if "Installing TensorFlow" in line)
    assert "about 3 to 4 minutes" in said


def test_every_phony_target_has_a_rule():
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)).split()
    assert {"docs", "notebooks", "test-newest", "test-oldest", "constraints"} <= set(phony)
    for name in phony:
        rule = re.search(
            rf"^(?:[\w -]+ )?{name}(?: [\w -]+)?:[^=\n]*(\S[^\n]*|\n\t.*)", MAKEFILE, re.M
        )
        assert rule, name


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_installed_by_some_target(name):
    assert re.search(rf"call install,[^,]*,{name},", MAKEFILE)


def test_what_is_installed_is_of_a_set(elsewhere):
    targets = ["demo", "test-jax", "test-torch", "test-legacy", "test-cluster"]
    plain = make("--dry-run", *targets, cwd=elsewhere)
    installs = [line for line in plain.stdout.splitlines() if "pip install" in line]
    of_venvs = [line for line in installs if ".venv" in line and "virtualenv" not in line]
    assert len(of_venvs) > len(targets)
    assert all("--constraint constraints/" in line for line in of_venvs)


def test_the_newest_are_installed_without_a_set(elsewhere):
    done = make("--dry-run", "demo", "VENV=.venv-newest", "SETS=", cwd=elsewhere)
    assert "pip install" in done.stdout
    assert "--constraint" not in done.stdout


def test_what_python_compiles_is_kept_whatever_the_environment_says():
    show = 'show: ; @echo "<$$PYTHONDONTWRITEBYTECODE>"'
    assert make("--eval", show, "show", PYTHONDONTWRITEBYTECODE="1").stdout == "<>\n"


# ---- the sets


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").rglob("*.txt")), ids=str)
def test_a_set_has_nothing_of_one_machine(path):
    for line in path.read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.!+]+(?: ; [^/@]+)?", line), line


@pytest.mark.parametrize("name", SETS)
def test_the_oldest_of_a_set_are_the_bounds_of_the_project(name):
    from tomllib import loads

    project = loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(
        line.partition(" ;")[0].split("==")
        for line in (ROOT / f"constraints/oldest/{name}.txt").read_text().splitlines()
    )
    bounds = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for bound in bounds:
        package, _, version = bound.partition(">=")
        assert (pins[package.partition("[")[0]] + ".0.0").startswith(version), package
