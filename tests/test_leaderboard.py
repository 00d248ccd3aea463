"A leaderboard of many people's results: each number is checked again, and whatever is refused is listed with its reason."

import csv
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import GPUS, point

from ready_steady_go.commands.cli import main
from ready_steady_go.commands.leaderboard import WORKFLOW
from ready_steady_go.store.journal import read_journal
from ready_steady_go.store.record import seal, to_line

ROOT = Path(__file__).resolve().parent.parent
HOSTILE = "<script>document.title='owned'</script>"
RTX = "NVIDIA GeForce RTX 3090"  # a real card, so that the guard knows its peak


def write(path, *records):
    "Write a journal."
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(to_line(r) + "\n" for r in records), encoding="utf-8")
    return str(path)


def made(folder, *sources, code=0):
    "Run the command, and return the rows of the summary and of the refusals."
    with pytest.raises(SystemExit) as left: main(["leaderboard", *map(str, sources), "--out", str(folder)])
    assert left.value.code == code
    return [list(csv.DictReader((folder / name).open(encoding="utf-8"))) for name in ("summary.csv", "refused.csv")]


def test_the_median_over_boxes(tmp_path):
    model = dict(model="resnet50")
    boxes = [point(RTX, box=i, factor=1 + 0.02 * i, **model) for i in range(3)]
    older = seal(replace(point(RTX, box=2, factor=3, **model), time="2026-01-01T00:00:00.000Z"))
    alone = point(GPUS[1], **model)
    rest = [point(RTX, box=5, search="probe", factor=9, **model), point(RTX, box=6, search="soak", factor=9, **model)]
    source = write(tmp_path / "a.jsonl", *boxes, older, alone, *rest)
    rows, refused = made(tmp_path / "site", source)
    best, single = rows
    middle = sorted(r.throughput for r in boxes)
    assert [float(best[name]) for name in ("lowest", "median", "highest")] == pytest.approx(middle, rel=1e-6)
    assert (best["rank"], best["boxes"], best["newest"][:4], best["sources"]) == ("1", "3", boxes[0].time[:4], "a.jsonl")
    assert (single["rank"], single["boxes"], single["gpu"]) == ("0", "1", "Synthetic 8000") and refused == []
    assert sorted(r.id for r in read_journal(tmp_path / "site/results.jsonl")) == sorted([*(r.id for r in boxes), alone.id])
    assert made(tmp_path / "again", tmp_path / "site/results.jsonl")[0][0]["median"] == best["median"]


def test_repeats_of_one_box_are_no_second_box(tmp_path):
    repeats = [point(RTX, model="resnet50", factor=1 + i / 1000, search="repeat", runs=i) for i in range(1, 6)]
    first = point(RTX, model="resnet50")
    (row,), refused = made(tmp_path / "site", write(tmp_path / "a.jsonl", first, *repeats))
    assert (row["rank"], row["boxes"], row["ids"]) == ("0", "1", first.id) and refused == []


def test_no_rank_without_the_guard(tmp_path):
    (row,), _ = made(tmp_path / "site", write(tmp_path / "a.jsonl", *(point(GPUS[0], box=i, factor=1 + i / 100) for i in range(2))))
    assert (row["rank"], row["boxes"], row["judged"]) == ("0", "2", "False")
    assert "no guard, not ranked" in (tmp_path / "site/index.html").read_text(encoding="utf-8")


HONEST = point(GPUS[0], box=9)
REFUSED = {
    "impossible": (point(RTX, model="resnet50", factor=400), "impossible: "),
    "impossible without a family": (point(RTX, model="resnet50", factor=400, spec=dict(family=None)), "impossible: "),
    "impossible for its own guard": (seal(replace(HONEST, plausible=False)), "impossible: its own guard refused it"),
    "forged": (seal(replace(HONEST, throughput=2 * HONEST.throughput)), "forged: it states"),
    "edited by hand": (replace(point(GPUS[0]), device_name="Synthetic GPU 1"), "changed: its id does not follow"),
    "an interval that is too narrow": (seal(replace(point(GPUS[0], noise=0.1), throughput_ci95=1e-3)), "forged: its windows vary"),
    "a wide interval": (point(GPUS[0], noise=0.03), "not steady: its half width is 2."),
    "without an interval": (seal(replace(point(GPUS[0]), throughput_ci95=None)), "not steady: its half width is unknown"),
    "not steady": (point(GPUS[0], steady=False), "not steady"),
    "without windows": (seal(replace(HONEST, windows=None)), "no windows: its throughput"),
    "of the future": (seal(replace(HONEST, time="9999-01-01T00:00:00Z")), "no date: "),
    "copied": (seal(replace(HONEST, device_name="Synthetic GPU 2")), f"copied: its windows are those of {HONEST.id}"),
    "twice": (HONEST, "duplicate: honest.jsonl has it, too"),
}


@pytest.mark.parametrize("bad,words", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path, bad, words, capsys):
    sources = write(tmp_path / "honest.jsonl", HONEST), write(tmp_path / "bad.jsonl", bad)
    rows, refused = made(tmp_path / "site", *sources)
    assert [row["ids"] for row in rows] == [HONEST.id] and [row["id"] for row in refused] == [bad.id]
    assert refused[0]["why"].startswith(words) and refused[0]["source"] == "bad.jsonl"
    assert capsys.readouterr().err.startswith(f"rsg: refused: bad.jsonl: {bad.id}, ")
    assert words in (tmp_path / "site/index.html").read_text(encoding="utf-8")


def test_a_folder_and_a_source_that_is_broken(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "boxes/a.jsonl", point(GPUS[0]))
    write(tmp_path / "boxes/b.jsonl", point(GPUS[0], box=1, factor=1.1))
    (tmp_path / "boxes/c.jsonl").write_text("milk\n", encoding="utf-8")
    (tmp_path / "boxes/d.jsonl").write_text('{"schema":1,"model":"m","bs":0}\n', encoding="utf-8")
    rows, refused = made(tmp_path / "site", "boxes", code=1)
    assert rows[0]["sources"] == "boxes/a.jsonl; boxes/b.jsonl" and rows[0]["boxes"] == "2"
    assert [row["source"] for row in refused] == ["boxes/c.jsonl", "boxes/d.jsonl"] and "line 1" in refused[1]["why"]
    shown = capsys.readouterr()
    assert "rsg: 1 source could not be read: boxes/c.jsonl\n" in shown.err and shown.out == f"{tmp_path / 'site/index.html'}: 1 number\n"


def test_hostile_names(tmp_path):
    names = dict(model=HOSTILE, device_name=f"{HOSTILE} GPU", driver="=cmd()", error=HOSTILE)
    hostile = [seal(replace(point(GPUS[0], box=i, factor=1 + i), **names)) for i in range(2)]
    unsteady = seal(replace(point(GPUS[0], box=3, steady=False), **names))
    rows, refused = made(tmp_path / "site", write(tmp_path / "=a.jsonl", *hostile, unsteady))
    page = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1 and "&lt;script&gt;" in page and rows[0]["boxes"] == "2" and len(refused) == 1
    cells = [cell for row in rows + refused for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


MISTAKES = {
    "no such file": (["nihgt.jsonl"], "nihgt.jsonl: no such journal or folder; name one of them, or a W&B project (entity/project)"),
    "an empty folder": (["empty"], "empty: this folder has no journal; add files that end in .jsonl, or name another folder"),
    "a file as the site": (["j.jsonl", "--out", "j.jsonl"], "--out j.jsonl: it is a file; name a folder in one that exists"),
    "no place for the site": (
        ["j.jsonl", "--out", "no/site"], "--out no/site: No such file or directory; name a folder in one that exists",
    ),
    "a name for a workflow": (["${{ x }}.jsonl"], "'${{ x }}.jsonl': a workflow cannot hold this name; rename it"),
}


@pytest.mark.parametrize("args,words", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, args, words):
    monkeypatch.chdir(tmp_path)
    for name in ("j.jsonl", "${{ x }}.jsonl"): Path(name).touch()
    Path("empty").mkdir()
    with pytest.raises(SystemExit) as left: main(["leaderboard", *args])
    assert (left.value.code, capsys.readouterr().err) == (2, f"rsg: {words}\n")


def test_the_workflow_uses_the_actions_of_this_repository(tmp_path):
    import yaml

    docs = (ROOT / ".github/workflows/docs.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", WORKFLOW)
    assert len(used) == 4 and all(f"uses: {action}" in docs for action in used)
    made(tmp_path / "site", write(tmp_path / "it's night.jsonl", point(GPUS[0])))
    flow = yaml.safe_load((tmp_path / "site/leaderboard.yml").read_text(encoding="utf-8"))
    runs = [step["run"] for step in flow["jobs"]["build"]["steps"] if "run" in step]
    assert runs[0].startswith("pip install ") and runs[1] == "rsg leaderboard 'it'\"'\"'s night.jsonl' --out site\n"


def test_two_projects_and_three_journals(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[dev]'")
    from wandb_server import KEY, serving

    from ready_steady_go.store.wandb_runs import run_of

    with serving() as server:
        for name in [n for n in os.environ if n.startswith("WANDB")]: monkeypatch.delenv(name)
        values = dict(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, HOME=str(tmp_path))
        for name, value in values.items(): monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        boxes = [point(GPUS[0], box=i, factor=1 + i / 100) for i in range(5)]
        for project, records in dict(one=boxes[:1], two=[boxes[1], boxes[0]]).items():
            for r in records: server.put("team", project, run_of(r)["id"], summary=run_of(r)["summary"])
        forged = seal(replace(boxes[2], throughput=9e5))
        hostile = seal(replace(boxes[3], model=HOSTILE))
        write(tmp_path / "a.jsonl", boxes[2], point(RTX, model="resnet50", factor=400))
        write(tmp_path / "b.jsonl", forged, boxes[4])
        write(tmp_path / "c.jsonl", hostile)
        rows, refused = made(tmp_path / "site", "team/one", "team/two", "a.jsonl", "b.jsonl", "c.jsonl")
        best = next(row for row in rows if row["boxes"] == "4")
        assert best["sources"] == "a.jsonl; b.jsonl; team/one; team/two"
        assert float(best["median"]) == pytest.approx(boxes[0].throughput * 1.015)
        reasons = {(row["source"], row["why"].partition(":")[0]) for row in refused}
        assert len(refused) == 3 and reasons == {("team/two", "duplicate"), ("a.jsonl", "impossible"), ("b.jsonl", "forged")}
        command = (tmp_path / "site/leaderboard.yml").read_text(encoding="utf-8")
        assert "rsg leaderboard team/one team/two a.jsonl b.jsonl c.jsonl --out site" in command
        server.faults["Runs"] = 403
        rows, refused = made(tmp_path / "site", "team/one", "a.jsonl", code=1)
        assert "does not let this key read it" in refused[0]["why"] and len(rows) == 1


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here: apt-get install chromium")
def test_the_page_in_a_browser(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    kinds = [(gpu, model, p, box) for gpu in GPUS[:4] for model in ("net-a", "net-b") for p in ("fp16", "fp32") for box in range(2)]
    records = [point(gpu, 64, model, p, box, factor=1 + i / 100) for i, (gpu, model, p, box) in enumerate(kinds)]
    hostile = [seal(replace(point(GPUS[0], box=i, model="net-c", factor=3 + i), device_name=HOSTILE)) for i in range(2)]
    unsteady = seal(replace(point(GPUS[0], steady=False), model=HOSTILE))
    made(tmp_path / "site", write(tmp_path / "j.jsonl", *records, *hostile, unsteady))
    address, errors, asked = (tmp_path / "site/index.html").as_uri(), [], []
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport=dict(width=390, height=800), offline=True).new_page()
        page.on("console", lambda m: errors.append(m.text))
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(address)
        visible = lambda: page.locator("#board tbody tr:visible").count()
        assert visible() == 8 and page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_label("Precision").select_option("fp32")
        assert visible() == 4 and page.url.endswith("#model=net-a&precision=fp32")
        page.get_by_label("Model").select_option("")
        assert visible() == 8 and page.inner_text("output") == "8 of 17 numbers"
        page.get_by_role("button", name="median samples/s").press("Enter")
        rates = page.eval_on_selector_all("#board tbody tr:not([hidden])", "(rows) => rows.map((r) => Number(r.cells[5].dataset.v))")
        assert rates == sorted(rates, reverse=True)
        other = browser.new_context(offline=True).new_page()
        other.goto(f"{address}#model=net-b&precision=fp16&gpu=Synthetic+9000")
        assert other.locator("#board tbody tr:visible").count() == 1 and other.title() == "Leaderboard - rsg"
        assert errors == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []
        browser.close()
