"""Run notebooks in place, so that their stored outputs are those of their code.

    python tools/run_notebooks.py                            all of them, one after the other
    python tools/run_notebooks.py nbs/run/06_search.ipynb    these only
    python tools/run_notebooks.py --check [NOTEBOOK]...      change nothing; exit 1 where a stored text output is not fresh

A cell that begins with `#| varies` has an output that depends on the machine or the time: it is not compared.
"""

import argparse
import copy
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent


def executed(path):
    "A copy of a notebook with fresh outputs, run in its folder; an error in a cell is an exception."
    notebook = copy.deepcopy(nbformat.read(path, 4))
    here = {"metadata": {"path": str(path.parent)}}
    quiet = os.environ | dict(PYTHONWARNINGS="ignore")  # other libraries' warnings name files of this machine
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=here, extra_arguments=["--log-level=ERROR"])
    client.execute(env=quiet)
    return notebook


def text_of(cell):
    "The text outputs of a cell: what was printed, by stream, and the values that were shown."
    found = {}
    for out in cell.outputs:
        name = out.get("name", out.output_type)
        text = out.get("text") or out.get("data", {}).get("text/plain", "")
        found[name] = found.get(name, "") + "".join(text)
    return found


def printed(cell):
    "The text outputs of a cell but for stderr, where libraries warn as they like."
    return {name: text for name, text in text_of(cell).items() if name != "stderr"}


def varies(cell):
    return any(line.replace(" ", "") == "#|varies" for line in cell.source.splitlines())


def stale_cells(stored, fresh):
    "The cells whose stored text output differs from a fresh one, as (source, stored, fresh)."
    for old, new in zip(stored.cells, fresh.cells):
        if old.cell_type == "code" and not varies(old) and printed(old) != printed(new):
            yield old.source, printed(old), printed(new)


def notebooks():
    "All notebooks, wing by wing."
    return [*sorted((ROOT / "nbs").glob("*/*.ipynb")), ROOT / "index.ipynb"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a stored text output is not fresh")
    asked, failed = parser.parse_args(), False
    for path in [p.resolve() for p in asked.notebooks] or notebooks():
        start, fresh = time.monotonic(), executed(path)
        print(f"{path.relative_to(ROOT)} ({time.monotonic() - start:.0f} s)", flush=True)
        if not asked.check:
            nbformat.write(fresh, path)
            subprocess.run(["nbdev_clean", "--fname", path], check=True)
        for source, old, new in stale_cells(nbformat.read(path, 4), fresh) if asked.check else ():
            failed = True
            print(f"  not fresh: {source.splitlines()[-1]}\n    stored: {old}\n    fresh:  {new}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
