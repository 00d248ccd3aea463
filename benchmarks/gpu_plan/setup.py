"The device, the two ways to run rsg (its command, and its child), and the plain loops."

import ctypes
import datetime
import json
import math
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ready_steady_go.run.supervise import Runner
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import Record, to_line

HERE = Path(__file__).parent
PLAIN = HERE / "plain.py"
KILL_S = 10.0  # from SIGTERM to SIGKILL


def print_facts(device):
    "Print what this device and its software are, as JSON. Runs in its own process, so that the plan holds no memory of the GPU."
    import importlib.util

    import torch

    from ready_steady_go import __version__
    from ready_steady_go.box.machine import describe_machine
    from ready_steady_go.timing.device import find_device

    found = find_device(device)
    cuda = found.type == "cuda"
    fake = cuda and hasattr(ctypes.CDLL(None), "fake_counters")  # of tests/cuda
    more = dict(archs=torch.cuda.get_arch_list(), capability=torch.cuda.get_device_capability(found)) if cuda else {}
    more |= dict(n_devices=torch.cuda.device_count() if cuda else 0, triton=importlib.util.find_spec("triton") is not None)
    print(json.dumps(dict(rsg=__version__, date=datetime.date.today().isoformat(), fake=fake, **asdict(describe_machine(found)), **more)))


def facts_of(device):
    "Return the facts of a device."
    code = f"from gpu_plan.setup import print_facts; print_facts({device!r})"
    paths = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | dict(PYTHONPATH=paths))
    if done.returncode: sys.exit("gpu: torch cannot use this device; run rsg doctor")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def running(command, **options):
    "Start a process; end it when the caller is done with it or runs out of time."
    process = subprocess.Popen(command, text=True, **options)
    try: yield process
    finally:
        if process.poll() is None: process.terminate()
        try: process.wait(KILL_S)
        except subprocess.TimeoutExpired: process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe: pipe.close()


@dataclass
class Run:
    "A command of rsg that has ended."

    code: int
    out: str
    err: str
    records: list[Record]
    seconds: float
    began: float  # seconds since the epoch

    @property
    def points(self):
        "The records of the layout that was asked for. A search tries its best batch size in another one, too."
        return [r for r in self.records if r.search != "layout"]

    @property
    def best(self):
        "The fastest record."
        return max((r for r in self.points if r.ok), key=lambda r: r.throughput)

    def ok(self):
        "Return the share of the records that are results."
        return sum(r.ok for r in self.records) / len(self.records) if self.records else 0.0


class Session:
    "Points that one child of rsg measures."

    def __init__(self, plan):
        self.plan, self.runner = plan, Runner(plan.device)

    def point(self, bs, n_seconds=None, brief=False, steady=False, **spec):
        "Return the record of a point, timed for so many seconds, or until it is steady."
        seconds = self.plan.pick(3.0, 0.3) if n_seconds is None else n_seconds
        if self.runner.child is None: self.runner.check([])
        (complete,) = self.runner.check([Spec(**spec)])
        record = self.runner.point(replace(complete, bs=bs), dict(n_seconds=None if steady else seconds, brief=brief))
        self.plan.keep([record])
        return record

    def rate(self, bs, **how):
        "Return the throughput of a point. Raise a `RuntimeError` if it has none."
        record = self.point(bs, **how)
        if not record.ok: raise RuntimeError(f"{record.model} at batch size {bs}: {record.error or record.outcome}")
        return record.throughput

    @property
    def pid(self):
        "The process id of the child; None if it has ended."
        return self.runner.child and self.runner.child.process.pid


class Plan:
    "The state of a run: device, form, time and folder."

    def __init__(self, device, short, seconds, folder, facts):
        self.device, self.short, self.folder, self.facts = device, short, Path(folder), facts
        self.until, self.best_bs, self.kept, self.runs = time.monotonic() + seconds, None, [], 0
        self.cuda, self.fake = facts["device"].startswith("cuda"), facts["fake"]
        self.half = "fp16" if self.cuda else "fp32"  # a CPU emulates FP16
        self.bf16 = "bf16" if self.cuda and facts["capability"][0] >= 8 else self.half
        self.too_large = None  # a batch size that did not fit

    def size(self, full, short):
        "Return a batch size: on a GPU with less than 48 GiB less than on an H100."
        if self.short: return short
        share = min(1.0, (self.facts["gpu_mem"] or 0) / (48 * 2**30))
        return max(4, 2 ** math.floor(math.log2(max(1, full * share))))

    def left(self):
        "Return the seconds of the time budget that are left."
        return self.until - time.monotonic()

    def pick(self, full, short):
        "Return the value for this form of the plan."
        return short if self.short else full

    def has(self, needs):
        "Return True if the device is what a check needs."
        real = not self.fake
        known = dict(cuda=self.cuda, gpu=self.cuda and real, real=real, triton=self.cuda and real and self.facts["triton"])
        return not needs or known[needs]

    def keep(self, records):
        "Keep records for the journal of the part."
        self.kept += [to_line(r) for r in records]

    def rsg(self, *args, device=True, **env):
        "Run the command with its own journal; return what it gave."
        self.runs += 1
        journal = self.folder / f"run{self.runs}.jsonl"
        on = ["--device", self.device] if device and "--device" not in args else []
        quiet = ["--out", journal, "--fresh", "--wandb", "off"] if "doctor" not in args else []
        command = [sys.executable, "-m", "ready_steady_go", *args, *on, *quiet]
        began, start = time.time(), time.monotonic()
        pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with running([*map(str, command)], cwd=self.folder, env=os.environ | env, **pipes) as process: out, err = process.communicate()
        records = Journal(journal).read() if journal.exists() else []
        self.keep(records)
        return Run(process.returncode, out, err, records, time.monotonic() - start, began)

    @contextmanager
    def session(self):
        "Give a child of rsg, and end it afterwards."
        session = Session(self)
        try: yield session
        finally: session.runner.end()

    @contextmanager
    def plain(self, **case):
        "Give a function that times a plain loop once more, in its own process."
        case = dict(device=self.device, seconds=self.pick(3.0, 0.3)) | case
        command, pipes = [sys.executable, PLAIN, json.dumps(case)], dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with running([*map(str, command)], **pipes) as process:
            def throughput():
                print(file=process.stdin, flush=True)
                line = process.stdout.readline()
                if not line: raise RuntimeError(f"the plain loop of {case['model']} failed")
                return float(line)

            yield throughput
