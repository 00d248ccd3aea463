"""The path of a newcomer, from an empty environment to the first answers, in seconds.

    python benchmarks/newcomer.py                        a new environment, everything from the network or pip's cache
    python benchmarks/newcomer.py --system-site-packages  the environment of an image that has PyTorch
    python benchmarks/newcomer.py --device cpu

Installs this repository with the README's command, then measures a small model, makes a report and calls `benchmark` from Python. Prints
the seconds of each step, when the first row was seen, and the size of what was installed. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ("--model", "resnet18", "--size", "64", "--bs", "8,16", "--n-seconds", "2", "--wandb", "off")
CALL = "from ready_steady_go import benchmark; print(benchmark('resnet18', size=64, bs=32, n_seconds=2, wandb='off'{}))"


def size_of(folder):
    "Return the bytes of all files below a folder."
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def timed(name, command, cwd, found, first_row=False):
    "Run a command; keep its seconds, and those until its first row of results."
    began = time.monotonic()
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as process:
        for line in process.stdout:
            if first_row and "first_row_s" not in found and line[2:9].strip().isdigit():
                found["first_row_s"] = time.monotonic() - began
    if process.returncode: sys.exit(f"{name}: exit code {process.returncode}")
    found[f"{name}_s"] = time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system-site-packages", action="store_true", help="keep the packages of this Python")
    parser.add_argument("--device", help="as of rsg; default: the accelerator")
    options = parser.parse_args()
    device = ["--device", options.device] if options.device else []
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        more = ["--system-site-packages"] if options.system_site_packages else []
        timed("environment", [sys.executable, "-m", "venv", *more, "venv"], folder, found)
        bin, empty = folder / "venv/bin", size_of(folder / "venv")
        timed("install", [bin / "pip", "install", "--quiet", str(ROOT)], folder, found)
        found["installed_bytes"] = size_of(folder / "venv") - empty
        timed("run", [bin / "rsg", *MODEL, *device], folder, found, first_row=True)
        timed("report", [bin / "rsg", "report", "--quiet"], folder, found)
        timed("python", [bin / "python", "-c", CALL.format(f", device='{options.device}'" if options.device else "")], folder, found)
    for name, value in found.items():
        print(f"{name:<16}{value / 1e9:>8.2f} GB" if name.endswith("bytes") else f"{name:<16}{value:>8.1f} s")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
