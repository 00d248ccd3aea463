"""Do records survive a log? Fuzzed logs: shuffled, cut, coloured, prefixed, doubled, wrapped, with flipped characters.

    python benchmarks/wire.py            10,000 logs, and the speed
    python benchmarks/wire.py --logs 300
"""

import argparse
import json
import os
import platform
import random
import time
from datetime import UTC, datetime

from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import make_record, to_line
from ready_steady_go.store.wire import WireLog, received

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=:;rsg1 "


def texts_of(rng, n, windows):
    "Return records as lines of JSON."
    many = lambda: [[7, 100 + rng.random()] for _ in range(rng.randrange(windows + 1))]
    return [to_line(make_record(Spec(model="resnet50", bs=i + 1), None, throughput=815.2, windows=many())) for i in range(n)]


def sent(texts, run):
    "Return the lines that a run prints."
    lines = []
    log = WireLog(lines.extend, run)
    for text in texts: log.send(text)
    log.end()
    return lines


def flipped(rng, line):
    "Return a line with one other character."
    i = rng.randrange(len(line))
    return line[:i] + rng.choice(CHARACTERS) + line[i + 1 :]


def wrapped(rng, lines):
    "Return lines as a narrow terminal shows them."
    columns = rng.randrange(20, 120)
    return [line[i : i + columns] for line in lines for i in range(0, len(line), columns)]


def noise(rng, lines):
    "Return lines with others between them."
    words = ["epoch 1", "rsg1:", "rsg1:00000000:1:0/1:AAAA:00000000;", "Traceback (most recent call last):", "100%|####| 8/8"]
    return [part for line in lines for part in ([rng.choice(words), line] if rng.random() < 0.2 else [line])]


def shuffled(rng, lines):
    lines = [*lines]
    rng.shuffle(lines)
    return lines


CHANGES = dict(
    shuffled=shuffled,
    doubled=lambda rng, lines: lines + rng.sample(lines, len(lines) // 2),
    lost=lambda rng, lines: [line for line in lines if rng.random() > 0.05],
    cut=lambda rng, lines: [line if rng.random() > 0.05 else line[: rng.randrange(len(line) + 1)] for line in lines],
    flipped=lambda rng, lines: [line if rng.random() > 0.05 or not line else flipped(rng, line) for line in lines],
    coloured=lambda rng, lines: [f"\x1b[{rng.randrange(30, 38)};1m{line}\x1b[0m\r" for line in lines],
    prefixed=lambda rng, lines: [f"2026-11-26T03:00:{i % 60:02d}Z box-{rng.randrange(9)} | {line}" for i, line in enumerate(lines)],
    quoted=lambda rng, lines: [f'{{"log":"{line}\\n","stream":"stderr"}}' for line in lines],
    wrapped=wrapped,
    noise=noise,
)


def fuzzed(n_logs, seed=0):
    "Return the counts of whole records, of altered ones, and of records that are neither whole nor named."
    rng, counts = random.Random(seed), dict(logs=n_logs, whole=0, altered=0, unnamed=0)
    for _ in range(n_logs):
        texts, run = texts_of(rng, rng.randrange(1, 4), 20), f"{rng.getrandbits(32):08x}"
        lines = sent(texts, run)
        for name in rng.sample([*CHANGES], rng.randrange(1, 5)): lines = CHANGES[name](rng, lines)
        found = received(lines)
        ends = [int(text.split("after number ")[1].split()[0]) for text in found.missing if "its end is missing" in text]
        named = {text.split(":")[0] for text in found.missing}
        counts["altered"] += len(set(found.texts) - set(texts))
        counts["whole"] += len(set(found.texts) & set(texts))
        absent = [i for i, text in enumerate(texts, 1) if text not in found.texts and f"record {i} of run {run}" not in named]
        last = min(ends, default=len(texts))  # later ones are named as perhaps lost
        nothing = not (found.texts or found.missing)  # of which rsg collect makes an error
        counts["unnamed"] += len([i for i in absent if i <= last and not nothing])
    return counts


def records_a_second(n=2000):
    "Return how many records with 400 windows are sent and read in a second."
    rng = random.Random(0)
    many = [[7, 100 + rng.random()] for _ in range(400)]
    texts = [to_line(make_record(Spec(model="resnet50", bs=i + 1), None, throughput=815.2, windows=many)) for i in range(n)]
    began = time.perf_counter()
    lines = sent(texts, "ab12cd34")
    middle = time.perf_counter()
    assert received(lines).texts == texts
    return n / (middle - began), n / (time.perf_counter() - middle), sum(map(len, lines)) / n


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=int, default=10_000)
    asked = parser.parse_args()
    counts = fuzzed(asked.logs)
    sent, read, characters = records_a_second()
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores that others use, too")
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    print(f"a record of 400 windows: {sent:.0f} sent and {read:.0f} read in a second, {characters:.0f} characters")
    print(json.dumps(counts | dict(sent_per_s=round(sent), read_per_s=round(read), characters=round(characters))))
    raise SystemExit(int(counts["altered"] + counts["unnamed"] > 0))


if __name__ == "__main__":
    main()
