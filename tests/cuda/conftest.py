"A CUDA without a GPU, built once, and programs that run on it."

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE / "fake"))

import fake_cuda  # noqa: E402


def missing():
    "Return what a machine lacks for these tests; an empty string if nothing is missing."
    import torch

    if not sys.platform.startswith("linux"): return "the fake CUDA needs Linux"
    if not shutil.which("cc") or not shutil.which("nm"): return "no C compiler (cc and nm)"
    if (torch.version.cuda or "").split(".")[0] != "13": return f"torch {torch.__version__} is not a CUDA 13 build"
    return ""


@pytest.fixture(scope="session")
def fake(tmp_path_factory):
    "The environment in which a program sees the fake CUDA."
    if why := missing(): pytest.skip(why)
    folder = tmp_path_factory.mktemp("fakecuda")
    try: found = fake_cuda.build(folder)
    except subprocess.CalledProcessError as error: pytest.fail(f"the fake CUDA cannot be built: {error}")
    cache, temp = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("temp")  # the locks of the fake cards are there
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("FAKE_CUDA", "CUDA_", "COV_CORE"))}
    paths = os.pathsep.join([str(HERE.parents[1]), str(HERE)])
    return keep | found | dict(XDG_CACHE_HOME=str(cache), TMPDIR=str(temp), OMP_NUM_THREADS="1", PYTHONPATH=paths)


@pytest.fixture(scope="session")
def driver(fake):
    "Run cases in one process on the fake CUDA: a list of dictionaries -> their answers (see `driver.py`)."

    def run(cases, timeout=200, **env):
        settings = fake | {f"FAKE_CUDA_{name}": str(value) for name, value in env.items()}
        command = [sys.executable, HERE / "driver.py"]
        done = subprocess.run(command, input=json.dumps(cases), env=settings, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run


@pytest.fixture
def rsg(fake, tmp_path):
    "Run `rsg` on the fake CUDA: arguments -> exit code, stderr, and the journal's records."

    def run(*args, timeout=120, **env):
        settings = fake | {f"FAKE_CUDA_{name}": str(value) for name, value in env.items()}
        command = [sys.executable, "-m", "ready_steady_go", *map(str, args)]
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=timeout)
        journal = tmp_path / "rsg-results.jsonl"
        records = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
        return done.returncode, done.stdout, done.stderr, records

    return run
