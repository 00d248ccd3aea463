"The report: comparable results, ranking, names from journals as text, and the command that writes it."

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from synthetic import GPUS, every_field, ladder, machine, market, point
from test_door import loaded, rsg
from wandb_server import KEY, serving

from ready_steady_go.report import notebook, page, sections, values
from ready_steady_go.report.bars import best_picture
from ready_steady_go.report.choices import UNKNOWN_KIND, answers, bars_of, page_data, points_of, results_of
from ready_steady_go.report.comparable import UNSTEADY, classify, one_stack
from ready_steady_go.report.data import ReportData, load_results, sample_path
from ready_steady_go.report.items import Table
from ready_steady_go.report.overview import overview
from ready_steady_go.report.published import read_published
from ready_steady_go.report.ranking import averages, best_rows, by_gpu, not_ranked, rank_own_boxes
from ready_steady_go.report.scaling import over_gpus
from ready_steady_go.report.table import table_of
from ready_steady_go.report.text import short_name
from ready_steady_go.report.tuned import tuned
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store import record
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import make_record, seal, settings_key, to_line

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "tests/data/published_throughput.csv"
SECTIONS = [
    overview,
    sections.best_batch,
    sections.over_models,
    sections.over_batch_size,
    over_gpus,
    values.prices,
    values.energy_use,
    values.peak_shares,
    values.step_parts,
    sections.over_sequence_length,
    values.words_per_second,
    sections.unranked,
    sections.all_records,
]


def journal(path, records):
    "Write a journal with these records."
    path.write_text("".join(to_line(r) + "\n" for r in records))
    return path


def data(records, mine=(), **more):
    "Return the data of a report on these records."
    return ReportData(classify(pd.concat([table_of(mine, True), table_of(records)])), ["test"], **more)


def everything(d):
    "Return all that a report displays, as text."
    return "\n".join(str(item._repr_mimebundle_()) for section in SECTIONS for item in section(d))


# Comparable results


def test_each_row_has_the_key_of_its_record():
    some = [
        point(),
        point(precision="fp32"),
        point(spec=dict(size="320x224")),
        point(spec=dict(dropout=0.5, layers=2, tied=True)),
        point(spec=dict(lr=1.0, clip=2.0)),
    ]
    rows = classify(table_of(some))
    assert list(rows.key) == [settings_key(r) for r in some] and rows.key.nunique() == 5


def test_bars_of_one_picture_share_their_keys():
    rows = classify(table_of([*market(3), point(spec=dict(clip=1.0))]))
    assert (rows.groupby(["group", "precision"]).key.nunique() == 1).all()
    assert rows.groupby("what").group.nunique().eq(1).all() and rows.group.nunique() == 3


def newer(records, **versions):
    "Return the records as another stack made them."
    return [seal(replace(r, **versions)) for r in records]


def test_another_stack_is_in_the_same_picture_with_its_label():
    boxes = [point(GPUS[0], box=i) for i in range(3)]
    other = newer([point(GPUS[0], box=9, factor=1.1)], pytorch="2.9.1+cu128", cuda="12.8", driver="570.1")
    d = data([*boxes, point(GPUS[1]), *other])
    assert d.rows.group.nunique() == 1 and set(d.rows.note) == {"", "torch 2.9, CUDA 12.8, driver 570"}
    picture = sections.best_batch(d)[0]
    assert picture.svg.count("torch 2.9, CUDA 12.8, driver 570") >= 1 and "9000 (3 boxes)" in picture.svg
    text = everything(d)
    assert "10% faster with torch 2.9, CUDA 12.8, driver 570 than with torch 2.4, CUDA 12.1, driver 550" in text
    near = data([*boxes, *newer([point(GPUS[0], box=9, factor=1.02)], pytorch="2.9.1")])
    assert "faster with" not in everything(near) and "torch 2.9" in sections.best_batch(near)[0].svg


def test_an_update_of_driver_or_kernel_makes_no_second_box():
    updated = newer([point()], driver="550.90.07", platform="Linux-6.8.0-45-generic-x86_64-with-glibc2.39")
    assert [classify(table_of([point(), *rows])).box.nunique() for rows in (updated, [point(box=1)])] == [1, 2]


def test_patch_releases_of_rsg_and_the_driver_never_separate():
    rows = classify(table_of([point(), *newer([point(box=1)], driver="550.90.07", rsg_version="0.1.9", pytorch="2.4.0")]))
    assert rows["stack"].nunique() == 1 and set(rows.note) == {""}
    assert len(by_gpu(best_rows(rows))) == 1


def test_one_stack_only(tmp_path):
    path = journal(tmp_path / "j.jsonl", [point(), point(box=1), *newer([point(GPUS[1])], pytorch="2.9.1")])
    assert len(load_results([str(path)]).rows) == 3
    assert set(load_results([str(path)], stack="common").best.gpu) == {"Synthetic 9000"}
    chosen = load_results([str(path)], stack="torch 2.9")
    assert set(chosen.best.gpu) == {"Synthetic 8000"} and set(chosen.rows.note) == {""}
    done = rsg("report", path, "--stack", "torch 9", "--out", tmp_path / "r.html", cwd=tmp_path)
    assert done.returncode == 2 and "--stack torch 9: no result has this stack; use common" in done.stderr
    done = rsg("report", path, "--stack", "common", "--out", tmp_path / "r.html", cwd=tmp_path)
    assert done.returncode == 0 and "2 records" in done.stderr


def test_models_of_two_libraries_keep_their_own_common_stack():
    text = point(model="b", spec=dict(family="hf", seq_len=8, size=None))
    some = [*newer([point()], timm="1.0.9"), *newer([text], transformers="4.44.0")]
    old = newer([point(box=1)], timm="0.9.16")
    assert len(one_stack(classify(table_of([*some, *newer([point(box=2)], timm="1.0.9"), *old])), "common")) == 3


def test_a_low_power_limit_has_a_bar_with_its_label():
    d = data([point(), point(box=1, power_limit_w=250.0, power_limit_default_w=350.0, factor=0.9)])
    assert "power limit 250 W" in sections.best_batch(d)[0].svg and len(by_gpu(d.best)) == 2


def test_counts_are_whole_numbers_in_every_csv_file(tmp_path):
    d = data([point(box=i, bs=bs) for i in range(2) for bs in (64, 96)])
    for section in SECTIONS:
        for item in section(d):
            if isinstance(item, Table):
                item.save(tmp_path)
    tables = [list(csv.DictReader(path.open(newline=""))) for path in tmp_path.glob("*.csv")]
    sizes = [row["batch size"] for rows in tables for row in rows if "batch size" in row]
    assert set(sizes) <= {"64", "96"} and len(sizes) >= 6


def test_published_results_of_the_model_are_not_beside_a_changed_one():
    found, _ = read_published(str(PUBLISHED))
    changed = data([point(model="resnet50", spec=dict(classes=10, changed="classes"))], reference=found)
    assert "published by others" not in sections.best_batch(changed)[0].svg


def test_several_gpus_without_the_throughput_of_one_have_no_ideal_line():
    pair = dict(strategy="ddp", backend="nccl")
    d = data([point(spec=dict(n_gpus=n, **pair), factor=0.9 * n) for n in (2, 4)])
    picture, table = over_gpus(d)
    assert list(table.data["GPUs"]) == [2, 4] and "speed-up" not in table.data and "ideal" not in picture.alt


def test_a_shared_batch_has_a_speed_up_only_over_one_gpu_with_all_of_it():
    "One GPU of two was measured alone with half of the batch: that is no base for the whole one."
    pair = dict(strategy="ddp", backend="nccl")
    rows = [point(bs=64 // n, spec=dict(n_gpus=n, **pair), factor=0.8 * n, single_throughput=400.0) for n in (2, 4)]
    found = [item.data for item in over_gpus(data(rows)) if isinstance(item, Table)][0]
    assert found[found.batch.str.contains("64 samples in all")]["speed-up"].isna().all()
    assert (found[found.batch.eq("best batch size each")]["speed-up"] > 0).all()
    found = [item.data for item in over_gpus(data([*rows, point(bs=64)])) if isinstance(item, Table)][0]
    assert (found[found.batch.str.contains("64 samples in all")]["speed-up"] > 0).all()


def test_links_that_are_unknown_are_no_matrix():
    d = data([point(spec=dict(n_gpus=2, strategy="ddp", backend="nccl"), single_throughput=400.0)])
    d.best = d.best.assign(links=float("nan"), strategy=float("nan")).astype(dict(links=object, strategy=object))  # as pandas may put it
    assert [type(item).__name__ for item in over_gpus(d)] == ["Table"]


def test_each_tuned_length_has_its_newest_answer():
    answers = [(128, "bf16", None, 2), (512, "bf16", None, 3), (128, "fp16", "inductor", 1), (512, "bf16", "inductor", 4)]
    about = dict(family="hf", size=None, task="classify", model="synthetic-bert")
    ratio = lambda day: dict(tune_ratio=1.0 + day, tune_ratio_ci95=0.01)
    made = [point(precision=p, spec=about | dict(seq_len=n, compile=c), **ratio(day)) for n, p, c, day in answers]
    (table,) = tuned(data([replace(r, time=f"2026-01-0{day}T00:00:00Z") for r, (*_, day) in zip(made, answers)]))
    assert sorted(table.data["times plain FP32"]) == ["3.000 ± 0.010", "5.000 ± 0.010"]


def test_a_confirmed_winner_counts_alone():
    probes = [point(bs=bs, factor=f, search="probe", steady=False) for bs, f in ((64, 1.2), (96, 1.3))]
    (top,) = best_rows(classify(table_of([*probes, point(bs=64)]))).itertuples()
    assert (top.bs, top.search) == (64, "confirm")
    assert len(best_rows(classify(table_of(probes)))) == 0


def test_a_confirmation_that_is_not_steady_hides_no_steady_result():
    d = data([*(point(bs=bs, search=None) for bs in (8, 64)), point(bs=128, steady=False)])
    assert list(d.best.bs) == [64] and list(not_ranked(d.rows).bs) == [128]


def test_a_faster_steady_result_is_the_best_beside_a_confirmed_or_repeated_one():
    "As a search with --search-until leaves them, or runs of one named batch size."
    for slower in ([point(bs=64)], [point(bs=64, search=None), point(bs=64, search="repeat", runs=2, runs_ci95=1.0)]):
        d = data([*slower, point(bs=256, search=None), point(bs=512, search=None, steady=False)])
        assert list(d.best.bs) == [256] and list(not_ranked(d.rows).bs) == [512]


def test_the_spread_of_repeated_runs_counts_even_if_they_are_not_steady():
    runs = [point(search="repeat", steady=False, runs=n, runs_ci95=ci95) for n, ci95 in ((3, 30.0), (2, 90.0))]
    (top,) = data([point(), *runs]).best.itertuples()
    assert (top.repeats, top.error) == (1, 30.0)
    impossible = replace(runs[0], plausible=False)
    assert data([point(), impossible]).best.error.iloc[0] < 5


def test_results_that_are_not_ranked_have_a_reason():
    odd = [
        point(GPUS[1], outcome="impossible", plausible=False, findings=[dict(code="impossible", text="9 times the peak")]),
        point(GPUS[2], steady=False, findings=[dict(code="unsteady", text="known to 3 %")]),
        make_record(Spec(model="synthetic-net", bs=1), machine(GPUS[3]), outcome="failed:SIGSEGV", error="it died"),
    ]
    d = data([point(), *odd])
    assert set(d.best.gpu) == {"Synthetic 9000"}
    (table,) = sections.unranked(d)
    assert set(table.data["why"]) == {"impossible", "not steady", "failed"}
    assert all(words in table.markdown for words in ("9 times the peak", "known to 3 %", "it died"))
    picture = best_picture(d.rows[d.rows.group.eq(d.groups[0])])
    assert "not ranked" in picture.svg and "Synthetic 8000" not in picture.svg  # an impossible result has no bar


def test_several_boxes_are_a_median_and_a_range():
    tops = best_rows(classify(table_of([point(box=i, factor=f) for i, f in enumerate((1, 1.02, 1.5))])))
    (gpu,) = by_gpu(tops).itertuples()
    rates = sorted(tops.throughput)
    assert (gpu.boxes, gpu.low, gpu.middle, gpu.high) == (3, *rates)


def test_long_gpu_names_stay_different():
    long = "NVIDIA GeForce RTX with a name that does not fit below a picture 9000"
    names = [short_name(long), short_name(f"{long} Ti SUPER")]
    assert names[0] != names[1] and names[1].endswith("Ti SUPER")


def test_your_box_among_others():
    mine = [point(box=99, factor=0.89, power_limit_w=280.0, power_limit_default_w=350.0)]
    (place,) = rank_own_boxes(best_rows(data([point(box=i) for i in range(14)], mine).rows))
    assert str(place) == "11% below the median of 14 Synthetic 9000s (faster than 0% of them); power limit 280 W of 350 W"
    assert "11% below the median" in everything(data([point(box=i) for i in range(14)], mine))
    other = [seal(replace(point(box=i), pytorch="2.9")) for i in range(14)]
    (place,) = rank_own_boxes(best_rows(data(other, mine).rows))
    assert "14 of them with another stack (torch 2.9)" in str(place)


def test_a_record_in_two_sources_counts_once_and_is_yours():
    d = data([point()], mine=[point()])
    assert len(d.rows) <= 2
    same = point()
    assert list(data([same], mine=[same]).rows.mine) == [True]


def test_spot_and_on_demand_share_a_picture_and_are_marked():
    cost = dict(usd_per_hour=0.5, usd_from="typed", usd_time="2026-01-02T03:04:05Z", usd_gpus=1, usd_per_msample=0.4)
    d = data(
        [point(GPUS[0], usd_kind="spot", **cost), point(GPUS[1], usd_kind="on-demand", **cost), point(GPUS[2], **cost), point(GPUS[3])]
    )
    (drawn,) = [item for item in values.prices(d) if hasattr(item, "svg")]
    words = [re.sub(r"<[^>]+>", "", text) for text in re.findall(r"<text.*?</text>", drawn.svg, flags=re.S)]
    order = ["on-demand", "Synthetic 8000", "spot", "Synthetic 9000", "unknown whether spot or on-demand", "Synthetic 7500"]
    assert [text for text in words if text in order] == order or set(order) <= set(words)
    bars = bars_of(d)
    kinds = {row.gpu: row.kind for row in bars[bars.metric.eq("usd_per_msample")].itertuples()}
    assert kinds == {"Synthetic 9000": "spot", "Synthetic 8000": "on-demand", "Synthetic 7500": UNKNOWN_KIND}
    text = everything(d)
    assert "2026-01-02" in text and "typed" in text


def test_the_average_is_over_common_models():
    some = [
        point(g, model=m, factor=f)
        for g, m, f in ((GPUS[0], "a", 1), (GPUS[0], "b", 1), (GPUS[1], "a", 1), (GPUS[1], "b", 0.5), (GPUS[2], "a", 1))
    ]
    (average,) = averages(by_gpu(best_rows(classify(table_of(some)))))
    assert list(average.shares.index) == ["Synthetic 9000", "Synthetic 8000"] and average.lacking == {"Synthetic 7500": 1}
    assert average.shares.iloc[1] == pytest.approx((8 / 9 * 8 / 9 * 0.5) ** 0.5, rel=0.01)


# Published by others


def test_published_results_are_marked_and_impossible_ones_refused():
    found, refused = read_published(str(PUBLISHED))
    known = {row["id"]: row["plausible"] for row in csv.DictReader(PUBLISHED.open())}
    assert {id for id, _ in refused} == {id for id, word in known.items() if word == "no"}
    ours = [point(model="resnet50", precision=p) for p in ("fp16", "tf32")]
    d = data(ours, reference=found, refused=refused)
    picture, text = sections.best_batch(d)[0], everything(d)
    assert "published by others, not ranked" in picture.svg and "3090 · xl0/ready-steady-go" in picture.svg
    assert "lambda-b200x8-bert" in text and "refused" in text and set(d.best.gpu) == {"Synthetic 9000"}


# Names from journals

HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "=cmd()|' /C calc'!A0",
    "x" * 10_000,
    "🤖 größer",
    "a\x00b\x1b[31m\u202ec",
    "$\\frac{1}{$",
    "| a | b |\n# c",
    "{{ 7*7 }}",
    "_hidden",
    "  \t=1+1",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(text, tmp_path):
    odd = [seal(replace(r, **every_field(text))) for r in [*ladder(), point(steady=False)]]
    d = data(odd, mine=[seal(replace(point(bs=8), **every_field(text)))])
    for section in SECTIONS:
        for item in section(d):
            shown = item._repr_mimebundle_()
            html = shown.get("text/html", "") + shown.get("image/svg+xml", "")
            assert "<script" not in html and "<img" not in html and len(html) < 200_000
            assert not any(ord(c) < 32 and c != "\n" or c == "\u202e" for c in html)
            markdown = shown.get("text/markdown", "")
            assert "<" not in markdown and "\x00" not in markdown
            if isinstance(item, Table):
                item.save(tmp_path)
                widths = {line.replace("\\|", "").count("|") for line in markdown.splitlines() if line.startswith("|")}
                assert len(widths) == 1
    cells = [cell for path in tmp_path.glob("*.csv") for row in csv.reader(path.open(newline="")) for cell in row]
    assert cells and not [c for c in cells if c.lstrip().startswith(("=", "@", "+")) or c.startswith("-") and not c[1:2].isdigit()]


def test_values_of_wrong_types(tmp_path):
    line = json.loads(to_line(point()))
    odd = [
        dict(throughput="fast"),
        dict(bs=None),
        dict(bs="8"),
        dict(device_name=["a"]),
        dict(findings="x", steady=False),
        dict(precision=3),
        dict(throughput=-5.0),
        dict(throughput=1e308),
        dict(throughput=10**400),
        dict(search=[]),
        dict(mine=True),
        dict(time=5),
        dict(size=1.5),
        dict(pytorch=2),
        dict(usd_per_msample=True),
    ]
    path = tmp_path / "odd.jsonl"
    path.write_text(
        "".join(json.dumps(line | dict(id=f"r{i}") | more) + "\n" for i, more in enumerate(odd)) + '{"schema":1,"model":"bare"}\n'
    )
    assert "Best batch size" in everything(load_results([str(path)]))


# Few records, or none

ONE = [point()]
FEW = {
    "none": ([], "no results"),
    "one record": (ONE, "at batch size 64"),
    "one precision": ([point(g) for g in GPUS[:3]], "FP16"),
    "only failures": (
        [make_record(Spec(model="m", bs=8), machine("G"), outcome="failed:RuntimeError", error="why")],
        "No result can be ranked",
    ),
    "only out of memory": ([make_record(Spec(model="m", bs=8), machine("G"), outcome="oom")], "1 out of memory"),
    "no device": ([make_record(Spec(model="m", bs=8), None, throughput=5.0, steady=True)], "unknown device"),
    "an unknown GPU": ([point("Mystery Accelerator 7")], "Mystery Accelerator 7"),
    "no price": (ONE, "--usd-per-hour"),
    "no energy": (ONE, "has energy"),
    "no peak": ([replace(ONE[0], mfu=None)], "no data sheet"),
}


@pytest.mark.parametrize("records,words", FEW.values(), ids=FEW.keys())
def test_few_records_or_none(records, words):
    assert words in everything(data(records))


def test_a_broken_line_is_counted(tmp_path):
    path = journal(tmp_path / "torn.jsonl", [point(), point(bs=32)])
    path.write_text(path.read_text() + '{"schema":1,"id":"81df')
    text = everything(load_results([str(path)]))
    assert "1 broken line is ignored" in text and "2 records" in text


def test_a_schema_of_the_future(tmp_path):
    path = journal(tmp_path / "new.jsonl", [point()])
    path.write_text(path.read_text().replace('"schema":1', '"schema":99'))
    with pytest.raises(UserError, match="new.jsonl.*schema 99.*pip install --upgrade"):
        load_results([str(path)])


def test_an_older_schema_and_unknown_fields(tmp_path):
    old = json.loads(to_line(point()))
    for name in ("search", "vocab", "usd_kind", "ceiling_share"):
        del old[name]
    path = tmp_path / "old.jsonl"
    path.write_text(json.dumps(old | dict(colour="red")) + "\n" + to_line(point(GPUS[1])) + "\n")
    assert "2 results" in everything(load_results([str(path)]))


# The sample


def test_the_sample_is_real_and_named():
    records = Journal(sample_path()).read()
    assert len(records) > 20 and {r.device for r in records} == {"cpu"} and len({r.id for r in records}) == len(records)
    rows = [json.loads(line) for line in open(sample_path(), encoding="utf-8")]
    assert all(record._hash(row | dict(id=None))[:16] == row["id"] for row in rows)  # no digit was changed by hand
    text = everything(load_results())
    assert "sample that ships with rsg" in text and "CPU" in text


def test_what_the_page_draws_itself_is_marked_in_the_notebook():
    "Without the mark, the page would have each chart twice."
    cells = nbformat.read(ROOT / "nbs/report/21_best_batch.ipynb", 4).cells
    marked = [c.source for c in cells if c.cell_type == "code" and "charted" in c.metadata.get("tags", [])]
    drawn = ["best_batch", "over_batch_size", "prices", "energy_use", "peak_shares", "over_sequence_length", "words_per_second"]
    tags = {tag for c in cells for tag in c.metadata.get("tags", [])}
    assert marked == [f"show(data, {name}(data))" for name in drawn] and {"parameters", "summary"} <= tags


def test_the_package_has_the_notebook():
    assert (files("ready_steady_go.report") / "report.ipynb").read_text() == (ROOT / "nbs/report/21_best_batch.ipynb").read_text()


# The command


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    "Write a report in every format."
    folder = tmp_path_factory.mktemp("written")
    journal(folder / "rsg-results.jsonl", [*ladder(), *ladder(precision="fp32"), *ladder(GPUS[1])])
    done = rsg("report", "--format", "html,ipynb,csv,md,png", "--out", "r.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_every_format_is_written(written):
    folder, done = written
    there = {p.name for p in folder.iterdir()} | {p.name for p in (folder / "r_files").iterdir()}
    assert {"r.html", "r.ipynb", "r.md", "best.csv", "points.csv"} <= there and sum(n.endswith(".png") for n in there) >= 5
    assert done.stdout.splitlines()[:3] == ["r.html", "r.ipynb", "r.md"] and "on Synthetic 9000 at batch size 128" in done.stderr
    text = (folder / "r.md").read_text()
    pictures = [part.partition(")")[0] for part in text.split("](")[1:] if ".png)" in part]
    assert pictures and all((folder / p).exists() for p in pictures)


def test_the_page_needs_no_other_file(written):
    html = re.sub(r"<script>.*?</script>", "", (written[0] / "r.html").read_text(), flags=re.S)  # a browser checks what they request
    assert "src=" not in html and "@import" not in html and "url(http" not in html
    assert 'href="http' not in html and "default-src 'none'" in html
    assert "best_batch(data)" not in html and "Synthetic 9000" in html


def test_the_executed_notebook_runs_again(written):
    nb = nbformat.read(written[0] / "r.ipynb", 4)
    tags = [c.metadata.get("tags", []) for c in nb.cells]
    assert tags.index(["parameters"]) + 1 == tags.index(["injected-parameters"])
    assert not [o for c in nb.cells for o in c.get("outputs", []) if o.output_type == "error"]


def test_the_written_notebook_names_no_path_and_runs_beside_its_journal(written, tmp_path):
    text = (written[0] / "r.ipynb").read_text()
    assert str(written[0]) not in text and str(Path.home()) not in text and "/tmp" not in text
    assert "application/x-rsg-page+json" not in text and "journals = ['rsg-results.jsonl']" in text
    (tmp_path / "rsg-results.jsonl").write_bytes((written[0] / "rsg-results.jsonl").read_bytes())
    nb = nbformat.read(written[0] / "r.ipynb", 4)
    client = notebook._client(nb, str(tmp_path))
    with client.setup_kernel(env=notebook._kernel_environment(str(tmp_path)), cleanup_kc=True):
        for i, cell in enumerate(nb.cells[:10]):
            client.execute_cell(cell, i)
    (table,) = [c for c in nb.cells if c.source == "results = results_of(data)\nresults"]
    assert "Synthetic 9000" in table.outputs[0].data["text/plain"]
    (picture,) = [c for c in nb.cells if c.source.startswith("import matplotlib.pyplot")]
    assert "image/png" in picture.outputs[-1].data and 20 <= len(picture.source.splitlines()) <= 30


def test_sections_without_data_are_left_out(written):
    for text in ((written[0] / "r.md").read_text(), (written[0] / "r.html").read_text()):
        assert "Energy" in text and "Not ranked" not in text and "Several GPUs" not in text and "No model was tuned" not in text


def test_the_vendored_chart_library_is_the_published_file():
    folder = files("ready_steady_go.report") / "echarts"
    (version, digest) = re.search(r"ECharts ([\d.]+).*?sha256 ([0-9a-f]{64})", (folder / "README.md").read_text(), flags=re.S).groups()
    text = (folder / "echarts.min.js").read_bytes()
    assert hashlib.sha256(text).hexdigest() == digest and f'version="{version}"'.encode() in text
    assert "Apache License" in (folder / "LICENSE").read_text() and "Apache ECharts" in (folder / "NOTICE").read_text()


# The page's data


def test_the_answers_are_the_best_bars():
    cost = dict(usd_from="typed", usd_time="2026-01-02T03:04:05Z", usd_kind="spot", usd_per_hour=0.5)
    values = zip(GPUS, (0.9, 0.4, 0.7), (1.0, 2.0, 3.0))
    some = [point(gpu, usd_per_msample=usd, samples_per_joule=joule, **cost) for gpu, usd, joule in values]
    row = answers(data([*some, point(GPUS[3], factor=9, steady=False)])).iloc[0]
    found = [row[f"{name} GPU"].split(" (")[0] for name in ("fastest", "cheapest", "most frugal")]
    assert found == ["Synthetic 9000", "Synthetic 8000", "Synthetic 7500"]
    assert row["fastest GPU"].endswith("(1 box)") and row["cheapest GPU"].endswith("(spot, 1 box)")


def test_bars_of_the_page_are_those_of_the_ranking():
    d = data(market(3))
    ours, theirs = bars_of(d), by_gpu(d.best)
    mine = ours[ours.metric.eq("throughput") & ours.kind.eq("")]
    assert list(mine.middle) == list(theirs.middle) and list(mine.high) == list(theirs.high)
    found = page_data(d)
    assert len(found["charts"]) == 4 and {c["precision"] for c in found["charts"]} == {"fp16", "fp32"}
    assert all(c["bars"]["throughput"] and c["points"] for c in found["charts"])


def test_a_page_never_mixes_two_settings():
    d = data([point(), point(spec=dict(mode="infer"), factor=3), point(spec=dict(size="320x224"))])
    charts = page_data(d)["charts"]
    assert len(charts) == 3 == len({(c["model"], c["mode"]) for c in charts})
    assert all(len(c["bars"]["throughput"]) == 1 for c in charts)


def test_a_full_measurement_replaces_a_short_one_in_a_curve():
    points = points_of(data(ladder()).rows)
    assert list(points.bs) == [8, 16, 32, 64, 128, 256] and list(points.order) == [2, 2, 2, 2, 0, 3]


def test_published_results_are_marked_in_the_page_and_in_no_answer():
    found, refused = read_published(str(PUBLISHED))
    d = data([point(model="resnet50", precision=p) for p in ("fp16", "tf32")], reference=found, refused=refused)
    bars = bars_of(d)
    theirs = bars[bars.kind.str.startswith("published by")]
    assert len(theirs) and not theirs.boxes.any() and "Synthetic" in answers(d)["fastest GPU"].iloc[0]


def test_the_lines_of_a_terminal_and_the_table_name_the_same_gpu():
    "One lucky box of three does not make its GPU the fastest."
    d = data([*(point("Synthetic A 1000", box=i, factor=f) for i, f in enumerate((1, 1, 1.4))), point("Synthetic B 1000", factor=0.98)])
    table = overview(d)[-1]
    assert table.data["fastest GPU"].tolist() == ["Synthetic A 1000 (3 boxes)"]
    assert table.lines == ["synthetic-net FP16, 224 px: 84.2 samples/s on Synthetic A 1000 at batch size 64 (median of 3 boxes)"]
    d = data([*(point("Synthetic A 1000", box=i, factor=f) for i, f in enumerate((1, 1, 1.4))), point("Synthetic B 1000", factor=1.2)])
    (line,) = overview(d)[-1].lines
    assert line.endswith("101.1 ± 0.3 samples/s on Synthetic B 1000 at batch size 64")


def test_the_table_to_work_with_has_unsteady_results_marked():
    t = results_of(data([point(), point(GPUS[1], steady=False)]))
    assert dict(zip(t.gpu, t.ranked)) == {"Synthetic 9000": True, "Synthetic 8000": False}
    assert list(results_of(data([])).columns) == list(t.columns)


def test_a_skipped_point_is_not_a_failure():
    d = data([point(), make_record(Spec(model="m", bs=8), machine("G"), outcome="skipped:no time was left")])
    assert list(d.rows.status) == ["result", "skipped"] and "1 skipped" in everything(d) and "1 failed" not in everything(d)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are read from /proc")
def test_no_process_outlives_the_notebook():
    children = lambda: set(Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split())
    before = children()
    nb = notebook.execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]))
    assert nb.cells[0].outputs[0].data["text/plain"] == "2"
    assert children() <= before


MISTAKES = {
    "no such journal": (["nowhere.jsonl"], "no such journal"),
    "a folder": (["."], "this is a folder"),
    "no such format": (["--format", "pdf"], "expected one of html"),
    "a journal as the page": (["--out", "my.jsonl"], "ends in .html"),
    "no folder": (["--out", "no/such/r.html"], "no/such does not exist"),
    "no such table": (["--reference", "no.csv"], "no.csv"),
    "half a project": (["--project", "mine"], "entity/project"),
    "no such journal of yours": (["--mine", "no.jsonl"], "--mine no.jsonl"),
    "nothing to open": (["--open", "--format", "csv"], "--open"),
    "no such option": (["--refrence", "x"], "--reference"),
}


@pytest.mark.parametrize("args,words", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gives_an_error_of_one_line(args, words, tmp_path):
    done = rsg("report", *args, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert words in done.stderr and list(tmp_path.iterdir()) == []


def test_mistakes_load_no_heavy_library():
    for args in (["report", "--help"], ["report", "nowhere.jsonl"], ["report", "--format", "pdf"]):
        assert loaded(args, ("torch", "pandas", "matplotlib", "seaborn", "numpy", "wandb", "nbclient", "nbconvert")) == []


def test_a_file_that_is_no_journal_gives_an_error_of_one_line(tmp_path):
    (tmp_path / "x.jsonl").write_text("milk\n")
    done = rsg("report", "x.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "line 1 is not a record" in done.stderr and [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_project_that_does_not_exist_or_is_not_readable(tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[dev]'")
    with serving() as server:
        env = dict(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, HOME=str(tmp_path))
        for fault, words in ((None, "no such project"), (403, "does not let this key read it")):
            if fault:
                server.faults["Runs"] = fault
            done = rsg("report", "--project", "toy/nope", cwd=tmp_path, **env)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
            assert words in done.stderr and "toy/nope" in done.stderr and KEY not in done.stderr


def test_a_project_and_your_journal(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[dev]'")
    from ready_steady_go.store.wandb_runs import run_of

    mine = journal(tmp_path / "mine.jsonl", [point(box=99, factor=0.8)])
    with serving() as server:
        for name in [n for n in os.environ if n.startswith("WANDB")]:
            monkeypatch.delenv(name)
        for name, value in dict(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, HOME=str(tmp_path)).items():
            monkeypatch.setenv(name, value)
        for i in range(4):
            run = run_of(point(box=i))
            server.put("toy", "p", run["id"], config=run["config"], summary=run["summary"])
        d = load_results([str(mine)], "toy/p")
    assert "20% below the median of 4 Synthetic 9000s" in everything(d)


def test_a_file_in_the_working_folder_is_not_imported(tmp_path):
    (tmp_path / "seaborn.py").write_text("raise SystemExit('this is not seaborn')")
    journal(tmp_path / "j.jsonl", ONE)
    script = Path(sys.executable).parent / "rsg"
    done = subprocess.run([script, "report", "j.jsonl", "--format", "md"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_no_browser(monkeypatch, capsys, tmp_path):
    import webbrowser

    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or False)
    assert page._open_page(tmp_path / "r.html") == 1 and opened[0].startswith("file:///")
    assert "there is no browser here" in capsys.readouterr().err


def test_unsteady_results_have_their_own_best():
    rows = classify(table_of([point(steady=False)]))
    assert len(best_rows(rows)) == 0 and len(best_rows(rows, UNSTEADY)) == 1
