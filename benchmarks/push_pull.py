"""The speed of W&B: records pushed and proven, runs pulled, through the real client, with a delay added to each request.

    python benchmarks/push_pull.py [--push 1000] [--pull 10000] [--delay 0.05]

The server is our own, on loopback, in a process of its own. Prints a table; the last line is one JSON object. Exit 1 when a record is
not proven or not pulled, below 15 pushes a second, and when the pull takes more than 15 s or more than 100 MB. A pull is three processes:
this one, one that imports wandb, and wandb-core. The 100 MB are what they hold together at most, above what they hold when the project
has a single run; what each holds at most, and what a process holds that only imports wandb, stands beside it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

from ready_steady_go.box.machine import Machine
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import make_record
from ready_steady_go.store.wandb_runs import run_of
from ready_steady_go.store.wandb_sync import WandbProject, pull_records, push_records
from ready_steady_go.timing.measure import Measurement

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))
from wandb_server import KEY  # noqa: E402

GPU = Machine(device="cuda", device_name="Toy GPU 3000", gpu_mem=25_438_126_080, driver="550.54.15", pytorch="2.4.1+cu121", cuda="12.1")


def made(count, seed=0):
    "Records as a campaign makes them, with their windows."
    spec = Spec(model="resnet50", family="timm", precision="fp16", size=224, channels=3, classes=1000)
    windows = [(10, 0.79 + i % 7 / 1e3) for i in range(60)]
    return [make_record(Spec(**vars(spec) | dict(bs=8 + i, seed=seed)), GPU, Measurement(bs=8 + i, windows=windows)) for i in range(count)]


class Peak(threading.Thread):
    "The most memory that this process and those that it starts held resident, each and together, sampled: MB."

    def __init__(self, **words):
        super().__init__(daemon=True)
        self.words, self.most, self.over = words, dict(parent=0.0) | dict.fromkeys(words, 0.0) | dict(together=0.0), threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            now = dict(parent=resident("self")) | {name: 0.0 for name in self.words}
            for pid, command in children(os.getpid()):
                for name, word in self.words.items(): now[name] += resident(pid) if word.encode() in command else 0.0
            now["together"] = sum(now.values())
            self.most = {name: max(self.most[name], mb) for name, mb in now.items()}


def resident(pid):
    "MB that a process holds."
    try: return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError: return 0.0


def children(pid):
    "Processes that descend from this one, with their command lines."
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            commands[folder.name] = (folder / "cmdline").read_bytes()
        except OSError: pass
    near = {str(pid)}
    while more := {child for child, parent in parents.items() if parent in near} - near: near |= more
    return [(child, commands[child]) for child in near & commands.keys() if child != str(pid)]


def only_wandb():
    "MB that a process holds that only imports wandb."
    code = "import wandb, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) * 1024 / 1e6


def watched(source):
    "A pull: records, seconds, and the most memory."
    peak, start = Peak(client="wandb_client import main", core="wandb-core"), time.perf_counter()
    count = sum(1 for _ in pull_records(source))
    took = time.perf_counter() - start
    peak.over.set()
    return count, took, peak.most


class Server:
    "Our server, in a process of its own."

    def __init__(self, delay):
        command = [sys.executable, str(TESTS / "wandb_server.py"), "--delay", str(delay)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def put(self, **run): print(json.dumps(run), file=self.process.stdin)

    def asked(self):
        "how many requests there were so far."
        print("{}", file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def end(self): self.process.stdin.close(), self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--push", type=int, default=1000, help="records to push")
    parser.add_argument("--pull", type=int, default=10_000, help="runs to pull")
    parser.add_argument("--delay", type=float, default=0.05, help="seconds added to each request")
    args = parser.parse_args()
    server = Server(args.delay)
    os.environ |= dict(WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    about = f"wandb {version('wandb')}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(f"{about}, {args.delay * 1e3:.0f} ms added to each request")

    records = made(args.push)
    start = time.perf_counter()
    result = push_records(records, WandbProject("push", entity="toy"))
    push_s, push_requests = time.perf_counter() - start, server.asked()["requests"]
    rate = result.proven / push_s
    print(f"push  {result.proven:6} of {args.push} proven  {push_s:7.1f} s  {push_requests:6} requests  {rate:5.1f} a second")

    for first in range(0, args.pull, 500):  # not all at once, so that the memory that is measured is the pull's
        for run in map(run_of, made(min(500, args.pull - first), first)):
            server.put(entity="toy", project="pull", id=run["id"], config=run["config"], summary=run["summary"])
    server.put(entity="toy", project="one", id=run["id"], config=run["config"], summary=run["summary"])
    server.asked()  # it has read them all when it answers
    _, _, idle = watched("toy/one")
    before = server.asked()["requests"]
    pulled, pull_s, most = watched("toy/pull")
    pull_requests = server.asked()["requests"] - before
    server.end()
    mb, least = most["together"] - idle["together"], only_wandb()
    print(f"pull  {pulled:6} of {args.pull}         {pull_s:7.1f} s  {pull_requests:6} requests  {mb:5.1f} MB more than for one run")
    for what, held in (("one run", idle), (f"{pulled} runs", most)):
        each = ", ".join(f"{size:.0f} MB {'in ' * (name != 'together')}{name}" for name, size in held.items())
        print(f"      at most resident for {what}: {each}")
    print(f"      a process that only imports wandb: {least:.0f} MB")
    rounded = lambda sizes: {name: round(size, 1) for name, size in sizes.items()}
    names = dict(pushed=result.pushed, proven=result.proven, push_s=round(push_s, 2), push_requests=push_requests)
    names |= dict(pushes_per_s=round(rate, 2), pulled=pulled)
    names |= dict(pull_s=round(pull_s, 2), pull_requests=pull_requests, pull_mb=round(mb, 1), resident_mb=rounded(most))
    names |= dict(idle_mb=rounded(idle), only_wandb_mb=round(least, 1))
    print(json.dumps(names))
    sys.exit(not (result.proven == args.push and pulled == args.pull and rate >= 15 and pull_s <= 15 and mb <= 100))


if __name__ == "__main__":
    main()
