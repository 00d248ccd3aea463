"""The whole suite runs in a worker per core, each of which keeps to its own: what one test starts slows no other one down.

`pytest -n 0` runs it in one process, as do `pytest tests/test_x.py` and `pytest --cov`; `-n 2 --dist loadfile` asks for two workers.
"""

import os
from pathlib import Path

import pytest

MOST_WORKERS = 4  # a process that has imported torch and timm takes about a GB
# Each takes minutes on one core. They start first, so that no worker waits at the end for one that started last.
LONG = ("test_notebooks.py", "test_wandb.py", "test_site.py", "cuda", "test_run.py", "test_points.py", "test_door.py")


def cores():
    "The cores that this process may use; none where the system does not tell."
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    "Workers, unless a number of them was given or only some files are to run."
    if hasattr(config, "workerinput"): return  # a worker has none of its own
    alone = config.option.usepdb or getattr(config.option, "cov_source", None)  # pytest-cov wants to know it before this file is read
    whole = all(Path(arg).is_dir() for arg in config.args)
    config.option.loadscopereorder = False  # pytest-xdist would start with the files of the most tests
    if getattr(config.option, "numprocesses", 0) is None and whole and len(cores()) > 1 and not alone:
        config.option.numprocesses, config.option.dist = min(MOST_WORKERS, len(cores())), "loadfile"  # what a file makes once is made once


def pytest_configure(config):
    "A worker, and whatever it starts, keeps to its share of the cores: torch then takes so many threads."
    if hasattr(config, "workerinput") and cores():
        me, n = int(config.workerinput["workerid"].removeprefix("gw")), int(config.workerinput["workercount"])
        if n <= len(cores()): os.sched_setaffinity(0, cores()[me::n])


def pytest_collection_modifyitems(items):
    "Put the files that take longest first."
    rank = lambda item: next((i for i, name in enumerate(LONG) if name in item.path.parts), len(LONG))
    items.sort(key=rank)
