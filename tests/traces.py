"""Measure models one after the other in one run, and write down what each finds in its process. The model `leaves` leaves traces.

Reads JSON from stdin: `device`, `folder`, `prelude` (code that the child runs first) and `models`: fields of a Spec, and `env` (variables
set before). Prints a JSON object: `records` (outcomes), `seen` (a dictionary for each model), `started` (children).
"""

import json
import os
import sys
from pathlib import Path

from ready_steady_go.run.search import FixedSizes
from ready_steady_go.run.supervise import Child, Runner, run_ladder
from ready_steady_go.spec.spec import Spec

FAMILY = '''
import json, os, torch
from dataclasses import replace
from ready_steady_go.training.compiling import compile_counts
from ready_steady_go.training.workload import Workload

def has(name): return True
def names(): return []
def complete(spec): return replace(spec, size=8, channels=3, classes=2)

def seen(device):
    memory = [torch.cuda.memory_allocated(), torch.cuda.memory_reserved()] if device.type == "cuda" else []
    return dict(
        kept=hasattr(torch, "left"), env=os.environ.get("LEFT"), dtype=str(torch.get_default_dtype()),
        tf32=torch.backends.cuda.matmul.allow_tf32, deterministic=torch.backends.cudnn.deterministic,
        tuned=torch.backends.cudnn.benchmark, cached=torch.is_autocast_cache_enabled(),
        compiled=bool(compile_counts().get("frames")), memory=memory, threads=torch.get_num_threads(),
    )

def leave(device):
    torch.left, os.environ["LEFT"] = torch.zeros(2**24, device=device), "1"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.deterministic = True
    torch.set_autocast_cache_enabled(False)
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))
    if not os.fork(): __import__("time").sleep(600)

def build(spec, device):
    if isinstance(device, str): raise TypeError("only its structure is asked for")
    found = dict(model=spec.model, pid=os.getpid(), parent=os.getppid(), seen=seen(device))
    with open({file!r}, "a") as file: print(json.dumps(found), file=file)
    if spec.model == "leaves": leave(device)
    if spec.model == "fails": raise RuntimeError("it fails")
    draw = lambda bs: (torch.randn(bs, 4, device=device), torch.randint(2, (bs,), device=device))
    return Workload(torch.nn.Linear(4, 2, device=device), draw, torch.nn.functional.cross_entropy)
'''
START = (
    "from ready_steady_go.box.process import begin_child; begin_child(); import ready_steady_go.training.families as f; "
    "f.__path__.append({folder!r}); {prelude}; from ready_steady_go.run.child import main; main()"
)


def main():
    asked = json.loads(sys.stdin.read())
    folder, file, started = Path(asked["folder"]), Path(asked["folder"]) / "seen.jsonl", []
    families = folder / "families"
    families.mkdir()
    for path, more in (families / "tracing.py", ""), (folder / "own.py", "del complete, names"):
        path.write_text(FAMILY.replace("{file!r}", repr(str(file))) + more)
    os.chdir(folder)  # where a user's own module is found

    def start():
        started.append(1)
        return Child((sys.executable, "-c", START.format(folder=str(families), prelude=asked.get("prelude", "pass"))))

    runner, outcomes = Runner(asked["device"], start), []
    fields = [dict(model) for model in asked["models"]]
    env = [model.pop("env", {}) for model in fields]
    for spec, changed in zip(runner.check([Spec(**model) for model in fields]), env):
        os.environ.update(changed)
        outcomes += [r.outcome for r in run_ladder(spec, FixedSizes([4]), runner, limits=dict(n_batches=3))]
        runner.done(spec)
    runner.end()
    print(json.dumps(dict(records=outcomes, seen=[json.loads(line) for line in file.read_text().splitlines()], started=len(started))))


if __name__ == "__main__":
    main()
