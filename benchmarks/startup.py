"""The seconds before and between measurements, by what they are spent on.

    python benchmarks/startup.py                    all three parts, about 5 minutes on 2 cores
    python benchmarks/startup.py --part help        `rsg --help`, `import ready_steady_go` and `rsg models` beside `import timm`
    python benchmarks/startup.py --part first       from the command to the first step and the first timed one, beside the imports alone
    python benchmarks/startup.py --part suite       the seconds of `rsg suite quick`: importing, building, warming up, measuring, judging

Everything runs in turns: `now`, and `before`, where each model gets a new process that imports for itself. Prints medians and their ratios;
the last line is one JSON object. Exit code 1: `rsg --help` is less than 30 times faster than the import, `import ready_steady_go` takes
50 ms more than Python itself, or a suite has no copies.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PARTS = ("help", "first", "suite")
MODEL = ("--model", "resnet18", "--bs", "2", "--n-batches", "20")  # its steps are short, so that what is around them shows
KINDS = ("importing", "building", "compiling", "warming up", "measuring", "judging", "the rest")

# The command itself, with a time for each question, heartbeat and answer. `before` undoes what saves time.
TRACED = """
import json, sys, time
from ready_steady_go.run import supervise

began, before, events = float(sys.argv[1]), sys.argv[2] == "before", []
note = lambda name, **more: events.append(dict(more, name=name, at=time.time() - began))

def ask(self, question, on_beat=lambda beat: None, limit_s=300.0):
    def heard(beat):
        note(beat["phase"], seconds=beat.get("duration"))
        on_beat(beat)
    note(question["do"])
    try: return asked(self, question, heard, limit_s)
    finally: note("answered")

asked, supervise.Child.ask = supervise.Child.ask, ask
ALONE = '''
child.copies_are_sound, child.import_for = lambda: False, lambda models: None
families.families_of = lambda model: [model.rpartition(":")[0]] if ":" in model else families.family_names()
'''
START = '''
from ready_steady_go.box.process import begin_child; begin_child()
from ready_steady_go.run import child
from ready_steady_go.training import families
child.BEAT_S = 0
'''
command = (sys.executable, "-P", "-c", START + (ALONE if before else "") + "child.main()")
supervise.BENCH_COMMAND = command
if before:
    supervise.bench_command = lambda models: command
    supervise.Runner.begin_early = lambda self: None
    supervise.Runner.done = lambda self, spec: self.end()
from ready_steady_go.commands.cli import main
sys.argv = ["rsg", *sys.argv[4:]]
try: main()
finally:
    note("exit")
    with open(OUT, "w") as file: json.dump(events, file)
"""


def seconds(command):
    "Wall seconds of a command that must succeed."
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def traced(how, *args):
    "The events of a command: a name, the seconds since it was typed, and for a window the seconds of the windows so far."
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "events.json")
        more = ["--wandb", "off", "--fresh", "--quiet", "--out", os.path.join(folder, "j.jsonl")]
        command = [sys.executable, "-c", TRACED.replace("OUT", repr(out)), str(time.time()), how, "rsg", *args, *more]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert done.returncode in (0, 1) and os.path.exists(out), done.stderr
        with open(out, encoding="utf-8") as file: return json.load(file)


def first_steps(events):
    "Seconds from the command to the first step of the warm-up, and to the first timed step."
    begins = next(e["at"] for e in events if e["name"] == "steady")
    return dict(step=begins, timed_step=next(e["at"] - e["seconds"] for e in events if e["name"] == "go"))


STARTS = dict(
    check="importing", renew="importing", ready="building", compile="compiling", steady="warming up", go="measuring", passes="judging",
)  # fmt: skip


def shares(events):
    "Seconds by kind. Before the first question the parent reads its arguments while the child imports."
    spent, kind, since = dict.fromkeys(KINDS, 0.0), "importing", 0.0
    for number, e in enumerate(events):
        at, name = e["at"], e["name"]
        if name == "go" and kind == "warming up":  # it is heard at the end of the first window
            spent[kind] -= e["seconds"]
            spent["measuring"] += e["seconds"]
        spent[kind] += at - since
        since, kind = at, STARTS.get(name, "judging" if kind == "measuring" else kind)
        later = [other["name"] for other in events[number + 1 :]]
        if name == "go" and later[0] != "go": kind = "judging"
        if name in ("answered", "exit"): kind = "importing" if later[:1] == ["check"] else "the rest"
    return spent


def part_help(turns):
    "`rsg --help`, `import ready_steady_go` and `rsg models` beside the import of timm."
    for _ in range(3):  # a slow machine counts a part of them each time
        subprocess.run([sys.executable, "-m", "ready_steady_go", "models", "resnet50"], stdout=subprocess.DEVNULL, check=True)
    commands = dict(
        rsg_help=[sys.executable, "-m", "ready_steady_go", "--help"],
        import_timm=[sys.executable, "-c", "import timm"],
        import_rsg=[sys.executable, "-c", "import ready_steady_go"],
        rsg_models=[sys.executable, "-m", "ready_steady_go", "models", "resnet50"],  # from the second time on, its list is kept
        bare_python=[sys.executable, "-c", ""],
    )
    medians = in_turns({name: lambda c=command: dict(all=seconds(c)) for name, command in commands.items()}, turns)
    times = {name: one["all"] for name, one in medians.items()}
    ratio = times["import_timm"] / times["rsg_help"]
    for name, median in times.items(): print(f"{name:<12}{median * 1e3:9.0f} ms")
    print(f"rsg --help is {ratio:.0f} times faster than importing timm")
    light = times["import_rsg"] - times["bare_python"] < 0.05
    return dict(ratio=round(ratio, 1), **{f"{name}_s": round(t, 4) for name, t in times.items()}), ratio >= 30 and light


def part_first(turns, args):
    "From the command to the first step and to the first timed one, and the imports alone."
    # timm would import wandb, which rsg never does, and the end of the process is no import
    imports = "import sys; sys.modules['wandb'] = None; import os, torch, timm; os._exit(0)"
    runs = dict(imports=lambda: dict(alone=seconds([sys.executable, "-c", imports])))
    runs |= {how: lambda how=how: first_steps(traced(how, *MODEL, *args)) for how in ("before", "now")}
    times = in_turns(runs, turns)
    alone = times["imports"]["alone"]
    print(f"\nfrom the command: {' '.join(MODEL)}\nimports of torch and timm alone {alone:6.2f} s")
    for how in ("before", "now"):
        step, timed = times[how]["step"], times[how]["timed_step"]
        print(f"{how:<6} first step {step:6.2f} s, {step / alone:.2f} times the imports", end="; ")
        print(f"first timed step {timed:6.2f} s, {timed / alone:.2f} times")
    found = {f"first_{name}": {part: round(t, 3) for part, t in one.items()} for name, one in times.items()}
    return found | dict(first_ratio=round(times["now"]["step"] / alone, 3)), True


def part_suite(turns, args, budget):
    "The seconds of the suite `quick` by kind."
    found = {"before": [], "now": []}
    for _ in range(turns):
        for how, rows in found.items(): rows.append(traced(how, "suite", "quick", "--budget", budget, *args))
    copied = all(any(e["name"] == "renew" for e in events) for events in found["now"])
    times = {how: {k: statistics.median(shares(events)[k] for events in rows) for k in KINDS} for how, rows in found.items()}
    print(f"\nrsg suite quick --budget {budget}, seconds{'before':>25}{'now':>10}")
    for kind in KINDS: print(f"{kind:<48}" + "".join(f"{times[how][kind]:10.1f}" for how in found))
    share = {how: t["measuring"] / sum(t.values()) for how, t in times.items()}
    print(f"{'share of measuring':<48}" + "".join(f"{share[how]:10.0%}" for how in found))
    return {f"suite_{how}": {k: round(v, 2) for k, v in t.items()} for how, t in times.items()}, copied


def in_turns(runs, turns):
    "The medians of each: once to warm the disk, and then in turns."
    found = {name: [] for name in runs}
    for run in runs.values(): run()
    for _ in range(turns):
        for name, run in runs.items(): found[name].append(run())
    return {name: {part: statistics.median(one[part] for one in rows) for part in rows[0]} for name, rows in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="one of the parts; default: all")
    parser.add_argument("--turns", type=int, default=5, help="times that each command runs; the suite runs once in five")
    parser.add_argument("--budget", default="60s", help="of the suite")
    parser.add_argument("--device", help="cpu, cuda, ...; default: the best")
    a = parser.parse_args()
    args = ["--device", a.device] if a.device else []
    found, right = dict(turns=a.turns), True
    for part in a.part or PARTS:
        if part == "help": more, good = part_help(a.turns)
        if part == "first": more, good = part_first(a.turns, args)
        if part == "suite": more, good = part_suite(-(-a.turns // 5), args, a.budget)
        found, right = found | more, right and good
    print(json.dumps(found))
    sys.exit(not right)


if __name__ == "__main__":
    main()
