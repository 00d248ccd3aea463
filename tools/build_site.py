"""Build the documentation into _docs/html: one command, no network, and any warning or broken link is an error.

    python tools/build_site.py

The pages are those of docs/site and the notebooks, with the outputs that are stored in them; nothing is run but `rsg --help`.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOURCE, HTML = ROOT / "_docs" / "source", ROOT / "_docs" / "html"
COPIES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
sys.path[:0] = [str(ROOT), str(HERE)]

import check_site  # noqa: E402
import site_pages as adapter  # noqa: E402
import site_plots as plots  # noqa: E402
import site_reference as reference  # noqa: E402


def base_url():
    "Where the site is published, as nbdev's links name it."
    settings = configparser.ConfigParser()
    settings.read(ROOT / "settings.ini")
    return (settings["DEFAULT"]["doc_host"] + settings["DEFAULT"]["doc_baseurl"]).rstrip("/")


def filled(text, parts):
    "A page with what is written by a program in its places: `@@name@@`, and `@@plot NAME: what it shows@@`."
    text = re.sub(r"^@@plot (\w+): (.+?)@@$", lambda m: plots.picture(m[1], m[2]), text, flags=re.M)
    return re.sub(r"^@@(\w+)@@$", lambda m: parts[m[1]](), text, flags=re.M)


def api_index(listed):
    "The list of the modules, and the toctree that gives them a place."
    rows = "\n".join(f"| [{title}](/api/{module}.ipynb) | `{module}` | {about} |" for module, title, about in listed)
    tree = "\n".join(module for module, _, _ in listed)
    return f"| page | module | what for |\n|---|---|---|\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```"


def write_sources():
    "Everything that Sphinx reads, in a folder of its own."
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs" / "site", SOURCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbdev's, about lessons that import something
        processed = adapter.process_notebooks()
    listed, site = adapter.write_pages(processed, SOURCE / "api", base_url())
    parts = dict(commands=reference.command_reference, errors=reference.error_reference, suites=reference.suites)
    parts["findings"] = reference.findings_table
    parts["modules"] = lambda: api_index(listed)
    for name, page in COPIES.items(): shutil.copy(ROOT / name, SOURCE / page)
    plots.draw(SOURCE / "plots")
    for path in SOURCE.rglob("*.md"):
        path.write_text(adapter.keep_local(filled(path.read_text(), parts), site))


def build():
    "Run Sphinx; returns its exit code."
    shutil.rmtree(HTML, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", ROOT / "_docs" / "doctrees", SOURCE, HTML]
    return subprocess.run(list(map(str, command)), cwd=ROOT).returncode


def main():
    os.chdir(ROOT)
    write_sources()
    if code := build(): sys.exit(code)
    wrong = check_site.complaints(HTML)
    for line in wrong: print(line, file=sys.stderr)
    if wrong: sys.exit(1)
    print(f"{len(list(HTML.rglob('*.html')))} pages in {HTML.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
