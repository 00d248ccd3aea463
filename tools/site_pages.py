"""Notebooks that nbdev has processed, made ready for Sphinx.

nbdev writes for Quarto. Here the title comes out of the front matter, directives become cell tags, callouts become admonitions,
what `show_doc` says becomes Markdown, and links between pages stay on this site.
"""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
DIRECTIVE = re.compile(r"^#\|\s*([\w-]+):?\s*(.*?)\s*$")
TAGS = {
    ("echo", "false"): "remove-input", ("output", "false"): "remove-output", ("include", "false"): "remove-cell",
    ("code-fold", "true"): "hide-input", ("code-fold", "show"): None,
}


def process_notebooks():
    "Let nbdev process the notebooks into a folder; returns the folder."
    import nbdev.processors as p
    from nbdev.serve import proc_nbs

    wanted = p._do_eval

    def only_what_documents(cell):
        "nbdev runs each cell that holds an import, and a lesson with an import in it would then lack the cells before it."
        if not wanted(cell): return None
        trees = cell.parsed_() or []
        exported = set(cell.directives_) & {"export", "exports", "exporti", "exec_doc"}
        alone = all(isinstance(t, ast.Import | ast.ImportFrom) for t in trees)
        return True if exported or alone or p._show_docs(trees) else None

    p._do_eval = only_what_documents
    try: return Path(proc_nbs(n_workers=0))  # only what changed since the last time
    finally: p._do_eval = wanted


def front_matter(cells):
    "Return title and summary of a page, from its first cell."
    if cells and cells[0].cell_type == "raw" and cells[0].source.startswith("---"):
        return yaml.safe_load(cells[0].source.strip().strip("-")) or {}
    return {}


def split_directives(source):
    "The directives of a cell, and its source without them."
    lines = source.splitlines()
    found = [m.groups() for line in lines if (m := DIRECTIVE.match(line))]
    return dict(found), "\n".join(line for line in lines if not line.startswith("#|")).strip("\n")


def tags_of(directives):
    "The cell tags that say the same as these directives."
    return [tag for key, value in directives.items() if (tag := TAGS.get((key, value.lower())))]


def admonitions(text):
    "Quarto's callouts as MyST's admonitions."
    def one(match):
        kind, title, body = match["kind"], match["title"], match["body"].strip()
        kind = {"caution": "caution", "important": "important", "tip": "tip", "warning": "warning"}.get(kind, "note")
        head = f"```{{admonition}} {title}\n:class: {kind}" if title else f"```{{{kind}}}"
        return f"{head}\n{body}\n```"

    fence = r"^:{3,} ?\{\.callout-(?P<kind>\w+)(?:[^}]*?title=\"(?P<title>[^\"]*)\")?[^}]*\}\s*\n(?P<body>.*?)^:{3,}\s*$"
    return re.sub(fence, one, text, flags=re.M | re.S)


def label_of(page, name):
    "Return the label of a name's documentation, which is unique on the whole site."
    kind = "class-" if name[:1].isupper() else ""  # labels know no case, and `split` makes a `Split`
    return f"{page}.{kind}{name}".lower()


def class_of(name, module):
    "The source of a module, and the syntax tree of a class in it; None where it has no such class."
    path = ROOT / "ready_steady_go" / (module.replace(".", "/") + ".py")
    if not path.exists(): path = path.with_suffix("") / "__init__.py"
    text = path.read_text(encoding="utf-8")
    return text, next((n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == name), None)


def fields_of(name, module):
    "The fields of a dataclass as its source has them, with their comments; empty for anything else."
    text, node = class_of(name, module)
    if node is None or not any("dataclass" in ast.unparse(d) for d in node.decorator_list): return ""
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    if not fields: return ""
    lines = text.splitlines()
    head = " ".join(line.strip() for line in lines[node.lineno - 1 : node.body[0].lineno - 1])
    return "\n".join([head, *lines[fields[0].lineno - 1 : fields[-1].end_lineno]])


def signature(text, is_class):
    "Return a signature as nbdev prints it, without the modules of types and without `*args, **kwargs` of a class."
    text = re.sub(r"\b(__main__|ready_steady_go\.[\w.]+)\.(?=[A-Z])", "", text)
    if not is_class: return text
    text = re.sub(r"^def ", "class ", text)
    return re.sub(r"\(\s*\*args, \*\*kwargs\s*\):", "", text)


def documentation(cell, page, module, level):
    "Return what `show_doc` prints about one name, as Markdown; commands are shown by their help."
    name = re.search(r"show_doc\(([\w.]+)", cell.source)[1]
    text = "".join(cell.outputs[0].data.get("text/markdown", "")) if cell.outputs else ""
    head = f"({label_of(page, name)})=\n{'#' * level} {name}\n"
    code = re.search(r"```python\n(.*?)\n```\n*(.*)", text, flags=re.S)
    if not code or "typer.models" in text or "Annotated[" in text:
        said = re.search(r"^\*(.+?)\*$", text, flags=re.M | re.S)
        return f"{head}\n{said[1].strip() if said else ''}\n"
    sig, rest = fields_of(name, module) or signature(code[1], class_of(name, module)[1] is not None), code[2].strip()
    said = re.match(r"\*(.*?)\*(\n|$)", rest, flags=re.S)
    rest = rest.replace(said[0], said[1].strip() + "\n", 1) if said else rest
    return f"{head}\n```python\n{sig}\n```\n\n{rest}\n"


def keep_local(text, site):
    "Links to what is on this site, as links within it."
    def to_label(match):
        page, name = match["page"], (match["name"] or "").lstrip("#")
        label = label_of(page, name)
        if label in site.labels: return f"(#{label})"
        return f"(/api/{page}.ipynb)" if page in site.pages else match[0]

    def to_page(match):
        stem = match["stem"]
        return f"(/api/{site.stems[stem]}.ipynb)" if stem in site.stems else match[0]

    def to_text(match):
        other = {"CONTRIBUTING.md": "/contributing.md", "CHANGELOG.md": "/changelog.md", "SECURITY.md": "/security.md"}
        return f"({other[match[1]]})"

    text = re.sub(rf"\({re.escape(site.url)}/(?P<page>[\w.]+?)\.html(?P<name>#[\w.]+)?\)", to_label, text)
    text = re.sub(r"\((?:\.\./)?(?:nbs/)?(?:\w+/)?(?P<stem>\d\d\w*?_[\w.]+?)\.ipynb\)", to_page, text)
    return re.sub(r"\((?:\.\./)*(CONTRIBUTING\.md|CHANGELOG\.md|SECURITY\.md)\)", to_text, text)


def clean_output(out):
    "An output without colours, and without what a browser would have to fetch."
    if "text" in out: out.text = ANSI.sub("", "".join(out.text))
    for kind in list(out.get("data", {})):
        if kind == "text/plain": out.data[kind] = ANSI.sub("", "".join(out.data[kind]))
        if not kind.startswith(("text/", "image/")): del out.data[kind]
    return out


def shown_cell(cell, page, module, level, site):
    "A cell as the site shows it; None for one that it does not."
    if cell.cell_type == "markdown":
        if cell.source.startswith("<!-- WARNING"): return None
        return nbformat.v4.new_markdown_cell(keep_local(admonitions(cell.source), site))
    if cell.cell_type != "code": return None
    if re.search(r"^show_doc\(", cell.source, flags=re.M):
        return nbformat.v4.new_markdown_cell(keep_local(documentation(cell, page, module, level), site))
    said, source = split_directives(cell.source)
    outputs = [clean_output(out) for out in cell.outputs]
    if not source.strip() and not outputs: return None
    tags = tags_of(said)
    metadata = {"tags": tags} if tags else {}
    if alt := said.get("fig-alt"): metadata["mystnb"] = {"image": {"alt": alt}}
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata=metadata)


def deepest(text, level):
    "The level of the last heading in a Markdown text."
    plain = re.sub(r"```.*?```", "", text, flags=re.S)
    heads = re.findall(r"^(#+) ", plain, flags=re.M)
    return len(heads[-1]) if heads else level


def page_of(notebook, module, site):
    "A notebook for Sphinx."
    about, page = front_matter(notebook.cells), module
    lead = f"# {about['title']}\n\n{about.get('description', '')}\n\n`ready_steady_go.{module}`, from `nbs/{site.files[module]}`"
    cells, level = [nbformat.v4.new_markdown_cell(lead)], 1
    for cell in notebook.cells:
        if cell.cell_type == "markdown": level = deepest(cell.source, level)
        if shown := shown_cell(cell, page, module, min(level + 1, 4), site): cells.append(shown)
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel | {"language_info": {"name": "python"}})


def source_of(path):
    "The notebook in `nbs` that a processed notebook came from: the folder of its wing has the same name."
    return ROOT / "nbs" / path.parent.name / path.name


def module_of(path):
    "The module that a notebook of this name is exported to."
    source = nbformat.read(source_of(path), 4).cells
    found = [re.search(r"default_exp ([\w.]+)", c.source) for c in source if "default_exp" in c.source]
    return found[0][1].removesuffix(".__init__") if found else re.sub(r"^\d+\w*?_", "", path.stem)


def labels_in(notebook, module):
    "Return the labels of the names that a page documents."
    names = (re.findall(r"^show_doc\(([\w.]+)", c.source, flags=re.M) for c in notebook.cells if c.cell_type == "code")
    return {label_of(module, name) for found in names for name in found}


def write_pages(processed, folder, url):
    "Write the page of each notebook; returns (module, title, description) of each, in order."
    paths = sorted((path for path in processed.rglob("[0-9]*.ipynb") if source_of(path).exists()), key=lambda path: path.name)
    read = {path: nbformat.read(path, 4) for path in paths}
    modules = {path: module_of(path) for path in read}
    labels = set().union(*(labels_in(nb, modules[path]) for path, nb in read.items()))
    site = SimpleNamespace(
        url=url, pages=set(modules.values()), stems={path.stem: m for path, m in modules.items()},
        files={m: f"{path.parent.name}/{path.name}" for path, m in modules.items()}, labels=labels,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for path, notebook in read.items():
        nbformat.write(page_of(notebook, modules[path], site), folder / f"{modules[path]}.ipynb")
    about = ((modules[path], front_matter(nb.cells)) for path, nb in read.items())
    return [(module, said["title"], said.get("description", "")) for module, said in about], site
