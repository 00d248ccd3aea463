"""Does the spread that `--repeat` quotes hold the next run? Real runs, on this machine.

    python benchmarks/repeat.py [--commands 10] [--runs 4] [--n-seconds 4] [-- --model resnet18 --bs 16 ...]

Runs `rsg --repeat N` several times, one command after the other, each with a journal of its own. What follows `--` are the options
of the point; without them it is a small LSTM on the CPU. A command quotes the
mean of its runs and a half width. The next run is the first one of the next command; for the last command one more run follows.
It is held if its throughput is within the half width of the mean. Prints a line for each command, and how often the interval of a
single run would have held it; the last line is one JSON object. Exit 1 when fewer than nine of ten are held.

The quoted half width is that of one more run on this machine as it was during the command. A machine whose load changes between
two commands can miss it, so run it with as little beside it as possible; `cores_shared` and `stalls` count the runs with these findings.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ready_steady_go import __version__
from ready_steady_go.store.journal import Journal

MIN_HELD = 0.9
START = "from ready_steady_go.commands.cli import main; main()"
SMALL = "--model lstm:classifier --seq-len 8 --emb-dim 32 --hid-dim 32 --bs 16 --device cpu".split()
COUNTED = ("cores_shared", "stalls")  # findings


def measured(a, folder, i, repeat):
    "Return the records of one command: the first measurement, then its runs."
    out = Path(folder) / f"{i}.jsonl"
    length = ["--n-seconds", str(a.n_seconds)] if a.n_seconds else []
    args = [*(a.point or SMALL), *length, *(["--repeat", str(repeat)] if repeat else [])]
    command = [sys.executable, "-c", START, *args, "--wandb", "off", "--quiet", "--out", str(out)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode: sys.exit(f"repeat: {done.stderr.strip() or 'the command failed'}")
    return Journal(out).read()


def judged(records, following):
    "Return the row of a command: its runs, what it quotes, and whether the next run is within that."
    first, last = records[0], records[-1]
    off, single = following.throughput - last.runs_throughput, following.throughput - first.throughput
    codes = [f["code"] for r in records[1:] for f in r.findings or []]
    return dict(throughputs=[r.throughput for r in records[1:]], mean=last.runs_throughput, half=last.runs_ci95,
                next=following.throughput, held=abs(off) <= last.runs_ci95,
                held_by_one=first.throughput_ci95 is not None and abs(single) <= first.throughput_ci95,
                **{code: codes.count(code) for code in COUNTED})  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=10)
    parser.add_argument("--runs", type=int, default=4, help="of each command, in new processes")
    parser.add_argument("--n-seconds", type=float, default=4.0, help="of each run; 0: until it is steady")
    parser.add_argument("point", nargs="*", help="options of the point, after --")
    a = parser.parse_args()
    began, load = time.time(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        commands = [measured(a, folder, i, a.runs) for i in range(a.commands)]
        after = measured(a, folder, a.commands, None)[0]
    # a command's first measurement comes from its first process: it is a run like the others, and the next one of the command before
    nexts = [records[0] for records in commands[1:]] + [after]
    rows = [judged(records, following) for records, following in zip(commands, nexts)]
    print(f"{'':4}{'mean of ' + str(a.runs) + ' runs':>16}{'±':>8}{'next run':>12}{'off by':>9}")
    for i, r in enumerate(rows, 1):
        off = r["next"] / r["mean"] - 1
        print(f"{i:>4}{r['mean']:>16.2f}{r['half'] / r['mean']:>8.1%}{r['next']:>12.2f}{off:>+9.1%}  {'held' if r['held'] else 'missed'}")
    held, by_one = sum(r["held"] for r in rows), sum(r["held_by_one"] for r in rows)
    print(f"held: {held} of {len(rows)}; by the interval of a single run: {by_one}")
    first = commands[0][0]
    about = dict(point=first.label, bs=first.bs, n_seconds=a.n_seconds or None, runs=a.runs, device=first.device_name, cores=os.cpu_count(),
                 load_before=round(load, 2), load_after=round(os.getloadavg()[0], 2), seconds=round(time.time() - began))  # fmt: skip
    versions = dict(rsg_version=__version__, pytorch=first.pytorch, python=platform.python_version(), date=time.strftime("%Y-%m-%d"))
    print(json.dumps(dict(held=held, commands=len(rows), held_by_one=by_one, **about, **versions, rows=rows)))
    sys.exit(held < MIN_HELD * len(rows))


if __name__ == "__main__":
    main()
