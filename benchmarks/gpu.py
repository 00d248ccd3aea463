"""Does rsg work on this GPU, and are its numbers true? The acceptance plan, in three parts of at most nine minutes on an H100.

    python benchmarks/gpu.py --part 1        the device, the main job, a plain loop, faults
    python benchmarks/gpu.py --part 2        other models and options
    python benchmarks/gpu.py --part 3        ten processes, the whole ladder, the end of the memory, heat
    python benchmarks/gpu.py --list          the checks and their bands
    python benchmarks/gpu.py --part 1 --device cpu --short      the same program in short form, to see that it works

Each check measures some values, and each value has a band. A band is published, seen on such a GPU, or estimated (field `source`);
without a source it must hold on every device. Prints a table; the last line is one JSON object. Both are kept in
--out (default: benchmarks/results), together with a journal of all records that rsg made, after each check.

When the minutes are over, the remaining checks are skipped, and the table names them; --checks NAMES runs only some. A value
without a band is `noted`. A check that this device cannot run, or a band of another card, reads `not on this device`.
Exit code 1: a band was missed or a check failed.
"""

import argparse
import re
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from gpu_plan.checks import FAILED, NO_TIME, NOT_HERE, WRONG, Outcome, judge_all, without_values
from gpu_plan.part1 import PART1
from gpu_plan.part2 import PART2
from gpu_plan.part3 import PART3
from gpu_plan.setup import Plan, facts_of
from gpu_plan.table import as_json, band_text, heading, rows, summary

CHECKS = [*PART1, *PART2, *PART3]
RESULTS = Path(__file__).parent / "results"
SPARE_S = 60.0  # a check may last so much longer than three times its estimate
SHORT_S = 20.0  # a check in the short form


class TimeOver(Exception):
    "A check lasted too long."


@contextmanager
def at_most(seconds):
    "Raise `TimeOver` in the body after so many seconds."
    def stop(*about): raise TimeOver(f"no end after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try: yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_check(check, plan):
    "Run one check; return its outcome, whatever happens."
    outcome, start = Outcome(check.name, check.part), time.monotonic()
    expected, left = (SHORT_S if plan.short else check.seconds), plan.left()
    if not plan.has(check.needs): return Outcome(check.name, check.part, values=without_values(check, NOT_HERE))
    if left < min(expected, check.seconds): return Outcome(check.name, check.part, values=without_values(check, NO_TIME))
    own = 3 * expected + SPARE_S
    try:
        with at_most(min(own, left)): found = check.run(plan)
        outcome.values = judge_all(check, found, plan.facts["device_name"] or "", plan.short)
    except TimeOver as error: outcome.error, outcome.values = str(error), without_values(check, NO_TIME if left < own else FAILED)
    except Exception as error:
        outcome.error = " ".join(f"{type(error).__name__}: {error}".split())
        outcome.values = without_values(check, FAILED)
    outcome.seconds = time.monotonic() - start
    return outcome


class Results:
    "The files of a run, written anew after each check."

    def __init__(self, folder, facts, part, short):
        self.facts, self.part, self.short, self.outcomes = facts, part, short, []
        self.lines, self.kept = heading(facts, part, short), Path(folder)
        self.kept.mkdir(parents=True, exist_ok=True)
        device = re.sub(r"\W+", "_", (facts["device_name"] or facts["device"]).lower()).strip("_")
        self.name = f"gpu_part{part}_{device}_{facts['date']}" + ("_short" if short else "")
        print(*self.lines, sep="\n", flush=True)

    def add(self, outcome, records):
        "Print the lines of a check, and keep everything."
        self.outcomes.append(outcome)
        self.lines += rows(outcome)
        print(*rows(outcome), sep="\n", flush=True)
        ending = [summary(self.outcomes), as_json(self.facts, self.part, self.short, self.outcomes)]
        (self.kept / f"{self.name}.txt").write_text("\n".join([*self.lines, "", *ending, ""]), encoding="utf-8")
        (self.kept / f"{self.name}.jsonl").write_text("".join(line + "\n" for line in records), encoding="utf-8")

    def end(self):
        "Print the last lines; return True if a band was missed."
        print(f"\n{summary(self.outcomes)}\n{self.kept / self.name}.txt\n{as_json(self.facts, self.part, self.short, self.outcomes)}")
        return any(v in WRONG for o in self.outcomes for v in o.verdicts())


def list_checks(checks):
    "Print the checks with their bands."
    for check in checks:
        print(f"part {check.part}: {check.name}, {check.seconds:g} s" + (f", needs {check.needs}" if check.needs else ""))
        for value in judge_all(check, {}, "H100", False): print(f"  {value.name:<34}{band_text(value):<15}{value.source}")


def chosen(args):
    "Return the checks of the part, or those of the names that were given."
    names = [name.strip() for name in args.checks.split(",")] if args.checks else None
    if names and (unknown := {*names} - {c.name for c in CHECKS}): sys.exit(f"gpu: no check {', '.join(sorted(unknown))}; use --list")
    return [c for c in CHECKS if (args.part in (None, c.part)) and (names is None or c.name in names)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=int, choices=(1, 2, 3))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--short", action="store_true", help="small models and short timings, whose bands are wide")
    parser.add_argument("--minutes", type=float, default=9.0, help="what has not begun by then is skipped")
    parser.add_argument("--checks", metavar="NAMES", help="only these checks, separated by commas")
    parser.add_argument("--out", metavar="FOLDER", default=RESULTS, help="where the results are kept")
    parser.add_argument("--list", action="store_true", help="list the checks and their bands")
    args = parser.parse_args()
    if not (args.list or args.part): parser.error("no part given: add --part 1, 2 or 3")
    if args.device == "cpu" and not args.short: parser.error("--device cpu: the full form needs a GPU; add --short")
    return args


def main():
    args = arguments()
    if args.list: return list_checks(chosen(args))
    begun = time.monotonic()
    facts = facts_of(args.device)
    results = Results(args.out, facts, args.part, args.short)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(args.device, args.short, 60 * args.minutes - (time.monotonic() - begun), folder, facts)
        for check in chosen(args): results.add(run_check(check, plan), plan.kept)
    sys.exit(results.end())


if __name__ == "__main__":
    main()
