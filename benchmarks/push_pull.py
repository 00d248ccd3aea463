"""How long W&B takes: records pushed and proven, runs pulled, through the real client, with a delay added to each request.

    python benchmarks/push_pull.py [--push 1000] [--pull 10000] [--delay 0.05]

The server is our own, on loopback, in a process of its own. Prints a table; the last line is one JSON object. Exit 1 when a record is
not proven or not pulled, below 15 pushes a second, and when the pull takes more than 15 s or this process grows by more than 100 MB; what
the client's two processes held resident at most stands beside it.
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

from ready_steady_go.machine import Machine
from ready_steady_go.measure import Measurement
from ready_steady_go.record import make_record
from ready_steady_go.spec import Spec
from ready_steady_go.wandb_sync import pull, push, run_of

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
    "The most memory that processes with these words on their command line held, sampled: bytes, by word."

    def __init__(self, *words):
        super().__init__(daemon=True)
        self.most, self.most_here, self.over = dict.fromkeys(words, 0), 0, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.2):
            self.most_here = max(self.most_here, self.resident_here())
            for word in self.most: self.most[word] = max(self.most[word], self.resident(word))

    def resident_here(self):
        "Bytes that this process holds."
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def resident(self, word):
        "Bytes that such processes of ours hold."
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if word.encode() not in (folder / "cmdline").read_bytes(): continue
                total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            except OSError: pass
        return total


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
    result = push(records, "push", entity="toy")
    push_s, push_requests = time.perf_counter() - start, server.asked()["requests"]
    rate = result.proven / push_s
    print(f"push  {result.proven:6} of {args.push} proven  {push_s:7.1f} s  {push_requests:6} requests  {rate:5.1f} a second")

    for first in range(0, args.pull, 500):  # not all at once, so that the memory that is measured is the pull's
        for run in map(run_of, made(min(500, args.pull - first), first)):
            server.put(entity="toy", project="pull", id=run["id"], config=run["config"], summary=run["summary"])
    before = server.asked()["requests"]
    peak = Peak("wandb_sync import client", "wandb-core")
    here = peak.resident_here()
    start = time.perf_counter()
    pulled = sum(1 for _ in pull("toy/pull"))
    pull_s, pull_requests = time.perf_counter() - start, server.asked()["requests"] - before
    peak.over.set()
    mb, most = (peak.most_here - here) / 1e6, {word.split()[0]: round(size / 1e6) for word, size in peak.most.items()}
    server.end()
    print(f"pull  {pulled:6} of {args.pull}         {pull_s:7.1f} s  {pull_requests:6} requests  {mb:5.1f} MB more than before")
    print("      at most resident besides: " + ", ".join(f"{size} MB in {name}" for name, size in most.items()))
    names = dict(pushed=result.pushed, proven=result.proven, push_s=round(push_s, 2), push_requests=push_requests)
    names |= dict(pushes_per_s=round(rate, 2), pulled=pulled)
    names |= dict(pull_s=round(pull_s, 2), pull_requests=pull_requests, pull_mb=round(mb, 1), resident_mb=most)
    print(json.dumps(names))
    sys.exit(not (result.proven == args.push and pulled == args.pull and rate >= 15 and pull_s <= 15 and mb <= 100))


if __name__ == "__main__":
    main()
