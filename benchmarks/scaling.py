"""The cost of sharing a step: N ranks beside N independent processes that do the same work, in one run.

    python benchmarks/scaling.py                       2 ranks on the CPU, about 6 minutes on 2 cores
    python benchmarks/scaling.py --ranks 4 --device cuda --model resnet50 --bs 64
    python benchmarks/scaling.py --short               one turn of 1 s

The independent processes start, wait for each other and measure at the same time: they share the box, and nothing else. The
order is A B B A: together, apart, apart, together. Prints the throughput of each turn, the sum of the independent ones, and the
ratio; the last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
import threading

from ready_steady_go.run.supervise import Child, Runner
from ready_steady_go.spec.spec import Spec

# A child like any other, whose CPU threads are those of one rank.
CODE = """
from ready_steady_go.box.process import begin_child; begin_child()
import sys
n = int(sys.argv.pop())
from ready_steady_go.run import bench, child
cores = bench.cpu_cores()
bench.cpu_cores = lambda: cores // n
child.main()
"""


def together(asked, seconds):
    "Return the record of N ranks that share a step."
    runner = Runner(asked.device)
    spec = Spec(model=asked.model, size=asked.size, precision=asked.precision, n_gpus=asked.ranks, strategy="ddp")
    (spec,) = runner.check([spec])
    record = runner.point(Spec(**dict(vars(spec), bs=asked.bs)), dict(n_seconds=seconds))
    runner.end()
    if not record.ok:
        raise SystemExit(f"{record.outcome}: {record.error}")
    return record


def apart(asked, seconds):
    "Return the samples/s of N processes that measure at the same time."
    found, ready = [None] * asked.ranks, threading.Barrier(asked.ranks)

    def run(rank):
        device = asked.device if asked.device == "cpu" else f"{asked.device}:{rank}"
        child = Child((sys.executable, "-P", "-c", CODE, str(asked.ranks)))
        spec = dict(model=asked.model, size=asked.size, precision=asked.precision)
        (spec,) = child.ask(dict(do="check", device=device, specs=[spec]))["specs"]
        ready.wait()
        answer = child.ask(dict(do="point", spec=dict(spec, bs=asked.bs), limits=dict(n_seconds=seconds)))
        found[rank] = answer["record"]["throughput"]
        child.end()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(asked.ranks)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return sum(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--bs", type=int, default=8)
    parser.add_argument("--short", action="store_true")
    asked = parser.parse_args()
    seconds = 1.0 if asked.short else 20.0
    shared, alone = [], []
    for turn in "AB" if asked.short else "ABBA":
        if turn == "A":
            shared.append(together(asked, seconds))
            r = shared[-1]
            exposed = "not above its noise" if r.exposed_comm is None else f"{r.exposed_comm:.1%}"
            efficiency = f"{r.scaling_efficiency:.1%} ± {r.scaling_efficiency_ci95:.1%} of alone"
            more = f"{efficiency}, exposed communication {exposed}, all-reduce {r.allreduce_busbw / 1e9:.3g} GB/s"
            print(f"{asked.ranks} ranks       {r.throughput:10.4g} samples/s, {more}", flush=True)
        else:
            alone.append(apart(asked, seconds))
            print(f"{asked.ranks} processes   {alone[-1]:10.4g} samples/s", flush=True)
    ratio = statistics.fmean(r.throughput for r in shared) / statistics.fmean(alone)
    about = f"{asked.model} at {asked.size} px, {asked.precision}, batch size {asked.bs} each"
    print(f"{about}: {asked.ranks} ranks reach {ratio:.1%} of {asked.ranks} processes")
    print(json.dumps(dict(ranks=[r.throughput for r in shared], processes=alone, ratio=ratio)))


if __name__ == "__main__":
    main()
