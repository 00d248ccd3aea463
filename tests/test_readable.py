"The sources stay readable: the figures of `python tools/readable.py` keep to their limits, and each of them can miss."

import ast
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

import readable  # noqa: E402


@pytest.mark.parametrize("name,value,limit,places", list(readable.figures()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_figure_keeps_to_its_limit(name, value, limit, places):
    assert value <= limit, "\n".join(places)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    "A repository with one notebook and its module, both bad in every way."
    cells = [
        nbformat.v4.new_markdown_cell("It stands here, as usual. " * 10),
        nbformat.v4.new_code_cell("#| export\ndef f():\n    \"What f is.\"\n" + "    x = 1\n" * 40 + "    return x\n\n\ndef g(): pass"),
        nbformat.v4.new_code_cell("#| hide\nf()"),
    ]
    (tmp_path / "nbs/spec").mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "nbs/spec/00_a.ipynb")
    for wing in ("spec", "run"):
        (tmp_path / "ready_steady_go" / wing).mkdir(parents=True)
        text = cells[1].source + "\nfrom ..run.a import f\nMESSAGE = 'leave it out'\n"
        (tmp_path / "ready_steady_go" / wing / "a.py").write_text(text)
    for name, path in dict(ROOT=tmp_path, PACKAGE=tmp_path / "ready_steady_go", NOTEBOOKS=tmp_path / "nbs").items():
        monkeypatch.setattr(readable, name, path)
    return tmp_path


def test_each_figure_can_miss(elsewhere):
    found = {name: value for name, value, _, _ in readable.figures()}
    assert found == {
        "exported cells over 30 lines": 1, "exported cells without a shown example": 1, "functions over 30 lines": 2,
        "names that two modules define": 3, "upward imports": 1, "docstrings that open with a question word": 2, "phrases to avoid": 3,
        "words in a prose cell, median": 50,
    }  # fmt: skip


def test_a_class_or_a_table_may_be_long():
    cell = lambda source: nbformat.v4.new_code_cell("#| export\n" + source)
    assert readable.is_one_thing(cell("class A:\n    x = 1")) and readable.is_one_thing(cell("T = dict(\n    a=1,\n)"))
    assert not readable.is_one_thing(cell("def f(): pass")) and not readable.is_one_thing(cell("X = 1\nY = 2"))
    assert readable.is_imports(cell("import os")) and not ast.parse("").body
