"The site, built as it is published: whole, light, and readable at any width."

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_docs" / "html"
sys.path.append(str(ROOT / "tools"))

import check_site  # noqa: E402
import site_pages  # noqa: E402

ENV = {k: v for k, v in os.environ.items() if k != "IN_TEST"}
SHOWN = ("index", "commands", "report", "api/timing.measure")
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update".split()


@pytest.fixture(scope="module")
def site():
    "The folder of the built site."
    done = subprocess.run([sys.executable, "tools/build_site.py"], cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return HTML


def text_of(path):
    "The words of a page."
    page = check_site.Page(path.read_text())
    return "".join(page.words), "".join(page.code)


def test_each_notebook_has_its_page(site):
    for path in (ROOT / "nbs").rglob("[0-9]*.ipynb"):
        page = site / "api" / f"{site_pages.module_of(path)}.html"
        title = nbformat.read(path, 4).cells[0].source.splitlines()[0].removeprefix("# ")
        assert title in text_of(page)[0], page
    assert "The step" in text_of(site / "api/training.workload.html")[0]


def test_nothing_is_broken_or_left_over(site):
    assert check_site.complaints(site) == []


def test_the_check_finds_what_it_is_for(tmp_path):
    (tmp_path / "api").mkdir()
    leaks, broken = '<p id="x">::: note</p><pre>#| export\nx = 1</pre>', '<a href="../b.html#y">b</a><a href="c.html">c</a>'
    (tmp_path / "api/a.html").write_text(f'{leaks}{broken}<script src="https://cdn/x.js"></script>')
    (tmp_path / "b.html").write_text('<a href="api/a.html#x">a</a>')
    found = "\n".join(check_site.complaints(tmp_path))
    wanted = "':::' in the text", "'#| export' in code", "no anchor for ../b.html#y", "no file for c.html", "fetches https://cdn/x.js"
    assert all(words in found for words in wanted)
    assert len(found.splitlines()) == 5


def test_links_between_pages_are_local(site):
    links = [link for page in check_site.pages_of(site).values() for link in page.links]
    assert not [link for link in links if "ready-steady-go.github.io" in link]
    assert [link for link in links if link.endswith("workload.html#training-workload-class-workload") or "#workload" in link]


def test_outputs_are_the_stored_ones(site):
    assert "[(4, 0.1), (4, 0.09999999999999998), (4, 0.1)]" in text_of(site / "api/timing.measure.html")[1]


def test_callouts_and_directives():
    text = '::: {.callout-warning title="Hot"}\nA card.\n:::\n:::{.callout-note}\nx\n:::'
    assert site_pages.admonitions(text) == "```{admonition} Hot\n:class: warning\nA card.\n```\n```{note}\nx\n```"
    said, source = site_pages.split_directives("#| echo: false\n#| label: curve\nx = 1\n")
    assert (site_pages.tags_of(said), source) == (["remove-input"], "x = 1")
    assert site_pages.signature("def A(\n    *args, **kwargs\n):", True) == "class A"


@pytest.fixture(scope="module")
def browser():
    "A real browser without a window."
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if CHROMIUM is None: pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope="module")
def address(site):
    "Serve the site on this machine and return its address."
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def opened(browser, address, width, scheme):
    "A page of a browser that notes what goes wrong."
    page = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme).new_page()
    page.wrong = []
    page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((address, "data:")) else page.wrong.append(f"asks for {r.url}"))
    return page


@pytest.mark.parametrize("width,scheme", [(1200, "light"), (390, "light"), (1200, "dark")])
def test_in_a_browser(browser, address, width, scheme):
    page = opened(browser, address, width, scheme)
    for name in SHOWN:
        page.goto(f"{address}/{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, name
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[ground.index("(") + 1 : -1].split(",")[:3])) < 200) == (scheme == "dark")
        assert page.locator("img:visible").evaluate_all("all => all.every(i => i.naturalWidth > 0)"), name
    assert page.wrong == []
    page.context.close()


def test_search(browser, address):
    page = opened(browser, address, 1200, "light")
    page.goto(f"{address}/search.html?q=throughput")
    found = page.locator("#search-results").get_by_role("link", name="How it measures, and why the number is true", exact=True)
    found.first.wait_for()  # results appear one after another
    assert page.wrong == []
    page.context.close()
