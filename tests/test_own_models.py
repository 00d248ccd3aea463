"A user's module is a family: it is found in the current folder, and an error in it is one line."

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ready_steady_go.run.bench import Bench
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.training.families import load_family, resolve
from ready_steady_go.truth.flops import forward_flops

MINE = """
import torch
from torch import nn
from ready_steady_go.training.workload import Workload

def build(spec, device):
    model = nn.Linear(8, 2).to(device)
    def draw(bs): return torch.randn(bs, 8, device=device), torch.randint(2, (bs,), device=device)
    return Workload(model, draw, nn.functional.cross_entropy)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    "Run each test in an empty folder, and forget the modules that it imported."
    before = {*sys.modules}
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in {*sys.modules} - before:
        if name.startswith("own_"): del sys.modules[name]


def test_a_module_here_is_a_family(here):
    (here / "own_models.py").write_text(MINE)
    spec = resolve(Spec(model="own_models:tiny", bs=4))
    assert (spec.family, spec.model, spec.optimizer) == ("own_models", "tiny", None)
    assert str(here) not in sys.path
    assert forward_flops(spec) == 2 * 8 * 2
    record = Bench("cpu").point(spec, n_batches=3)
    assert (record.outcome, record.family, record.model, record.n_items) == ("ok", "own_models", "tiny", 12)
    assert str(here) not in json.dumps(record.__dict__)


def test_a_module_in_a_package(here):
    (here / "own_package").mkdir()
    (here / "own_package/nets.py").write_text(MINE + "def names(): return ['tiny', 'small']\n")
    assert resolve(Spec(model="own_package.nets:tiny")).family == "own_package.nets"
    with pytest.raises(UserError, match="did you mean 'own_package.nets:small'"): resolve(Spec(model="own_package.nets:smalll"))


def test_a_module_may_complete_the_spec(here):
    text = "from dataclasses import replace\ndef complete(spec): return replace(spec, seq_len=spec.seq_len or 7)\n"
    (here / "own_complete.py").write_text(MINE + text)
    assert resolve(Spec(model="own_complete:x")).seq_len == 7
    assert resolve(Spec(model="own_complete:x", seq_len=9)).seq_len == 9


def test_a_file_here_never_replaces_a_library(here):
    (here / "timm.py").write_text("raise SystemExit('this is not timm')")
    (here / "json.py").write_text("raise SystemExit('this is not json')")
    assert resolve(Spec(model="resnet18")).family == "timm"
    with pytest.raises(UserError, match="json: the module has no build"): resolve(Spec(model="json:x"))


WRONG = {
    "nothing there": (None, "no family 'own_wrong'"),
    "no build": ("x = 1", "has no build"),
    "not Python": ("def build(spec, device)", "SyntaxError"),
    "a library is missing": ("import no_such_library", "no_such_library"),
    "it leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "many lines": ("raise ValueError('one\\ntwo')", "ValueError: one two"),
}


@pytest.mark.parametrize("text, words", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_one_line(here, text, words):
    if text is not None: (here / "own_wrong.py").write_text(text)
    with pytest.raises(UserError, match=words) as error: resolve(Spec(model="own_wrong:tiny"))
    assert "\n" not in str(error.value)


def test_a_build_that_returns_no_workload_is_refused(here):
    (here / "own_other.py").write_text("def build(spec, device): return 3")
    with pytest.raises(UserError, match="returned int"): load_family("own_other").build(Spec(model="tiny"), "cpu")


def test_an_error_in_build_is_a_record(here):
    (here / "own_broken.py").write_text("def build(spec, device): raise KeyError(spec.model)")
    record = Bench("cpu").point(replace(resolve(Spec(model="own_broken:tiny")), bs=2), n_batches=2)
    assert record.outcome == "failed:KeyError" and "\n" not in record.error


def test_from_the_command_line(here):
    (here / "own_models.py").write_text(MINE)
    options = "--model own_models:tiny --bs 4 --n-batches 2 --device cpu --json".split()
    done = subprocess.run([sys.executable, "-m", "ready_steady_go", *options], capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["family"] == "own_models"
