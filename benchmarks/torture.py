"""Is a record ever lost, or a process left behind? Sweeps get signals at random moments, and are repeated until they are complete.

    python benchmarks/torture.py [--sweeps 200] [--seed 0]

The parent is the real one, with its journal, resume and supervision; the child is a script in the place of the bench, so that a sweep
takes a fraction of a second. Its model starts programs and copies of itself. Parent, child or both get SIGKILL, SIGTERM, SIGINT, SIGHUP, or
SIGSTOP and then SIGCONT. After each signal no process of the run may live, no new entry may be in the temporary folder, and the parent
must have left with the right exit code and without a traceback. Afterwards every line of every journal must be complete, and every point
that was reported as done must be there once. Prints the faults; the last line is one JSON object. Exit 1 when there is a fault. Linux only.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from pathlib import Path

import ready_steady_go
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
import sys
sys.path.insert(0, ROOT)
from ready_steady_go.box.process import answer_questions, begin_child
begin_child()
import os, subprocess, time

def litter():
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    os.fork() or time.sleep(600)

def answer(question, send):
    if question["do"] == "check":
        specs = [dict(s, family="timm", model=s["model"].removeprefix("timm:"), size=8) for s in question["specs"]]
        return dict(event="checked", specs=specs, machine=TOY)
    if question["spec"]["bs"] == 16: litter()
    for _ in range(3):
        send(dict(event="beat", phase="steady"))
        time.sleep(0.003)
    spec, ok = question["spec"], question["spec"]["bs"] < FITS
    measured = dict(throughput=100.0, step_ms=10.0, windows=[[10, 100.0]] * 400) if ok else {}
    return dict(event="record", record=dict(spec, **TOY, **measured, run_number=1, outcome="ok" if ok else "oom"))

answer_questions(answer)
""".replace("FITS", str(FITS)).replace("TOY", repr(TOY)).replace("ROOT", repr(str(Path(ready_steady_go.__file__).parents[1])))
ATTACKS = dict.fromkeys(("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"), ()) | dict(SIGSTOP=("SIGCONT",))  # a signal, and what follows it
VICTIMS = ("parent",), ("child",), ("parent", "child")
ENDS_WITHIN_S = 30.0
MARK = "RSG_TORTURE"  # a variable of the processes of one attempt


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
    "Run a whole sweep; return the exit code, as the command does."
    request = Request([Spec(model="toy")], RunOptions(bs=SIZES, wandb="off"))
    try: return run([request], Screen(as_json=True, quiet=True), time.monotonic(), Runner(start=start_child), Reporting(path))
    except RuntimeError: return 1  # the child was ended before it measured


def fork_sweep(path, mark):
    "Return the process id and the reports of a sweep in a forked process, which imports nothing again."
    reads, writes = os.pipe()
    pid = os.fork()
    if pid: return os.close(writes) or pid, os.fdopen(reads)
    os.environ[MARK] = mark
    os.dup2(writes, 1)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")
    os.dup2(os.open(f"{path}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    try: os._exit(sweep(path))
    except BaseException: traceback.print_exc()
    finally: os._exit(1)


def try_sweep(path, rng, attack, victims, found):
    "Run the sweep and attack the victims; return whether it was completed, and the reported ids. Count what is left behind."
    ids, pids, after, mark = [], [], rng.randint(1, 12), uuid.uuid4().hex
    pid, reports = fork_sweep(path, mark)
    for line in reports:
        word, _, rest = line.strip().partition(" ")
        (pids if word == "child" else ids).append(rest)
        after -= 1
        if after or not victims: continue
        time.sleep(rng.random() * 0.02)
        hit = [pid] * ("parent" in victims) + [int(p) for p in pids[-1:]] * ("child" in victims)
        for name in (attack, *ATTACKS[attack]):
            for target in hit: send_signal(target, name)
            time.sleep(rng.random() * 0.02)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    asked = {0} | ({1} if "child" in victims else set())  # a point whose child was ended has failed
    if "parent" in victims: asked.add(-signal.SIGKILL if attack == "SIGKILL" else 128 + getattr(signal, attack))
    found["exit code"] += code not in asked
    found["orphans"] += still_alive(mark)
    return code == 0, ids


def send_signal(pid, name):
    "Send a signal to a process that may be gone."
    try: os.kill(pid, getattr(signal, name))
    except ProcessLookupError: pass


def still_alive(mark):
    "Return how many processes of an attempt do not end in time, and kill them."
    until = time.monotonic() + ENDS_WITHIN_S
    while (left := marked(mark)) and time.monotonic() < until: time.sleep(0.01)
    for pid in left: send_signal(pid, "SIGKILL")
    return len(left)


def marked(mark):
    "Return the ids of the living processes that were started in an attempt."
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            alive = (path / "stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
            if alive and f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0"): found.append(int(path.name))
        except (OSError, IndexError): continue
    return found


def torture(path, rng, found):
    "Attack a sweep five times, then let it finish; return the reported ids and the number of attacks. Count the faults."
    reported, attacks = [], 0
    while True:
        victims, attack = rng.choice(VICTIMS) if attacks < 5 else (), rng.choice(sorted(ATTACKS))
        done, ids = try_sweep(path, rng, attack, victims, found)
        reported += ids
        if done and not victims: return reported, attacks
        attacks += bool(victims)


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
    rng, attacks, points = random.Random(a.seed), 0, 0
    found = Counter(dict.fromkeys(("lost", "twice", "torn", "missing", "orphans", "litter", "exit code", "traceback"), 0))
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = str(Path(folder) / "tmp")
        os.mkdir(tempfile.tempdir)
        for i in range(a.sweeps):
            path = Path(folder) / f"{i}.jsonl"
            reported, attacked = torture(path, rng, found)
            attacks, points = attacks + attacked, points + len(reported)
            found.update(faults(path, reported))
            found["traceback"] += Path(f"{path}.err").read_text(encoding="utf-8").count("Traceback")
            if i % 20 == 19: print(f"{i + 1} sweeps, {attacks} attacks, {points} points: {dict(found)}", flush=True)
        found["litter"] += len(os.listdir(tempfile.tempdir))
    print(json.dumps(dict(sweeps=a.sweeps, seed=a.seed, attacks=attacks, points=points, **found)))
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
