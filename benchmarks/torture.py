"""Is a record ever lost? Sweeps are killed with SIGKILL at random moments, and repeated until they are complete.

    python benchmarks/torture.py [--sweeps 200] [--seed 0]

The parent is the real one, with its journal, resume and supervision; the child is a script in the place of the bench, so that a sweep
takes a fraction of a second. Parent, child or both are killed. Afterwards every line of every journal must be complete, and every point
that was reported as done must be there once. Prints the faults; the last line is one JSON object. Exit 1 when there is a fault.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ready_steady_go.run.campaign import run
from ready_steady_go.run.request import Request
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.supervise import Child, Runner
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal

SIZES = [8, 16, 24, 32, 40, 48, 56, 64, 128, 256]
FITS = 100
TOY = dict(device="cuda", device_name="Toy GPU", pytorch="2.15.0")
CHILD = """
import json, sys, time
def send(**answer): print(json.dumps(dict(answer, id=question["id"])), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    if question["do"] == "check":
        specs = [dict(s, family="timm", model=s["model"].removeprefix("timm:"), size=8) for s in question["specs"]]
        send(event="checked", specs=specs, machine=TOY)
        continue
    for _ in range(3):
        send(event="beat", phase="steady")
        time.sleep(0.003)
    spec, ok = question["spec"], question["spec"]["bs"] < FITS
    measured = dict(throughput=100.0, step_ms=10.0, windows=[[10, 100.0]] * 400) if ok else {}
    send(event="record", record=dict(spec, **TOY, **measured, run_number=1, outcome="ok" if ok else "oom"))
""".replace("FITS", str(FITS)).replace("TOY", repr(TOY))


def start_child():
    "Return a scripted child; report its process id."
    child = Child((sys.executable, "-I", "-S", "-c", CHILD))
    os.write(1, f"child {child.process.pid}\n".encode())
    return child


class Reporting(Journal):
    "A journal that reports each record when it is on disk."

    def append(self, record):
        super().append(record)
        os.write(1, f"done {record.id}\n".encode())


def sweep(path):
    "Run a whole sweep; return the exit code."
    request = Request([Spec(model="toy")], RunOptions(bs=SIZES, wandb="off"))
    return run([request], Screen(as_json=True, quiet=True), time.monotonic(), Runner(start=start_child), Reporting(path))


def fork_sweep(path):
    "Return the process id and the reports of a sweep in a forked process, which imports nothing again."
    reads, writes = os.pipe()
    pid = os.fork()
    if pid: return os.close(writes) or pid, os.fdopen(reads)
    os.dup2(writes, 1)
    sys.stdout = open(os.devnull, "w")
    try: os._exit(sweep(path))
    finally: os._exit(1)


def try_sweep(path, rng, victims):
    "Run the sweep and kill the victims; return whether it was completed, and the reported ids."
    ids, pids, after = [], [], rng.randint(1, 12)
    pid, reports = fork_sweep(path)
    for line in reports:
        word, _, rest = line.strip().partition(" ")
        (pids if word == "child" else ids).append(rest)
        after -= 1
        if after or not victims: continue
        time.sleep(rng.random() * 0.02)
        if "child" in victims and pids: kill(int(pids[-1]))
        if "parent" in victims: kill(pid)
    return os.waitpid(pid, 0)[1] == 0, ids


def kill(pid):
    "Send SIGKILL to a process that may be gone."
    try: os.kill(pid, signal.SIGKILL)
    except ProcessLookupError: pass


def torture(path, rng):
    "Kill a sweep up to five times, then let it finish; return the reported ids and the number of kills."
    reported, kills = [], 0
    while True:
        victims = rng.choice((("parent",), ("child",), ("parent", "child"))) if kills < 5 else ()
        done, ids = try_sweep(path, rng, victims)
        reported += ids
        if done and not victims: return reported, kills
        kills += bool(victims)


def faults(path, reported):
    "Return the faults of a journal, by kind."
    found, rows = Counter(), []
    for line in path.read_bytes().split(b"\n"):
        if not line: continue
        try: rows.append(json.loads(line))
        except ValueError: found["torn"] += 1
    ids = [row["id"] for row in rows]
    answered = Counter(row["bs"] for row in rows if row["outcome"] == "ok")
    found["lost"] = len(set(reported) - set(ids))
    found["twice"] = sum(n > 1 for n in Counter(ids).values()) + sum(n > 1 for n in answered.values())
    found["missing"] = len([bs for bs in SIZES if bs < FITS and not answered[bs]])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    rng, found, kills, points = random.Random(a.seed), Counter(lost=0, twice=0, torn=0, missing=0), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for i in range(a.sweeps):
            path = Path(folder) / f"{i}.jsonl"
            reported, killed = torture(path, rng)
            kills, points = kills + killed, points + len(reported)
            found.update(faults(path, reported))
            if i % 20 == 19: print(f"{i + 1} sweeps, {kills} kills, {points} points: {dict(found)}", flush=True)
    print(json.dumps(dict(sweeps=a.sweeps, seed=a.seed, kills=kills, points=points, **found)))
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
