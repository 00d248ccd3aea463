"""Build the documentation into _docs/html: one command, no network, and any warning or broken link is an error.

    python tools/build_site.py

The pages are those of docs/site and the notebooks, with the outputs that are stored in them; nothing is run but `rsg --help`.
"""

import argparse
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
import site_pages  # noqa: E402
import site_plots  # noqa: E402
import site_reference  # noqa: E402


def base_url():
    "Return the address at which the site is published, as nbdev's links name it."
    settings = configparser.ConfigParser()
    settings.read(ROOT / "settings.ini")
    return (settings["DEFAULT"]["doc_host"] + settings["DEFAULT"]["doc_baseurl"]).rstrip("/")


def filled(text, parts):
    "A page with what is written by a program in its places: `@@name@@`, and `@@plot NAME: what it shows@@`."
    text = re.sub(r"^@@plot (\w+): (.+?)@@$", lambda m: site_plots.picture(m[1], m[2]), text, flags=re.M)
    return re.sub(r"^@@(\w+)@@$", lambda m: parts[m[1]](), text, flags=re.M)


WINGS = ("spec", "training", "timing", "box", "truth", "store", "run", "report", "commands")
SPINE = ("spec.spec", "training.workload", "timing.measure", "store.record", "run.search", "run.bench", "run.supervise", "run.request")


def api_index(listed, files):
    "The modules by wing, the spine in bold, and the toctree that gives them a place."
    parts = []
    for wing in WINGS:
        rows = [row for row in listed if files[row[0]].startswith(f"{wing}/")]
        lines = [f"| {'**' * (m in SPINE)}[{title}](/api/{m}.ipynb){'**' * (m in SPINE)} | `{m}` | {about} |" for m, title, about in rows]
        tree = "\n".join(module for module, _, _ in rows)
        table = "\n".join(["| page | module | contents |", "|---|---|---|", *lines])
        parts.append(f"## {wing}\n\n{table}\n\n```{{toctree}}\n:hidden:\n:caption: {wing}\n\n{tree}\n```")
    return "\n\n".join(parts)


def write_sources():
    "Everything that Sphinx reads, in a folder of its own."
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs" / "site", SOURCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbdev's, about lessons that import something
        processed = site_pages.process_notebooks()
    listed, site = site_pages.write_pages(processed, SOURCE / "api", base_url())
    parts = dict(commands=site_reference.command_reference, errors=site_reference.error_reference, suites=site_reference.suites)
    parts["findings"] = site_reference.findings_table
    parts["modules"] = lambda: api_index(listed, site.files)
    for name, page in COPIES.items(): shutil.copy(ROOT / name, SOURCE / page)
    site_plots.draw(SOURCE / "plots")
    for path in SOURCE.rglob("*.md"):
        path.write_text(site_pages.keep_local(filled(path.read_text(), parts), site))


def build():
    "Run Sphinx; returns its exit code."
    shutil.rmtree(HTML, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", ROOT / "_docs" / "doctrees", SOURCE, HTML]
    return subprocess.run(list(map(str, command)), cwd=ROOT).returncode


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    os.chdir(ROOT)
    write_sources()
    if code := build(): sys.exit(code)
    wrong = check_site.complaints(HTML)
    for line in wrong: print(line, file=sys.stderr)
    if wrong: sys.exit(1)
    print(f"{len(list(HTML.rglob('*.html')))} pages in {HTML.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
