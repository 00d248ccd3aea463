"A user's module is a family: it is found in the current folder, and an error in it is one line."

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ready_steady_go.commands.compare import compare
from ready_steady_go.report.comparable import classify
from ready_steady_go.report.table import table_of
from ready_steady_go.run.bench import Bench
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import Record, from_line, seal, settings_key, to_line
from ready_steady_go.training.families import load_family, own_sources, resolve
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
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions of one second and one size would share their compiled file
    yield tmp_path
    for name in {*sys.modules} - before:
        if name.startswith("own_"):
            del sys.modules[name]


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
    with pytest.raises(UserError, match="did you mean 'own_package.nets:small'"):
        resolve(Spec(model="own_package.nets:smalll"))


def test_a_module_may_complete_the_spec(here):
    text = "from dataclasses import replace\noptions = ('seq_len',)\ndef complete(spec): return replace(spec, seq_len=spec.seq_len or 7)\n"
    (here / "own_complete.py").write_text(MINE.replace("(bs, 8,", "(bs, spec.seq_len, 8,") + text)
    assert resolve(Spec(model="own_complete:x")).seq_len == 7
    assert resolve(Spec(model="own_complete:x", seq_len=9)).seq_len == 9


@pytest.mark.parametrize("where", ["on import", "in build"])
def test_a_module_does_not_change_the_precision(here, where):
    switch = "    torch.backends.fp32_precision = 'tf32'\n    torch.backends.cudnn.conv.fp32_precision = 'tf32'\n"
    on_import = MINE.replace("from torch import nn", f"from torch import nn\nif hasattr(torch.backends, 'fp32_precision'):\n{switch}")
    in_build = MINE.replace("    model =", f"{switch}    model =") if hasattr(torch.backends, "fp32_precision") else MINE
    module = on_import if where == "on import" else in_build
    watched = (
        "def watched(*args):\n    seen.append(torch.backends.cudnn.conv.fp32_precision)\n    return nn.functional.cross_entropy(*args)\n"
    )
    if hasattr(torch.backends, "fp32_precision"):
        module = module.replace("draw, nn.functional.cross_entropy", "draw, watched") + "seen = []\n" + watched
    (here / "own_tf32.py").write_text(module)
    bench, spec = Bench("cpu"), resolve(Spec(model="own_tf32:tiny"))
    for bs in (4, 8):
        record = bench.point(replace(spec, bs=bs), n_batches=3)
        assert (record.outcome, record.tf32_matmul, record.tf32_conv) == ("ok", False, False), record.error
    seen = getattr(sys.modules["own_tf32"], "seen", [])
    assert "tf32" not in seen and (len(seen) > 6 or not hasattr(torch.backends, "fp32_precision"))


def test_a_file_here_never_replaces_a_library(here):
    (here / "timm.py").write_text("raise SystemExit('this is not timm')")
    (here / "json.py").write_text("raise SystemExit('this is not json')")
    assert resolve(Spec(model="resnet18")).family == "timm"
    with pytest.raises(UserError, match="json: the module has no build"):
        resolve(Spec(model="json:x"))


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
    if text is not None:
        (here / "own_wrong.py").write_text(text)
    with pytest.raises(UserError, match=words) as error:
        resolve(Spec(model="own_wrong:tiny"))
    assert "\n" not in str(error.value)


def test_a_build_that_returns_no_workload_is_refused(here):
    (here / "own_other.py").write_text("def build(spec, device): return 3")
    with pytest.raises(UserError, match="returned int"):
        load_family("own_other").build(Spec(model="tiny"), "cpu")


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


def command(*more, model="own_models:tiny", out="j.jsonl"):
    "Run the command line in a new process; return its records and its messages."
    options = f"--model {model} --bs 4 --n-batches 2 --device cpu --wandb off --json --out {out}".split()
    done = subprocess.run(
        [sys.executable, "-m", "ready_steady_go", *options, *more], capture_output=True, text=True, env=os.environ, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return Journal(out).read(), done.stderr


def digest_of(name, text=None):
    "Return the digest of an own model, imported anew, after its file was replaced."
    if text is not None:
        Path(f"{name}.py").write_text(text, encoding="utf-8")
    for module in [m for m in sys.modules if m.startswith("own_")]:
        del sys.modules[module]
    return resolve(Spec(model=f"{name}:tiny")).digest


def test_an_edited_model_is_measured_again_and_stands_apart(here):
    (here / "own_models.py").write_text(MINE)
    first, _ = command()
    again, said = command()
    assert len(first) == len(again) == 1 and "1 point from the journal" in said
    (here / "own_models.py").write_text(MINE.replace("nn.Linear(8, 2)", "nn.Sequential(nn.Linear(8, 4096), nn.Linear(4096, 2))"))
    small, large = command()[0]
    assert small.digest != large.digest and small.key != large.key and settings_key(small) != settings_key(large)
    assert small.label == f"own_models:tiny fp32, digest {small.digest[:8]}" and small.label != large.label
    rows = classify(table_of([small, large]))
    assert rows.what.nunique() == rows.key.nunique() == 2
    known = dict(steady=True, throughput_ci95=0.001)
    found = compare([replace(small, **known)], [replace(large, **known)], across=True)
    assert not found.points and len(found.missing) == len(found.added) == 1


def test_the_digest_follows_the_source_its_imports_and_the_structure(here):
    (here / "own_width.json").write_text("16")
    (here / "own_blocks.py").write_text("width = 3")
    (here / "own_unused.py").write_text("x = 1")
    reads = MINE.replace("nn.Linear(8, 2)", "nn.Sequential(nn.Linear(8, n), nn.Linear(n, 2))")
    reads += "import own_blocks\nn = int(open('own_width.json').read())\n"
    first = digest_of("own_reads", reads)
    assert len(first) == 16 and digest_of("own_reads") == first
    (here / "own_unused.py").write_text("x = 2")
    assert digest_of("own_reads") == first
    (here / "own_blocks.py").write_text("width = 4")
    second = digest_of("own_reads")
    (here / "own_width.json").write_text("4096")
    third = digest_of("own_reads")
    assert len({first, second, third, digest_of("own_reads", reads + "# edited")}) == 4


def test_the_digest_does_not_depend_on_batch_size_seed_or_other_modules(here):
    (here / "own_other.py").write_text(MINE)
    digest = digest_of("own_models", MINE)
    load_family("own_other")
    assert resolve(Spec(model="own_models:tiny", bs=64, seed=3)).digest == digest
    assert resolve(Spec(model="resnet18")).digest is None


def test_a_model_that_only_builds_on_the_cpu_or_not_at_all_has_a_digest(here):
    reads_a_value = MINE.replace("model = ", "assert torch.ones(1, device=device).item() == 1\n    model = ")
    wide = digest_of("own_value", reads_a_value.replace("(8, 2)", "(8, 3)"))
    assert wide != digest_of("own_value", reads_a_value)
    assert digest_of("own_never", "def build(spec, device): raise KeyError(1)") != digest_of(
        "own_never", "def build(spec, device): raise KeyError(2)"
    )


def test_a_package_holds_its_relative_imports(here):
    (here / "own_package").mkdir()
    (here / "own_package/__init__.py").write_text("")
    (here / "own_package/blocks.py").write_text("width = 2")
    (here / "own_package/nets.py").write_text("from .blocks import width\n" + MINE)
    first = resolve(Spec(model="own_package.nets:tiny"))
    assert list(own_sources(sys.modules["own_package.nets"])) == ["own_package/__init__.py", "own_package/blocks.py", "own_package/nets.py"]
    (here / "own_package/blocks.py").write_text("width = 3")
    assert resolve(Spec(model="own_package.nets:tiny")).digest != first.digest


def test_an_old_record_of_an_own_model_has_no_digest_and_loads():
    old = seal(Record(model="tiny", family="own_models", bs=4))
    assert '"digest"' not in to_line(old) and from_line(to_line(old)) == old
    assert settings_key(old) != settings_key(replace(old, digest="0123456789abcdef"))


SEVERAL = """
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
import torch
from torch import nn
from ready_steady_go.training.workload import Workload

class Output(OrderedDict):  # as transformers' ModelOutput
    pass

Pair = namedtuple("Pair", "scores hidden")

@dataclass
class Both:
    scores: torch.Tensor
    hidden: list

KINDS = dict(
    tuple=lambda scores, hidden: (scores, hidden, None), output=lambda scores, hidden: Output(scores=scores, hidden=(hidden, hidden)),
    pair=Pair, both=lambda scores, hidden: Both(scores, [hidden]),
)

class Net(nn.Module):
    def __init__(self, kind, bad):
        super().__init__()
        self.layer, self.kind, self.bad = nn.Linear(8, 2), KINDS[kind], bad

    def forward(self, x):
        scores = self.layer(x)
        return self.kind(scores, scores * float("nan") if self.bad else scores.detach())

def build(spec, device):
    kind, _, bad = spec.model.partition("-")
    def draw(bs): return torch.randn(bs, 8, device=device), torch.randint(2, (bs,), device=device)
    def loss(outputs, targets):
        scores = outputs["scores"] if isinstance(outputs, dict) else outputs.scores if hasattr(outputs, "scores") else outputs[0]
        return nn.functional.cross_entropy(scores, targets)
    return Workload(Net(kind, bad).to(device), draw, loss)
"""


@pytest.mark.parametrize("kind", ["tuple", "output", "pair", "both"])
@pytest.mark.parametrize("mode", ["train", "infer", "forward"])
def test_a_model_may_return_several_tensors(here, mode, kind):
    (here / "own_several.py").write_text(SEVERAL)
    bench = Bench("cpu")
    record = bench.point(replace(resolve(Spec(model=f"own_several:{kind}", mode=mode)), bs=4), n_batches=3)
    assert record.outcome == "ok", record.error
    if mode == "infer":
        record = bench.point(replace(resolve(Spec(model=f"own_several:{kind}-bad", mode=mode)), bs=4), n_batches=3)
        assert record.outcome == "failed:nonfinite" and "an output is not finite" in record.error


IMAGES = MINE.replace("(bs, 8,", "(bs, 3, 32, 32,").replace("nn.Linear(8, 2)", "nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))")


@pytest.mark.parametrize("option", [dict(size=32), dict(seq_len=8), dict(vocab=50), dict(dropout=0.5), dict(classes=2)], ids=str)
def test_an_option_that_an_own_model_does_not_declare_is_refused(here, option):
    (here / "own_models.py").write_text(MINE)
    name = next(iter(option))
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')}: own_models does not declare"):
        resolve(Spec(model="own_models:tiny", **option))
    (here / "own_declared.py").write_text(IMAGES + f"options = ({name!r},)")
    if name == "seq_len":
        (here / "own_declared.py").write_text(MINE + "options = ('seq_len',)")
    assert getattr(resolve(Spec(model="own_declared:tiny", **option)), name) == option[name]


def test_a_declared_size_is_compared_with_what_is_drawn(here):
    (here / "own_images.py").write_text(IMAGES + "options = ('size', 'seq_len')")
    assert resolve(Spec(model="own_images:tiny", size=32)).size == 32
    for option, words in {
        "size": "--size 64: own_images:tiny draws samples of 3x32x32",
        "seq_len": "--seq-len 64: own_images:tiny draws",
    }.items():
        with pytest.raises(UserError, match=words):
            resolve(Spec(model="own_images:tiny", **{option: 64}))
    options = "--model own_images:tiny --size 64 --bs 4 --n-batches 2 --device cpu --wandb off".split()
    done = subprocess.run([sys.executable, "-m", "ready_steady_go", *options], capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 2 and "draws samples of 3x32x32" in done.stderr
