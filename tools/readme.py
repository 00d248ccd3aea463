"""Write README.md from index.ipynb.

    python tools/readme.py            write
    python tools/readme.py --check    exit 1 when README.md is out of step

What a reader of the repository sees are the prose, the code that is not hidden, and the stored outputs: a cell that
begins with `#| hide` leaves out everything, one with `#| echo: false` leaves out its code.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Written by tools/readme.py from index.ipynb: edit the notebook. -->"


def directives(source):
    "The directives at the top of a cell: `#| hide`, `#| label: name`."
    lines = (line[2:].partition(":") for line in source.splitlines() if line.startswith("#|"))
    return {name.strip(): value.strip() for name, _, value in lines}


def output(out):
    "An output as Markdown."
    data = out.get("data", {})
    if "text/markdown" in data: return "".join(data["text/markdown"])
    text = "".join(out.get("text") or data.get("text/plain", ""))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


def joined(outputs):
    "Outputs with printed text in one piece, which a kernel may store line by line."
    whole = []
    for out in outputs:
        if whole and "text" in out and out.get("name") == whole[-1].get("name"): whole[-1]["text"] += out["text"]
        else: whole.append(dict(out))
    return whole


def cell_parts(cell):
    "The Markdown pieces of a cell."
    if cell.cell_type == "markdown": return [cell.source]
    if cell.cell_type != "code" or "hide" in directives(cell.source): return []
    code = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip()
    shown = [f"```python\n{code}\n```"] if code and directives(cell.source).get("echo") != "false" else []
    return shown + [output(out) for out in joined(cell.outputs)]


def render(notebook):
    "README's text."
    parts = [part.strip() for cell in notebook.cells for part in cell_parts(cell)]
    return "\n\n".join([NOTE, *filter(None, parts)]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if README.md is out of step")
    check = parser.parse_args().check
    text, readme = render(nbformat.read(ROOT / "index.ipynb", 4)), ROOT / "README.md"
    if readme.exists() and readme.read_text() == text: return
    if check: sys.exit("README.md is out of step with index.ipynb: run python tools/readme.py")
    readme.write_text(text)


if __name__ == "__main__":
    main()
