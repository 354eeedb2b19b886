"""Build the documentation site: `make docs`, or `python docs/site/build.py [FOLDER]`.

The pages are those of the repository, which read well there, too. What only a site needs is added
to a copy of them, in `build/pages`: the contents at the side, taken from the table of
`docs/index.md`, and the API reference, taken from docstrings. Warnings are errors: a
link to a page, a heading or a file that is not there is one. Notebooks are executed, and kept as
long as they do not change.
"""

import importlib
import inspect
import re
import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

import batchflow

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "build/pages"
FOLDERS = ("docs", "notebooks", "examples")
FILES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "benchmarks/README.md",
)
INSIDE = "batchflow/engine/README.md"

# By the first words of a row of docs/index.md, a title at the side.
SECTIONS = {
    "learning": "Tutorial",
    "doing": "How to",
    "looking up": "Reference",
    "understanding": "Explanation",
}

# By room of the package, the page of the API reference that its public names are on.
API = {
    "Datasets": ("dataset", "base_dataset", "splits", "windowing", "mixing", "index", "sources"),
    "Batches and actions": ("batch", "arrays", "assembling"),
    "Pipelines and runs": ("pipeline", "chain", "engine", "inspection", "inspected", "insight"),
    "Loops of others, and around epochs": ("interop", "loops", "boards"),
    "Expressions": ("plan", "samplers"),
    "Models": ("models",),
    "Checkpoints": ("checkpoints",),
    "Processes and tests": ("executors", "allocator", "testing"),
    "Errors": ("errors",),
}
NAMED = ("boards", "loops", "models", "samplers", "testing")
# Modules with public names, beside the package itself.
MODULES = (batchflow, *[importlib.import_module(f"batchflow.{name}") for name in NAMED])


def stage() -> None:
    """Copy the pages, and add what only the site needs."""
    shutil.rmtree(PAGES, ignore_errors=True)
    no_code = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.png", "site")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, PAGES / folder, ignore=no_code)
    for name in (*FILES, INSIDE):
        (PAGES / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, PAGES / name)
    index = PAGES / "docs/index.md"
    (PAGES / "index.md").write_text(_for_the_root(index.read_text()))
    index.unlink()
    readme = PAGES / "README.md"
    readme.write_text(readme.read_text().replace("](docs/index.md", "](index.md"))
    for title, rooms in API.items():
        _write_api(title, rooms)


def _for_the_root(index: str) -> str:
    """Return docs/index.md as the first page of the site, with the contents at the side."""
    links = re.compile(r"\]\((?!https?:)([^)#]*)")
    moved = links.sub(lambda found: f"]({_at_the_root(found[1])}", index)
    sections: dict[str, list[str]] = {title: [] for title in SECTIONS.values()}
    for page, kind in re.findall(r"(?m)^\| \[[^]]*\]\(([^)]*)\) \| ([\w ]+):", moved):
        sections[SECTIONS[kind]].append(page)
    sections["Notebooks"] = sorted(
        str(p.relative_to(PAGES)) for p in PAGES.glob("notebooks/*.ipynb")
    )
    sections["API"] = [f"api/{_file_of(title)}" for title in API]
    sections["Project"] = [name for name in (*FILES, INSIDE) if name != "LICENSE"]
    return moved + "".join(_tree(title, pages) for title, pages in sections.items())


def _at_the_root(link: str) -> str:
    return link.removeprefix("../") if link.startswith("../") else f"docs/{link}" if link else link


def _tree(title: str, pages: list[str]) -> str:
    return f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"


def _file_of(title: str) -> str:
    return title.lower().replace(",", "").replace(" ", "_") + ".rst"


def _write_api(title: str, rooms: tuple[str, ...]) -> None:
    parts = [title, "=" * len(title), ""]
    for module in MODULES:
        for name in module.__all__:
            value = getattr(module, name)
            if _room_of(value) in rooms:
                parts += _directive(f"{module.__name__}.{name}", value)
    path = PAGES / "api" / _file_of(title)
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(parts))


def _room_of(value: object) -> str:
    """Return the room of the package where a public name is made: `batch`, `index`."""
    made_in = getattr(value, "__module__", None) or type(value).__module__
    room = made_in.split(".")[1]
    if not any(room in rooms for rooms in API.values()):
        raise LookupError(f"{value!r} is public and made in {made_in}: give its room a page in API")
    return room


def _directive(path: str, value: object) -> list[str]:
    if not inspect.isclass(value):
        return [f".. auto{'function' if inspect.isroutine(value) else 'data'}:: {path}", ""]
    outside = "object,dict,tuple,Exception,BaseException"
    return [f".. autoclass:: {path}", "   :members:", f"   :inherited-members: {outside}", ""]


def main() -> int:
    """Build the site into a folder: `build/site`, if none is given."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/site"
    stage()
    options = ["-W", "--keep-going", "-q", "-j", "2", "-c", str(ROOT / "docs/site")]
    return sphinx_build([*options, "-d", str(ROOT / "build/trees"), str(PAGES), str(folder)])


if __name__ == "__main__":
    sys.exit(main())
