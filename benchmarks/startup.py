"""How long the door takes to open: `rsg --help` beside `python -c 'import timm'`, in turns.

    python benchmarks/startup.py [--turns 5]

Prints the median of each and their ratio; the last line is one JSON object. Exit 1 below a ratio of 30.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = dict(
    rsg_help=[sys.executable, "-m", "ready_steady_go", "--help"],
    import_timm=[sys.executable, "-c", "import timm"],
    bare_python=[sys.executable, "-c", ""],
)


def seconds(command):
    "Wall seconds of a command that must succeed."
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="times that each command runs")
    turns = parser.parse_args().turns
    for command in COMMANDS.values(): seconds(command)  # files into the page cache, bytecode onto the disk
    times = {name: [] for name in COMMANDS}
    for _ in range(turns):
        for name, command in COMMANDS.items(): times[name].append(seconds(command))
    medians = {name: statistics.median(t) for name, t in times.items()}
    ratio = medians["import_timm"] / medians["rsg_help"]
    for name, median in medians.items(): print(f"{name:<12}{median * 1e3:9.0f} ms")
    print(f"rsg --help is {ratio:.0f} times faster than importing timm")
    print(json.dumps(dict(turns=turns, ratio=round(ratio, 1), **{f"{k}_s": round(v, 4) for k, v in medians.items()})))
    sys.exit(ratio < 30)


if __name__ == "__main__":
    main()
