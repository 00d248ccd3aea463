"The report's page in a real browser without a network: choices, charts, tables, and no code from a record."

import json
import re
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


PUBLISHED = Path(__file__).resolve().parent / "data/published_throughput.csv"
LONG = ["Synthetic GPU with a name of forty letters 9", "Synthetic GPU with a name of forty letters 8"]
COST = dict(usd_from="typed", usd_time="2026-01-02T03:04:05Z", usd_per_hour=0.5)


def written(folder, records, reference=None):
    "Write the page of a report on these records."
    (folder / "j.jsonl").write_text("".join(to_line(r) + "\n" for r in records))
    parameters = page.report_parameters([str(folder / "j.jsonl")], reference=reference)
    paths, _ = page.write_report(parameters | dict(most_pictures=1), folder / "r.html", ["html"])  # the page draws its own
    return paths[0]


def texts():
    "Return a transformer's results of three sequence lengths; the last pair does not fit."
    spec = lambda n: dict(family="hf", seq_len=n, size=None)
    sizes = [(n, bs) for n in (128, 256, 512) for bs in (8, 16, 32)]
    bert = dict(model="synthetic-bert", **COST)
    found = [point(bs=bs, spec=spec(n), factor=128 / n, peak_mem_bytes=n * bs * 2**20, **bert, usd_per_msample=n / 100) for n, bs in sizes]
    return [*found[:-1], seal(replace(found[-1], outcome="oom", throughput=None, peak_mem_bytes=None, usd_per_msample=None))]


def few():
    "Return results for all charts: four GPUs, two kinds of price, an unsteady GPU, published results, long names, two modes."
    usd = dict(zip(GPUS, (0.9, 0.5, 0.45, 0.8)))
    found = []
    for i, (gpu, dollars) in enumerate(usd.items()):
        more = dict(usd_kind=("spot", "on-demand")[i % 2], usd_per_msample=dollars, **COST)
        for p in ("fp16", "fp32"):
            found += [r for r in ladder(gpu, model="resnet50", precision=p, **more)]
    found += [point(gpu, model="synthetic-long", box=i) for i, gpu in enumerate(LONG)]
    found += [point(model="resnet50", spec=dict(mode="infer"), factor=3.0), point(GPUS[5], model="resnet50", steady=False)]
    return [*found, *texts()]


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
    made = {name: written(tmp_path_factory.mktemp(name), records) for name, records in kinds.items()}
    return made | dict(few=written(tmp_path_factory.mktemp("few"), few(), str(PUBLISHED)))


@pytest.fixture(scope="module")
def browser():
    "Start Chromium."
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class OpenPage:
    "An open page, the addresses that it requested, and its errors."

    def __init__(self, browser, path, width=1280, scheme="light", choice="", script=True):
        self.requested, self.errors = [], []
        look = dict(viewport=dict(width=width, height=900), color_scheme=scheme, java_script_enabled=script)
        self.context = browser.new_context(offline=True, **look)
        self.page = self.context.new_page()
        self.page.on("request", lambda r: self.requested.append(r.url))
        self.page.on("console", lambda m: self.errors.append(m.text))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("dialog", lambda d: (self.errors.append("a dialog"), d.dismiss()))
        self.page.goto(Path(path).as_uri() + choice)

    def choose(self, name, value):
        "Choose an option of a select."
        self.page.locator(f"#choice select[name={name}]").select_option(value)

    def cards(self):
        "Return the texts of the cards: fastest, cheapest, most frugal."
        return self.page.locator("#cards .card").all_inner_texts()

    def chart(self, name):
        "Return the title of a chart and the texts in it; None if it is not shown."
        figure = self.page.locator(f"#{name}")
        if not figure.is_visible():
            return None
        return figure.locator("h3").inner_text(), figure.locator("svg text").all_text_contents()

    def choice(self):
        "Return the choice in the address, as text."
        return self.page.evaluate("decodeURIComponent(location.hash.replaceAll('+', ' '))")

    def drawn(self, name):
        "Wait until a table of many rows is unpacked and drawn."
        code = """(name) => [...document.querySelectorAll('.rsg-table')]
            .some((f) => f.querySelector('figcaption').textContent.startsWith(name) && f.ariaBusy === 'false')"""
        self.page.wait_for_function(code, arg=name)

    def pager(self, text):
        "Wait until a pager begins with a text."
        code = "(text) => [...document.querySelectorAll('.pager output')].some((o) => o.textContent.startsWith(text))"
        self.page.wait_for_function(code, arg=text)

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
    assert one.page.title() == "Best batch - rsg report" and one.page.locator("#charts svg").count() >= 3
    assert len(one.requested) == 1 and one.page.locator("h2").count() > 5


# The choice


def test_choosing_changes_cards_charts_and_address(open_page):
    one = open_page("few")
    fastest, cheapest, frugal = one.cards()
    assert all(words in fastest for words in ("Synthetic 9000", "823 ± 2 samples/s", "1 box", "batch size 128"))
    assert all(words in cheapest for words in ("Synthetic 7500", "$0.4500 ± 0.0013 per million samples", "spot", "1 box"))
    assert all(words in frugal for words in ("Synthetic 9000", "samples per joule", "1 box"))
    title, before = one.chart("bars")
    assert "FP16" in title and "resnet50" in title
    one.choose("precision", "fp32")
    assert "FP32" in one.chart("bars")[0] and one.chart("bars")[1] != before and "precision=fp32" in one.choice()
    assert one.cards()[0] != fastest and "FP32" in one.chart("curves")[0]
    one.choose("mode", "infer")
    assert "mode=infer" in one.choice() and "No price is known" in one.cards()[1] and one.chart("cost") is None
    one.choose("model", "synthetic-long, 224 px")
    assert "model=synthetic-long" in one.choice() and "forty letters 9" in one.cards()[0]
    assert {" ".join(t.split()) for t in one.chart("bars")[1]} & set(LONG) or any("letters" in t for t in one.chart("bars")[1])


def test_choosing_gpus(open_page):
    one = open_page("few")
    one.page.locator("#gpus summary").click()
    one.page.locator("#gpus").get_by_label("Synthetic 9000", exact=True).uncheck()
    assert "Synthetic 8000" in one.cards()[0] and "9000" not in " ".join(one.chart("bars")[1])
    assert "with=Synthetic 8000" in one.choice() and "with=Synthetic 9000" not in one.choice()
    one.page.locator("#gpus button[value=none]").click()
    assert "none is ranked" in one.cards()[0] and one.chart("curves") is None
    one.page.locator("#gpus button[value=all]").click()
    assert "Synthetic 9000" in one.cards()[0] and "with=" not in one.choice()


def test_a_link_restores_a_choice(open_page):
    one = open_page("few")
    one.choose("precision", "fp32")
    one.page.locator("#bars .tools select").select_option("usd_per_msample")
    one.page.locator("#fits .tools select").select_option("8")
    one.page.locator("#gpus summary").click()
    one.page.locator("#gpus").get_by_label("Synthetic 7000").uncheck()
    again = open_page("few", choice=one.page.evaluate("location.hash"))
    state = lambda p: (p.cards(), p.chart("bars"), p.chart("curves"), p.chart("cost"), p.chart("fits"), p.choice())
    assert state(again) == state(one) and "$ per million samples" in " ".join(again.chart("bars")[1])
    nonsense = open_page("few", choice="#model=no such model&precision=fp8&with=Nothing&gib=7&show=x")
    assert "none is ranked" in nonsense.cards()[0] and "resnet50" in nonsense.chart("bars")[0]


def test_the_keyboard_is_enough(open_page):
    one = open_page("few")
    focus = lambda: one.page.evaluate("document.activeElement.name || document.activeElement.closest('details, figure')?.id")
    seen = []
    for _ in range(5):
        one.page.keyboard.press("Tab")
        seen.append(focus())
    assert seen[:4] == ["model", "precision", "mode", "gpus"]
    one.page.locator("#choice select[name=precision]").focus()
    one.page.keyboard.press("ArrowDown")
    assert "precision=fp32" in one.choice()
    one.page.locator("#gpus summary").focus()
    one.page.keyboard.press("Enter")
    for _ in range(3):
        one.page.keyboard.press("Tab")
    one.page.keyboard.press("Space")
    assert "with=" in one.choice()
    one.page.keyboard.press("Escape")
    assert not one.page.locator("#gpus > div").is_visible() and focus() == "gpus"
    one.page.locator("#bars details summary").focus()
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("#bars table tbody tr")
    assert one.page.locator("#bars table tbody tr").count() >= 3


def test_a_screen_reader_has_names_and_numbers(open_page):
    one = open_page("few")
    assert one.page.locator("#cards").get_attribute("aria-live") == "polite"
    for plot in one.page.locator("#charts figure:not([hidden]) [role=img]").all():
        assert len(plot.get_attribute("aria-label")) > 40
    unnamed = """[...document.querySelectorAll('select, input, button')]
        .filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).length"""
    assert one.page.evaluate(unnamed) == 0


def test_without_javascript_tables_have_the_answer(open_page):
    one = open_page("few", script=False)
    assert not one.page.locator("#app").is_visible()
    text = one.page.locator("main").inner_text()
    assert "Which GPU" in text and "Synthetic 9000 (1 box)" in text and "Best batch size of each box" in text


def test_cards_and_table_have_the_same_answer(open_page):
    one = open_page("few")
    rows = one.table("Which GPU").locator("tbody tr", has_text="resnet50")
    row = rows.filter(has_text="fp16").filter(has_text="train").inner_text()
    for card in one.cards():
        _, gpu, value, *_ = filter(None, card.splitlines())
        shown = float(value.split()[0].lstrip("$"))  # it is rounded to its interval
        assert gpu in row and any(abs(float(number) / shown - 1) < 1e-3 for number in re.findall(r"[\d.]+", row.split(gpu, 1)[1]))


def test_the_legend_switches_a_precision(open_page):
    one = open_page("few")
    bars = lambda: len([t for t in one.chart("bars")[1] if "box" in t])
    before = bars()
    one.page.locator("#bars svg text", has_text=re.compile("^FP32$")).click()
    assert bars() > before


def test_published_bars_are_marked(open_page):
    one = open_page("few")
    text = " ".join(one.chart("bars")[1])
    assert "published by" in text and "published by others" in one.page.locator("#bars .note").inner_text() and "not ranked" in text
    assert "published" not in " ".join(one.cards())


def test_the_frontier_has_no_beaten_gpu(open_page):
    one = open_page("few")
    one.page.locator("#cost details summary").click()
    rows = [r.locator("td").all_inner_texts() for r in one.page.locator("#cost tbody tr").all()]
    found = {(r[1], float(r[2]), float(r[3].replace(",", ""))): r[5] == "yes" for r in rows}
    assert len(found) == 4
    beaten = lambda a: any(b != a and b[0] == a[0] and b[1] <= a[1] and b[2] >= a[2] for b in found)
    assert all(found[a] != beaten(a) for a in found)


def test_what_fits_is_the_largest_measured_batch(open_page):
    one = open_page("few")
    cells = lambda: [row.locator("td").all_inner_texts() for row in one.page.locator("#fits tbody tr").all()]
    rows = lambda: {row[0].split(",")[0]: row for row in cells()}
    assert rows()["resnet50"][1] == "128"
    one.page.locator("#fits .tools select").select_option("4")
    assert rows()["resnet50"][1:3] == ["32", "3.92"] and "64: 5.84 GiB" in rows()["resnet50"][4] and "gib=4" in one.choice()


def test_batch_size_and_sequence_length(open_page):
    one = open_page("few")
    assert one.chart("lengths") is None
    model = next(v for v in one.page.locator("select[name=model] option").all_inner_texts() if v.startswith("hf:synthetic-bert"))
    one.choose("model", model)
    title, words = one.chart("lengths")
    assert "Synthetic 9000" in title and {"128", "256", "512", "8", "16", "32", "no room"} <= set(words)


def test_a_chart_is_saved_as_svg_and_png(open_page):
    one = open_page("few")
    for kind, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with one.page.expect_download() as download:
            one.page.locator("#bars").get_by_role("button", name=kind).click()
        assert Path(download.value.path()).read_bytes().startswith(start) and download.value.suggested_filename == f"bars.{kind.lower()}"


def test_the_printed_page_has_charts_that_fit(open_page):
    one = open_page("few")
    one.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widest = "Math.max(...[...document.querySelectorAll('#charts svg')].map((s) => s.getBoundingClientRect().width))"
    assert one.page.evaluate(widest) <= 700
    one.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert one.page.evaluate("document.querySelector('#bars svg').clientWidth") > 700


# Tables


def test_a_table_sorts(open_page):
    one = open_page()
    heading = one.table("Best batch size").get_by_role("button", name="samples/s", exact=True)
    values = lambda: [float(v) for v in one.column("Best batch size", "samples/s")]
    heading.click()
    one.drawn("Best batch size")
    down = values()
    heading.click()
    up = values()
    assert down == sorted(down, reverse=True) and up == sorted(up) and len(up) == 100 and up[-1] < down[0] == pytest.approx(822.857)
    heading.press("Enter")  # by keyboard too
    assert values() == down
    one.table("Best batch size").get_by_role("button", name="GPU", exact=True).click()
    names = one.column("Best batch size", "GPU")
    assert names == sorted(names) and names[0] == "Synthetic 1200"


def test_a_table_filters(open_page):
    one = open_page()
    box = one.table("Best batch size").get_by_role("searchbox")
    box.fill("7000 FP32")
    one.drawn("Best batch size")
    assert set(one.column("Best batch size", "GPU")) == {"Synthetic 7000"} and set(one.column("Best batch size", "precision")) == {"fp32"}
    box.fill("no such thing")
    one.pager("no row")
    assert one.column("Best batch size", "GPU") == []
    box.fill("")


def test_every_record_is_in_the_page(open_page):
    one = open_page()
    one.page.locator("details.section summary", has_text="All records").click()
    pager, seen = one.table("All records").locator(".pager"), []
    total = len(market(30, models=("synthetic-net",)))
    assert f"1 to 100 of {total:,}" in pager.inner_text() and total > 1000
    for first in range(0, total, 100):
        seen += one.column("All records", "samples/s")
        if first + 100 < total:
            pager.get_by_role("button", name="next").click()
            one.pager(f"{first + 101:,} to")
    assert len(seen) == total and pager.get_by_role("button", name="next").is_disabled()


def test_hostile_names_do_not_run(open_page):
    one = open_page("hostile")
    one.page.mouse.move(400, 400)
    for button in one.page.locator("th button").all()[:6]:
        button.click()
    assert one.page.title() == "Best batch - rsg report"
    assert one.page.locator("script").count() == 4 and one.page.locator("img").count() == 0  # the data, and three scripts of rsg
    for bar in one.page.locator("#bars svg path").all()[:12]:
        bar.hover(force=True)  # a hint beside the mouse has names, too
    assert one.page.title() == "Best batch - rsg report" and one.page.locator("img").count() == 0
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


@pytest.mark.parametrize("name", ["market", "hostile", "few"])
def test_a_phone_needs_no_sideways_scrolling(open_page, name):
    one = open_page(name, width=390)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    widest = "Math.max(...[...document.querySelectorAll('#charts svg')].map((s) => s.getBoundingClientRect().width))"
    assert one.page.evaluate(widest) <= 390


@pytest.mark.parametrize("width", [390, 1280])
def test_text_has_13_pixels(open_page, width):
    one = open_page("few", width=width)
    one.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    code = """[...document.querySelectorAll('main *')]
        .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
        .map((e) => [e.closest('.picture') ? e.getBoundingClientRect().height : parseFloat(getComputedStyle(e).fontSize), e.textContent])
        .filter(([size]) => size < 13)"""
    assert one.page.evaluate(code) == []


def bright(color):
    "Return the brightness of a computed colour, 0 to 1."
    r, g, b = json.loads("[" + color.partition("(")[2].rstrip(")") + "]")[:3]
    return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255


@pytest.mark.parametrize("scheme,dark", [("light", False), ("dark", True)])
def test_dark_mode(open_page, scheme, dark):
    one = open_page(scheme=scheme)
    paper = bright(one.page.eval_on_selector("body", "(e) => getComputedStyle(e).backgroundColor"))
    ink = bright(one.page.eval_on_selector("body", "(e) => getComputedStyle(e).color"))
    texts = one.page.evaluate("[...document.querySelectorAll('#bars svg text')].map((t) => getComputedStyle(t).fill)")
    assert (paper < 0.2) == dark and abs(paper - ink) > 0.6
    assert len(texts) > 10 and min(abs(bright(t) - paper) for t in texts) > 0.3
    one.page.emulate_media(color_scheme="light" if dark else "dark")  # the charts follow
    one.page.wait_for_function("(fill) => getComputedStyle(document.querySelector('#bars svg text')).fill !== fill", arg=texts[0])


@pytest.mark.parametrize("name,width", [("market", 1280), ("market", 390), ("few", 1280), ("few", 390)])
def test_labels_do_not_overlap(open_page, name, width):
    one = open_page(name, width=width, choice="#model=synthetic-long%2C+224+px" if name == "few" else "")
    rows = """() => [...document.querySelectorAll('#bars svg text')].map((t) => [t.textContent, t.getBoundingClientRect()])
        .filter(([text]) => /Synthetic|letters/.test(text)).map(([, r]) => [r.top, r.bottom])"""
    boxes = sorted(one.page.evaluate(rows))
    assert len(boxes) >= (30 if name == "market" else 2)
    assert all(a[1] <= b[0] + 3 for a, b in zip(boxes, boxes[1:]))
    edges = """() => [...document.querySelectorAll('#charts svg')].flatMap((svg) => {
        const all = svg.getBoundingClientRect();
        const texts = [...svg.querySelectorAll('text')].map((t) => [t.textContent, t.getBoundingClientRect()]);
        return texts.filter(([, t]) => t.left < all.left - 1 || t.right > all.right + 1).map(([text]) => text);
    })"""
    assert one.page.evaluate(edges) == []
