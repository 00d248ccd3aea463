"""Write README.md, and the pictures in it, from index.ipynb.

    python docs/readme.py            write
    python docs/readme.py --check    exit 1 when README.md or a picture is out of step

What a reader of the repository sees are the prose, the code that is not hidden, and the stored outputs: a cell that
begins with `#| hide` leaves out everything, one with `#| echo: false` leaves out its code. A picture's cell has a `#| label:`, which
names its file, and a `#| fig-alt:`, which says what it shows.
"""

import re
import sys
from base64 import b64decode
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PICTURES = "docs/pictures"
NOTE = "<!-- Written by docs/readme.py from index.ipynb: edit the notebook. -->"


def directives(source):
    "The directives at the top of a cell: `#| hide`, `#| label: name`."
    lines = (line[2:].partition(":") for line in source.splitlines() if line.startswith("#|"))
    return {name.strip(): value.strip() for name, _, value in lines}


def output(cell, out, pictures):
    "An output as Markdown; a picture is put into `pictures` under its path."
    data = out.get("data", {})
    if "image/png" in data:
        said = directives(cell.source)
        path = f"{PICTURES}/{said['label']}.png"
        pictures[path] = b64decode(data["image/png"])
        return f"![{said['fig-alt']}]({path})"
    if "text/markdown" in data: return "".join(data["text/markdown"])
    text = "".join(out.get("text") or data.get("text/plain", ""))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


def cell_parts(cell, pictures):
    "The Markdown pieces of a cell."
    if cell.cell_type == "markdown": return [cell.source]
    if cell.cell_type != "code" or "hide" in directives(cell.source): return []
    code = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip()
    shown = [f"```python\n{code}\n```"] if code and directives(cell.source).get("echo") != "false" else []
    return shown + [output(cell, out, pictures) for out in cell.outputs]


def render(notebook):
    "README's text, and its pictures by path."
    pictures = {}
    parts = [part.strip() for cell in notebook.cells for part in cell_parts(cell, pictures)]
    return "\n\n".join([NOTE, *filter(None, parts)]) + "\n", pictures


def main():
    text, pictures = render(nbformat.read(ROOT / "index.ipynb", 4))
    files = {"README.md": text.encode()} | pictures
    stale = [name for name, data in files.items() if not (ROOT / name).exists() or (ROOT / name).read_bytes() != data]
    stale += [p.relative_to(ROOT).as_posix() for p in (ROOT / PICTURES).glob("*") if p.relative_to(ROOT).as_posix() not in files]
    if "--check" in sys.argv[1:]:
        for name in stale: print(f"{name} is out of step with index.ipynb: run python docs/readme.py", file=sys.stderr)
        sys.exit(bool(stale))
    for name in stale:
        if name not in files: (ROOT / name).unlink()
        else:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_bytes(files[name])


if __name__ == "__main__":
    main()
