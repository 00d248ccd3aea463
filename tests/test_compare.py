"rsg compare: its verdicts err as seldom as they claim, only comparable points are compared, and scripts can read the result."

import json
import math
import random
import statistics
import sys
from dataclasses import replace

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands.cli import main
from ready_steady_go.commands.compare import compare
from ready_steady_go.commands.ratio import Runs, ratio_verdict, throughput_ratio
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import make_record

GPU = Machine(device="cuda", device_name="NVIDIA GeForce RTX 3090", driver="550.54", pytorch="2.4.1+cu121", cuda="12.1")
NEWER = replace(GPU, pytorch="2.5.1+cu124", cuda="12.4")
OTHER = replace(GPU, device_name="NVIDIA GeForce RTX 4090")
SPEC = Spec(model="resnet50", family="timm", precision="fp16", size=224)


def point(bs=64, throughput=800.0, machine=GPU, half=0.002, search="given", steady=True, model="resnet50", **more):
    "Return a record with a result."
    about = dict(throughput=throughput, throughput_ci95=half * throughput, steady=steady, search=search) | more
    return make_record(replace(SPEC, bs=bs, model=model), machine, **about)


# How often a verdict is wrong

TIMES = 1000
CHANCE = 3 * (0.05 * 0.95 / TIMES) ** 0.5  # three standard deviations of a share of 5 % of so many

def verdict_shares(truth, runs, within, between, times=TIMES, seed=0):
    "Return the share of each verdict, for a true ratio and for noise within a run and between runs (standard deviations)."
    chance, count = random.Random(seed), dict.fromkeys(("SAME", "FASTER", "SLOWER", "UNSURE"), 0)

    def side(n, center):
        logs = [math.log(center) + chance.gauss(0, between) + chance.gauss(0, within) for _ in range(n)]
        return Runs(logs, [1.96 * within] * n)

    for _ in range(times): count[ratio_verdict(*throughput_ratio(side(runs[0], 800), side(runs[1], 800 * truth))[1:])] += 1 / times
    return count


NOISE = {"one run": ((1, 1), 0.002, 0.0), "one run, and they differ": ((1, 1), 0.001, 0.0025), "three": ((3, 3), 0.001, 0.01)}
NOISE |= {"two and three": ((2, 3), 0.002, 0.005), "one and four": ((1, 4), 0.001, 0.01), "ten": ((10, 10), 0.0005, 0.02)}
NOISE |= {"noise within": ((3, 3), 0.02, 0.0), "one noisy run": ((1, 1), 0.02, 0.0)}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_equal_sides_are_seldom_called_different(noise):
    share = verdict_shares(1.0, *noise)
    assert share["FASTER"] + share["SLOWER"] <= 0.05 + CHANCE


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_a_difference_of_the_margin_is_seldom_called_the_same(noise):
    assert max(verdict_shares(truth, *noise)["SAME"] for truth in (1.0101, 0.9899)) <= 0.04  # one end of a 95 % interval: 2.5 %


@pytest.mark.parametrize("truth,word,opposite", ((1.05, "FASTER", "SLOWER"), (0.95, "SLOWER", "FASTER")))
@pytest.mark.parametrize("noise", (((1, 1), 0.002, 0.0025), ((3, 3), 0.001, 0.006), ((2, 2), 0.001, 0.002)))
def test_a_difference_of_five_percent_is_found(truth, word, opposite, noise):
    share = verdict_shares(truth, *noise)
    assert share[word] >= 0.9 and share[opposite] == 0


def test_single_runs_that_differ_more_than_assumed_are_often_wrong():
    share = verdict_shares(1.0, (1, 1), 0.001, 0.02)
    assert share["FASTER"] + share["SLOWER"] > 0.5


def test_enough_runs_show_that_sides_are_the_same():
    assert verdict_shares(1.0, (5, 5), 0.001, 0.003)["SAME"] > 0.9
    assert verdict_shares(1.0, (1, 1), 0.02, 0.0)["SAME"] == 0


def test_the_interval_contains_the_true_ratio():
    chance, contained = random.Random(1), []
    for _ in range(1500):
        sides = [Runs([math.log(x) + chance.gauss(0, 0.01) for _ in range(3)], [0.001] * 3) for x in (800, 840)]
        _, low, high = throughput_ratio(*sides)
        contained.append(low <= 1.05 <= high)
    assert 0.93 <= statistics.fmean(contained) <= 0.995


def test_more_runs_narrow_the_interval():
    a = Runs([0.0, 0.001, -0.001], [0.001] * 3)
    narrow, wide = (throughput_ratio(a, Runs([0.05] * n, [0.01] * n)) for n in (4, 1))
    assert narrow[2] - narrow[1] < wide[2] - wide[1]


# Which points are compared


def verdicts(found):
    "Return the batch sizes and verdicts of a comparison."
    return [(row.bs, row.verdict) for row in found.points]


def test_only_equal_models_and_batch_sizes_are_compared():
    a, b = [point(64), point(128), point(64, model="vgg16")], [point(64, 880.0), point(256), point(64, model="vgg19")]
    found = compare(a, b)
    assert verdicts(found) == [((64, 64), "FASTER")] and found.points[0].ratio == pytest.approx(1.1)
    assert [(r.model, r.bs, why) for r, why in found.missing] == [("resnet50", 128, "not measured"), ("vgg16", 64, "not measured")]
    assert [(r.model, r.bs) for r, _ in found.added] == [("resnet50", 256), ("vgg19", 64)]


UNFIT = {
    "does not fit": dict(outcome="oom", throughput=None, throughput_ci95=None), "impossible": dict(plausible=False),
    "not steady": dict(steady=False), "only a short measurement": dict(search="probe"), "a soak": dict(search="soak"),
    "without an interval": dict(throughput_ci95=None), "failed: SIGSEGV": dict(outcome="failed:SIGSEGV", throughput=None),
}  # fmt: skip


@pytest.mark.parametrize("why,about", UNFIT.items(), ids=UNFIT.keys())
def test_an_unfit_record_is_not_compared(why, about):
    found = compare([point(64), point(128)], [point(64, 700.0), replace(point(128, 100.0), **about)])
    assert verdicts(found) == [((64, 64), "SLOWER")]
    assert [(r.bs, why) for r, why in found.missing] == [(128, why)] and found.not_compared == {why: 1}


def test_the_runs_of_a_point_are_combined():
    a, b = ([point(64, x * 800 + i, run_number=i) for i in range(4)] for x in (1, 1.02))
    (row,) = compare(a, b).points
    assert (len(row.a.logs), len(row.b.logs), row.verdict) == (4, 4, "FASTER")


def test_the_best_points_of_two_searches_are_compared():
    a = [point(32, 700.0, search="probe"), point(64, search="confirm"), point(64, 801.0, search="confirm", seed=1)]
    b = [point(64, 790.0, search="refine"), point(72, 900.0, search="confirm"), point(80, 890.0, search="confirm")]
    found = compare(a, b)
    assert [(row.bs, row.best, row.verdict) for row in found.points] == [((64, 72), True, "FASTER")]
    assert not found.missing and found.not_compared == {"only a short measurement": 2}
    same = compare(a, [point(64, 802.0, search="confirm")]).points
    assert [(row.bs, row.best) for row in same] == [((64, 64), True)]


def test_other_versions_are_compared_only_on_request():
    a, b = [point(64), point(128)], [point(64, 780.0, NEWER), point(256, 1.0, NEWER)]
    found = compare(a, b)
    assert found.points == [] and "1 point with other versions (torch 2.4.1+cu121 -> 2.5.1+cu124" in found.hints[0]
    assert {why for _, why in found.missing} == {"other versions"}
    found = compare(a, b, across=True)
    assert verdicts(found) == [((64, 64), "SLOWER")] and found.points[0].across and "CUDA 12.1 -> 12.4" in found.differs


def test_exact_keys_come_first():
    a, b = [point(64), point(64, 400.0, NEWER)], [point(64, 801.0)]
    found = compare(a, b, across=True)
    assert verdicts(found) == [((64, 64), "SAME")] and not found.points[0].across
    old = replace(NEWER, pytorch="2.3.0+cu121")
    found = compare([point(64), point(64, 400.0, NEWER)], [point(64, 801.0, old)], across=True)
    assert not found.points and "several versions of 1 model" in found.hints[0]


def test_a_key_that_disagrees_with_its_record_matches_nothing_else():
    stale = replace(point(64, 790.0, NEWER), key=point(64).key)
    assert compare([point(64)], [stale]).points == []


def test_a_record_on_both_sides_is_not_compared_with_itself():
    a, b = point(64), point(128)
    found = compare([a, b], [a, replace(b, throughput=900.0)])
    assert [row.bs for row in found.points] == [(128, 128)] and found.not_compared == {"on both sides": 1}


def test_one_device_on_each_side_or_the_same_devices():
    assert verdicts(compare([point(64)], [point(64, 1500.0, OTHER)])) == [((64, 64), "FASTER")]
    mixed = [point(64), point(64, 1500.0, OTHER)]
    assert verdicts(compare(mixed, [point(64, 1400.0, OTHER), point(64, 600.0)])) == [((64, 64), "SLOWER")] * 2
    with pytest.raises(UserError, match="A: several GPUs"): compare(mixed, [point(64, 1.0, replace(GPU, device_name="NVIDIA H100"))])


# The command


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    "Return a function that runs `rsg compare` in a folder with journals: what it printed on stdout and stderr, and its exit code."
    monkeypatch.chdir(tmp_path)
    made = dict(old=[point(64), point(128), point(256)], new=[point(64, 700.0), point(128, 805.0)])
    made |= dict(mixed=[point(64), point(64, 1400.0, OTHER)], torch=[point(64), point(64, 700.0, NEWER)])
    made |= dict(unsteady=[point(64, steady=False)])
    for name, records in made.items():
        for r in records: Journal(f"{name}.jsonl").append(r)
    open("empty.jsonl", "w", encoding="utf-8").close()

    def run(*args):
        with pytest.raises(SystemExit) as left: main(["compare", *args])
        done = capsys.readouterr()
        return done.out, done.err, left.value.code

    return run


def test_the_table_has_eighty_columns(run):
    out, err, code = run("old.jsonl", "new.jsonl")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert "0.875" in out and "1 SLOWER, 1 UNSURE, 1 missing in B" in out
    assert "missing in B: resnet50 fp16, 224 px on NVIDIA GeForce RTX 3090 at batch size 256" in out
    assert "single runs" in err and run("old.jsonl", "new.jsonl", "--quiet")[1] == ""


def test_json(run):
    out, _, code = run("old.jsonl", "new.jsonl", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [r["verdict"] for r in rows] == ["SLOWER", "UNSURE", "MISSING"]
    assert {r["label"] for r in rows} == {"resnet50 fp16, 224 px"} and rows[2]["device_name"] == "NVIDIA GeForce RTX 3090"
    assert rows[0]["a_stack"].startswith("torch 2.4, CUDA 12.1")
    assert rows[0]["ratio"] == 0.875 and rows[0]["ratio_low"] < 0.875 < rows[0]["ratio_high"] < 1 and rows[0]["b_throughput"] == 700


RULES = {"slower:3%": 1, "slower": 1, "slower:13%": 0, "faster": 0, "unsure": 1, "missing": 1, "faster:1%,slower:20%": 0}
RULES |= {"faster,missing": 1}


@pytest.mark.parametrize("rule,code", RULES.items())
def test_fail_if(run, rule, code):
    out, err, left = run("old.jsonl", "new.jsonl", "--fail-if", rule, "--quiet")
    assert left == code and "SLOWER" in out
    assert err.startswith(f"rsg: --fail-if {rule}: resnet50") == bool(code) and err.count("\n") == code


def test_a_part_of_a_journal_is_a_side(run):
    out, _, code = run("mixed.jsonl:3090", "mixed.jsonl:4090")
    assert code == 0 and "1 FASTER" in out and "RTX 4090" in out
    out, _, code = run("torch.jsonl:pytorch=2.4", "torch.jsonl:pytorch=2.5", "--across", "versions")
    assert code == 0 and "1 SLOWER" in out and "torch 2.4.1+cu121 -> 2.5.1+cu124" in out


def test_two_precisions_of_one_journal_are_compared_on_request(run, tmp_path):
    journal = Journal("precisions.jsonl")
    for throughput, precision in (400.0, "fp32"), (800.0, "fp16"):
        about = dict(throughput=throughput, throughput_ci95=0.002 * throughput, steady=True, search="given")
        journal.append(make_record(replace(SPEC, bs=64, precision=precision), GPU, **about))
    out, _, code = run("precisions.jsonl:fp32", "precisions.jsonl:fp16")
    assert code == 0 and "resnet50 fp32 -> fp16, 224 px" in out and "2.000" in out and "1 FASTER" in out
    out, _, code = run("precisions.jsonl:precision=FP16", "precisions.jsonl:3090,fp32", "--json")
    row = json.loads(out)
    assert (code, row["verdict"], row["a_precision"], row["b_precision"], row["precision"]) == (0, "SLOWER", "fp16", "fp32", "fp32")
    _, err, code = run("precisions.jsonl:bf16", "precisions.jsonl:fp16")
    assert code == 2 and "no such record; precision is fp32, fp16" in err
    Journal("half.jsonl").append(Journal("precisions.jsonl").read()[1])
    Journal("full.jsonl").append(Journal("precisions.jsonl").read()[0])
    out, err, code = run("half.jsonl", "full.jsonl")
    assert (out, code) == ("", 1) and "A is in fp16, B in fp32; add :fp32 or another precision to each source" in err


WRONG = {
    "no file": (["old.jsonl", "nwe.jsonl"], 2, "nwe.jsonl: there is no such file"), "one side": (["old.jsonl"], 2, "B: it is missing"),
    "a typo in a rule": (["old.jsonl", "new.jsonl", "--fail-if", "slowr:3%"], 2, "did you mean 'slower'"),
    "a share without a sign": (["old.jsonl", "new.jsonl", "--fail-if", "slower:3"], 2, "such as 3%"),
    "an empty rule": (["old.jsonl", "new.jsonl", "--fail-if", ""], 2, "expected one of slower"),
    "a margin in words": (["old.jsonl", "new.jsonl", "--margin", "little"], 2, "such as 3%"),
    "across what": (["old.jsonl", "new.jsonl", "--across", "gpus"], 2, "expected one of versions"),
    "no such GPU": (["old.jsonl:H100", "new.jsonl"], 2, "no such GPU; use NVIDIA GeForce RTX 3090"),
    "no such field": (["old.jsonl:torch=2", "new.jsonl"], 2, "no field 'torch'"),
    "itself": (["old.jsonl", "old.jsonl"], 1, "nothing to compare: both are the same records"),
    "versions": (["torch.jsonl:pytorch=2.4", "torch.jsonl:pytorch=2.5"], 1, "use --across versions"),
    "nothing steady": (["old.jsonl", "unsteady.jsonl"], 1, "not steady (1)"),
    "nothing at all": (["old.jsonl", "empty.jsonl"], 1, "empty.jsonl has no records"),
    "a device": (["old.jsonl", "/dev/zero"], 2, "/dev/zero: it is not a plain file"),
}  # fmt: skip


@pytest.mark.parametrize("args,code,words", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_gives_an_error_of_one_line(run, args, code, words):
    out, err, left = run(*args)
    assert (out, left, err.count("\n")) == ("", code, 1) and err.startswith("rsg: ") and words in err.replace("Missing", "missing"), err


def test_text_of_others_cannot_control_the_terminal(run):
    hostile = replace(GPU, device_name="\x1b[2JRTX\n" + "9" * 500)
    for name, x in dict(h1=800.0, h2=900.0).items():
        Journal(f"{name}.jsonl").append(point(64, x, hostile, model="\x1b]0;x\x07" + "m" * 500))
    out, err, code = run("h1.jsonl", "h2.jsonl")
    assert code == 0 and out.replace("\n", "").isprintable() and max(map(len, out.splitlines())) <= 80


def test_no_heavy_library_is_loaded(run):
    heavy = {"torch", "wandb", "pandas", "matplotlib"} & sys.modules.keys()
    run("old.jsonl", "new.jsonl")
    assert {"torch", "wandb", "pandas", "matplotlib"} & sys.modules.keys() == heavy
