"The same command resumes where its journal ends."

import json
import time
from dataclasses import replace

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.box.sensors import GpuFacts
from ready_steady_go.run.campaign import Campaign, Collected, PriceLookup, begin_ladder, carry_out, end_interrupted, repeat_best
from ready_steady_go.run.request import Request
from ready_steady_go.run.resume import has_soak
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.search import MAX_BS, FixedSizes, Search
from ready_steady_go.run.supervise import Runner, run_ladder
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import make_record, seal, to_line
from ready_steady_go.timing.measure import Measurement

TOY = Machine(device="cuda", device_name="Toy GPU", gpu_mem=24 * 10**9, pytorch="2.4.1", cuda="12.1", driver="550.54")


class Toy(Runner):
    "A device that fits 100 samples and gets faster with each."

    def __init__(self, machine=TOY, stop_after=10**9):
        super().__init__()
        self.toy, self.asked, self.stop_after = machine, [], stop_after

    def check(self, specs):
        self.machine = self.toy
        return [replace(s, family="timm", size=224) for s in specs]

    def point(self, spec, limits, on_beat, silence_s):
        if len(self.asked) == self.stop_after: raise KeyboardInterrupt
        self.asked.append(spec.bs)
        asked = {k: limits.get(k) for k in ("n_seconds", "n_batches", "run_number")}
        if spec.bs > 100: return make_record(spec, self.toy, outcome="oom", **asked)
        measured = Measurement(bs=spec.bs, windows=[(10, 0.1 + spec.bs / 1000)] * 12)
        return make_record(spec, self.toy, measured, peak_mem_bytes=spec.bs * 2 * 10**8, **asked)


def go(journal, sizes=None, runner=None, model="a", precision="fp16", fresh=False, quiet=True, **limits):
    "Run a command; return the batch sizes that it measured."
    options = RunOptions(bs=sizes, fresh=fresh, out=str(journal.path), wandb="off", **limits)
    campaign = Campaign(Screen(quiet=quiet), runner or Toy(), journal, PriceLookup(None))
    request = Request([Spec(model=model, precision=precision)], options)
    try: carry_out([request], campaign, time.monotonic(), Collected())
    except KeyboardInterrupt: pass
    return campaign.runner.asked


@pytest.fixture
def journal(tmp_path): return Journal(tmp_path / "j.jsonl")


def test_measured_points_are_not_measured_again(journal):
    assert go(journal, [8, 16, 32]) == [8, 16, 32]
    before = journal.path.read_text()
    assert go(journal, [8, 16, 32]) == [] and journal.path.read_text() == before
    assert go(journal, [8, 16, 24, 32]) == [24]


def test_an_interrupted_list_is_resumed(journal):
    assert go(journal, [8, 16, 32, 64], Toy(stop_after=2)) == [8, 16]
    assert go(journal, [8, 16, 32, 64]) == [32, 64]


def test_a_batch_size_that_did_not_fit_closes_those_above(journal):
    assert go(journal, [64, 128, 256]) == [64, 128]
    assert go(journal, [64, 128, 256, 512]) == []
    assert [(r.bs, r.outcome[:7]) for r in journal.read()][-2:] == [(256, "skipped"), (512, "skipped")]


@pytest.mark.parametrize("stop_after", range(1, 12))
def test_an_interrupted_search_is_resumed(journal, stop_after):
    first = go(journal, runner=Toy(stop_after=stop_after))
    rest = go(journal)
    probes = [r.bs for r in journal.read() if r.search not in ("confirm", "layout")]
    assert len(first) + len(rest) == len(journal.read())
    assert len(probes) == len(set(probes)), "a point was measured twice"
    *_, last, trial = journal.read()
    assert trial.search == "layout" and trial.bs == last.bs and [r.search for r in journal.read()].count("layout") == 1
    assert last.search == "confirm" and last.bs > 80 and last.search_stopped
    assert go(journal) == []


def bests(journal): return [r for r in journal.read() if r.search == "confirm"]


def test_a_limited_search_does_not_limit_a_later_one(journal):
    go(journal, search_until=32)
    assert max(r.bs for r in journal.read()) <= 32 and bests(journal)
    assert go(journal, search_until=32) == []
    go(journal)
    assert bests(journal)[-1].bs > 80
    assert go(journal) == [] and go(journal, search_until=32) == []


@pytest.mark.parametrize("stop_after", range(4, 9))
def test_an_interrupted_limited_search_does_not_limit_a_later_one(journal, stop_after):
    go(journal, runner=Toy(stop_after=stop_after), search_until=32)
    go(journal)
    assert bests(journal)[-1].bs > 80 and go(journal) == []


def test_the_end_of_a_search_is_a_field(journal):
    go(journal, search_until=32)
    assert [r.settled_until for r in journal.read() if r.settled_until] == [32]
    journal.path.write_text("".join(to_line(seal(replace(r, search_stopped=None))) + "\n" for r in journal.read()))
    assert go(journal, search_until=32) == []
    assert go(journal) and journal.read()[-2].settled_until == MAX_BS


def test_a_limited_search_ignores_larger_results(journal):
    go(journal)
    n = len(journal.read())
    go(journal, search_until=64)
    new = journal.read()[n:]
    assert all(r.bs <= 64 for r in new) and [r for r in new if r.search == "confirm"]
    assert go(journal) == [] and go(journal, search_until=64) == []


def test_a_race_of_tune_ends_no_search(journal):
    spec = Spec(model="a", precision="fp16", bs=8, family="timm", size=224)
    measured = Measurement(bs=8, windows=[(10, 0.1)] * 12)
    journal.append(make_record(spec, TOY, measured, search="confirm", tune_id="x", run_number=1))
    go(journal)
    assert bests(journal)[-1].bs > 80


def test_a_short_trial_does_not_answer_a_list(journal):
    go(journal)
    short = next(r.bs for r in journal.read() if r.search == "probe" and r.ok)
    assert go(journal, [short]) == [short] and go(journal, [short]) == []


def test_results_of_a_stopped_run_are_pushed_before_the_box_goes(journal, monkeypatch):
    pushed = []
    monkeypatch.setattr("ready_steady_go.run.campaign.push_after_run", lambda options, path, new: pushed.append([r.bs for r in new]))
    go(journal, [8, 16, 32], Toy(stop_after=2))
    go(journal, [8, 16, 32], hand_back=True)
    go(journal, [8, 16, 32])
    assert pushed[-2:] == [[8, 16, 32], []]


def test_false_is_a_choice_where_the_default_is_the_programs():
    assert Request.from_options(dict(model="a", fused=False)).specs[0].fused is False
    assert Request.from_options(dict(model="a", compile=False, clip=False)).specs == Request.from_options(dict(model="a")).specs
    assert Request.from_options(dict(model="a", fused=None)).specs[0].fused is None


def test_what_the_journal_has_is_not_skipped_for_a_spent_budget(journal):
    go(journal, [8, 16])
    n, runner = len(journal.read()), Toy()
    options = RunOptions(bs=[8, 16, 32], out=str(journal.path), wandb="off", budget=1e-9)
    request = Request([Spec(model=m, precision="fp16") for m in "ba"], options)
    carry_out([request], Campaign(Screen(quiet=True), runner, journal, PriceLookup(None)), time.monotonic() - 9, Collected())
    assert [r.bs for r in journal.read()[n:] if r.outcome == "skipped:budget" and r.model == "a"] == [32]


def outcomes(search, left_s, **limits):
    "Run a ladder with the same time left at each point; return the outcome at each batch size."
    runner = Toy()
    (spec,) = runner.check([Spec(model="a", precision="fp16")])
    return {r.bs: r.outcome for r in run_ladder(spec, search, runner, lambda: left_s, dict(run_number=1, **limits))}


@pytest.mark.parametrize("limits,left_s,fits", [
    (dict(n_seconds=60.0), 40.0, False), (dict(n_seconds=30.0), 40.0, True), (dict(n_seconds=60.0), float("inf"), True),
    (dict(n_batches=7), 1.0, False), (dict(n_batches=7), 40.0, True), ({}, 1.0, True),
])  # fmt: skip
def test_a_point_that_is_longer_than_the_rest_of_the_budget_does_not_start(limits, left_s, fits):
    """The first point of a model starts in any case: another has nothing to show. The Toy times 120 steps whatever `n_batches` is."""
    rest = "ok" if fits else "skipped:budget"
    assert outcomes(FixedSizes([8, 16, 32]), left_s, **limits) == {8: "ok", 16: rest, 32: rest}
    assert fits or len(outcomes(Search(8), left_s, **limits)) == 1


@pytest.mark.parametrize("typed,budget_s", [
    ({}, 120), (dict(n_seconds="5"), 120), (dict(n_seconds="60"), 600), (dict(n_seconds="60", repeat="2"), 780),
    (dict(n_seconds="60", budget="90"), 90), (dict(n_seconds="60", bs="8"), float("inf")),
])  # fmt: skip
def test_longer_points_have_a_longer_search(typed, budget_s):
    assert Request.from_options(dict(typed, model=["a"])).budget_s == budget_s


@pytest.mark.parametrize("n_seconds,left_s,runs", [(60.0, 40.0, 0), (30.0, 40.0, 2), (None, 40.0, 2)])
def test_a_longer_run_of_the_best_point_does_not_start_either(journal, n_seconds, left_s, runs):
    go(journal, [8], n_seconds=n_seconds)
    campaign = Campaign(Screen(quiet=True), Toy(), journal, PriceLookup(None))
    (spec,) = campaign.runner.check([Spec(model="a", precision="fp16")])
    ladder = begin_ladder(campaign, Request([spec], RunOptions(bs=[8], repeat=2, n_seconds=n_seconds)), spec)
    assert len([*repeat_best(campaign, ladder, lambda: left_s)]) == runs


def test_a_price_that_is_typed_later_is_that_of_all_rows(journal, capsys):
    def rows(**typed):
        "Run the same command; return the dollars of each row on the screen."
        request = Request([Spec(model="a", precision="fp16")], RunOptions(bs=[8, 16], out=str(journal.path), wandb="off", **typed))
        collected, lookup = Collected(), PriceLookup(typed.get("usd_per_hour"))
        carry_out([request], Campaign(Screen(as_json=True), Toy(), journal, lookup), time.monotonic(), collected)
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [r["usd_per_hour"] for r in printed] == [r.usd_per_hour for r in collected.ladders[0][1]]
        return [r.usd_per_msample for r in collected.ladders[0][1]]

    assert rows() == [None, None]
    before = journal.path.read_text()
    dear = rows(usd_per_hour=0.72)
    assert dear == pytest.approx([0.72 / 3600 / r.throughput * 1e6 for r in journal.read()])
    assert rows(usd_per_hour=0.36) == pytest.approx([usd / 2 for usd in dear])
    assert journal.path.read_text() == before


def test_fresh_measures_again(journal):
    assert go(journal, [8, 16]) == go(journal, [8, 16], fresh=True) == [8, 16]


@pytest.mark.parametrize("other", [dict(precision="fp32"), dict(model="b"), dict(n_batches=7), dict(run_number=2)])
def test_other_options_are_measured(journal, other):
    assert go(journal, [8]) == go(journal, [8], **other) == [8]


BOX = replace(TOY, pci_id="00000000:01:00.0", cpu="AMD EPYC", cpu_cores=16.0, cudnn="90100", timm="1.0.9", transformers="4.57.0")


@pytest.mark.parametrize("other", [
    dict(device_name="Another GPU"), dict(pytorch="2.15.0"), dict(pytorch="2.4.2"), dict(cuda="12.4"), dict(driver="600.1"),
    dict(cudnn="90200"), dict(timm="1.0.15"), dict(python="3.99.0"), dict(pci_id="00000000:02:00.0"), dict(gpu_mem=12 * 10**9),
    dict(cpu="Intel Xeon"), dict(cpu_cores=4.0),
])  # fmt: skip
def test_another_machine_is_measured(journal, other, capsys):
    assert go(journal, [8], Toy(BOX)) == [8] and go(journal, [8], Toy(BOX)) == []
    assert go(journal, [8], Toy(replace(BOX, **other)), quiet=False) == [8]
    ((name, value),) = other.items()
    assert f"{name} {getattr(BOX, name)}, now {value}" in capsys.readouterr().err
    assert go(journal, [8], Toy(replace(BOX, **other))) == []


@pytest.mark.parametrize("other", [
    dict(transformers="5.0.0"), dict(transformers=None), dict(ram_bytes=10**9), dict(platform="another kernel"),
    dict(pci_id=None), dict(cpu_cores=None), dict(cudnn=None),
])  # fmt: skip
def test_a_machine_that_differs_in_what_does_not_count_resumes(journal, other):
    assert go(journal, [8], Toy(BOX)) == [8] and go(journal, [8], Toy(replace(BOX, **other))) == []


def test_a_lower_power_limit_is_measured(journal, monkeypatch):
    for watts, measured in (300.0, [8]), (300.0, []), (200.0, [8]), (None, []):
        facts = None if watts is None else GpuFacts(power_limit_w=watts)
        monkeypatch.setattr("ready_steady_go.run.watch.GpuWatch.begin", lambda watch, machine, facts=facts: setattr(watch, "facts", facts))
        assert go(journal, [8], Toy(BOX)) == measured


def test_a_soak_of_another_card_is_no_soak_of_this_one(journal):
    go(journal, [8], Toy(BOX))
    (best,) = journal.read()
    soak = replace(best, search="soak", soak=60.0)
    assert has_soak([soak], best, 60.0) and not has_soak([soak], replace(best, pci_id="00000000:02:00.0"), 60.0)


def test_failed_and_skipped_points_are_tried_again(journal):
    for outcome in ("failed:SIGSEGV", "skipped:budget"):
        journal.append(make_record(Spec(model="a", precision="fp16", bs=8, family="timm", size=224), TOY, outcome=outcome, run_number=1))
    assert go(journal, [8]) == [8]


def test_a_journal_of_an_older_version_is_read(journal):
    go(journal, [8])
    row = json.loads(to_line(journal.read()[0]))
    for name in ("search", "search_stopped", "drift"): del row[name]
    journal.path.write_text(json.dumps(row) + "\n")
    assert journal.read()[0].drift is None
    assert go(journal, [8]) == []


@pytest.mark.parametrize("fresh", [True, False])
def test_an_interrupted_fresh_run_names_what_its_continuation_answers_from_the_journal(monkeypatch, capsys, fresh):
    monkeypatch.setattr("sys.argv", ["/usr/bin/rsg", "--model", "a,b", *["--fresh"] * fresh])
    assert end_interrupted(Screen(), 2) == 130
    said = capsys.readouterr().err
    assert "to continue: rsg --model a,b" in said and ("--fresh measures everything again" in said) == fresh
