"`--repeat N` measures the best point in new processes: what is recorded, quoted and compared, and how a stopped run goes on."

import json
import os
import time
from dataclasses import replace

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands.compare import compare
from ready_steady_go.commands.suite import run_suite
from ready_steady_go.report.comparable import classify
from ready_steady_go.report.ranking import best_rows
from ready_steady_go.report.table import table_of
from ready_steady_go.run.campaign import run
from ready_steady_go.run.repeat import run_spread
from ready_steady_go.run.request import Request
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.suite_file import parse_suite
from ready_steady_go.run.supervise import Runner
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import as_row, from_line, make_record, plus_minus, settings_key, to_line
from ready_steady_go.timing.measure import Measurement

GPU = Machine(device="cuda", device_name="Toy GPU 3000", gpu_mem=24 * 2**30, driver="550.54", pytorch="2.4.1+cu121")
FACTORS = (1.0, 1.01, 0.99, 1.02, 0.985, 1.005, 0.99)  # how many times as fast each process is


class Toy(Runner):
    "A device that is a formula: 200 samples fit, and every process has another speed."

    def __init__(self, fails=(), stop_after=10**9, noise=0.001):
        super().__init__()
        self.machine, self.process, self.fails, self.points, self.stop_after, self.noise = GPU, 0, fails, 0, stop_after, noise

    def check(self, specs):
        return [replace(s, family="timm", size=224) for s in specs]

    def end(self):
        self.process += 1
        super().end()

    def point(self, spec, limits, on_beat, silence_s):
        if self.points == self.stop_after: raise KeyboardInterrupt
        self.points += 1
        length = {name: limits.get(name) for name in ("n_seconds", "n_batches", "run_number", "soak")}
        if self.process in self.fails: return make_record(spec, GPU, outcome="failed:SIGSEGV", error="ended by SIGSEGV", **length)
        if spec.bs > 200: return make_record(spec, GPU, outcome="oom", **length)
        step = (0.01 + spec.bs * 0.0012) / FACTORS[self.process % len(FACTORS)]
        m = Measurement(spec.bs, [(10, 10 * step * (1 + i % 3 * self.noise)) for i in range(50)], 1.0, 0.1)
        more = dict(burst_throughput=1.0, sustained_throughput=1.0, soak_s=60.0, flat=True) if length["soak"] else {}
        return make_record(spec, GPU, m, peak_mem_bytes=spec.bs * 10**8, **length, **more)


@pytest.fixture
def go(tmp_path, capsys):
    "Run a command: options, and the toy -> exit code, stdout, stderr, all records of the journal."

    def go(toy=None, out="journal.jsonl", **typed):
        out = str(tmp_path / out)
        request = Request.from_options(dict(model="resnet50", fp16=True, layout="nchw", out=out, wandb="off", budget="900") | typed)
        try: code = run([request], Screen(), time.monotonic(), toy or Toy())
        except KeyboardInterrupt: code = None
        return code, *capsys.readouterr(), Journal(out).read()

    return go


def runs(records): return [r for r in records if r.search == "repeat"]


def spread(found): return run_spread([r.throughput for r in found], [r.throughput_ci95 for r in found])


@pytest.mark.parametrize("typed", [dict(search_until="64"), dict(bs="32,64")])
def test_the_best_point_is_measured_again_in_new_processes(go, typed):
    code, out, err, records = go(repeat="4", **typed)
    found, before = runs(records), [r for r in records if r.search != "repeat"]
    best = max((r for r in before if r.search in ("confirm", "given")), key=lambda r: r.throughput)
    assert code == 0 and records[-4:] == found and {r.bs for r in found} == {best.bs} and {r.key for r in found} == {best.key}
    assert len({r.throughput for r in found}) == 4 and settings_key(found[0]) == settings_key(best) and found[0].label == best.label
    assert [(r.runs, r.repeat, r.runs_ci95 is None) for r in found] == [(i, 4, i == 1) for i in (1, 2, 3, 4)]
    quoted = spread(found)
    assert (found[-1].runs_throughput, found[-1].runs_ci95) == pytest.approx((quoted.throughput, quoted.half_width), rel=1e-6)
    assert found[-1].runs_ci95 > 10 * max(r.throughput_ci95 for r in found)  # processes differ by 1 %, windows by 0.1 %
    (answer,) = [line for line in out.splitlines() if line.startswith("* resnet50 fp16")]
    assert f": {plus_minus(quoted.throughput, quoted.half_width)} samples/s at" in answer and answer.endswith(", 4 runs")
    assert "run 1/4" in out and "run 4/4" in out
    assert "  4 runs in new processes: " in out and "; ± is for the next one" in out and max(map(len, out.splitlines())) <= 80


def test_without_the_option_nothing_is_repeated(go):
    code, out, err, records = go(bs="64")
    assert code == 0 and not runs(records) and "run" not in out.replace("resnet50", "") and "runs_ci95" not in to_line(records[0])


def test_a_stopped_run_goes_on_and_a_finished_one_is_not_repeated(go):
    code, _, _, records = go(Toy(stop_after=3), bs="64", repeat="5")
    assert code is None and [r.runs for r in runs(records)] == [1, 2]
    code, out, err, records = go(bs="64", repeat="5")
    assert code == 0 and [r.runs for r in runs(records)] == [1, 2, 3, 4, 5] and len(records) == 6
    again = go(bs="64", repeat="5")
    assert again[3] == records and again[0] == 0 and "5 runs in new processes" in again[1] and "from the journal" in again[2]
    assert [r.runs for r in runs(go(bs="64", repeat="6")[3])] == [1, 2, 3, 4, 5, 6]
    assert [r.runs for r in runs(go(bs="64", repeat="2", fresh=True)[3])][6:] == [1, 2]


def test_the_quoted_spread_is_that_of_all_quoted_runs(go):
    go(bs="64", repeat="5")
    go(Toy(stop_after=3), bs="64", repeat="5", fresh=True)
    code, out, err, records = go(bs="64", repeat="5")
    found = spread(runs(records))
    assert found.runs == 7 and "7 runs in new processes" in out and f": {plus_minus(found.throughput, found.half_width)} samples/s" in out


def test_a_search_that_was_stopped_in_its_runs_goes_on(go):
    first = go(search_until="64", repeat="3")[3]
    code, _, _, records = go(Toy(stop_after=len(first) - 1), out="stopped.jsonl", search_until="64", repeat="3")
    assert code is None and [r.runs for r in runs(records)] == [1, 2]
    code, _, _, records = go(out="stopped.jsonl", search_until="64", repeat="3")
    assert code == 0 and [(r.bs, r.search) for r in records] == [(r.bs, r.search) for r in first]


def test_a_run_that_fails_is_recorded_and_the_others_count(go):
    code, out, err, records = go(Toy(fails=(2,)), bs="64", repeat="3")
    assert code == 1 and [(r.outcome, r.runs) for r in runs(records)] == [("ok", 1), ("failed:SIGSEGV", None), ("ok", 2)]
    assert "failed: SIGSEGV" in out and "2 runs in new processes" in out and "ended by SIGSEGV" in err
    assert [r.runs for r in runs(go(bs="64", repeat="3")[3])] == [1, None, 2, 3]  # the same command makes the missing one


def test_without_time_a_note_names_the_remedy(go):
    code, out, err, records = go(bs="64", repeat="3", budget="5")
    assert code == 0 and not runs(records)
    assert "0 of 3 runs: the budget is spent; the same command with a larger --budget goes on" in err


def test_runs_come_before_the_soak(go):
    records = go(bs="64", repeat="2", soak="20s")[3]
    assert [r.search for r in records] == ["given", "repeat", "repeat", "soak"]


def test_a_record_survives_its_line(go):
    for r in runs(go(bs="64", repeat="2")[3]):
        assert from_line(to_line(r)) == r and {"repeat", "runs"} <= as_row(r).keys()


def test_compare_uses_the_spread_between_runs(go):
    a, b = (go(Toy(noise=noise), out=f"{noise}.jsonl", bs="64", repeat="4")[3] for noise in (0.001, 0.02))
    single = compare(a[:1], [replace(a[0], throughput=1.02 * a[0].throughput, id="x")]).points[0]
    assert single.verdict == "FASTER"  # 2 %, and half a percent is assumed
    faster = [replace(r, throughput=1.02 * r.throughput, id=f"x{i}") for i, r in enumerate(a)]
    (point,) = compare(a, faster).points
    assert (len(point.a.logs), point.verdict) == (5, "UNSURE") and point.high - point.low > 1.5 * (single.high - single.low)
    assert not any(r.steady for r in runs(b))  # windows that differ by 2 %: the spread between runs is known all the same
    assert len(compare(a, b).points[0].b.logs) == 4


def test_the_report_shows_the_spread_as_error(go):
    records = go(search_until="64", repeat="4")[3]
    (row,) = best_rows(classify(table_of(records))).to_dict("records")
    assert row["error"] == pytest.approx(runs(records)[-1].runs_ci95, rel=1e-6) and row["repeats"] == 5


SUITE = """
about = "a toy"
repeat = 3

[[run]]
model = "a-model"
precision = "fp16"
bs = [32, 64]

[[run]]
model = "a-model"
precision = "bf16"
search-until = 64
"""


def test_a_suite_may_ask_for_runs(tmp_path, capsys):
    out = str(tmp_path / "j.jsonl")
    assert run_suite(parse_suite(SUITE, "toy", "toy.toml"), dict(out=out, wandb="off"), Screen(), time.monotonic(), Toy()) == 0
    records, table = Journal(out).read(), capsys.readouterr().out.split("suite toy")[1]
    fp16, bf16 = ([r for r in runs(records) if r.precision == p] for p in ("fp16", "bf16"))
    assert len(fp16) == len(bf16) == 3 and {r.bs for r in fp16} == {64}
    for found in fp16, bf16:
        assert plus_minus(spread(found).throughput, spread(found).half_width) in table


def test_json_lines_have_the_runs(tmp_path, capsys):
    typed = dict(model="resnet50", fp16=True, bs="64", repeat="2", out=str(tmp_path / "j.jsonl"), wandb="off", json=True)
    assert run([Request.from_options(typed)], Screen(as_json=True), time.monotonic(), Toy()) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["search"] for row in rows] == ["given", "repeat", "repeat"] and rows[-1]["runs_ci95"] > 0 and os.path.exists(typed["out"])
