"""The readability of the sources, in figures that a test holds.

    python tools/readable.py            print the figures
    python tools/readable.py --list     print each place that misses its limit, too
    python tools/readable.py --only run print only what is in one wing

Exit code 1: a figure misses its limit.
"""

import argparse
import ast
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, NOTEBOOKS = ROOT / "ready_steady_go", ROOT / "nbs"
WINGS = ("spec", "training", "timing", "box", "truth", "store", "run", "report", "commands")  # each imports only from those before it
MAX_LINES = 30  # of an exported cell, and of a function
MAX_WORDS = 25  # of a prose cell, the median
MAX_SHARED = 10  # names that two modules define on purpose
# A stranger has to decode these; docs and messages use plain words instead.
PHRASES = (
    "it says nothing to", "it takes", "leave it out", "leave one out", "as usual", "for the eye", "of one's own", "whoever",
    "stands", "lies", "so it looks so", "told of", "what is asked for", "believe neither",
)  # fmt: skip
HELPERS = ("tests", "tools", "benchmarks", "docs")  # their docstrings follow the same rule
QUESTION = re.compile(r"(What|Whether|How|Where|Why|Which|Who|Whoever|Return whether)\b")
PHRASE = re.compile(r"\b(" + "|".join(map(re.escape, PHRASES)) + r")\b", re.I)


def notebooks():
    "The notebooks by path, wing by wing."
    return {path: nbformat.read(path, 4).cells for wing in WINGS for path in sorted((NOTEBOOKS / wing).glob("*.ipynb"))}


def modules():
    "The exported modules by path, with their syntax trees."
    paths = sorted(p for wing in WINGS for p in (PACKAGE / wing).rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def directives(cell):
    "The words behind `#|` at the top of a code cell."
    lines = cell.source.splitlines() if cell.cell_type == "code" else []
    return {line[2:].strip().split()[0].rstrip(":") for line in lines if line.startswith("#|") and line[2:].strip()}


def body(cell):
    "The lines of a code cell without its directives."
    return [line for line in cell.source.strip().splitlines() if not line.startswith("#|")]


def parsed(cell):
    "The statements of a code cell; none where it holds a magic."
    try: return ast.parse("\n".join(body(cell))).body
    except SyntaxError: return []


def is_exported(cell):
    return bool({"export", "exports", "exporti"} & directives(cell))


def is_imports(cell):
    return all(isinstance(n, ast.Import | ast.ImportFrom) for n in parsed(cell))


def is_one_thing(cell):
    "One class, or one table: a single statement that is no function."
    found = [n for n in parsed(cell) if not isinstance(n, ast.Import | ast.ImportFrom)]
    return len(found) == 1 and isinstance(found[0], ast.ClassDef | ast.Assign | ast.AnnAssign)


def place(path, line=None):
    return path.relative_to(ROOT).as_posix() + (f":{line}" if line else "")


def long_cells():
    "Exported cells that are too long, but for a single class or table."
    for path, cells in notebooks().items():
        for i, cell in enumerate(cells):
            if is_exported(cell) and len(body(cell)) > MAX_LINES and not is_one_thing(cell) and not is_imports(cell):
                yield f"{place(path)} cell {i}: {len(body(cell))} lines, {body(cell)[0][:60]}"


def unshown_cells():
    "Exported cells that the next code cell does not show."
    for path, cells in notebooks().items():
        code = [c for c in cells if c.cell_type == "code" and body(c)]
        for cell, following in zip(code, [*code[1:], None]):
            if not is_exported(cell) or is_imports(cell): continue
            if following is None or is_exported(following) or "hide" in directives(following):
                yield f"{place(path)}: {body(cell)[0][:70]}"


def long_functions():
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and (n := node.end_lineno - node.lineno + 1) > MAX_LINES:
                yield f"{place(path, node.lineno)} {node.name}: {n} lines"


def defined(tree):
    "The names that a module defines at its top level."
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef): yield node.name
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and n.id != "__all__")


def shared_names():
    "Top-level names that two modules define."
    found = defaultdict(set)
    for path, tree in modules().items():
        for name in defined(tree): found[name].add(place(path))
    yield from (f"{name}: {', '.join(sorted(paths))}" for name, paths in sorted(found.items()) if len(paths) > 1)


def prose():
    "Words of each prose cell; code, tables and formulas are none."
    for path, cells in notebooks().items():
        for cell in cells:
            if cell.cell_type == "markdown":
                yield path, len(re.sub(r"(?ms)```.*?```|^\|.*?$|\$\$.*?\$\$|^#+ .*?$", "", cell.source).split())


def imported(path, tree):
    "The wings that a module imports from."
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = [*base, *(node.module or "").split(".")]
            if parts[0] == PACKAGE.name: yield from ([parts[1]] if len(parts) > 1 and parts[1] else [a.name for a in node.names])


def upward_imports():
    for path, tree in modules().items():
        wing = path.relative_to(PACKAGE).parts[0]
        for other in set(imported(path, tree)) & set(WINGS):
            if WINGS.index(other) > WINGS.index(wing): yield f"{place(path)} imports from {other}"


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def helpers():
    "The programs beside the package by path, with their syntax trees."
    paths = [path for folder in HELPERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def questions():
    "Docstrings that open with a question word instead of a verb or a noun."
    for path, tree in (modules() | helpers()).items():
        yield from (f"{place(path, line)} {text[:60]}" for line, text in docstrings(tree) if QUESTION.match(text))


def phrases():
    "Phrases to avoid, in strings of the package, comments, prose and pages."
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and (m := PHRASE.search(node.value)):
                yield f"{place(path, node.lineno)} '{m[0]}': {' '.join(node.value.split())[:100]}"
    texts = {path: "\n".join(c.source for c in cells if c.cell_type == "markdown") for path, cells in notebooks().items()}
    texts |= {path: path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]}
    for path, text in texts.items():
        for line in text.splitlines():
            if m := PHRASE.search(line): yield f"{place(path)} '{m[0]}': {line.strip()[:100]}"


FIGURES = {
    "exported cells over 30 lines": (long_cells, 0),
    "exported cells without a shown example": (unshown_cells, 0),
    "functions over 30 lines": (long_functions, 0),
    "names that two modules define": (shared_names, MAX_SHARED),
    "upward imports": (upward_imports, 0),
    "docstrings that open with a question word": (questions, 0),
    "phrases to avoid": (phrases, 0),
}


def figures(only=None):
    "Name, value, limit and places of each figure; `only` keeps what is in one wing."
    keep = lambda text: only is None or f"/{only}/" in text
    for name, (find, limit) in FIGURES.items():
        places = [text for text in find() if keep(text)]
        yield name, len(places), limit, places
    words = [n for path, n in prose() if n and keep(place(path))]
    yield "words in a prose cell, median", statistics.median(words) if words else 0, MAX_WORDS, []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print each place that misses its limit, too")
    parser.add_argument("--only", metavar="WING", choices=WINGS, help="print only what is in one wing")
    asked, missed = parser.parse_args(), False
    for name, value, limit, places in figures(asked.only):
        missed |= value > limit
        print(f"{value:>6g}  {name} (at most {limit})")
        if asked.list and value > limit: print(*(f"          {text}" for text in places), sep="\n")
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
