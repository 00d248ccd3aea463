"Part 1: the device, the main job, the plain loop, and what a GPU refuses."

import importlib.util
import json
import statistics
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from ready_steady_go.truth.peaks import find_card

from .checks import NOT_HERE, Check, exactly, least, most, none, on_h100, ratio, yes
from .faults import broken_model, devices, tf32_override

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = 'about = "short form"\nmodel = ["test_vit"]\n[[run]]\nprecision = "fp32"\nbs = "2,4"\n'  # in place of a real suite


def few(n): return most(n, short=(0, 99))  # a short test on a busy machine may find something


def relative_change(a, b): return abs(a - b) / max(a, b)


def device(plan):
    "Look for kernels of this GPU in torch, for its data sheet, and for its sensors."
    major = str(plan.facts["capability"][0])
    built = any(arch.split("_")[-1].rstrip("af")[:-1] == major for arch in plan.facts["archs"])
    record = plan.rsg("--model", "test_vit", "--fp32", "--bs", 4, "--n-seconds", plan.pick(3, 0.3)).best
    known = NOT_HERE if plan.fake else int(find_card(plan.facts["device_name"]) is not None)
    sensors = NOT_HERE if plan.fake else int(None not in (record.pci_id, record.power_limit_w, record.sm_clock_max_mhz))
    return {"kernels for this GPU in torch": int(built), "peak known from a data sheet": known, "sensors in a record": sensors}


def rates_of(answer):
    "Return the rates that a doctor measured, by name."
    measured = answer["measured"]
    rates = {f"{name}, TFLOP/s": v and v["tflops"] for name, v in measured["matmul"].items()}
    link = {f"link {way}, GB/s": rate for way, rate in (measured["link"] or {}).items()}
    return rates | {"memory copy, GB/s": measured["copy"]} | link


def doctor(plan):
    "Run the doctor twice."
    first = plan.rsg("doctor", "--json", "--seconds", plan.pick(20, 2))
    again = plan.rsg("doctor", "--json", "--seconds", plan.pick(8, 2))
    if not (first.out and again.out): raise RuntimeError(first.err or again.err)
    answers = [json.loads(run.out.splitlines()[-1]) for run in (first, again)]
    rates, later = map(rates_of, answers)
    found = {name: rates.get(name) for name in DOCTOR_RATES} | {"slowest link, GB/s": NOT_HERE}
    if links := [rate for name, rate in rates.items() if name.startswith("link")]: found["slowest link, GB/s"] = min(links)
    changes = [relative_change(rate, later[name]) for name, rate in rates.items() if rate and later.get(name)]
    repeat = answers[0]["measured"]["repeat"]
    return found | {
        "exit code": first.code, "findings": len(answers[0]["findings"]), "seconds": first.seconds,
        "equal steps give equal numbers": int(repeat["equal"] and repeat["finite"]), "largest change in a second run": max(changes),
    }  # fmt: skip


DOCTOR_RATES = {
    "bf16, TFLOP/s": on_h100(700, 830, "seen"), "fp16, TFLOP/s": on_h100(665, 870, "estimate"),
    "tf32, TFLOP/s": on_h100(350, 450, "estimate"), "fp32, TFLOP/s": on_h100(45, 62, "estimate"),
    "memory copy, GB/s": on_h100(2700, 3100, "seen"),
}  # fmt: skip


def straightness(points):
    "Return r2 of the straight line through (x, y); 1 if all y are the same."
    xs, ys = zip(*points)
    if len({*ys}) == 1: return 1.0
    return statistics.correlation(xs, ys) ** 2


def memory_lines(plan, records):
    "Return how straight the memory of the steps, and that with the warm-up, is over the batch size."
    ok = [r for r in records if r.ok and r.peak_mem_steady_bytes]
    if not plan.cuda or len(ok) < 3: return {"memory of the steps, r2": NOT_HERE, "memory with warm-up, r2": NOT_HERE}
    fields = {"memory of the steps, r2": "peak_mem_steady_bytes", "memory with warm-up, r2": "peak_mem_bytes"}
    return {name: straightness([(r.bs, getattr(r, field)) for r in ok]) for name, field in fields.items()}


def first_timed_s(run):
    "Return the seconds from the command to the first timed step."
    r = next(r for r in run.records if r.ok)
    ended = datetime.fromisoformat(r.time).timestamp() - (r.passes_s or 0)
    return ended - sum(ms for _, ms in r.windows) / 1e3 - run.began


def main_job(plan):
    "Search the best batch size of ResNet-50."
    search = plan.pick((), ("--search-until", 32, "--budget", 30))
    run = plan.rsg("--model", plan.pick("resnet50", "test_vit"), f"--{plan.half}", *search)
    best = run.best
    plan.best_bs = best.bs
    return {
        "exit code": run.code, "best batch size": best.bs, "best, samples/s": best.throughput,
        "busy at the best": best.busy if plan.has("gpu") else NOT_HERE,
        "steady": int(bool(best.steady)), "plausible": int(best.plausible is not False), "findings": len(best.findings or []),
        "batch sizes tried": len(run.points), "seconds": run.seconds, "seconds to the first timed step": first_timed_s(run),
    } | memory_lines(plan, run.points)  # fmt: skip


MAIN_JOB = {
    "exit code": none(), "best batch size": None, "best, samples/s": on_h100(1500, 2800, "published"),
    "busy at the best": least(0.95, "estimate", (0, 1.05)), "steady": least(1, short=(0, 1)), "plausible": yes(), "findings": None,
    "batch sizes tried": None, "seconds": most(75, "estimate", card="H100"), "seconds to the first timed step": most(20, "estimate"),
    "memory of the steps, r2": least(0.99, short=(0.5, 1.01)), "memory with warm-up, r2": None,
}  # fmt: skip


def layout(plan):
    "Compare channels_last with NCHW at the best batch size."
    bs, point = plan.best_bs or plan.size(256, 4), dict(model=plan.pick("resnet50", "test_resnet"), precision=plan.half)
    with plan.session() as session: nchw, last = (session.rate(bs, layout=name, **point) for name in ("nchw", "channels_last"))
    return {"channels_last, samples/s": last, "channels_last / nchw": last / nchw}


def in_turns(plan, session, bs, loop, **spec):
    "Return rsg's throughput divided by the loop's; both have two turns."
    ours, plain = [], []
    for of_rsg in (True, False, False, True):
        if of_rsg: ours.append(session.rate(bs, **spec))
        else: plain.append(loop())
    return statistics.fmean(ours) / statistics.fmean(plain)


def against_plain(full, small, bs):
    "Return a check that compares rsg with a plain loop: a case for each form, each with the loop's model and options."

    def run(plan):
        case = dict(plan.pick(full, small))
        loop, size = case.pop("loop"), plan.size(bs, 4)
        case["precision"] = dict(fp16=plan.half, bf16=plan.bf16)[case["precision"]]
        about = dict(bs=size, precision=case["precision"], **loop)
        with plan.plain(**about) as plain, plan.session() as session: ratio = in_turns(plan, session, size, plain, **case)
        return {"rsg / plain loop": ratio}

    return run


def tuning(plan):
    "Compare a plain loop without cuDNN's autotuning with one that has it."
    about = dict(model=plan.pick("timm:resnet50", "timm:test_resnet"), precision=plan.half, bs=plan.size(256, 4))
    rates = []
    for tune in (True, False):
        with plan.plain(tune=tune, **about) as loop: rates.append(loop())
    return {"autotuning off / on": rates[1] / rates[0]}


def suite(name, budget_s):
    "Return a check that runs a suite within its budget."

    def run(plan):
        if plan.short: (plan.folder / "short.toml").write_text(SUITE, encoding="utf-8")
        budget = int(min(budget_s, max(10, plan.left() - 30)))
        limit = plan.pick(("--budget", budget), ("--n-seconds", 0.3))
        run = plan.rsg("suite", plan.pick(name, "short.toml"), *limit)
        timed = sum(sum(ms for _, ms in r.windows or []) / 1e3 for r in run.records)
        around = sum((r.warmup_s or 0) + (r.passes_s or 0) for r in run.records)
        return {
            "exit code": run.code, "share of points with a result": run.ok(), "seconds over the budget": run.seconds - budget,
            "seconds": run.seconds, "share timed": timed / run.seconds, "share warm-up and passes": around / run.seconds,
        }  # fmt: skip

    return run


SUITE_BANDS = {
    "exit code": none(), "share of points with a result": least(0.5), "seconds over the budget": most(15), "seconds": None,
    "share timed": None, "share warm-up and passes": None,
}  # fmt: skip


def tests(plan):
    "Run the tests that need a GPU."
    folder = REPOSITORY / "tests"
    able = all(map(importlib.util.find_spec, ("pytest", "xdist")))
    if not (able and folder.exists()): return {"failed": NOT_HERE, "skipped for want of a GPU": NOT_HERE}
    files = [folder / "test_transfers.py", folder / "test_step_options.py"]
    chosen = plan.pick("gpu or graph or transfers", "gpu_never")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-rs", "-p", "no:cacheprovider", *files, "-k", chosen]
    done = subprocess.run([*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True, timeout=max(1, plan.left()))
    missing = done.stdout.count("needs a GPU") if plan.cuda else NOT_HERE
    return {"failed": int(done.returncode not in (0, 5)), "skipped for want of a GPU": missing}


RESNET = dict(model="resnet50", precision="fp16", loop=dict(model="timm:resnet50"))
SMALL = dict(model="test_vit", precision="fp16", loop=dict(model="timm:test_vit"))
PART1 = [
    Check("device", 1, 15, device, {
        "kernels for this GPU in torch": yes(), "peak known from a data sheet": yes(), "sensors in a record": yes(),
    }, "cuda"),
    Check("doctor", 1, 60, doctor, DOCTOR_RATES | {
        "slowest link, GB/s": on_h100(40, 57, "estimate"), "exit code": few(0), "findings": few(0), "seconds": most(35),
        "equal steps give equal numbers": yes(), "largest change in a second run": most(0.02, short=(0, 1)),
    }, "real"),
    Check("resnet50 in half precision", 1, 75, main_job, MAIN_JOB),
    Check("layout", 1, 30, layout, {
        "channels_last, samples/s": on_h100(2200, 3400, "estimate"), "channels_last / nchw": ratio(1.15, 1.6, "estimate"),
    }),
    Check("plain loop resnet50", 1, 40, against_plain(RESNET, SMALL, 256), {"rsg / plain loop": ratio(0.985, 1.015)}),
    Check("autotuning", 1, 35, tuning, {"autotuning off / on": ratio(0.97, 1.03, "estimate")}),
    Check("suite quick", 1, 100, suite("quick", 90), SUITE_BANDS),
    Check("numbers of devices", 1, 30, devices, {
        "exit code of cuda:0": none(), "with CUDA_VISIBLE_DEVICES=0": none(), "exit code of a missing device": exactly(2),
        "lines about it": exactly(1),
    }, "cuda"),
    Check("broken model", 1, 25, broken_model, {"the broken model failed": yes(), "the next one has a result": yes()}, "real"),
    Check("TF32 by the environment", 1, 25, tf32_override, {"with / without override": ratio(0.98, 1.02)}, "cuda"),
    Check("tests", 1, 90, tests, {"failed": none(), "skipped for want of a GPU": none()}, "real"),
]  # fmt: skip
