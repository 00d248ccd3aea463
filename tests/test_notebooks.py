"The notebooks are the source: what is generated from them is in step, they are clean, and each of them runs."

import ast
import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy as copy_of
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
WINGS = "spec training timing box truth store run report commands".split()  # each imports only from those before it
PAGES = [*(p for wing in WINGS for p in sorted((ROOT / "nbs" / wing).glob("*.ipynb"))), ROOT / "nbs/index.ipynb"]
sys.path.append(str(ROOT / "tools"))

from run_notebooks import executed, stale_cells, text_of  # noqa: E402

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
    files = [*folder.glob("nbs/**/*.ipynb"), folder / "index.ipynb", *folder.glob("ready_steady_go/**/*.py")]
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
    module = copy / "ready_steady_go/spec/spec.py"
    module.write_text(module.read_text().replace("class Spec", "class Speck"))
    run("nbdev_export", cwd=copy)
    assert "class Speck" not in module.read_text()


def test_cleaning_changes_nothing(copy):
    run("nbdev_clean", cwd=copy)
    assert sources(copy) == sources(ROOT)


def test_the_readme_is_in_step():
    run(sys.executable, "tools/readme.py", "--check", cwd=ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_runs_and_its_stored_outputs_are_fresh(page):
    "Plots and cells that begin with `#| varies` are not compared."
    stale = list(stale_cells(nbformat.read(page, 4), executed(page)))
    assert not stale, "\n".join(f"{source.splitlines()[-1]}\n  stored: {old}\n  fresh:  {new}" for source, old, new in stale)


def test_a_stale_output_is_found():
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(1)", outputs=[nbformat.v4.new_output("stream", text="1\n")])])
    other = copy_of(page)
    assert not list(stale_cells(page, other))
    other.cells[0].outputs[0].text = "2\n"
    assert list(stale_cells(page, other))
    page.cells[0].source = "#| varies\nprint(1)"
    assert not list(stale_cells(page, other))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_stored_outputs_name_no_machine(page):
    cells = [c for c in nbformat.read(page, 4).cells if c.cell_type == "code"]
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    assert any(c.outputs for c in cells), "a page without a single output shows nothing"
    shown = "\n".join(text for c in cells for text in text_of(c).values())
    assert not re.search(r"site-packages|(?<![\w.:/])/(?:tmp|home|root|work|Users)/\w", shown), "a path of the machine that it ran on"


def modules():
    "Modules in the order of their notebooks: wing by wing, inside a wing by number."
    for page in PAGES:
        yield from [c.source.split()[-1] for c in nbformat.read(page, 4).cells if "#| default_exp" in c.source]


def path_of(module):
    return ROOT / "ready_steady_go" / (module.replace(".", "/") + ".py")


def imports_of(module):
    "The modules of the package that a module imports, at any depth of its code, as `wing.module`."
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(path_of(module).read_text())):
        if not isinstance(node, ast.ImportFrom): continue
        base = package[:len(package) - node.level + 1] if node.level else []
        name = ".".join([*base, *(node.module or "").split(".")]).strip(".")
        if not node.level:
            if not name.startswith("ready_steady_go"): continue
            name = name.removeprefix("ready_steady_go").strip(".")
        for each in [f"{name}.{a.name}".strip(".") for a in node.names]:
            found = next((m for m in (each, f"{each}.__init__", name, f"{name}.__init__") if m and path_of(m).exists()), None)
            if found: yield found


def test_a_module_imports_only_modules_before_it():
    before = []
    for module in modules():
        wrong = set(imports_of(module)) - set(before) - {f"{w}.__init__" for w in WINGS} - {module}
        assert not wrong, f"{module} imports {sorted(wrong)}, which come later"
        before.append(module)
    assert {m.split(".")[0] for m in before} == {*WINGS, "__main__"}
    assert "timing.measure" in set(imports_of("store.record"))  # the check sees what is there
