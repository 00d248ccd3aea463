"The GPU acceptance plan: bands and verdicts by fixed numbers, and the program in short form on a CPU."

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

import gpu  # noqa: E402
from gpu_plan import checks, part1, part3, setup, table  # noqa: E402

FACTS = dict(
    rsg="1", date="2026-01-02", fake=False, device="cuda", device_name="NVIDIA H100 80GB HBM3", pytorch="2.9", cuda="13.0",
    driver="580.1", timm="1.0", transformers="5.0", python="3.12", triton=False, capability=[9, 0], gpu_mem=85_000_000_000,
)  # fmt: skip


def a_plan(seconds=60.0, **facts):
    return setup.Plan("cuda", False, seconds, ".", FACTS | facts)


def a_check(run, needs="", seconds=1.0, **bands):
    return checks.Check("a check", 1, seconds, run, bands or dict(ratio=checks.ratio(0.985, 1.015)), needs)


def verdicts(outcome): return outcome.verdicts()


@pytest.mark.parametrize("value,verdict", [
    (1.0, checks.OK), (0.985, checks.OK), (1.0151, checks.MISSED), (0.98, checks.MISSED), (math.nan, checks.MISSED), (None, checks.MISSED),
    ("1.0", checks.MISSED), (checks.NOT_HERE, checks.NOT_HERE),
])  # fmt: skip
def test_a_value_has_a_verdict(value, verdict):
    assert checks.judge("ratio", value, checks.ratio(0.985, 1.015), "", False).verdict == verdict


def test_a_band_of_another_card_is_no_success():
    band = checks.on_h100(700, 830, "seen")
    assert checks.judge("bf16", 100, band, "NVIDIA H100 PCIe", False).verdict == checks.MISSED
    assert checks.judge("bf16", 100, band, "NVIDIA A100", False).verdict == checks.NOT_HERE


def test_a_value_that_a_check_does_not_return_misses_its_band():
    assert verdicts(gpu.run_check(a_check(lambda plan: {}), a_plan())) == [checks.MISSED]


def test_a_value_without_a_band_is_an_error():
    outcome = gpu.run_check(a_check(lambda plan: dict(other=1)), a_plan())
    assert verdicts(outcome) == [checks.FAILED] and "no band for other" in outcome.error


def test_a_check_that_raises_has_failed():
    outcome = gpu.run_check(a_check(lambda plan: 1 / 0), a_plan())
    assert verdicts(outcome) == [checks.FAILED] and outcome.error.startswith("ZeroDivisionError")


@pytest.mark.parametrize("needs,facts,here", [
    ("", {}, True), ("cuda", {}, True), ("gpu", dict(fake=True), False), ("real", dict(fake=True), False), ("triton", {}, False),
    ("cuda", dict(device="cpu"), False), ("real", dict(device="cpu"), True), ("triton", dict(triton=True), True),
])  # fmt: skip
def test_a_check_runs_where_it_applies(needs, facts, here):
    expected = checks.OK if here else checks.NOT_HERE
    assert verdicts(gpu.run_check(a_check(lambda plan: dict(ratio=1.0), needs), a_plan(**facts))) == [expected]


def test_when_the_time_is_over_the_rest_is_skipped():
    assert verdicts(gpu.run_check(a_check(lambda plan: dict(ratio=1.0), seconds=50), a_plan(seconds=40))) == [checks.NO_TIME]
    outcome = gpu.run_check(a_check(lambda plan: time.sleep(30), seconds=0.1), a_plan(seconds=0.3))
    assert verdicts(outcome) == [checks.NO_TIME] and outcome.seconds < 10


def test_a_check_that_hangs_has_failed(monkeypatch):
    monkeypatch.setattr(gpu, "SPARE_S", 0.1)
    outcome = gpu.run_check(a_check(lambda plan: time.sleep(30), seconds=0.1), a_plan())
    assert verdicts(outcome) == [checks.FAILED] and "no end after" in outcome.error


def test_each_check_has_a_part_and_bands():
    assert len({c.name for c in gpu.CHECKS}) == len(gpu.CHECKS)
    for part in (1, 2, 3):
        of_part = [c for c in gpu.CHECKS if c.part == part]
        assert 0 < sum(c.seconds for c in of_part) <= 9 * 60
        assert all(any(c.bands.values()) for c in of_part)


def test_the_table_has_80_columns():
    lines = table.heading(FACTS, 1, False)
    for check in gpu.CHECKS:
        for card in ("NVIDIA H100 80GB HBM3", "another"):
            values = checks.judge_all(check, dict.fromkeys(check.bands, 0.123456), card, False)
            lines += table.rows(checks.Outcome(check.name, 1, 100.0, values))
        lines += table.rows(checks.Outcome(check.name, 1, 100.0, checks.without_values(check, checks.NO_TIME), "x" * 200))
    assert max(map(len, lines)) <= table.WIDTH


def test_the_figures_of_a_check_by_hand():
    assert part1.straightness([(1, 10), (2, 20), (3, 30)]) == pytest.approx(1)
    assert part1.straightness([(1, 10), (2, 80), (3, 30)]) < 0.5
    assert part3.spread_of([99, 100, 101]) == pytest.approx(0.02)
    assert part3.coverage_of([(100, 1), (100, 1), (103, 1)]) == pytest.approx(0)
    assert part3.coverage_of([(100, 2), (100, 2), (101, 0.1)]) == pytest.approx(2 / 3)
    assert part3.regret_of({16: 90.0, 32: 100.0}, 16) == pytest.approx(0.1)


def test_the_plan_on_a_cpu(tmp_path):
    command = [sys.executable, BENCHMARKS / "gpu.py", "--part", "1", "--device", "cpu", "--short", "--out", tmp_path]
    done = subprocess.run([*map(str, command), "--checks", "device,plain loop resnet50"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [c["name"] for c in answer["checks"]] == ["device", "plain loop resnet50"] and not answer["missed"] and not answer["skipped"]
    device, loop = (c["values"] for c in answer["checks"])
    assert {v["verdict"] for v in device} == {checks.NOT_HERE}
    assert loop[0]["verdict"] == checks.OK and loop[0]["value"] > 0
    (text,), (journal,) = tmp_path.glob("*_short.txt"), tmp_path.glob("*_short.jsonl")
    assert json.loads(text.read_text().splitlines()[-1]) == answer and {"pytorch", "python", "date", "device_name"} <= answer.keys()
    assert len(journal.read_text().splitlines()) == 2 and max(map(len, done.stdout.splitlines()[:-1])) <= max(80, len(str(text)))


@pytest.mark.parametrize("args,words", [
    ((), "add --part 1, 2 or 3"), (("--part", "1", "--device", "cpu"), "add --short"),
    (("--list", "--checks", "nonsense"), "no check nonsense; use --list"),
])  # fmt: skip
def test_a_wrong_request_is_one_line(args, words):
    done = subprocess.run([sys.executable, BENCHMARKS / "gpu.py", *args], capture_output=True, text=True)
    assert done.returncode and words in done.stderr.splitlines()[-1]


def test_batch_sizes_and_precision_fit_the_gpu():
    assert a_plan().size(256, 4) == 256 and a_plan(gpu_mem=12 * 2**30).size(256, 4) == 64
    assert (a_plan().bf16, a_plan(capability=[7, 5]).bf16, a_plan(device="cpu").bf16) == ("bf16", "fp16", "fp32")
