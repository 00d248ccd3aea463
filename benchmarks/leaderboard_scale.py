"""The time and the memory of a leaderboard of many records.

    python benchmarks/leaderboard_scale.py [--count 100000]

Every record is a full measurement that could count: none is skipped early. Records are synthetic (tests/synthetic.py), of 40 models of
timm whose FLOPs are counted again, on 30 invented GPUs with 50 boxes each; one in a hundred states a throughput that its windows do not
give. Memory is that of the largest process, and of all together: one of the two counts FLOPs, and holds torch. The last line is a JSON
object. Exit 1: more than 60 s of CPU, more than 1 GB together, or a forged record that is not refused.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks"), str(ROOT)]
MOST_CPU_S, MOST_BYTES, BOXES, EACH_FORGED = 60.0, 1e9, 50, 100
MODELS = """resnet18 resnet34 resnet50 resnet101 resnext50_32x4d wide_resnet50_2 vgg11 vgg16 densenet121
mobilenetv2_100 mobilenetv3_large_100 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
regnety_002 regnety_008 regnety_032 convnext_tiny convnext_small vit_tiny_patch16_224
vit_small_patch16_224 vit_base_patch16_224 deit_small_patch16_224 mixer_b16_224 resnet26d resnet50d
seresnet50 repvgg_a2 regnetx_008 regnetx_032 efficientnet_lite0 ghostnet_100 mnasnet_100 semnasnet_100
tf_efficientnetv2_b0 hardcorenas_a res2net50_26w_4s convmixer_768_32 rexnet_100""".split()  # fmt: skip


from report_scale import tree  # noqa: E402


def records(count):
    "Yield confirmed results, each of another box, precision, model or GPU, as long as there are enough of them."
    from synthetic import GPUS, SHARE, point

    from ready_steady_go.store.record import seal

    random.seed(0)
    for i in range(count):
        gpu, model, precision = random.choice(GPUS), MODELS[i % len(MODELS)], random.choice(list(SHARE))
        own = dict(channels=3, classes=1000)
        noise = 0.003 + random.random() / 1000  # no two of them have the same windows
        r = point(gpu, 64, model, precision, random.randrange(BOXES), factor=0.3 + random.random() / 100, spec=own, noise=noise)
        yield seal(replace(r, throughput=1.5 * r.throughput)) if i % EACH_FORGED == 0 else r


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="records")
    count = parser.parse_args().count
    from ready_steady_go.store.record import to_line

    with tempfile.TemporaryDirectory() as folder:
        journal, site = Path(folder) / "many.jsonl", Path(folder) / "site"
        with journal.open("w", encoding="utf-8") as file:
            file.writelines(to_line(r) + "\n" for r in records(count))
        command = [sys.executable, "-m", "ready_steady_go", "leaderboard", str(journal), "--out", str(site)]
        began = time.perf_counter()
        before, most, together = resource.getrusage(resource.RUSAGE_CHILDREN), 0, 0
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None:
            held = [size for _, size, _ in tree(child.pid)]
            most, together = max(most, *held, 0), max(together, sum(held))
            time.sleep(0.05)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        if child.returncode: sys.exit(f"exit code {child.returncode}")
        cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        forged = (site / "refused.csv").read_text(encoding="utf-8").count("forged: it states")
        lines = {name: (site / name).read_text(encoding="utf-8").count("\n") for name in ("summary.csv", "refused.csv", "results.jsonl")}
        sizes = dict(journal_mb=round(journal.stat().st_size / 1e6, 1), page_mb=round((site / "index.html").stat().st_size / 1e6, 2))
    found = dict(records=count, numbers=lines["summary.csv"] - 1, boxes=lines["results.jsonl"], refused=lines["refused.csv"] - 1)
    found |= dict(wall_s=round(time.perf_counter() - began, 1), cpu_s=round(cpu_s, 1))
    found |= dict(memory_mb=round(most / 1e6), together_mb=round(together / 1e6), **sizes)
    found |= dict(forged=forged)
    is_whole = forged == len(range(0, count, EACH_FORGED))
    ok = is_whole and cpu_s <= MOST_CPU_S and together <= MOST_BYTES
    print(*(f"{name:>10}: {value:,}" for name, value in found.items()), sep="\n")
    print(json.dumps(found | dict(ok=ok, cores=os.cpu_count(), date=time.strftime("%Y-%m-%d", time.gmtime()))))
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
