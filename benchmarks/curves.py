"""Curves of throughput over batch size: recorded ones, and made-up families that a search must cope with as well.

`made_curves` draws from eight families, each from its own seed:
  plateau  throughput levels off, and then hardly rises or falls
  steps    a batch is padded to a multiple of 8, and works in waves of 32 to 132 samples
  cliff    from some size on, throughput falls by 10 to 50 %: a slower algorithm, or memory that spills
  dip      throughput is 5 to 35 % lower over a range of sizes, and comes back before the largest
  early    the batch does not fit although a tenth to a half of the memory is free
  rough    neighbouring sizes differ by 1 to 4 %, with dents that are wider than one size
  sparse   as recorded curves are: known at 5 to 12 sizes only, each 0 to 3 % off, and sometimes one 5 to 30 % off; in half of
           them the smallest known size is above 1, and below it throughput is proportional to the size
  falling  throughput peaks at some size, and falls by 1 to 12 % for each factor of e beyond; most are as sparse as the above
In half of them the allocator keeps up to 15 % more memory than it needs, as long as there is room.
All have a largest size of 24 to 2048, and a step of 0.03 to 3 s at that size.
"""

import csv
import math
import random
from bisect import bisect_left
from collections import defaultdict

MIB, GIB = 2**20, 2**30
FAMILIES = ("plateau", "steps", "cliff", "dip", "early", "rough", "sparse", "falling")


class Curve:
    "The true throughput and memory of a workload on a GPU."

    def __init__(self, gpu, workload, rows, most, capacity=None):
        points = defaultdict(list)
        for bs, memory, rate, n in rows: points[bs].append((memory, rate, n))
        self.gpu, self.workload, self.sizes = gpu, workload, sorted(points)
        self.memories, self.rates = ([self.mean(points[bs], i) for bs in self.sizes] for i in (0, 1))
        self.logs = [math.log(b) for b in self.sizes]
        self.capacity, self.limit = capacity or most, capacity or math.inf
        self.best = max((bs for bs in range(1, self.sizes[-1] + 1) if self.fits(bs)), key=self.rate, default=None)

    @staticmethod
    def mean(found, i):
        "Return the mean of one column, weighted by the number of observations."
        return sum(f[i] * f[2] for f in found) / sum(f[2] for f in found)

    def between(self, x, xs, ys):
        "Interpolate linearly; extend the first segment below the first point."
        i = min(max(1, bisect_left(xs, x)), len(xs) - 1)
        if len(xs) == 1: return ys[0]
        return ys[i - 1] + (ys[i] - ys[i - 1]) * (x - xs[i - 1]) / (xs[i] - xs[i - 1])

    def rate(self, bs):
        "Return the samples/s at a batch size."
        if bs <= self.sizes[0]: return self.rates[0] * bs / self.sizes[0]
        return self.between(math.log(bs), self.logs, self.rates)

    def memory(self, bs):
        "Return the memory at a batch size, in bytes."
        return max(0.0, self.between(bs, self.sizes, self.memories)) * MIB

    def fits(self, bs):
        "Return True if the batch size fits in memory."
        return bs <= self.sizes[-1] and self.memory(bs) <= self.limit


def read_curves(file, capacity_gib=None):
    "Read the curves of a file. Unless its memory is given, a GPU has 0.5 % more than any of its curves used."
    groups = defaultdict(list)
    with open(file, encoding="utf-8", newline="") as lines:
        for r in csv.DictReader(lines):
            row = int(r["batch_size"]), float(r["memory_mib"]), float(r["samples_per_s"]), int(r["n_obs"] or 1)
            groups[r["gpu"], r["workload"]].append(row)
    most = defaultdict(float)
    for (gpu, _), rows in groups.items(): most[gpu] = max(most[gpu], 1.005 * MIB * max(r[1] for r in rows))
    capacity = capacity_gib and capacity_gib * GIB
    return [Curve(gpu, workload, rows, most[gpu], capacity) for (gpu, workload), rows in groups.items()]


def even(rng, lo, hi):
    "Return a number between two, even in the logarithm."
    return math.exp(rng.uniform(math.log(lo), math.log(hi)))


def step_factor(family, rng, top):
    "Return a function from batch size to how many times as long a step takes as the plain line."
    if family in ("cliff", "early"):
        edge, slower = rng.uniform(0.35, 0.9) * top if family == "cliff" else math.inf, rng.uniform(1.1, 2)
        return lambda bs: slower if bs > edge else 1.0
    if family == "dip":
        edges, slower = sorted(rng.uniform(0.15, 0.95) * top for _ in range(2)), rng.uniform(1.05, 1.5)
        return lambda bs: slower if edges[0] < bs < edges[1] else 1.0
    if family == "steps":
        wave, share = rng.choice((32, 64, 96, 132)), rng.uniform(0, 0.5)
        waved = lambda bs: -(-bs // wave) * wave / bs
        return lambda bs: ((1 - share) * (-(-bs // 8) * 8 / bs) + share * waved(bs)) if bs >= 8 else 1.0
    if family == "rough":
        sd, grid = rng.uniform(0.01, 0.04), [rng.gauss(0, 1) for _ in range(400)]
        wide = lambda bs: grid[200 + int(3 * math.log(bs))]  # dents three to a factor of e
        return lambda bs: math.exp(sd * (grid[bs // 8 % 200] + wide(bs)) / math.sqrt(2))
    return lambda bs: 1.0


def sparse(rng, top, rate):
    "Return few sizes, and the rate at them with what a recording has: errors, and perhaps one size that is much slower."
    first = 1 if rng.random() < 0.5 else 8 * round(even(rng, 8, min(128, top / 2)) / 8)
    sizes = sorted({first, top, *(8 * max(1, round(even(rng, max(8, first), top) / 8)) for _ in range(rng.randint(3, 10)))})
    sd, slow = rng.uniform(0, 0.03), rng.choice(sizes[1:]) if rng.random() < 0.3 else None
    off = {bs: math.exp(rng.gauss(0, sd)) * (rng.uniform(0.7, 0.95) if bs == slow else 1) for bs in sizes}
    return sizes, lambda bs: rate(bs) * off[bs]


def made_curve(family, rng, name):
    "Return a curve of one family."
    top = 8 * round(even(rng, 24, 2048) / 8)
    half, longest = even(rng, 2, min(200, top)), even(rng, 0.03, 3)  # the size at half speed; seconds of the largest step
    each = longest / (top + half)
    factor, slope, flat = step_factor(family, rng, top), rng.uniform(-0.03, 0.03), rng.uniform(0.1, 0.6) * top
    rate = lambda bs: bs / (each * (half + bs) * factor(bs))
    if family == "plateau":
        rising = rate
        rate = lambda bs: rising(min(bs, flat)) * (max(bs, flat) / flat) ** slope
    if family == "falling":
        rising, peak, slope = rate, even(rng, 8, top), -even(rng, 0.01, 0.12)
        rate = lambda bs: rising(bs) * (max(bs, peak) / peak) ** slope
    base, capacity = rng.uniform(0.01, 0.4), 80 * GIB
    is_early = family == "early" or family == "sparse" and rng.random() < 0.2
    full = rng.uniform(0.5, 0.9) if is_early else rng.uniform(0.985, 0.998)
    cached = rng.uniform(1, 1.15) if rng.random() < 0.5 else 1.0  # the allocator keeps more than it needs, as long as there is room
    memory = lambda bs: 80 * 1024 * cached * (base + (full - base) * bs / top) * (1 + 0.01 * math.sin(bs))
    sizes = [*range(1, min(top, 64) + 1), *(bs + more for bs in range(64, top, 8) for more in (1, 7, 8))]
    if family == "sparse" or family == "falling" and rng.random() < 0.7: sizes, rate = sparse(rng, top, rate)
    rows = [(bs, min(memory(bs), 80 * 1024 * 0.995), rate(bs), 1) for bs in sizes if bs <= top]
    return Curve("made up", name, rows, capacity)


def made_curves(each=15, seed=0):
    "Return curves of all families."
    return [made_curve(f, random.Random(f"{f} {i} {seed}"), f"{f}-{i:02d}") for f in FAMILIES for i in range(each)]
