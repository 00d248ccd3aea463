"""Measure if `rsg quality` finds the harm that is there, and none that is not.

    python benchmarks/quality.py [--short]

Trains the small models in FP32 and with gradients that are rounded to a number of bits: each number becomes one of 2^bits - 1
equally spaced values between plus and minus the largest of all, as an integer of so many bits would hold it with one scale for the
whole model. BF16 and FP32 itself are compared, too. Then simulates the rule that adds seeds: how often a true difference gets
which verdict.
Last, the differences that another benchmark has published as means of four trainings, with the interval of all six.
Prints tables; the last line is one JSON object.
"""

import argparse
import json
import random
import statistics
import time
from dataclasses import replace

import torch

from ready_steady_go.box.machine import cpu_name
from ready_steady_go.run.quality import EPOCHS, TRAIN_BS
from ready_steady_go.spec.spec import Spec
from ready_steady_go.training.small_models import build_small, small_spec
from ready_steady_go.training.tasks import task_for
from ready_steady_go.training.whole import train_whole
from ready_steady_go.truth.paired import FIRST_SEEDS, interval_word, needs_seed, paired_half_width, paired_verdict, time_ratio

MARGIN = 0.01
BITS = (8, 5, 4, 3, 2)
# Accuracy under mixed precision, and in FP32: https://github.com/huggingface/transformers/blob/
# 5bfcd4b771574f28adf7b4ec664e48164537a5c0/docs/source/benchmarks.md (the benchmark of @tlkh)
PUBLISHED = {
    "CoLA, 1 GPU": (0.820, 0.824), "MRPC, 1 GPU": (0.823, 0.835), "SST-2, 1 GPU": (0.918, 0.922),
    "CoLA, 4 GPUs": (0.828, 0.812), "MRPC, 4 GPUs": (0.817, 0.827), "SST-2, 4 GPUs": (0.926, 0.929),
}


def round_gradients(optimizer, bits):
    "Round the gradients of an optimizer's weights."
    weights = [w for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
    levels, largest = 2 ** (bits - 1) - 1, max(w.grad.abs().max() for w in weights)
    for w in weights: w.grad = (w.grad / largest * levels).round() / levels * largest


def build(spec, bits=None):
    "Return a small model, whose gradients are rounded before each update."
    work = build_small(spec, "cpu")

    def spoiled(model, fused):
        optimizer = work.optimizer(model, fused)
        optimizer.register_step_pre_hook(lambda *args: round_gradients(optimizer, bits))
        return optimizer

    return replace(work, optimizer=spoiled) if bits else work


class Pairs:
    "Trainings of one model in FP32, which several configurations are compared with."

    def __init__(self, model, epochs):
        self.spec, self.epochs = replace(small_spec(Spec(model=model)), bs=TRAIN_BS), epochs
        self.task = task_for(model, build(self.spec).draw(8)[0], words=self.spec.vocab)
        self.base = []

    def train(self, seed, precision="fp32", bits=None):
        return train_whole(lambda s: build(s, bits), replace(self.spec, seed=seed, precision=precision), self.task, self.epochs)

    def compared(self, first, precision="fp32", bits=None):
        "Return verdict, number of seeds and ratio of the times of a configuration."
        other, differences = [], []
        while needs_seed(differences, MARGIN, first, 1 / self.task.n_test):
            if len(self.base) == len(other): self.base.append(self.train(len(other)))
            other.append(self.train(len(other), precision, bits))
            differences.append(other[-1].accuracy - self.base[len(other) - 1].accuracy)
        base = self.base[: len(other)]
        same = all((a.accuracy, a.loss) == (b.accuracy, b.loss) for a, b in zip(base, other))
        accuracies = [[t.accuracy for t in side] for side in (base, other)]
        verdict = paired_verdict(*accuracies, MARGIN, 1 / self.task.n_test, self.task.chance, same)
        ratio, _ = time_ratio([t.seconds for t in base], [t.seconds for t in other])
        return verdict, accuracies, ratio


def trials(first, epochs):
    "Yield a row for each model and configuration, as it is found."
    for model in ("cnn", "tiny-bert"):
        pairs = Pairs(model, epochs)
        configs = {"fp32 again": {}, "bf16": dict(precision="bf16")} | {f"{n} bits": dict(bits=n) for n in BITS}
        for name, more in configs.items():
            verdict, (base, other), ratio = pairs.compared(first, **more)
            yield dict(
                model=model, config=name, verdict=verdict.word, difference=verdict.difference, half_width=verdict.half_width,
                seeds=len(base),
                fp32=statistics.fmean(base), spread=statistics.stdev(base), seconds_ratio=ratio, quarter=pairs.task.n_test,
            )  # fmt: skip


def simulated(true, sd, n):
    "Return the share of each verdict, and the mean number of seeds, for a true difference in shares."
    chance, words, seeds = random.Random(f"{true} {sd}"), [], []
    for _ in range(n):
        found = [chance.gauss(true, sd) for _ in range(FIRST_SEEDS)]
        while needs_seed(found, MARGIN): found.append(chance.gauss(true, sd))
        words.append(interval_word(statistics.fmean(found), paired_half_width(found), MARGIN))
        seeds.append(len(found))
    return {word: words.count(word) / n for word in ("SAME", "WORSE", "BETTER", "UNSURE")}, statistics.fmean(seeds)


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="3 seeds, 1 epoch, 200 simulations: shows that it works")
    short = parser.parse_args(args).short
    began, cpu = time.perf_counter(), time.process_time()
    where = f"{cpu_name()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}"
    head = f"{'model':<11}{'gradients':<12}{'verdict':<9}{'points':>16}{'seeds':>7}{'FP32 %':>9}{'spread':>8}{'time':>7}"
    print(f"{where}; margin {MARGIN:.0%}\n\n{head}")
    rows = []
    for row in trials(*((3, 1) if short else (FIRST_SEEDS, EPOCHS))):
        rows.append(row)
        points = f"{100 * row['difference']:+.2f} ± {100 * row['half_width']:.2f}"
        figures = f"{row['seeds']:>7}{100 * row['fp32']:>9.2f}{100 * row['spread']:>8.2f}{row['seconds_ratio']:>6.2f}x"
        print(f"{row['model']:<11}{row['config']:<12}{row['verdict']:<9}{points:>16}{figures}", flush=True)
    print(f"\n{'true points':>11}{'sd':>6}{'SAME':>8}{'WORSE':>8}{'BETTER':>8}{'UNSURE':>8}{'seeds':>7}")
    rule = []
    for sd in (0.005, 0.01, 0.015):
        for true in (0.0, -0.005, -0.01, -0.02):
            words, seeds = simulated(true, sd, 200 if short else 4000)
            rule.append(dict(true=true, sd=sd, seeds=seeds, **words))
            print(f"{100 * true:>11.1f}{100 * sd:>6.1f}{''.join(f'{share:>8.1%}' for share in words.values())}{seeds:>7.1f}")
    print(f"\n{'published':<15}{'AMP':>7}{'FP32':>7}{'points':>8}")
    for name, (amp, fp32) in PUBLISHED.items(): print(f"{name:<15}{amp:>7.3f}{fp32:>7.3f}{100 * (amp - fp32):>+8.1f}")
    six = [amp - fp32 for amp, fp32 in PUBLISHED.values()]
    print(f"all six: {100 * statistics.fmean(six):+.2f} ± {100 * paired_half_width(six):.2f} points")
    took = dict(seconds=round(time.perf_counter() - began, 1), cpu_seconds=round(time.process_time() - cpu, 1))
    published = dict(mean=statistics.fmean(six), half_width=paired_half_width(six))
    print(json.dumps(dict(where=where, margin=MARGIN, trials=rows, rule=rule, published=published, **took)))


if __name__ == "__main__": main()
