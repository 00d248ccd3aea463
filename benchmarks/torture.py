"""Is anything ever lost? Sweeps are killed with SIGKILL at random moments and run again until they are done.

    python benchmarks/torture.py [--sweeps 200] [--seed 0]

The parent is the real one, with its journal, resume and supervision; the child is a script that answers as the bench does, so that a
sweep takes a fraction of a second. Parent, child or both are killed. Afterwards every line of every journal must be whole, every point that
was reported as done must be there, and none twice. Prints what was found; the last line is one JSON object. Exit 1 when anything is wrong.
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
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal

SIZES = [8, 16, 24, 32, 40, 48, 56, 64, 128, 256]
FITS = 100
TOY = dict(device="cuda", device_name="Toy GPU", pytorch="2.15.0")
CHILD = """
import json, sys, time
def say(**answer): print(json.dumps(answer), flush=True)
for line in sys.stdin:
    ask = json.loads(line)
    if ask["do"] == "check":
        specs = [dict(s, family="timm", model=s["model"].removeprefix("timm:"), size=8) for s in ask["specs"]]
        say(event="checked", specs=specs, machine=TOY)
        continue
    for _ in range(3): say(event="beat", phase="steady"), time.sleep(0.003)
    spec, ok = ask["spec"], ask["spec"]["bs"] < FITS
    measured = dict(throughput=100.0, step_ms=10.0, windows=[[10, 100.0]] * 400) if ok else {}
    say(event="record", record=dict(spec, **TOY, **measured, outcome="ok" if ok else "oom"))
""".replace("FITS", str(FITS)).replace("TOY", repr(TOY))


def start():
    "A scripted child; its process id is reported."
    child = Child((sys.executable, "-I", "-S", "-c", CHILD))
    os.write(1, f"child {child.process.pid}\n".encode())
    return child


class Reporting(Journal):
    "A journal that reports what is on disk."

    def append(self, record):
        super().append(record)
        os.write(1, f"done {record.id}\n".encode())


def sweep(path):
    "A whole sweep; returns the exit code."
    ask = Request([Spec(model="toy")], SIZES, None, {}, None, Reporting(path))
    return run(ask, Screen(as_json=True, quiet=True), time.monotonic(), Runner(start=start))


def fork_sweep(path):
    "A sweep in a process of its own, forked so that nothing is imported again: its process id, and what it reports."
    reads, writes = os.pipe()
    pid = os.fork()
    if pid: return os.close(writes) or pid, os.fdopen(reads)
    os.dup2(writes, 1)
    sys.stdout = open(os.devnull, "w")
    try: os._exit(sweep(path))
    finally: os._exit(1)


def one_try(path, rng, whom):
    "Run the sweep and kill somebody; returns whether it came to its end, and the ids that were reported."
    ids, pids, after = [], [], rng.randint(1, 12)
    pid, reports = fork_sweep(path)
    for line in reports:
        word, _, rest = line.strip().partition(" ")
        (pids if word == "child" else ids).append(rest)
        after -= 1
        if after or not whom: continue
        time.sleep(rng.random() * 0.02)
        if "child" in whom and pids: kill(int(pids[-1]))
        if "parent" in whom: kill(pid)
    return os.waitpid(pid, 0)[1] == 0, ids


def kill(pid):
    "SIGKILL, to a process that may be gone."
    try: os.kill(pid, signal.SIGKILL)
    except ProcessLookupError: pass


def tortured(path, rng):
    "One sweep, killed up to five times and then left alone; the ids that were reported, and how many kills it took."
    reported, kills = [], 0
    while True:
        whom = rng.choice((("parent",), ("child",), ("parent", "child"))) if kills < 5 else ()
        done, ids = one_try(path, rng, whom)
        reported += ids
        if done and not whom: return reported, kills
        kills += bool(whom)


def faults(path, reported):
    "What is wrong with a journal, by kind."
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
            reported, killed = tortured(path, rng)
            kills, points = kills + killed, points + len(reported)
            found.update(faults(path, reported))
            if i % 20 == 19: print(f"{i + 1} sweeps, {kills} kills, {points} points: {dict(found)}", flush=True)
    print(json.dumps(dict(sweeps=a.sweeps, seed=a.seed, kills=kills, points=points, **found)))
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
