"The doctor finds a wrong bit and a NaN, reads rules, and gives a verdict however its child ends."

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field

import pytest
import torch

from ready_steady_go.box.requirements import check_rule, parse_rules
from ready_steady_go.box.sensors import GpuFacts, LoadSummary
from ready_steady_go.box.stress import missing_gfx, missing_kernels, missing_kernels_message, pci_id, repeat_step, unused_gpu
from ready_steady_go.commands.doctor import (
    ALL_SOURCES,
    STRESS_COMMAND,
    Sources,
    card,
    doctor_command,
    examine,
    make_report,
    slow_link,
    slow_matmul,
)  # fmt: skip
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.supervise import Child
from ready_steady_go.spec.errors import UserError

CPU = torch.device("cpu")


# ---- the repeated step


def flip(i, results):
    "Flip the least significant bit of one gradient, in one step."
    if i == 1: results[3].view(torch.int32).view(-1)[5] ^= 1


def plant(i, results):
    "Plant the same NaN in every step, the first one too: as integers all steps agree."
    results[2].view(-1)[9] = float("nan")


def plant_late(i, results):
    "Plant an infinite loss, once."
    if i == 2: results[0].fill_(float("inf"))


def test_a_healthy_device_repeats_itself():
    got = repeat_step(CPU, 0.1)
    assert got["steps"] >= 3 and got["equal"] and got["finite"] and got["first_difference"] is None


def test_a_single_wrong_bit_is_found():
    got = repeat_step(CPU, 0.1, flip)
    assert (got["equal"], got["finite"], got["differing"], got["first_difference"]) == (False, True, 1, dict(step=1, values=1))


def test_a_nan_that_is_always_the_same_is_found():
    got = repeat_step(CPU, 0.1, plant)
    assert (got["equal"], got["finite"], got["nonfinite"], got["first_nonfinite"]) == (True, False, got["steps"], dict(step=0, values=1))


def test_an_infinite_loss_differs_and_is_not_finite():
    got = repeat_step(CPU, 0.1, plant_late)
    assert (got["first_difference"], got["first_nonfinite"]) == (dict(step=2, values=1), dict(step=2, values=1))


# ---- which torch has kernels for which GPU

PYPI, CU126 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"], ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
PAIRS = [
    *((PYPI, c, True) for c in [(6, 1), (7, 0), (7, 2), (11, 0)]),
    *((PYPI, c, False) for c in [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)]),
    *((CU126, c, True) for c in [(3, 7), (10, 0), (12, 0)]),
    *((CU126, c, False) for c in [(5, 2), (6, 1), (7, 0), (8, 9), (9, 0)]),
    (["sm_86"], (8, 0), True), (["sm_80"], (8, 7), False), (["sm_90a"], (9, 0), False), (["sm_100a"], (10, 3), True),
    (["sm_100f"], (10, 3), False), (["sm_100f"], (12, 0), True), (["sm_80", "compute_80"], (12, 0), False),
    (["compute_90"], (8, 9), True), (["compute_90a"], (10, 0), True), ([], (8, 6), False),
]  # fmt: skip


@pytest.mark.parametrize("arch_list,capability,missing", PAIRS)
def test_kernels(arch_list, capability, missing):
    assert missing_kernels(arch_list, capability) is missing


@pytest.mark.parametrize(
    "capability,arch_list,remedy",
    [((6, 1), PYPI, "download.pytorch.org/whl/cu126"), ((12, 0), CU126, "--upgrade torch"), ((3, 7), CU126, "rent a newer GPU")],
)
def test_the_remedy_is_one_line(capability, arch_list, remedy):
    text = missing_kernels_message(arch_list, capability, "2.15.0")
    assert remedy in text and "\n" not in text and f"{capability[0]}.{capability[1]}" in text


def test_amd():
    assert not missing_gfx(["gfx90a", "gfx942"], "gfx942:sramecc+:xnack-") and missing_gfx(["gfx942"], "gfx90a:sramecc+:xnack-")
    assert not missing_gfx(["gfx9-4-generic"], "gfx942") and missing_gfx(["gfx10-3-generic"], "gfx1100")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine's GPU is used")
def test_a_gpu_that_torch_cannot_use_is_reported():
    driver, gpu = lambda: "470.1", lambda: 1
    assert "driver 470.1" in unused_gpu(None, driver, gpu)
    assert unused_gpu("cpu", driver, gpu) is None and unused_gpu(None, lambda: None, gpu) is None and pci_id(None) is None
    assert unused_gpu(None, driver, lambda: 0) is None  # a driver without a GPU


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_the_user_hides_is_not_reported(hidden, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert unused_gpu(None, lambda: "470.1", lambda: 1) is None


# ---- rules

READ = {
    "fp16>=60": ("fp16", ">=", 60e12), "FP16 >= 60 TFLOPS": ("fp16", ">=", 60e12), "bf16>0.2PFLOP/s": ("bf16", ">", 0.2e15),
    "fp32>=900gflops": ("fp32", ">=", 900e9), "tf32≥30TFLOP/s": ("tf32", ">=", 30e12), "pcie>=8GB/s": ("pcie", ">=", 8e9),
    "pcie>=8GiB/s": ("pcie", ">=", 8 * 2**30), "copy>=0.5 TB/s": ("copy", ">=", 0.5e12), "mem>=20GB": ("mem", ">=", 20e9),
    "mem>=20 GiB": ("mem", ">=", 20 * 2**30), "mem>=20": ("mem", ">=", 20e9), "ram>64g": ("ram", ">", 64e9), "cores==8": ("cores", "=", 8),
    "driver>=550.54.14": ("driver", ">=", (550, 54, 14)), "power>=300W": ("power", ">=", 300), "power<=0.35kW": ("power", "<=", 350),
    "price<=$0.5": ("price", "<=", 0.5), "price<.5 $/h": ("price", "<", 0.5), "price<=0.5USD/hour": ("price", "<=", 0.5),
    "temp<=85°C": ("temp", "<=", 85), "healthy": ("healthy", None, None), "GPU": ("gpu", None, None),
}  # fmt: skip
TYPOS = {
    "fp16": "quote the rules",  # the shell read `>=60` as a file
    "fp61>=60": "did you mean 'fp16'?",
    "pci>=8": "did you mean 'pcie'?",
    "vram>=20GB": "did you mean 'mem'?",
    "helthy": "did you mean 'healthy'?",
    "fp16=>60": "did you mean '>='?",
    "fp16>>60": "no comparison '>>'",
    "price<=0,5": "a point",
    "pcie>=8GB": "did you mean 'GB/s'?",
    "pcie>=64Gbps": "did you mean 'GB/s'?",
    "mem>=20GB/s": "did you mean 'GB'?",
    "fp16>=sixty": "did you mean 'TFLOP/s'?",
    "fp16>=": "the number is missing",
    "60<=fp16": "the quantity comes first",
    "pcie>=8 fp16>=60": "separate rules by commas",
    "pcie>=8;fp16>=60": "separate rules by commas",
    "fp16>=6.0.0": "is not a number",
    "fp16>=-1": "is not a number",
    "fp16>=TFLOPS": "is not a number",
    "driver>=new": "is not a version",
    "mem>=$20": "no unit '$'",
    "": "a rule is empty",
    "fp16>=60,,pcie>=8": "a rule is empty",
}


@pytest.mark.parametrize("text,meant", READ.items())
def test_a_rule_is_read(text, meant):
    (rule,) = parse_rules(text)
    assert (rule.name, rule.sign) == meant[:2] and (rule.value == meant[2] or rule.value == pytest.approx(meant[2]))


@pytest.mark.parametrize("text,remedy", TYPOS.items())
def test_a_typo_gets_one_line(text, remedy):
    with pytest.raises(UserError) as error: parse_rules(text)
    assert remedy in str(error.value) and str(error.value).startswith("--require") and "\n" not in str(error.value)


def test_versions_are_compared_to_the_length_of_the_rule():
    driver = dict(driver=(550, 54, 14))
    met = lambda text: check_rule(parse_rules(text)[0], driver, [])["met"]
    assert met("driver>=550") and met("driver=550.54") and not met("driver>=550.90") and not met("driver>550") and met("driver<560")


# ---- all ways in which the child can end

STEPS = dict(steps=9, equal=True, finite=True, differing=0, nonfinite=0, first_difference=None, first_nonfinite=None)
TOY = dict(device="cuda", device_name="Toy GPU 3000", gpu_mem=25_438_126_080, cpu="Toy CPU", cpu_cores=8.0, ram_bytes=64 * 2**30)
TOY |= dict(gpu_sm_count=82, device_capability="(8, 6)", driver="550.54.14", pytorch="2.15.0", cuda="12.8", python="3.11.7")
GOOD = dict(matmul=dict(fp32=dict(tflops=27.1, ci95=0.1, drift=0.0, shape=[8192] * 3), tf32=None), copy=812.0, notes=[], repeat=STEPS)
GOOD |= dict(link=dict(to_device=24.6, to_host=25.9))
BEATS = [dict(event="beat", phase="starting", machine=TOY), dict(event="beat", phase="copy", done=dict(copy=812.0))]


def scripted(*answers, then=""):
    "Return a function that starts a real process: it answers `find`, prints these lines, then runs the code `then`."
    script = f"""
import os, sys, time
sys.stdin.readline()
print({json.dumps(dict(id=1, event="found", pci="00000000:01:00.0", unused=None))!r}, flush=True)
sys.stdin.readline()
for line in {[json.dumps(a | dict(id=2)) if isinstance(a, dict) else a for a in answers]!r}: print(line, flush=True)
{then}
sys.stdin.read()
"""
    return lambda: Child((sys.executable, "-c", script))


def ask(capsys, *answers, then="", **how):
    "Return exit code and JSON of a doctor whose child gives these answers."
    code = doctor_command(as_json=True, screen=Screen(as_json=True), start=scripted(*BEATS, *answers, then=then), **how)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return code, json.loads(out)


def codes(report):
    "Return the findings' codes."
    return [f["code"] for f in report["findings"]]


def test_healthy(capsys):
    code, report = ask(capsys, dict(event="stress", done=GOOD), require="mem>=24GB, gpu, healthy, driver>=550")
    assert (code, report["healthy"], report["findings"]) == (0, True, [])
    assert [r["met"] for r in report["required"]] == [True] * 4 and report["required"][0]["measured"] == pytest.approx(25.43812608)
    assert {"machine", "gpu", "load", "price", "measured", "peak_share", "notes", "container", "rsg_version"} <= set(report)
    assert report["machine"]["device_name"] == "Toy GPU 3000" and report["measured"]["copy"] == 812.0


def test_a_rule_that_is_not_met_is_exit_code_1_on_a_healthy_box(capsys):
    code, report = ask(capsys, dict(event="stress", done=GOOD), require="pcie>=30GB/s, tf32>=1, price<=1, fp32>=20")
    assert (code, report["healthy"]) == (1, True)
    assert [(r["met"], r["reason"]) for r in report["required"]] == [
        (False, "24.6 GB/s"), (False, "not measured on this device"), (False, "no price is known"), (True, "27.1 TFLOP/s"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong,code,text",
    [
        (dict(equal=False, differing=1, first_difference=dict(step=17, values=1)), "bits_differ", "repeat 17 of the same training step"),
        (dict(finite=False, nonfinite=9, first_nonfinite=dict(step=0, values=2)), "not_finite", "repeat 0 of the same training step"),
    ],
)
def test_wrong_results_are_findings(wrong, code, text, capsys):
    done, report = ask(capsys, dict(event="stress", done=GOOD | dict(repeat=STEPS | wrong)), require="healthy")
    assert (done, codes(report)) == (1, [code]) and report["findings"][0]["text"].startswith(text)
    assert (report["required"][0]["met"], report["required"][0]["reason"]) == (False, code)


def test_shared_cores_are_a_finding(capsys):
    done, report = ask(capsys, dict(event="stress", done=GOOD | dict(waited=0.35)), require="healthy")
    assert (done, codes(report)) == (1, ["cores_shared"]) and "35%" in report["findings"][0]["text"]
    assert ask(capsys, dict(event="stress", done=GOOD | dict(waited=0.004)))[0] == 0
    assert ask(capsys, dict(event="stress", done=GOOD | dict(waited=None)))[0] == 0


def test_a_box_without_the_repeated_step_is_not_healthy(capsys):
    done = dict(GOOD, repeat=None, notes=["repeat: not measured, too little memory is free"])
    code, report = ask(capsys, dict(event="stress", done=done))
    assert (code, codes(report), report["notes"]) == (1, ["unchecked"], done["notes"])


ENDS = {
    "killed": ("os.kill(os.getpid(), 9)", "host memory"),
    "segfaults": ("os.kill(os.getpid(), 11)", "SIGSEGV"),
    "exits": ("print('no such kernel', file=sys.stderr); os._exit(3)", "no such kernel"),
    "hangs": ("time.sleep(600)", "no sign of life for 2 s"),
    "babbles": ("print('Segmentation fault', flush=True); time.sleep(600)", "is no answer"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_child_that_ends_early_is_a_finding(name, capsys):
    then, words = ENDS[name]
    code, report = ask(capsys, then=then, silent_s=1.0, seconds=2, require="copy>=500GB/s, fp32>=1")
    assert (code, codes(report)) == (1, ["died"]) and words in report["findings"][0]["text"] and "'copy'" in report["findings"][0]["text"]
    assert [r["met"] for r in report["required"]] == [True, False]  # what it reported before is kept


def test_an_error_and_missing_kernels_are_findings(capsys):
    code, report = ask(capsys, dict(event="broke", message="AcceleratorError: CUDA error: an illegal memory access was encountered"))
    assert (code, codes(report)) == (1, ["died"]) and "illegal memory access" in report["findings"][0]["text"]
    code, report = ask(capsys, dict(event="stress", no_kernels=missing_kernels_message(PYPI, (6, 1), "2.15.0")))
    assert (code, codes(report)) == (1, ["no_kernels"])


def test_a_missing_torch_is_reported_without_a_traceback(capsys):
    script = "raise ModuleNotFoundError(\"No module named 'torch'\")"
    assert doctor_command(start=lambda: Child((sys.executable, "-c", script))) == 1
    out, err = capsys.readouterr()
    assert "pip install torch" in " ".join(out.split()) and "Traceback" not in out + err


def test_a_wrong_rule_or_device_is_a_user_error(capsys):
    with pytest.raises(UserError, match="did you mean 'fp16'"): doctor_command(require="fp61>=1", start=lambda: pytest.fail("it started"))
    with pytest.raises(UserError, match="cuda:9"): doctor_command(start=scripted(dict(event="refused", message="--device cuda:9: no")))
    assert capsys.readouterr().out == ""


# ---- sensors, data sheet, card


class Sensors:
    "Sensors of a card whose power limit was lowered."

    class Sampler:
        began = 0
        def __init__(self, gpu): self.gpu = gpu
        def start(self): Sensors.Sampler.began += 1
        def stop(self): return ["sample"]

    @staticmethod
    def open_gpu(pci): return pci
    @staticmethod
    def read_facts(gpu): return Facts()
    @staticmethod
    def summarise_load(samples): return Load()


def lowered_limit(before, load, after, boost_mhz):
    "Return one finding, as `truth.health` would."
    assert (before, load, after, boost_mhz) == (Facts(), Load(), Facts(), None)
    return [dict(code="power_capped", text="the power limit is 250 W, the default 350 W")]


@dataclass
class Facts:
    power_limit_w: float = 250.0
    power_limit_default_w: float = 350.0
    sm_clock_max_mhz: int = 2100
    pcie_gen_max: int = 4
    pcie_width_max: int = 16


@dataclass
class Load:
    sm_clock_mhz: float = 1410.0
    temperature_c: int = 66
    power_w: float = 249.0
    pcie_gen: int = 4
    pcie_width: int = 8
    throttle: dict = field(default_factory=lambda: dict(power_cap=1.0))


@dataclass
class Price:
    usd_per_hour: float = 0.21
    source: str = "the provider"
    time: str = "2026-01-01T00:00:00Z"


def test_the_sources_are_used(capsys):
    sources = Sources(Sensors, lowered_limit, lambda typed: Price(), lambda name, precision: 35.6 if precision == "fp32" else None)
    code, report = ask(capsys, dict(event="stress", done=GOOD), sources=sources, require="power>=300W, temp<80, price<=0.3")
    assert (code, codes(report)) == (1, ["power_capped"]) and Sensors.Sampler.began == 1
    assert [r["met"] for r in report["required"]] == [False, True, True]
    assert report["peak_share"] == dict(fp32=pytest.approx(27.1 / 35.6), tf32=None)
    text = "\n".join(card(report))
    for words in ("limit 250 W, default 350 W", "1410 MHz under load", "gen 4 x8 under load", "76% of the data sheet"): assert words in text
    assert "0.21 USD/h, from the provider" in text and "not healthy: 1 finding" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_long_name_and_many_findings_stay_within_80_columns():
    child = scripted(BEATS[0] | dict(machine=TOY | dict(device_name="Toy " * 30, cpu="Cpu " * 30)), dict(event="stress", done=GOOD))
    report = make_report(examine(None, 2, start=child), parse_rules("fp32>=1"))
    report["findings"] = [dict(code="x" * 20, text="word " * 60)] * 4
    assert max(map(len, card(report))) <= 80


def test_slow_matmuls_and_links():
    assert slow_matmul(dict(fp16=0.65), dict(throttle={})) and slow_matmul(dict(tf32=0.65), dict(throttle={}))
    assert not slow_matmul(dict(fp32=0.6, fp16=0.75), dict(throttle={}))  # a healthy RTX 3060
    (slow,) = slow_matmul(dict(fp32=0.5, fp16=0.6, bf16=0.9), dict(throttle={}))
    assert "fp32 50%, expected 55%; fp16 60%, expected 70%" in slow["text"] and "bf16" not in slow["text"]
    assert not slow_matmul(dict(fp16=0.37, fp32=None), dict(throttle=dict(power_cap=0.9)))
    assert slow_matmul(dict(fp16=0.2)) and not slow_matmul(dict(fp16=0.4), dict(throttle=None))
    fine, x1 = dict(to_device=12.3, to_host=13.0), dict(to_device=0.8, to_host=0.9)
    assert not slow_link(fine) and not slow_link(fine, load=dict(pcie_gen=3, pcie_width=16)) and not slow_link(None)
    assert slow_link(x1) and slow_link(fine, load=dict(pcie_gen=4, pcie_width=16))


def report_of(name, capsys, *, facts=None, sms=None, **measured):
    "Return exit code and report of a doctor that measures this on a card, with the real data sheets and rules."
    class Known(Sensors):
        @staticmethod
        def read_facts(gpu): return facts or GpuFacts(sm_clock_max_mhz=2100, pcie_gen_card=4, ecc_uncorrected=0)
        @staticmethod
        def summarise_load(samples): return LoadSummary(sm_clock_mhz=1900, power_w=300, throttle={}, n_samples=9)

    sources = Sources(Known, ALL_SOURCES.health, lambda typed: None, ALL_SOURCES.peak, ALL_SOURCES.highest, ALL_SOURCES.data_sheet)
    beat = dict(event="beat", phase="starting", machine=TOY | dict(device_name=name, gpu_sm_count=sms))
    code = doctor_command(as_json=True, screen=Screen(as_json=True), start=scripted(beat, dict(event="stress", done=GOOD | measured)),
                          sources=sources, require="healthy")  # fmt: skip
    return code, json.loads(capsys.readouterr().out)


def matmul(**tflops): return {p: dict(tflops=value, ci95=0.1, drift=0.0, shape=[8192] * 3) for p, value in tflops.items()}


@pytest.mark.parametrize("name,measured,wrong", [
    ("NVIDIA GeForce RTX 3090", dict(matmul=matmul(fp32=27.1, fp16=71 * 1.04), copy=850.0), None),
    ("NVIDIA GeForce RTX 3090", dict(matmul=matmul(fp32=27.1, fp16=71 * 1.54)), "fp16 matmul 109.3 TFLOP/s"),
    ("NVIDIA GeForce RTX 3090", dict(matmul=matmul(fp32=146_589.0)), "fp32 matmul 1.466e+05 TFLOP/s"),
    ("Toy GPU 3000", dict(matmul=matmul(fp32=146_589.0)), "fp32 matmul 1.466e+05 TFLOP/s"),
    ("Toy GPU 3000", dict(matmul=matmul(fp32=300.0), copy=5000.0), None),
    ("NVIDIA GeForce RTX 3090", dict(matmul=matmul(fp32=27.1), copy=1300.0), "memory 1300 GB/s"),
    ("NVIDIA GeForce RTX 3090", dict(matmul=matmul(fp32=27.1), link=dict(to_device=25.0, to_host=45.0)), "link 45 GB/s"),
    ("NVIDIA GH200 480GB", dict(matmul=matmul(fp32=50.0), link=dict(to_device=380.0, to_host=290.0)), None),
])  # fmt: skip
def test_too_fast_is_a_finding(name, measured, wrong, capsys):
    code, report = report_of(name, capsys, **measured)
    found = [f["text"] for f in report["findings"] if f["code"] == "too_fast"]
    assert bool(found) is bool(wrong) and (wrong is None or wrong in found[0])
    assert code == (1 if wrong else 0) and report["required"][0]["met"] is (wrong is None), report["findings"]


def test_sums_in_fp32_halve_the_fp16_of_a_p100(capsys):
    "9 of 18.7 TFLOP/s would be slow; it is nearly the FP32 peak, which holds for sums in FP32. The guard keeps the data sheet's value."
    code, report = report_of("Tesla P100-PCIE-16GB", capsys, matmul=matmul(fp32=8.4, fp16=9.0), copy=500.0)
    assert code == 0 and report["peak_tflops"]["fp16"] == 9.3, report["findings"]
    assert report_of("Tesla P100-PCIE-16GB", capsys, matmul=matmul(fp32=8.4, fp16=17.5), copy=500.0)[0] == 0


def test_another_chip_of_the_name_has_no_share_of_the_data_sheet(capsys):
    "An RTX 3080 with 12 GB has 70 multiprocessors, not 68."
    of = lambda sms: report_of("NVIDIA GeForce RTX 3080", capsys, sms=sms, matmul=matmul(fp32=25.0))[1]["peak_tflops"]["fp32"]
    assert (of(68), of(70)) == (29.8, None)


def test_old_ecc_errors_are_a_note(capsys):
    old = GpuFacts(ecc_uncorrected=0, ecc_uncorrected_ever=2)
    code, report = report_of("NVIDIA A100-SXM4-80GB", capsys, facts=old, matmul=matmul(fp32=18.0))
    assert (code, report["healthy"], codes(report)) == (0, True, ["ecc_ever"])
    new = GpuFacts(ecc_uncorrected=1, ecc_uncorrected_ever=2)
    assert report_of("NVIDIA A100-SXM4-80GB", capsys, facts=new, matmul=matmul(fp32=18.0))[0] == 1


def test_clocks_are_compared_with_the_data_sheet(capsys):
    "1900 MHz: above the boost of an RTX 3090 though below its highest clock, far below that of an RTX 4090."
    slow = dict(facts=GpuFacts(sm_clock_max_mhz=3105, power_limit_w=450))
    assert codes(report_of("NVIDIA GeForce RTX 4090", capsys, matmul=matmul(fp32=70.0), **slow)[1]) == ["low_clocks"]
    fine = dict(facts=GpuFacts(sm_clock_max_mhz=2100, power_limit_w=350))
    assert codes(report_of("NVIDIA GeForce RTX 3090", capsys, matmul=matmul(fp32=30.0), **fine)[1]) == []


def test_a_slow_provider_does_not_delay_the_load(capsys):
    "The price is asked while the child works: its answer waits for the child's start."
    started = threading.Event()
    begin = scripted(*BEATS, dict(event="stress", done=GOOD))
    def start():
        started.set()
        return begin()
    sources = Sources(price=lambda typed: Price() if started.wait(60) else None)
    assert doctor_command(as_json=True, screen=Screen(as_json=True), start=start, sources=sources) == 0
    assert json.loads(capsys.readouterr().out)["price"]["usd_per_hour"] == 0.21


# ---- all of it, on the CPU


def whole(code, tmp_path, *, seconds=2):
    "Run the doctor as a program, with the real stress in its child process."
    program = f"import sys; from ready_steady_go.commands.doctor import doctor_command; sys.exit(doctor_command({code}, seconds={seconds}))"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=300)


def test_a_cpu_is_healthy(tmp_path):
    done = whole("'cpu', 'mem>=1GB, fp32>0, pcie>=1, gpu', as_json=True", tmp_path)
    report = json.loads(done.stdout)
    findings = [f["code"] for f in report["findings"]]  # other tests may run at the same time, which is one
    assert (done.returncode, report["healthy"]) == (1, not findings) and set(findings) <= {"cores_shared"}, done.stderr
    assert [r["met"] for r in report["required"]] == [True, True, False, False]
    measured = report["measured"]
    assert measured["repeat"]["steps"] >= 3 and measured["matmul"]["tf32"] is None and measured["link"] is None
    private = (os.uname().nodename, os.path.expanduser("~"), str(tmp_path), "--require")
    assert not [p for p in private if len(p) > 3 and p in done.stdout]


BROKEN = """
import torch
import ready_steady_go.box.stress as s
real = s.repeat_step
def corrupt(i, results):
    {deed}
s.repeat_step = lambda *a, **k: real(*a, corrupt=corrupt, **k)
s.has_precision = lambda p, device: p == "fp32"
s.main()
"""
DEEDS = dict(bits_differ="if i == 2: results[1].view(torch.int32).view(-1)[3] ^= 1", not_finite="results[1].view(-1)[3] = float('nan')")


@pytest.mark.parametrize("code", DEEDS)
def test_a_broken_device_is_found_by_the_command(code, capsys):
    command = (*STRESS_COMMAND[:-1], BROKEN.format(deed=DEEDS[code]))
    assert doctor_command("cpu", seconds=2, start=lambda: Child(command)) == 1
    out = capsys.readouterr().out
    assert re.search(r"\nnot healthy: \d+ findings?\n", out) and f"\n  {code}: " in out, out
