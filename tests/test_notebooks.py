"The notebooks are the source: what is generated from them is in step, they are clean, and each of them runs."

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(p for p in (ROOT / "nbs").glob("*.ipynb"))
BIN = Path(sys.executable).parent
# nbdev_export silently does nothing while IN_TEST is set
ENV = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def run(*command, cwd):
    "Run a tool that must succeed."
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources(folder):
    "The files that notebooks are, and that they turn into."
    files = [*folder.glob("nbs/*.ipynb"), folder / "index.ipynb", *folder.glob("ready_steady_go/**/*.py")]
    return {p.relative_to(folder).as_posix(): p.read_text() for p in files}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "The sources in a folder of their own, so that a test changes nothing here."
    folder = tmp_path_factory.mktemp("copy")
    for name in ("nbs", "ready_steady_go"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("index.ipynb", "settings.ini", "pyproject.toml", "README.md"): shutil.copy(ROOT / name, folder / name)
    return folder


def test_exporting_changes_nothing(copy):
    run("nbdev_export", cwd=copy)
    assert sources(copy) == sources(ROOT)


def test_the_export_check_can_fail(copy):
    module = copy / "ready_steady_go/spec.py"
    module.write_text(module.read_text().replace("class Spec", "class Speck"))
    run("nbdev_export", cwd=copy)
    assert "class Speck" not in module.read_text()


def test_cleaning_changes_nothing(copy):
    run("nbdev_clean", cwd=copy)
    assert sources(copy) == sources(ROOT)


def test_the_readme_is_in_step():
    run(sys.executable, "docs/readme.py", "--check", cwd=ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_runs(page):
    run("nbdev_test", "--path", page, "--n_workers", "0", cwd=ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_stored_outputs_are_those_of_a_run_that_went_well(page):
    cells = [c for c in nbformat.read(page, 4).cells if c.cell_type == "code"]
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    assert any(c.outputs for c in cells), "a page without a single output shows nothing"
    assert "site-packages" not in str([c.outputs for c in cells]), "a path of the machine that it ran on"


def rooms():
    "Modules in the order of their notebooks' numbers; the report's notebook is none, it is run as it is."
    numbered = [p for p in PAGES if p.stem[0].isdigit()]
    for page in numbered:
        yield from [c.source.split()[-1] for c in nbformat.read(page, 4).cells if "#| default_exp" in c.source]


def imports_of(module):
    "The rooms that a module imports, at any depth of its code; of the door, which leads everywhere, only those that it stands on."
    path = ROOT / "ready_steady_go" / (module.replace(".", "/") + ".py")
    depth, tree = module.count(".") + 1, ast.parse(path.read_text())
    for node in tree.body if module == "cli" else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level: yield node.module or "", node.level == depth
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ready_steady_go."):
            yield node.module.removeprefix("ready_steady_go."), True


def test_a_room_imports_only_rooms_before_it():
    before = []
    for room in rooms():
        for name, from_top in imports_of(room):
            name = f"{name}.__init__" if name == "families" else name
            assert from_top and (not name or name in before), f"{room} imports {name}"
        before.append(room)
    assert before.index("spec") < before.index("measure") < before.index("cli")
