"""Is the throughput true? rsg against a plain training loop that shares no code with it, in turns on the same device.

    python benchmarks/truth.py [--models resnet18,resnet50] [--bs 4] [--precision fp32,bf16] [--mode train,infer] [--turns 5] [--seconds 2]

For each turn of a model, precision and mode two processes start: the one that rsg measures in, and one with the loop. How memory
is placed in a process is chance, and makes differences of 10 % between two that do the same. A turn times the model with rsg,
loop, loop, rsg, and the same again, so that slow changes of the machine cancel out. The loop draws a batch on the device, trains
for a fixed time after a fixed warm-up, and waits for the device before each reading of the clock. Half of rsg's points run the
passes (split and profiler) after they were timed, and half do not: `passes` is the ratio of their throughputs, which is 1 if the
passes do not touch the timed part, and `cost` is their share of a point's time. Prints the ratio of the two throughputs, median
and range over the turns for each workload; the last line is one JSON object. Exit 1 when a median is further from 1 than
--within, or the passes cost more than 20 %.
"""

import argparse
import datetime
import itertools
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace

from ready_steady_go.run.supervise import Runner
from ready_steady_go.spec.spec import Spec

MODELS = "resnet18,resnet50,vit_tiny_patch16_224,mobilenetv3_small_100"


def plain_loop(model_name, bs, precision, mode, seconds, warmup, device_name):
    "Run a plain training loop: for each line on stdin, print the samples per second of another measurement."
    import timm
    import torch

    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    device = torch.device(device_name or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = timm.create_model(model_name).to(device).train(mode == "train")
    images = torch.randn(bs, *model.default_cfg["input_size"], device=device)
    labels = torch.randint(0, model.num_classes, (bs,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, weight_decay=5e-5, fused=True if precision == "fp16" else None)
    half = dict(fp16=torch.float16, bf16=torch.bfloat16).get(precision)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def wait():
        if device.type != "cpu": getattr(torch, device.type).synchronize()

    def run(steps):
        wait()
        start = time.perf_counter()
        for _ in range(steps if mode == "infer" else 0):
            with torch.inference_mode(), torch.autocast(device.type, dtype=half, enabled=half is not None):
                model(images)
        for _ in range(steps if mode == "train" else 0):
            with torch.autocast(device.type, dtype=half, enabled=half is not None):
                loss = torch.nn.functional.cross_entropy(model(images), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        wait()
        return time.perf_counter() - start

    for _ in sys.stdin:
        spent, steps = 0.0, 1
        while spent < warmup:
            took = run(steps)
            spent, per_step, steps = spent + took, took / steps, steps * 2
        steps = max(1, round(seconds / per_step))
        print(bs * steps / run(steps), flush=True)


class LoopProcess:
    "The plain loop in its own process."

    def __init__(self, a, model, precision, mode):
        more = ["--device", a.device] if a.device else []
        args = ["--bs", str(a.bs), "--precision", precision, "--mode", mode, "--seconds", str(a.seconds), "--warmup", str(a.warmup)]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen([sys.executable, __file__, "--plain", model, *args, *more], **pipes)

    def throughput(self):
        "Return the samples per second."
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline() or sys.exit("truth: the plain loop failed"))

    def end(self):
        self.process.stdin.close(), self.process.wait()


class RsgProcess:
    "The process that rsg measures in."

    def __init__(self, a, model, precision, mode):
        self.limits, self.runner, self.rates, self.costs = dict(n_seconds=a.seconds), Runner(a.device), {True: [], False: []}, []
        (self.spec,) = self.runner.check([Spec(model=model, precision=precision, mode=mode)])
        self.spec, self.brief = replace(self.spec, bs=a.bs), True

    def throughput(self):
        "Return the samples per second; every second point runs its passes."
        self.brief = not self.brief
        r = self.record = self.runner.point(self.spec, self.limits | dict(brief=self.brief))
        if not r.ok: sys.exit(f"truth: rsg has no result for {self.spec}: {r.outcome} {r.error}")
        self.rates[self.brief].append(r.throughput)
        if not self.brief: self.costs.append(r.passes_s / (r.warmup_s + r.duration))
        return r.throughput

    def passes(self):
        "Return the throughput with passes over that without, and the passes' share of a point's time."
        return statistics.median(self.rates[False]) / statistics.median(self.rates[True]), max(self.costs)

    def end(self):
        self.runner.end()


def turn(ours, loop):
    "Return the mean throughputs of rsg and of the loop over rsg, loop, loop, rsg, and the same again."
    rates = {ours: [], loop: []}
    for process in (ours, loop, loop, ours) * 2: rates[process].append(process.throughput())
    return statistics.fmean(rates[ours]), statistics.fmean(rates[loop])


def one_turn(a, workload):
    "Return both throughputs of two new processes, and the ended one of rsg."
    ours, loop = RsgProcess(a, *workload), LoopProcess(a, *workload)
    try: rate, plain = turn(ours, loop)
    finally: ours.end(), loop.end()
    return rate, plain, ours


def turns(a, workload):
    "Return the ratio of the two throughputs for each turn, a record, and the effect and cost of the passes."
    ratios, effects, costs = [], [], []
    for n in range(1, a.turns + 1):
        rate, plain, ours = one_turn(a, workload)
        effect, cost = ours.passes()
        ratios.append(rate / plain), effects.append(effect), costs.append(cost)
        print(f"{' '.join(workload):<40} turn {n}: rsg {rate:9.2f}  loop {plain:9.2f}  ratio {ratios[-1]:.4f}", flush=True)
    return ratios, ours.record, (statistics.median(effects), max(costs))


def figures(ratios, passes):
    "Return the figures of a workload that are kept."
    median, lowest, highest = (round(f(ratios), 4) for f in (statistics.median, min, max))
    return dict(median=median, lowest=lowest, highest=highest, passes=round(passes[0], 4), cost=round(passes[1], 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--bs", type=int, default=4)
    parser.add_argument("--precision", default="fp32", help="some of fp32, tf32, fp16, bf16")
    parser.add_argument("--mode", default="train", help="train, infer or both")
    parser.add_argument("--device")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="timed, each time")
    parser.add_argument("--warmup", type=float, default=1.0, help="before the plain loop is timed, each time")
    parser.add_argument("--within", type=float, default=0.05, help="how far a median ratio may be from 1")
    parser.add_argument("--plain", metavar="MODEL", help="run the plain loop: answer each line on stdin")
    a = parser.parse_args()
    if a.plain: return plain_loop(a.plain, a.bs, a.precision, a.mode, a.seconds, a.warmup, a.device)
    results = {}
    for workload in itertools.product(a.models.split(","), a.precision.split(","), a.mode.split(",")):
        ratios, record, passes = turns(a, workload)
        results[" ".join(workload)] = figures(ratios, passes)
    print(f"\n{'rsg / plain loop':<40}{'median':>9}{'range':>19}{'passes':>9}{'cost':>7}")
    for name, r in results.items():
        print(f"{name:<40}{r['median']:>9.4f}{r['lowest']:>10.4f} - {r['highest']:.4f}{r['passes']:>9.4f}{r['cost']:>7.1%}")
    about = {name: getattr(record, name) for name in ("device_name", "driver", "pytorch", "cuda", "timm", "rsg_version")}
    made = dict(date=datetime.date.today().isoformat(), python=platform.python_version(), turns=a.turns, bs=a.bs)
    print(json.dumps(dict(ratios=results, **about, **made)))
    sys.exit(any(abs(r["median"] - 1) > a.within or r["cost"] > 0.2 for r in results.values()))


if __name__ == "__main__":
    main()
