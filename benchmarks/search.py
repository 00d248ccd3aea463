"""Measure how well the search finds the best batch size: replay recorded curves, with noise, in simulated time.

    python benchmarks/search.py [FILE.csv] [--seeds 20] [--noise 0.003] [--process-s 8] [--capacity-gib 40] [--made 15]

FILE has the columns gpu, workload, batch_size, memory_mib, samples_per_s and n_obs; the default is data/batch_curves.csv.
Throughput is linear in the logarithm of the batch size between two points and proportional to it below the first one;
memory is linear between two points. What is above the last point, or needs more than the capacity, does not fit.
A short trial costs what the program spends on it, where all steps take as long and no kernel is tuned. Any other point costs
two warm-up steps and whole steps for as long as it is timed; the search expects a confirmation to be timed for 4 s. In the row
`search, as it runs` a confirmation, too, costs what the program spends, which times ten windows. Starting a process costs
`--process-s`.

Regret is how far the true throughput at the chosen batch size is below the curve's best. The table and the list by curve
use the worst regret of a curve's seeds, and the means of their seconds and of the points that did not fit. `of runs` is the
share of all replays that end within 1 %: what a user of a single run can expect.
Prints a line for each strategy, then one for each family of made-up curves (see curves.py; `--made` of each, 0 for none) with
the search alone; the last line is one JSON object.
"""

import argparse
import json
import math
import random
import statistics
from functools import cache, partial
from pathlib import Path

from curves import FAMILIES, made_curves, read_curves

from ready_steady_go.run.search import Search, Trial, TrialResult
from ready_steady_go.run.supervise import time_limits
from ready_steady_go.timing.measure import measure

FILE = Path(__file__).parent / "data" / "batch_curves.csv"
OOM_S = 1.5  # running out of memory, and clearing up
PRECISE_S = 2.0  # a point of the simple strategies
ORIGINAL_S = 30.0  # a point of the original, which starts a process for each
LADDER = [2**k for k in range(3, 13)]


class SimulatedClock:
    "The clock of a GPU, which works ahead."

    ahead, now = 1, 0.0

    def mark(self): return self.now

    def seconds(self, a, b): return b - a

    def work(self, seconds): self.now += seconds


@cache
def spent_s(step_s, trial):
    "Return the seconds that the program spends on a trial whose steps all take as long."
    clock, limits = SimulatedClock(), time_limits(trial, math.inf)
    measure(partial(clock.work, step_s), 1, clock, limit_s=limits["limit_s"], warmup_limit_s=limits["warmup_limit_s"])
    return clock.now


class Device:
    "A simulated device that follows a curve, with noise, and counts the seconds."

    def __init__(self, curve, noise, seed, process_s):
        self.curve, self.noise, self.process_s, self.as_it_runs = curve, noise, process_s, False
        self.random, self.seconds, self.ooms, self.points = random.Random(seed), process_s, 0, []

    def point(self, bs, seconds, why=""):
        "Return the result of a point, timed for at most `seconds`, but for one step at least."
        self.points.append(bs)
        if not self.curve.fits(bs):
            self.seconds, self.ooms = self.seconds + OOM_S, self.ooms + 1
            return TrialResult(bs, "oom", took_s=OOM_S, why=why)
        step_s = bs / self.curve.rate(bs)
        as_spent = why in ("probe", "refine") or why and self.as_it_runs
        took_s = spent_s(step_s, Trial(bs, seconds, why)) if as_spent else (2 + math.ceil(seconds / step_s)) * step_s
        self.seconds += took_s
        rate = self.curve.rate(bs) * self.random.gauss(1, self.noise)
        return TrialResult(bs, "ok", rate, took_s, bs / rate, self.curve.memory(bs), self.noise * rate, why)


def searched(device):
    "Return the batch size that the search chooses."
    search = Search(capacity=device.curve.capacity)
    while (trial := search.next()) is not None: search.tell(device.point(trial.bs, trial.seconds, trial.why))
    return search.best


def searched_as_it_runs(device):
    "Return the batch size that the search chooses, where confirmations cost what the program spends."
    device.as_it_runs = True
    return searched(device)


def original(device):
    "Return the best power of two from 8 to 4096, until one does not fit; each has 30 s and a process."
    found = []
    for i, bs in enumerate(LADDER):
        device.seconds += device.process_s if i else 0
        tried = device.point(bs, ORIGINAL_S)
        if tried.outcome == "oom": break
        found.append(tried)
    return max(found, key=lambda t: t.throughput).bs if found else None


def until_slower(device):
    "Return the last power of two from 8 before one is slower or does not fit."
    last, bs = None, 8
    while (tried := device.point(bs, PRECISE_S)).outcome == "ok" and (last is None or tried.throughput > last.throughput):
        last, bs = tried, bs * 2
    return last and last.bs


def largest(device):
    "Return the largest power of two that fits, from 8."
    bs = 8
    while device.point(bs, PRECISE_S).outcome == "ok": bs *= 2
    return bs // 2 if bs > 8 else None


STRATEGIES = {"search": searched, "search, as it runs": searched_as_it_runs, "original": original, "double until slower": until_slower,
              "the largest that fits": largest}  # fmt: skip


def replay(curve, strategy, args):
    "Return the figures of a strategy on a curve, over all seeds."
    runs = []
    for seed in range(args.seeds):
        device = Device(curve, args.noise, seed, args.process_s)
        bs = strategy(device)
        regret = 1 - curve.rate(bs) / curve.rate(curve.best) if bs else 1.0
        runs.append((regret, bs, device.seconds, device.ooms, len(device.points)))
    regret, bs, *_ = max(runs, key=lambda r: r[0])
    share = statistics.mean(r[0] <= 0.01 for r in runs)
    seconds, ooms, points = (statistics.mean(r[i] for r in runs) for i in (2, 3, 4))
    return dict(gpu=curve.gpu, workload=curve.workload, best_bs=curve.best, bs=bs, regret=round(regret, 5),
                share_within_1_percent=share, seconds=round(seconds, 2), oom=round(ooms, 2), points=round(points, 1))  # fmt: skip


def summary(rows):
    "Return the figures of a strategy over all curves."
    regrets, mean = [r["regret"] for r in rows], lambda name: statistics.mean(r[name] for r in rows)
    return dict(curves=len(rows), within_1_percent=sum(r <= 0.01 for r in regrets),
                share_within_1_percent=round(mean("share_within_1_percent"), 4), regret_median=statistics.median(regrets),
                regret_worst=max(regrets), seconds_mean=round(mean("seconds"), 1), oom_mean=round(mean("oom"), 2))  # fmt: skip


def table_row(name, f):
    "Return a row of the table."
    within, share = f"{f['within_1_percent']}/{f['curves']}", f["share_within_1_percent"]
    regrets = f"{f['regret_median']:>9.2%}{f['regret_worst']:>9.2%}"
    return f"{name:<24}{within:>12}{share:>9.1%}{regrets}{f['seconds_mean']:>8.1f}{f['oom_mean']:>6.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=FILE, help="the curves")
    parser.add_argument("--seeds", type=int, default=20, help="times that each curve is replayed")
    parser.add_argument("--noise", type=float, default=0.003, help="standard deviation of a measurement, as a share")
    parser.add_argument("--process-s", type=float, default=8.0, help="seconds to start a process")
    parser.add_argument("--capacity-gib", type=float, help="memory of the device, GiB")
    parser.add_argument("--made", type=int, default=15, help="made-up curves of each family")
    parser.add_argument("--made-seed", type=int, default=0, help="seed of the made-up curves")
    args = parser.parse_args()
    curves = [c for c in read_curves(args.file, args.capacity_gib) if c.best]
    results = {name: [replay(c, strategy, args) for c in curves] for name, strategy in STRATEGIES.items()}
    figures = {name: summary(rows) for name, rows in results.items()}
    made = [replay(c, searched, args) for c in made_curves(args.made, args.made_seed)]
    families = {name: summary([r for r in made if r["workload"].startswith(name)]) for name in FAMILIES if made}
    print(f"{'strategy':<24}{'within 1 %':>12}{'of runs':>9}{'median':>9}{'worst':>9}{'GPU s':>8}{'oom':>6}")
    for name, f in figures.items(): print(table_row(name, f))
    for name, f in families.items(): print(table_row(f"search, {name}", f))
    if made: print(table_row("search, all made up", summary(made)))
    print(json.dumps(dict(seeds=args.seeds, noise=args.noise, process_s=args.process_s, capacity_gib=args.capacity_gib,
                          strategies=figures, by_curve=results["search"], families=families, by_made_curve=made)))  # fmt: skip


if __name__ == "__main__":
    main()
