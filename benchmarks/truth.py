"""Is it true? rsg and a plain training loop that shares no code with it, in turns on the same device.

    python benchmarks/truth.py [--models resnet18,resnet50] [--bs 4] [--precision fp32] [--turns 5] [--seconds 2]

For each model two processes are started, the one that rsg measures in and one with the loop. Each turn times the model
with rsg, loop, loop, rsg, and the same again: what slowly changes on the machine meanwhile cancels out. The loop draws a
batch on the device, trains for a fixed time after a fixed warm-up, and waits for the device before each reading of the
clock. Prints the ratio of the two throughputs, median and range over the turns for each model; the last line is one JSON
object. Exit 1 when a median is further from 1 than --within.
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace

from ready_steady_go.spec import Spec
from ready_steady_go.supervise import Runner

MODELS = "resnet18,resnet50,vit_tiny_patch16_224,mobilenetv3_small_100"


def plain_loop(model_name, bs, precision, seconds, warmup, device_name):
    "A training loop as anybody would write it: for each line on stdin, prints the samples per second of another stretch."
    import timm
    import torch

    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    device = torch.device(device_name or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = timm.create_model(model_name).to(device).train()
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
        for _ in range(steps):
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


class Loop:
    "The plain loop in a process of its own."

    def __init__(self, a, model):
        more = ["--device", a.device] if a.device else []
        args = ["--bs", str(a.bs), "--precision", a.precision, "--seconds", str(a.seconds), "--warmup", str(a.warmup)]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen([sys.executable, __file__, "--plain", model, *args, *more], **pipes)

    def throughput(self):
        "Samples per second."
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline() or sys.exit("truth: the plain loop failed"))

    def end(self):
        self.process.stdin.close(), self.process.wait()


class Ours:
    "The process that rsg measures in."

    def __init__(self, a, model):
        self.limits, self.runner = dict(n_seconds=a.seconds), Runner(a.device)
        (self.spec,) = self.runner.check([Spec(model=model, precision=a.precision)])
        self.spec = replace(self.spec, bs=a.bs)

    def throughput(self):
        "Samples per second."
        self.record = self.runner.point(self.spec, self.limits)
        if not self.record.ok: sys.exit(f"truth: rsg has no result for {self.spec}: {self.record.outcome} {self.record.error}")
        return self.record.throughput

    def end(self):
        self.runner.end()


def turn(ours, loop):
    "Mean throughput of rsg and of the loop over rsg, loop, loop, rsg, and the same again."
    rates = {ours: [], loop: []}
    for who in (ours, loop, loop, ours) * 2: rates[who].append(who.throughput())
    return statistics.fmean(rates[ours]), statistics.fmean(rates[loop])


def turns(a, model):
    "The ratio of the two throughputs for each turn, and a record."
    ours, loop, ratios = Ours(a, model), Loop(a, model), []
    try:
        for n in range(1, a.turns + 1):
            rate, plain = turn(ours, loop)
            ratios.append(rate / plain)
            print(f"{model:<28} turn {n}: rsg {rate:9.2f}  loop {plain:9.2f}  ratio {ratios[-1]:.4f}", flush=True)
        return ratios, ours.record
    finally: ours.end(), loop.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--bs", type=int, default=4)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "fp16", "bf16"])
    parser.add_argument("--device")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="timed, each time")
    parser.add_argument("--warmup", type=float, default=1.0, help="before the plain loop is timed, each time")
    parser.add_argument("--within", type=float, default=0.05, help="how far a median ratio may be from 1")
    parser.add_argument("--plain", metavar="MODEL", help="be the plain loop: each line on stdin is answered")
    a = parser.parse_args()
    if a.plain: return plain_loop(a.plain, a.bs, a.precision, a.seconds, a.warmup, a.device)
    results = {}
    for model in a.models.split(","):
        ratios, record = turns(a, model)
        results[model] = dict(median=round(statistics.median(ratios), 4), lowest=round(min(ratios), 4), highest=round(max(ratios), 4))
    print(f"\n{'rsg / plain loop':<28}{'median':>9}{'range':>19}")
    for model, r in results.items(): print(f"{model:<28}{r['median']:>9.4f}{r['lowest']:>10.4f} - {r['highest']:.4f}")
    about = {name: getattr(record, name) for name in ("device_name", "driver", "pytorch", "cuda", "timm", "rsg_version")}
    made = dict(date=datetime.date.today().isoformat(), python=platform.python_version(), turns=a.turns, bs=a.bs, precision=a.precision)
    print(json.dumps(dict(ratios=results, **about, **made)))
    sys.exit(any(abs(r["median"] - 1) > a.within for r in results.values()))


if __name__ == "__main__":
    main()
