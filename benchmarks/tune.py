"""Measure how often the race of `rsg tune` finds the fastest configuration: simulated races on machines that drift.

    python benchmarks/tune.py [--races 1000] [--seed 0] [--drift 0.6]

A simulated model has a true throughput for each configuration: a factor for each value, drawn from ranges that GPUs show, a layout
and an attention whose factors depend on the precision, and a random deviation of each combination. Some configurations fail.
The machine's speed moves by up to `--drift` within minutes: it wanders, and a neighbour comes and goes. A probe lasts 2 s, after 1.5 s of
preparation, and has a noise of 0.1 to 1 %; the first one that compiles takes 20 to 90 s longer, a further one 5 to 20 s.

The race is compared with two ways to try everything: one probe of each configuration, of which the fastest is taken, and each
configuration in turns with the base. Regret is how far the true throughput of the chosen configuration is below the best one.
Prints a table; the last line is one JSON object.
"""

import argparse
import itertools
import json
import math
import random
import statistics

from ready_steady_go.run.race import Axis, ProbeResult, Race

PROBE_S, PREPARE_S = 2.0, 1.5
GOOD = 0.02  # a regret that does not matter
PRECISION = Axis("precision", ("fp32", "tf32", "fp16", "bf16"))
FUSED, GRAPH = Axis("fused", (True, False)), Axis("cuda_graph", (False, True), heavy=True)
COMPILE = Axis("compile", (None, "inductor", "inductor:max-autotune-no-cudagraphs"), heavy=True)
SPACES = {
    "images, GPU": [PRECISION, Axis("layout", ("nchw", "channels_last")), FUSED, COMPILE, GRAPH],
    "text, GPU": [PRECISION, FUSED, Axis("attention", ("sdpa", "eager", "flash")), COMPILE, GRAPH],
}


def allowed(axes, config):
    "Return False for values that exclude each other."
    chosen = dict(zip((axis.name for axis in axes), config))
    if chosen["precision"] == "fp16" and not chosen["fused"]: return False
    return chosen.get("attention") != "flash" or chosen["precision"] in ("fp16", "bf16")


class Machine:
    "A speed that wanders, and the clock of a simulation."

    def __init__(self, chance, drift):
        self.chance, self.now, self.until, self.neighbour = chance, 0.0, 0.0, 0.0
        self.height = math.log(1 + drift) / 4  # half of the range is the wandering, half a neighbour
        self.waves = [(chance.uniform(60, 600), chance.uniform(0, 2 * math.pi)) for _ in range(3)]

    def wait(self, seconds):
        "Let time pass. A neighbour comes and goes."
        self.now += seconds
        while self.now > self.until:
            self.neighbour = 2 * self.height if not self.neighbour and self.chance.random() < 0.3 else 0.0
            self.until += self.chance.uniform(30, 240)

    def speed(self):
        "Return the mean speed over a probe."
        speeds = []
        for _ in range(4):
            self.wait(PROBE_S / 4)
            level = sum(math.sin(2 * math.pi * self.now / period + phase) for period, phase in self.waves) / math.sqrt(3)
            speeds.append(math.exp(self.height * level - self.neighbour))
        return statistics.fmean(speeds)


class Model:
    "The true throughput of each configuration of a model."

    def __init__(self, axes, chance):
        u, self.axes = chance.uniform, axes
        half = u(1.2, 3.0)
        self.factors = {"tf32": u(1.0, min(2.2, half)), "fp16": half, "bf16": half * u(0.92, 1.05), False: 1.0}
        self.unfused, self.graph = u(0.85, 1.01), u(0.97, 1.4)
        in_half = u(0.9, 1.35)
        self.layout = dict(fp32=u(0.8, 1.05), tf32=u(0.9, 1.25), fp16=in_half * u(0.98, 1.02), bf16=in_half * u(0.98, 1.02))
        eager, flash = u(0.6, 1.03), u(0.9, 1.15)
        self.attention = {p: dict(sdpa=1.0, eager=eager * u(0.98, 1.02), flash=flash * u(0.98, 1.02)) for p in PRECISION.values}
        inductor = u(0.9, 1.6)
        self.compiled = {None: 1.0, COMPILE.values[1]: inductor, COMPILE.values[2]: inductor * u(0.97, 1.08)}
        configs = [c for c in itertools.product(*(axis.values for axis in axes)) if allowed(axes, c)]
        self.speeds = {c: self._speed(c) * math.exp(chance.gauss(0, 0.003)) for c in configs}
        self._break(chance)
        base = tuple(axis.values[0] for axis in axes)
        self.speeds[base] = self._speed(base)

    def _break(self, chance):
        "Let some configurations fail: a value as a whole, two values together, or a single configuration."
        for c in self.speeds:
            if chance.random() < 0.01: self.speeds[c] = None
        values = [(i, v) for i, axis in enumerate(self.axes) for v in axis.values[1:]]
        for n, share in (1, 0.15), (2, 0.15):
            picked = chance.sample(values, n) if chance.random() < share else []
            for c in self.speeds:
                if picked and all(c[i] == v for i, v in picked): self.speeds[c] = None

    def _value(self, config, name):
        return next((value for axis, value in zip(self.axes, config) if axis.name == name), None)

    def _speed(self, c):
        p = self._value(c, "precision")
        speed = 100 * self.factors.get(p, 1.0) * self.compiled[self._value(c, "compile")]
        if not self._value(c, "fused"): speed *= self.unfused
        if self._value(c, "cuda_graph"): speed *= math.sqrt(self.graph) if self._value(c, "compile") else self.graph
        if self._value(c, "layout") == "channels_last": speed *= self.layout[p]
        return speed * self.attention[p].get(self._value(c, "attention"), 1.0)


class Trials:
    "Probes of a model on a machine."

    def __init__(self, model, machine, chance):
        self.model, self.machine, self.chance, self.n, self.compiled = model, machine, chance, 0, set()

    def probe(self, config):
        start, c = self.machine.now, self.chance
        self.n += 1
        self.machine.wait(PREPARE_S)
        if config[-2]:
            self.machine.wait(c.uniform(5, 20) if config in self.compiled else c.uniform(20, 90))
            self.compiled.add(config)
        true = self.model.speeds[config]
        if true is None: return ProbeResult(config, None, 0.0, self.machine.now - start)
        noise = c.uniform(0.001, 0.01)
        measured = true * self.machine.speed() * math.exp(c.gauss(0, noise))
        return ProbeResult(config, measured, 2 * noise, self.machine.now - start)


def by_race(axes, trials):
    "Return what the race chooses."
    race = Race(axes, lambda c: allowed(axes, c))
    while (config := race.next()) is not None: race.tell(trials.probe(config))
    return race.best


def by_one_probe(axes, trials):
    "Return the fastest of one probe of each."
    found = {c: trials.probe(c).throughput for c in trials.model.speeds}
    return max((c for c in found if found[c]), key=lambda c: found[c])


def in_turns(axes, trials):
    "Return the fastest, each measured between two probes of the base."
    base = tuple(axis.values[0] for axis in axes)
    before, found = trials.probe(base).throughput, {base: 1.0}
    for c in trials.model.speeds:
        if c == base: continue
        one, after = trials.probe(c).throughput, trials.probe(base).throughput
        if one: found[c] = one / math.sqrt(before * after)
        before = after
    return max(found, key=lambda c: found[c])


WAYS = {"race": by_race, "one probe of each": by_one_probe, "each in turns with the base": in_turns}


def simulate(axes, way, races, seed=0, drift=0.6):
    "Return the regrets, the numbers of probes and the minutes of simulated races."
    regrets, probes, minutes = [], [], []
    for i in range(races):
        model = Model(axes, random.Random(f"model {seed} {i}"))
        chance = random.Random(f"noise {seed} {i}")
        trials = Trials(model, Machine(chance, drift), chance)
        chosen = WAYS[way](axes, trials)
        best = max(filter(None, model.speeds.values()))
        regrets.append(1 - model.speeds[chosen] / best)
        probes.append(trials.n)
        minutes.append(trials.machine.now / 60)
    return regrets, probes, minutes


def row(axes, way, races, seed, drift):
    "Return the figures of one way."
    regrets, probes, minutes = simulate(axes, way, races, seed, drift)
    worst = sorted(regrets)[int(0.95 * len(regrets))] if len(regrets) > 1 else regrets[0]
    good = sum(r <= GOOD for r in regrets) / races
    return dict(good=good, worst95=worst, probes=statistics.fmean(probes), minutes=statistics.fmean(minutes))


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--races", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drift", type=float, default=0.6)
    typed = parser.parse_args(args)
    head = f"{'space':<13}{'way':<30}{'within 2 %':>11}{'95 % lose at most':>19}{'probes':>9}{'minutes':>9}"
    print(f"{typed.races} races, drift {typed.drift:.0%}\n\n{head}")
    found = []
    for space, axes in SPACES.items():
        for way in WAYS:
            figures = row(axes, way, typed.races, typed.seed, typed.drift)
            found.append(dict(space=space, way=way, **{k: round(v, 4) for k, v in figures.items()}))
            shares = f"{figures['good']:>11.1%}{figures['worst95']:>19.1%}"
            print(f"{space:<13}{way:<30}{shares}{figures['probes']:>9.1f}{figures['minutes']:>9.1f}", flush=True)
    print(json.dumps(dict(races=typed.races, seed=typed.seed, drift=typed.drift, rows=found)))


if __name__ == "__main__": main()
