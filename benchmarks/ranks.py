"""The outcome when one of several ranks fails, and the cost of starting them.

    python benchmarks/ranks.py              both parts, about 5 minutes on 2 cores
    python benchmarks/ranks.py --part drills    one rank is killed, stopped, raises, exits or runs out of memory; the other waits for it
    python benchmarks/ranks.py --part start     seconds from the command to the first timed step, 2 ranks beside 1, in turns
    python benchmarks/ranks.py --short      two drills, one start each

Two ranks on the CPU with gloo. A drill passes if the point has its outcome, no process is left, and the next batch size is measured.
Prints a table; the last line is one JSON object. Exit code 1: a drill failed.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ready_steady_go.box.process import processes_of
from ready_steady_go.run import supervise
from ready_steady_go.run.supervise import Runner
from ready_steady_go.spec.spec import Spec

SILENCE_S = 15.0  # instead of 120 s, so that the drills that hang take less long; a busy machine needs a few seconds for a point

# A model of a user whose forward does DEED on one rank, at batch size 4, in the plain step or when the gradients are shared.
MODULE = '''
import os, signal, time
from pathlib import Path

import torch
from torch import nn

from ready_steady_go.training.workload import Workload

def out_of_memory(): raise torch.OutOfMemoryError("CUDA out of memory. (a drill)")
def raise_error(): raise RuntimeError("a drill")
def send(number): os.kill(os.getpid(), number)

DEEDS = dict(
    kill=lambda: send(signal.SIGKILL), stop=lambda: send(signal.SIGSTOP), error=raise_error, exit=lambda: os._exit(7), oom=out_of_memory,
    hang=lambda: time.sleep(10**6),
)

class Net(nn.Module):
    def __init__(self, deed, rank, call):
        super().__init__()
        self.layer, self.deed, self.rank, self.call, self.calls, self.bs = nn.Linear(64, 8), deed, rank, call, 0, 0

    def forward(self, x):
        self.calls = self.calls + 1 if self.bs == len(x) else 1
        self.bs = len(x)
        if self.bs == 4 and self.calls == self.call and os.environ.get("RANK") == self.rank:
            Path("when").write_text(str(time.time()))
            DEEDS[self.deed]()
        return self.layer(x)

def build(spec, device):
    deed, rank, call = spec.model.split("-")
    model = Net(deed, rank, int(call)).to(device)
    def draw(bs): return torch.randn(bs, 64, device=device), torch.randint(8, (bs,), device=device)
    return Workload(model, draw, nn.functional.cross_entropy)
'''
TRIAL, LATER = 1, 6  # the call of the model at which it fails: in the plain step; with shared gradients
DRILLS = {  # name: model and outcome
    "SIGKILL of rank 0": (f"kill-0-{LATER}", "failed:rank 0 SIGKILL"),
    "SIGKILL of rank 1": (f"kill-1-{LATER}", "failed:rank 1 SIGKILL"),
    "SIGSTOP of rank 1": (f"stop-1-{LATER}", "failed:hang"),
    "rank 1 hangs": (f"hang-1-{LATER}", "failed:hang"),
    "rank 1 raises": (f"error-1-{LATER}", "failed:rank 1 RuntimeError"),
    "rank 1 exits with 7": (f"exit-1-{LATER}", "failed:rank 1 exit 7"),
    "rank 1 is out of memory later": (f"oom-1-{LATER}", "oom"),
    "rank 1 is out of memory in its trial step": (f"oom-1-{TRIAL}", "oom"),
    "rank 1 raises in its trial step": (f"error-1-{TRIAL}", "failed:RuntimeError"),
    "rank 1 is killed in its trial step": (f"kill-1-{TRIAL}", "failed:rank 1 SIGKILL"),
}
SHORT = ("SIGKILL of rank 1", "rank 1 is out of memory in its trial step")


def point(runner, spec, bs):
    "Return the record of a short point, and the processes of the world before it."
    return runner.point(Spec(**dict(vars(spec), bs=bs)), dict(n_batches=40, brief=True), silence_s=SILENCE_S)


def drill(name):
    "Return what happened in a drill, as a row."
    model, wanted = DRILLS[name]
    runner = Runner("cpu")
    (spec,) = runner.check([Spec(model=f"rank_drills:{model}", n_gpus=2, strategy="ddp")])
    first, world = point(runner, spec, 2), runner.child
    failed, noticed = point(runner, spec, 4), time.time()
    after = point(runner, spec, 8)
    same, last = runner.child is world, runner.child
    runner.end()
    left = [pid for child in (world, last) for pid in processes_of(child.process.pid, child.token)]
    took = noticed - float(Path("when").read_text(encoding="utf-8"))
    right = failed.outcome == wanted and first.ok and not left and (after.ok or failed.outcome == "oom")
    return dict(drill=name, outcome=failed.outcome, error=failed.error, noticed_s=round(took, 1), left=len(left), after=after.outcome,
                same_processes=same, passed=right)  # fmt: skip


def end_of_rsg(number):
    "Return what is left of a run of the command, after a signal to it while its ranks measure, as a row."
    mark = f"DRILL{os.getpid()}-{number}"
    args = ["--model", "rank_drills:none-0-0", "--gpus", "2", "--device", "cpu", "--bs", "2", "--n-seconds", "600", "--wandb", "off"]
    command = [sys.executable, "-m", "ready_steady_go", *args, "--out", f"{mark}.jsonl"]
    run = subprocess.Popen(command, env=os.environ | dict(DRILL=mark), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 200
    is_rank = lambda pid: b"rank_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    while sum(map(is_rank, marked(mark))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(8)  # they measure
    n, sent = len(marked(mark)), time.time()
    run.send_signal(number)
    while (left := len(marked(mark))) and time.time() < sent + 30:
        time.sleep(0.1)
    took, name = time.time() - sent, signal.Signals(number).name
    row = dict(drill=f"{name} of rsg itself", outcome=f"{n} processes ended", error=f"exit code {run.wait()}")
    return row | dict(noticed_s=round(took, 1), left=left, after="nothing", same_processes=False, passed=not left and n >= 4)


def marked(mark):
    "Return the ids of the living processes of a run, found by a variable of their environment."
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            alive = (path / "stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
            if alive and f"DRILL={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def run_drills(short):
    "Run the drills in a folder of their own."
    os.chdir(tempfile.mkdtemp())
    Path("rank_drills.py").write_text(MODULE, encoding="utf-8")
    supervise.BEAT_TIMEOUT_S = SILENCE_S
    rows = []
    drills = [(drill, name) for name in (SHORT if short else DRILLS)]
    drills += [] if short else [(end_of_rsg, number) for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)]
    for do, what in drills:
        rows.append(row := do(what))
        mark = "ok  " if row["passed"] else "FAIL"
        again = "the same processes" if row["same_processes"] else "new processes"
        print(f"{mark}  {row['drill']:<42}{row['outcome']:<28}{row['noticed_s']:>5} s  {row['left']} left, then {row['after']} in {again}")
        print(f"      {row['error']}", flush=True)
    return rows


def seconds_to_first_window(n):
    "Return the seconds from the beginning to the first timed step of a point on n ranks."
    began, heard = time.monotonic(), []
    runner = Runner("cpu")
    (spec,) = runner.check([Spec(model="resnet18", size=64, n_gpus=n, strategy="ddp" if n > 1 else None)])
    note = lambda beat: heard.append(time.monotonic() - began - beat["duration"]) if "duration" in beat else None
    runner.point(Spec(**dict(vars(spec), bs=2)), dict(n_seconds=2, brief=True), note)  # long enough for a heartbeat
    runner.end()
    return heard[0]


def run_starts(short):
    "Measure starts of one rank and of two, in turns."
    turns = [(n, seconds_to_first_window(n)) for _ in range(1 if short else 3) for n in (1, 2)]
    medians = {n: statistics.median(s for m, s in turns if m == n) for n in (1, 2)}
    print(f"from the command to the first timed step, resnet18 at 64 px: {medians[1]:.1f} s with 1 rank, {medians[2]:.1f} s with 2")
    return medians


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("drills", "start"))
    parser.add_argument("--short", action="store_true")
    asked = parser.parse_args()
    starts = run_starts(asked.short) if asked.part != "drills" else None
    rows = run_drills(asked.short) if asked.part != "start" else []
    print(json.dumps(dict(drills=rows, start_s=starts)))
    sys.exit(not all(row["passed"] for row in rows))


if __name__ == "__main__":
    main()
