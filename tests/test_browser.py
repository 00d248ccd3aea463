"The report's page in a real browser without a network: it opens, sorts, filters, and runs no code from a record."

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import GPUS, every_field, ladder, market, point

from ready_steady_go.report import page
from ready_steady_go.store.record import seal, to_line

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here: apt-get install chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ATTACKS = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</td></table><svg onload=\"document.title='owned'\">",
    "javascript:document.title='owned'",
    "\"onmouseover=\"document.title='owned'",
    "]]></style></svg><script>document.title='owned'</script>",
    "=cmd()",
    "x" * 10_000,
    "🤖\x00\x1b[31m\u202e",
    "$\\frac{1}{$",
]


def written(folder, records):
    "Write the page of a report on these records."
    (folder / "j.jsonl").write_text("".join(to_line(r) + "\n" for r in records))
    paths, _ = page.write_report(page.report_parameters([str(folder / "j.jsonl")]), folder / "r.html", ["html"])
    return paths[0]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    "Return the pages of a market of 30 GPUs, and of hostile names."
    hostile = [
        seal(replace(r, **every_field(text)))
        for i, text in enumerate(ATTACKS)
        for r in (point(GPUS[i]), point(GPUS[i], steady=False, box=i + 1))
    ]
    kinds = dict(
        market=market(30, models=("synthetic-net",)), hostile=[*hostile, *(seal(replace(r, model=ATTACKS[0])) for r in ladder())]
    )
    return {name: written(tmp_path_factory.mktemp(name), records) for name, records in kinds.items()}


@pytest.fixture(scope="module")
def browser():
    "Start Chromium."
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class OpenPage:
    "An open page, the addresses that it requested, and its errors."

    def __init__(self, browser, path, width=1280, scheme="light"):
        self.requested, self.errors = [], []
        self.context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme, offline=True)
        self.page = self.context.new_page()
        self.page.on("request", lambda r: self.requested.append(r.url))
        self.page.on("console", lambda m: self.errors.append(m.text))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("dialog", lambda d: (self.errors.append("a dialog"), d.dismiss()))
        self.page.goto(Path(path).as_uri())

    def column(self, name, column):
        "Return the values of a column, of the visible rows of the table with that caption."
        code = """([name, column]) => {
            const named = (f) => f.querySelector('figcaption').textContent.startsWith(name);
            const figure = [...document.querySelectorAll('.rsg-table')].find(named);
            const at = [...figure.querySelectorAll('th')].findIndex((h) => h.textContent === column);
            const rows = [...figure.querySelectorAll('tbody tr')].filter((r) => !r.hidden);
            return rows.map((r) => r.cells[at].dataset.v || r.cells[at].textContent);
        }"""
        return self.page.evaluate(code, [name, column])

    def table(self, name):
        "Return the table with that caption."
        return self.page.locator(".rsg-table", has=self.page.locator("figcaption", has_text=name))


@pytest.fixture
def open_page(browser, pages):
    "Return a function that opens a page; at the end no page may have an error or a request."
    opened = []

    def open_one(name="market", **more):
        opened.append(OpenPage(browser, pages[name], **more))
        return opened[-1]

    yield open_one
    for one in opened:
        assert one.errors == [] and [url for url in one.requested if not url.startswith(("file:", "data:"))] == []
        one.context.close()


def test_it_opens_without_a_network(open_page):
    one = open_page()
    assert one.page.title() == "Best batch - rsg report" and one.page.locator("svg").count() > 5
    assert len(one.requested) == 1 and one.page.locator("h2").count() > 8


def test_a_table_sorts(open_page):
    one = open_page()
    rates = one.column("Best batch size", "samples/s")
    heading = one.table("Best batch size").get_by_role("button", name="samples/s", exact=True)
    heading.click()
    down = [float(v) for v in one.column("Best batch size", "samples/s")]
    heading.click()
    up = [float(v) for v in one.column("Best batch size", "samples/s")]
    assert down == sorted(down, reverse=True) and up == sorted(up) and sorted(map(float, rates)) == up
    heading.press("Enter")  # by keyboard too
    assert [float(v) for v in one.column("Best batch size", "samples/s")] == down
    one.table("Best batch size").get_by_role("button", name="GPU", exact=True).click()
    names = one.column("Best batch size", "GPU")
    assert names == sorted(names) and names[0] == "Synthetic 1200"


def test_a_table_filters(open_page):
    one = open_page()
    before = len(one.column("Best batch size", "GPU"))
    box = one.table("Best batch size").get_by_role("searchbox")
    box.fill("7000 FP32")
    assert set(one.column("Best batch size", "GPU")) == {"Synthetic 7000"} and set(one.column("Best batch size", "precision")) == {"fp32"}
    box.fill("no such thing")
    assert one.column("Best batch size", "GPU") == []
    box.fill("")
    assert len(one.column("Best batch size", "GPU")) == before > 100


def test_hostile_names_do_not_run(open_page):
    one = open_page("hostile")
    one.page.mouse.move(400, 400)
    for button in one.page.locator("th button").all()[:6]:
        button.click()
    assert one.page.title() == "Best batch - rsg report"
    assert one.page.locator("script").count() == 1 and one.page.locator("img").count() == 0
    assert (
        one.page.evaluate(
            "[...document.querySelectorAll('*')].flatMap((e) => [...e.attributes]).filter((a) => a.name.startsWith('on')).length"
        )
        == 0
    )
    assert "<script>document.title='owned'</script>" in one.page.inner_text("main")
    assert max(map(len, one.page.inner_text("main").splitlines())) < 2_000


def test_the_check_finds_a_script_that_runs(browser, pages, tmp_path):
    html = pages["hostile"].read_text().replace("&lt;", "<").replace("&gt;", ">").replace("&#x27;", "'").replace("&quot;", '"')
    without_policy = tmp_path / "without_policy.html"
    without_policy.write_text(html.replace("Content-Security-Policy", "X-None"))
    one = OpenPage(browser, without_policy)
    assert one.page.title() == "owned"
    with_policy = tmp_path / "with_policy.html"
    with_policy.write_text(html)
    assert OpenPage(browser, with_policy).page.title() != "owned"  # the page's security policy alone stops it


@pytest.mark.parametrize("name", ["market", "hostile"])
def test_a_phone_needs_no_sideways_scrolling(open_page, name):
    one = open_page(name, width=390)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    widths = one.page.evaluate("[...document.querySelectorAll('svg')].map((s) => s.getBoundingClientRect().width)")
    sizes = one.page.evaluate("[...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().height)")
    assert max(widths) <= 390 and min(sizes) > 6


def bright(color):
    "Return the brightness of a computed colour, 0 to 1."
    r, g, b = json.loads("[" + color.partition("(")[2].rstrip(")") + "]")[:3]
    return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255


@pytest.mark.parametrize("scheme,dark", [("light", False), ("dark", True)])
def test_dark_mode(open_page, scheme, dark):
    one = open_page(scheme=scheme)
    paper = bright(one.page.eval_on_selector("body", "(e) => getComputedStyle(e).backgroundColor"))
    ink = bright(one.page.eval_on_selector("body", "(e) => getComputedStyle(e).color"))
    texts = one.page.evaluate("[...document.querySelectorAll('[id*=tick] text')].map((t) => getComputedStyle(t).fill)")
    assert (paper < 0.2) == dark and abs(paper - ink) > 0.6
    assert min(abs(bright(t) - paper) for t in texts) > 0.3


def test_labels_do_not_overlap(open_page):
    one = open_page()
    code = """() => [...document.querySelectorAll('svg g[id^=axes]')].map((axes) => [...axes.querySelectorAll('[id^=ytick] text')]
        .map((t) => t.getBoundingClientRect()).map((r) => [r.top, r.bottom]))"""
    columns = [sorted(boxes) for boxes in one.page.evaluate(code)]
    assert max(map(len, columns)) == 30
    assert all(a[1] <= b[0] + 3 for boxes in columns for a, b in zip(boxes, boxes[1:]))
    edges = """() => [...document.querySelectorAll('svg')].every((svg) => {
        const all = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll('text')].map((t) => t.getBoundingClientRect());
        return texts.every((t) => t.left >= all.left - 1 && t.right <= all.right + 1);
    })"""
    assert one.page.evaluate(edges)
