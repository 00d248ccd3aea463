"""Is it true? rsg and a plain training loop that shares no code with it, in turns on the same device.

    python benchmarks/truth.py [--models resnet18,resnet50] [--bs 8] [--precision fp32] [--turns 5] [--seconds 5]

Each turn times a model with both, one process after the other, and who goes first alternates. The loop draws a batch on the device,
trains for a fixed time after a fixed warm-up, and waits for the device before each reading of the clock. Prints the ratio of the two
throughputs for each model, median and range over the turns; the last line is one JSON object. Exit 1 when a median is further from 1
than --within.
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = "resnet18,resnet50,vit_tiny_patch16_224,mobilenetv3_small_100"


def plain_loop(model_name, bs, precision, seconds, warmup, device_name):
    "Samples per second of a training loop as anybody would write it."
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

    def wait():
        if device.type != "cpu": getattr(torch, device.type).synchronize()

    spent, steps = 0.0, 1
    while spent < warmup:
        took = run(steps)
        spent, per_step, steps = spent + took, took / steps, steps * 2
    steps = max(1, round(seconds / per_step))
    return bs * steps / run(steps)


def in_a_process(command):
    "The last line that a command prints, as JSON."
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode: sys.exit(f"truth: {' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def plain(a, model):
    "The plain loop in a process of its own."
    more = ["--device", a.device] if a.device else []
    args = ["--plain", model, "--bs", str(a.bs), "--precision", a.precision, "--seconds", str(a.seconds), "--warmup", str(a.warmup)]
    return in_a_process([sys.executable, __file__, *args, *more])


def ours(a, model):
    "rsg's record of the same point."
    more = ["--device", a.device] if a.device else []
    with tempfile.TemporaryDirectory() as folder:
        args = ["--model", model, "--bs", str(a.bs), f"--{a.precision}", "--n-seconds", str(a.seconds)]
        out = ["--json", "--quiet", "--out", str(Path(folder) / "truth.jsonl")]
        return in_a_process([sys.executable, "-m", "ready_steady_go", *args, *out, *more])


def turns(a, model):
    "The ratio of the two throughputs for each turn; who goes first alternates."
    ratios, record = [], None
    for turn in range(a.turns):
        if turn % 2: loop, record = plain(a, model)["throughput"], ours(a, model)
        else: record, loop = ours(a, model), plain(a, model)["throughput"]
        if not record["throughput"]: sys.exit(f"truth: rsg has no result for {model}: {record['outcome']} {record['error']}")
        ratios.append(record["throughput"] / loop)
        print(f"{model:<28} turn {turn + 1}: rsg {record['throughput']:9.2f}  loop {loop:9.2f}  ratio {ratios[-1]:.4f}", flush=True)
    return ratios, record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--bs", type=int, default=8)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "fp16", "bf16"])
    parser.add_argument("--device")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="timed, each")
    parser.add_argument("--warmup", type=float, default=5.0, help="before the plain loop is timed")
    parser.add_argument("--within", type=float, default=0.05, help="how far a median ratio may be from 1")
    parser.add_argument("--plain", metavar="MODEL", help="only the plain loop: prints one JSON line")
    a = parser.parse_args()
    if a.plain: return print(json.dumps(dict(throughput=plain_loop(a.plain, a.bs, a.precision, a.seconds, a.warmup, a.device))))
    results, record = {}, {}
    for model in a.models.split(","):
        ratios, record = turns(a, model)
        results[model] = dict(median=round(statistics.median(ratios), 4), lowest=round(min(ratios), 4), highest=round(max(ratios), 4))
    print(f"\n{'rsg / plain loop':<28}{'median':>9}{'range':>19}")
    for model, r in results.items(): print(f"{model:<28}{r['median']:>9.4f}{r['lowest']:>10.4f} - {r['highest']:.4f}")
    about = {name: record.get(name) for name in ("device_name", "driver", "pytorch", "cuda", "timm", "rsg_version")}
    made = dict(date=datetime.date.today().isoformat(), python=platform.python_version(), turns=a.turns, bs=a.bs, precision=a.precision)
    print(json.dumps(dict(ratios=results, **about, **made)))
    sys.exit(any(abs(r["median"] - 1) > a.within for r in results.values()))


if __name__ == "__main__":
    main()
