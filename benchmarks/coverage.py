"""Does the half width hold the true mean? Step times whose true mean is known are replayed through rsg's measurement, in simulated time.

    python benchmarks/coverage.py [TRACES.jsonl] [--traces 4900] [--seed 0] [--short]

A line of TRACES is {"id": ..., "step_ms": [...], "true_ms": ...}: the milliseconds of every step, and their true mean
without any slow start. Where the steps drift, no mean describes them: `true_ms` is null, or the id contains `drift`.
Without a file the traces are made here, 45 s each. Steps take 2 to 100 ms, and their noise is 0.2 to 5 %, both even in the
logarithm; it repeats 0, 0.5 or 0.9 of the step before. A third of the stationary ones have a slow start of 1 to 30 steps.
  calm    nothing else
  spiky   2 % of the steps take 2 to 8 times as long
  rare    1 step in 500 takes 5 to 20 times as long
  walk    the speed wanders by 1 %, and forgets within 3 s (an Ornstein-Uhlenbeck process)
  drift   a linear drift of 2 to 15 % in 10 s
Other parameters of the same kinds, to which nothing is fitted:
  calm2   skewed noise that repeats any share up to 0.95; steps of 1 to 300 ms
  spiky2  bursts of 1 to 4 slow steps, which are 0.5 to 5 % of all, with an exponential length
  walk2   wandering by 0.3 to 3 % within 1 to 6 s: an Ornstein-Uhlenbeck process, a wave, two speeds, or a bounded random walk
And the older kinds: `ar0`, `ar5`, `ar9` (noise that repeats this much), `slow` (always a slow start), `spikes` (1 % of the
steps take 3 to 10 times as long), `two` (two speeds that alternate every 1 to 50 steps).

The true mean is that of the process in the long run, not of the seconds that were seen: a number should hold tomorrow. A trace
is covered when its true mean is within the half width that rsg prints. It is flagged when rsg calls it not steady: because it
drifts, or because the mean is not known to 0.5 %. The table also says how many are called steady, and how many of these are
covered. Only the drift within the timed part counts. A trace that ends before anything was timed is listed as too short. Three
simple ways to measure are compared: (a) 30 s after one step of warm-up, (b) 40 steps after 10, (c) the median of 15 steps.
Prints a table; the last line is one JSON object. `--short` makes 20 traces of each of the first five kinds. Exit 1 in any of
these cases, 2 when the file is not such a file:
  less than 93 % of calm, 90 % of spiky or 88 % of walk traces are covered (of a file, or with --short: less than 93 % of all)
  of these three kinds together, less than 93 % of those that are called steady are covered
  the median error is above 0.5 %
  a drift of more than 2 % is not flagged

A run cannot see a stall that has not come yet: the few stalling traces that are called steady had none while they were timed.
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy

from ready_steady_go import __version__
from ready_steady_go.timing.measure import Measurement, measure

FIVE = ("calm", "spiky", "rare", "walk", "drift")
KINDS = (*FIVE, "calm2", "spiky2", "walk2", "ar0", "ar5", "ar9", "slow", "spikes", "two")
LEAST = dict(calm=0.93, spiky=0.90, walk=0.88)  # covered, of the traces that are made here
LEAST_STEADY = 0.93  # covered, of all traces of these kinds that are called steady
SHORT = 20  # traces of each kind
SECONDS = 45.0  # of a trace that is made here
LIMIT_S, WARMUP_LIMIT_S = 10.0, 5.0  # of a point of rsg


def noise(rng, n, rho):
    "Return values of standard deviation 1 that repeat a share rho of the one before."
    x, fresh = [rng.standard_normal()], rng.standard_normal(n) * math.sqrt(1 - rho * rho)
    for e in fresh[1:]: x.append(rho * x[-1] + e)
    return numpy.array(x)


def slow_start(rng, t):
    "Make the first steps slower: all by the same factor, or by less and less."
    k, factor = int(rng.integers(1, 31)), rng.uniform(1.2, 5)
    t[:k] *= factor if rng.random() < 0.5 else 1 + (factor - 1) * numpy.exp(-3 * numpy.arange(k) / k)


def between(rng, lo, hi):
    "Return a number between two, even in the logarithm."
    return math.exp(rng.uniform(math.log(lo), math.log(hi)))


def waves(rng, n, step_s, tau_s):
    "Return a wandering of standard deviation 1 that forgets within `tau_s` seconds, of any form."
    at, form = numpy.arange(n) * step_s + rng.uniform(0, 100), rng.integers(4)
    if form == 0: return noise(rng, n, math.exp(-step_s / tau_s))
    if form == 1: return math.sqrt(2) * numpy.sin(2 * at / tau_s)  # a wave of about 3 times as long
    if form == 2: return 1.0 - 2.0 * ((rng.integers(2) + numpy.cumsum(rng.random(n) < step_s / (2 * tau_s))) % 2)  # two speeds
    far = numpy.cumsum(rng.standard_normal(n)) * math.sqrt(step_s / tau_s) + rng.uniform(0, 4)
    return math.sqrt(3) * (numpy.abs(far % 4 - 2) - 1)  # reflected at both ends


def bursty(rng, t, base):
    "Return steps with bursts of 1 to 4 slow ones, and their true mean."
    share, longer = between(rng, 0.005, 0.05), rng.uniform(1, 6)  # of the steps; by how many steps, on average
    starts = numpy.flatnonzero(rng.random(len(t)) < share / 2.5)  # a burst has 2.5 steps on average
    extra = numpy.zeros(len(t) + 4)
    for i in starts: extra[i : i + rng.integers(1, 5)] += rng.exponential(longer)
    return t + base * extra[: len(t)], base * (1 + share * longer)


def make_trace(kind, rng, name):
    "Return a trace of one kind."
    base, sigma = between(rng, 2, 100), between(rng, 0.002, 0.05)
    rho = {"ar0": 0.0, "ar5": 0.5, "ar9": 0.9}.get(kind, rng.choice([0.0, 0.5, 0.9]))
    if kind == "calm2": base, rho = between(rng, 1, 300), rng.uniform(0, 0.95)
    n = int(SECONDS * 1e3 / base)
    e = noise(rng, n, rho)
    if kind == "calm2": e = (numpy.exp(e * 0.7) - math.exp(0.245)) / math.sqrt(math.exp(0.98) - math.exp(0.49))
    t, true = base * (1 + sigma * e), base
    if kind == "walk": t = t * (1 + 0.01 * noise(rng, n, math.exp(-base / 3e3)))
    if kind == "walk2": t = t * (1 + between(rng, 0.003, 0.03) * waves(rng, n, base / 1e3, between(rng, 1, 6)))
    slow = dict(spiky=(0.02, 2, 8), rare=(0.002, 5, 20), spikes=(0.01, 3, 10)).get(kind)  # share, and how many times as long
    if slow:
        share, lo, hi = slow
        t, true = numpy.where(rng.random(n) < share, t * rng.uniform(lo, hi, n), t), base * (1 + share * ((lo + hi) / 2 - 1))
    if kind == "spiky2": t, true = bursty(rng, t, base)
    if kind == "two":
        gap, length = rng.uniform(0.02, 0.2), int(rng.integers(1, 51))
        t, true = t * (1 + gap * (numpy.arange(n) // length % 2)), base * (1 + gap / 2)
    if kind == "drift": t, true = t * (1 + rng.choice([-1, 1]) * rng.uniform(0.02, 0.15) * numpy.cumsum(t) / 1e4), None
    if kind == "slow" or (kind != "drift" and rng.random() < 1 / 3): slow_start(rng, t)
    return dict(id=name, step_ms=t.tolist(), true_ms=true)


def make_all(n, seed, kinds=KINDS):
    "Return traces of all kinds in turn."
    rng = numpy.random.default_rng(seed)
    return (make_trace(kinds[i % len(kinds)], rng, f"{kinds[i % len(kinds)]}-{i // len(kinds):04d}") for i in range(n))


def is_number(value):
    "Return True if a value is a finite number."
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def why_no_trace(trace):
    "Return why a line's object is no trace, else None."
    if not isinstance(trace, dict): return "it is no object"
    steps, true = trace.get("step_ms"), trace.get("true_ms")
    if "id" not in trace: return "it has no `id`"
    if not isinstance(steps, list) or not all(map(is_number, steps)) or sum(steps) <= 0: return "`step_ms` is no list of milliseconds"
    if true is not None and not (is_number(true) and true > 0): return "`true_ms` is neither null nor a number above 0"


def read_traces(file):
    "Yield the traces of a file; end the program at a line that is none."
    try: lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error: refuse(f"{file}: {getattr(error, 'strerror', None) or 'it is not text'}")
    for i, line in enumerate(lines, 1):
        if not line.strip(): continue
        try: trace = json.loads(line)
        except ValueError: refuse(f"{file}, line {i}: it is not JSON; a line is " + '{"id": ..., "step_ms": [...], "true_ms": ...}')
        if why := why_no_trace(trace): refuse(f"{file}, line {i}: {why}")
        yield trace


def refuse(why):
    "End the program with a one-line error."
    print(f"coverage: {why}", file=sys.stderr)
    sys.exit(2)


class Replay:
    "A trace as a step and its clock."

    ahead = 0

    def __init__(self, step_ms):
        self.step_ms, self.at, self.now = step_ms, 0, 0.0

    def __call__(self):
        if self.at == len(self.step_ms): raise EOFError  # the trace is shorter than the measurement
        self.now += self.step_ms[self.at] / 1e3
        self.at += 1

    def mark(self): return self.now
    def seconds(self, a, b): return b - a


def measure_trace(trace):
    "Return rsg's measurement of a trace, None if the trace ends before anything was timed, and the seconds that it took."
    replay, last = Replay(trace["step_ms"]), []
    try: m = measure(replay, 1, replay, limit_s=LIMIT_S, warmup_limit_s=WARMUP_LIMIT_S, progress=lambda phase, m: last.append(m))
    except EOFError: m = last[-1]
    return m if isinstance(m, Measurement) else None, replay.now


def simple_ways(step_ms):
    "Return mean step time and seconds of the three simple ways."
    def rest(first, seconds):
        n, spent = first, 0.0
        while n < len(step_ms) and spent < seconds * 1e3: n, spent = n + 1, spent + step_ms[n]
        return step_ms[first:n]

    ways = dict(a=(1, rest(1, 30), statistics.fmean), b=(10, step_ms[10:50], statistics.fmean), c=(0, step_ms[:15], statistics.median))
    return {way: (mean(steps), (sum(step_ms[:skip]) + sum(steps)) / 1e3) for way, (skip, steps, mean) in ways.items() if steps}


def drifts(trace):
    "Return True if a trace drifts, so that no mean describes it."
    return trace.get("true_ms") is None or "drift" in str(trace["id"]).lower()


def judge(trace):
    "Return the row of a trace in the results."
    m, seconds = measure_trace(trace)
    known = dict(id=trace["id"], kind=str(trace["id"]).split("-")[0], seconds=round(seconds, 3), drifting=drifts(trace))
    if m is None: return known | dict(mean_ms=None, half_ms=None, steps=0, steady=False, drift=0.0, flagged=True, too_short=True)
    mean = 1e3 / m.throughput
    half = None if m.throughput_ci95 is None else mean * m.throughput_ci95 / m.throughput
    row = known | dict(mean_ms=mean, half_ms=half, steps=m.n_batches, steady=m.steady, drift=round(m.drift, 5), flagged=not m.steady)
    if row["drifting"]: return row | dict(saw=timed_drift(trace, m))
    true = trace["true_ms"]
    ways = simple_ways(trace["step_ms"]).items()
    others = {way: dict(error=abs(mean_ms / true - 1), seconds=spent) for way, (mean_ms, spent) in ways}
    return row | dict(true_ms=true, error=abs(mean / true - 1), covered=half is not None and abs(mean - true) <= half, others=others)


def timed_drift(trace, m):
    "Return how much the steps changed during the timed part, by a line through the whole trace."
    t = numpy.array(trace["step_ms"])
    slope, start = numpy.polyfit(numpy.cumsum(t) / 1e3, t, 1)
    return abs(slope) * m.duration / start


def figures(rows):
    "Return the figures of stationary traces."
    share = lambda name: round(sum(r[name] for r in rows) / len(rows), 4)
    steady = [r["covered"] for r in rows if r["steady"]]
    found = dict(traces=len(rows), covered=share("covered"), steady=len(steady), steady_covered=sum(steady),
                 error_median=round(statistics.median(r["error"] for r in rows), 6),
                 seconds_mean=round(statistics.fmean(r["seconds"] for r in rows), 2), flagged=share("flagged"))  # fmt: skip
    for way in "abc":
        of = [r["others"][way] for r in rows if way in r["others"]]
        if not of: continue
        error, spent = statistics.median(o["error"] for o in of), statistics.fmean(o["seconds"] for o in of)
        found[way] = dict(error_median=round(error, 6), seconds_mean=round(spent, 2))
    return found


def table_row(name, f):
    "Return a row of the table."
    ways = "".join(f"{f[way]['error_median']:>9.2%}{f[way]['seconds_mean']:>6.1f}" if way in f else f"{'-':>15}" for way in "abc")
    steady = f"{f['steady_covered']} of {f['steady']}"
    return f"{name:<8}{f['traces']:>6}{f['covered']:>9.1%}{steady:>13}{f['error_median']:>8.2%}{f['seconds_mean']:>6.1f}{ways}"


def too_rarely_covered(result, a):
    "Return True if too few traces are covered; 20 of a kind are too few to judge the kind."
    if a.file or a.short: return result["covered"] < 0.93
    named = {kind: result["kinds"][kind] for kind in LEAST if kind in result["kinds"]}
    steady, covered = (sum(f[name] for f in named.values()) for name in ("steady", "steady_covered"))
    return covered < LEAST_STEADY * steady or any(f["covered"] < LEAST[kind] for kind, f in named.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="traces, a JSON object a line")
    parser.add_argument("--traces", type=int, default=350 * len(KINDS), help="how many to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="few traces of few kinds")
    a = parser.parse_args()
    made = make_all(SHORT * len(FIVE), a.seed, FIVE) if a.short else make_all(a.traces, a.seed)
    rows = [judge(trace) for trace in (read_traces(a.file) if a.file else made)]
    if not rows: refuse(f"{a.file}: there is no trace in it")
    timed = [r for r in rows if not r.get("too_short")]
    still, moving = [r for r in timed if not r["drifting"]], [r for r in timed if r["drifting"]]
    missed = [r["id"] for r in moving if r["saw"] > 0.02 and not r["flagged"]]
    short = [r["id"] for r in rows if r.get("too_short")]
    result = dict(traces=len(rows), drifting=len(moving), missed_drifts=missed, too_short=short)
    if still:
        print(f"{'':23}{'covered':>13}{'':14}{'(a) 30 s':>15}{'(b) 10 + 40':>15}{'(c) median 15':>15}")
        print(f"{'kind':<8}{'traces':>6}{'covered':>9}{'of steady':>13}{'error':>8}{'s':>6}" + f"{'error':>9}{'s':>6}" * 3)
        kinds = {kind: figures([r for r in still if r["kind"] == kind]) for kind in dict.fromkeys(r["kind"] for r in still)}
        result |= figures(still) | dict(kinds=kinds)
        for kind, f in kinds.items() if len(kinds) <= 20 else (): print(table_row(kind, f))
        print(table_row("all", result | dict(traces=len(still))))
    if moving:
        seen = sum(r["saw"] > 0.02 for r in moving)
        print(f"{len(moving)} drift, {seen} of them by more than 2 % while they were timed: {len(missed)} of these not flagged")
        result |= dict(flagged_drifts=sum(r["flagged"] for r in moving), found_drifts=sum(r["drift"] != 0 for r in moving))
    if short: print(f"{len(short)} too short to be timed at all, and counted nowhere above, such as {short[0]}")
    about = dict(rsg_version=__version__, python=platform.python_version(), date=time.strftime("%Y-%m-%d"), seed=None if a.file else a.seed)
    print(json.dumps(result | about | dict(by_trace=rows)))
    sys.exit(bool(missed) or not timed or bool(still) and (too_rarely_covered(result, a) or result["error_median"] > 0.005))


if __name__ == "__main__":
    main()
