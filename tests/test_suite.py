"Suites: a file is read or refused in one line, an interrupted suite is resumed, and runs that this device cannot do are skipped."

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands import cli
from ready_steady_go.commands.suite import request_of, run_suite
from ready_steady_go.run.request import REFUSED
from ready_steady_go.run.screen import TABLE_WIDTH, Screen
from ready_steady_go.run.suite_file import EXTRA_COLUMNS, chosen_runs, load_suite, parse_suite, shipped_suites
from ready_steady_go.run.suite_table import run_label, suite_grids, suite_table
from ready_steady_go.run.supervise import Runner
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import from_line, make_record
from ready_steady_go.timing.measure import Measurement

TOY = Machine(device="cuda", device_name="Toy GPU", gpu_mem=24 * 10**9, pytorch="2.4.1", cuda="12.1", driver="550.54")
CPU = Machine(device="cpu", device_name="Toy CPU", cpu_cores=2.0, ram_bytes=8 * 10**9, pytorch="2.4.1")
FILE = """
show = ["tokens/s"]

[[run]]
model = ["a", "b"]
seq-len = [128, 512]
bs = [8, 16, 300]

[[run]]
model = "c"
precision = ["tf32", "fp16"]
bs = 8
"""


class Toy(Runner):
    "A device that fits 100 samples, has no TF32 and no transformers, and gets a signal after some points."

    def __init__(self, machine=TOY, stop_after=10**9, signum=signal.SIGINT):
        super().__init__()
        self.toy, self.asked, self.left, self.signum = machine, [], stop_after, signum

    def check(self, specs):
        self.machine = self.toy
        for s in specs:
            if s.precision == "tf32": raise UserError("--tf32: Toy GPU has no TF32; use --fp32")
            if s.model.startswith("hf:"): raise UserError(f"{s.model}: transformers is not installed; pip install it")
        return [replace(s, family="timm", seq_len=s.seq_len or 64) for s in specs]

    def point(self, spec, limits, on_beat, silence_s):
        if not self.left: os.kill(os.getpid(), self.signum)
        self.left -= 1
        self.asked.append((spec.model, spec.precision, spec.seq_len, spec.bs))
        asked = {k: limits.get(k) for k in ("n_seconds", "n_batches", "run_number")}
        if spec.bs > 100: return make_record(spec, self.toy, outcome="oom", **asked)
        measured = Measurement(bs=spec.bs, windows=[(10, 0.1 + spec.bs * spec.seq_len / 1e5)] * 12)
        return make_record(spec, self.toy, measured, peak_mem_bytes=spec.bs * 2 * 10**8, forward_ms=1.5, backward_ms=3.5, **asked)


@pytest.fixture(autouse=True)
def signals():
    "Restore the signals. A run leaves both ignored, because its process ends."
    kept = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    yield
    for s, handler in kept.items(): signal.signal(s, handler)


@pytest.fixture
def journal(tmp_path): return Journal(tmp_path / "j.jsonl")


def go(journal, runner=None, text=FILE, screen=None, **typed):
    "Run a suite; return its exit code and the measured points."
    runner, typed = runner or Toy(), dict(out=str(journal.path), wandb="off", **typed)
    code = run_suite(parse_suite(text, "my", "my.toml"), typed, screen or Screen(), time.monotonic(), runner)
    return code, runner.asked


ALL = [(m, "fp32", n, bs) for m in "ab" for n in (128, 512) for bs in (8, 16, 300)] + [("c", "fp16", 64, 8)]


def test_lists_are_all_combinations_and_a_refused_run_does_not_end_it(journal, capsys):
    code, asked = go(journal)
    assert (code, asked) == (1, ALL)
    out, err = capsys.readouterr()
    assert err.startswith("  skipped: c tf32: --tf32: Toy GPU has no TF32")
    (refused,) = [r for r in journal.read() if r.outcome == REFUSED]
    assert (refused.model, refused.bs) == ("c", 8) and "use --fp32" in refused.error
    lines = out[out.index("\nsuite my\n") :].strip().splitlines()
    assert lines[1].split() == ["model", "tokens", "batch", "samples/s", "tokens/s", "memory"]
    rows, below = lines[2 : 2 + len(ALL)], lines[2 + len(ALL) :]
    assert [line.split()[:2] for line in rows] == [[m, p] for m, p, *_ in ALL]
    assert sum("does not fit" in line for line in rows) == 4
    assert below[0] == "" and [line.split(":")[0] for line in below if "memory" in line] == ["a fp32", "b fp32"]
    assert below[-1].startswith("~ not steady: interval wider than 0.5 %")  # a toy is not timed for long enough
    assert max(map(len, lines)) <= 80
    assert "5 of 5: c fp16" in out


@pytest.mark.parametrize("signum,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_suite_is_resumed(journal, signum, code, capsys):
    assert go(journal, Toy(stop_after=4, signum=signum)) == (code, ALL[:4])
    out, err = capsys.readouterr()
    assert "2 of 5 runs done; repeat the same command to resume" in err and "\nsuite my\n" in out
    kept = [r.id for r in journal.read()]
    assert len(kept) == 5  # with the one that is refused
    assert go(journal) == (1, ALL[4:])
    assert [r.id for r in journal.read()][:5] == kept
    whole = capsys.readouterr().out
    assert go(journal) == (1, [])
    assert len(journal.read()) == 5 + len(ALL[4:]), "a refusal is written once"
    last = capsys.readouterr().out
    assert whole[whole.index("\nsuite my\n") :] == last[last.index("\nsuite my\n") :]  # all of it, however it was measured


def test_fresh_measures_again(journal):
    assert go(journal)[1] == go(journal, fresh=True)[1] == ALL


def test_a_batch_size_of_another_run_is_not_in_the_table(journal, capsys):
    go(journal, text="[[run]]\nmodel = 'a'\nbs = [8, 24]")
    capsys.readouterr()
    assert go(journal, text="[[run]]\nmodel = 'a'\nbs = [8, 16]") == (0, [("a", "fp32", 64, 16)])
    out = capsys.readouterr().out
    lines = out[out.index("\nsuite my\n") :].strip().splitlines()
    assert lines[1] == "all: 64 tokens" and lines[2].startswith("model in fp32 ")
    assert [line.split()[1] for line in lines[3:5]] == ["8", "16"] and " 24 " not in out


def test_a_missing_package_is_shown_before_the_first_point_and_the_rest_runs(journal, capsys):
    text = "[[run]]\nmodel = ['a', 'hf:bert', 'hf:gpt2']\nbs = 8"
    assert go(journal, text=text) == (1, [("a", "fp32", 64, 8)])
    err = capsys.readouterr().err
    assert err.index("transformers is not installed") < err.index("stopped")
    with pytest.raises(UserError, match="suite my: no run can be measured here: hf:bert: transformers is not installed"):
        go(journal, text="[[run]]\nmodel = ['hf:bert', 'hf:gpt2']\nbs = 8")


def test_json_is_records_only(journal, capsys):
    code, _ = go(journal, screen=Screen(as_json=True, quiet=True))
    out, err = capsys.readouterr()
    assert err == "" and code == 1
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(r["model"], r["outcome"]) for r in rows[:2]] == [("c", REFUSED), ("a", "ok")] and len(rows) == len(ALL) + 1


def test_a_run_for_another_kind_of_device_is_skipped(journal):
    text = "model = 'a'\nbs = 8\n[[run]]\non = 'accelerator'\nprecision = 'fp16'\n[[run]]\non = 'cpu'"
    assert go(journal, text=text) == (0, [("a", "fp16", 64, 8)])
    assert go(journal, Toy(CPU), text=text) == (0, [("a", "fp32", 64, 8)])
    with pytest.raises(UserError, match="no run for a CPU"): go(journal, Toy(CPU), text="[[run]]\nmodel='a'\non='accelerator'")


def test_a_spent_budget_is_on_record(journal):
    code, asked = go(journal, budget="0.000001")
    assert (code, asked) == (1, [])
    assert {r.outcome for r in journal.read()} == {"skipped:budget", REFUSED}
    assert len(journal.read()) == len(ALL) + 1


def test_the_command_line_wins_over_the_file(journal):
    text = "budget = '1h'\n[[run]]\nmodel = 'a'\nbs = 8\nn-batches = 7"
    go(journal, text=text)
    go(journal, text=text, n_seconds="3")
    assert [(r.n_batches, r.n_seconds) for r in journal.read()] == [(7, None), (None, 3)]


def result(run, bs, noise=0.0, **more):
    "Return a record of a run of a suite."
    spec = replace(request_of(run, {}).specs[0], bs=bs, **more)
    if bs * (spec.seq_len or 1) > 4096: return make_record(spec, TOY, outcome="oom")
    if bs == 7: return make_record(spec, TOY, outcome="failed:CompileFailed")
    return make_record(spec, TOY, Measurement(bs=bs, windows=[(100, 1 + i * noise) for i in range(12)]), peak_mem_bytes=bs * 10**9)


def grid_of(text, sizes, noise=0.0):
    "Return the grids of a suite in which everything was measured."
    s = parse_suite(text, "my", "my.toml")
    return suite_grids(s, [(r, [result(r, bs, noise) for bs in sizes if bs in r.sizes]) for r in s.runs])


def test_a_grid_has_batch_sizes_down_and_tokens_across():
    lines = grid_of("[[run]]\nmodel = 'gpt2'\nseq-len = [128, 512]\nbs = [1, 7, 8, 16]", (1, 8, 16, 7))
    assert lines == [
        "",
        "gpt2 fp32: samples/s and memory by batch and tokens",
        " batch             128            512",
        "     1   100   0.9 GiB  100   0.9 GiB",
        "     7          failed         failed",
        "     8   800   7.5 GiB  800   7.5 GiB",
        "    16  1600  14.9 GiB   does not fit",
    ]


def test_a_grid_marks_unsteady_and_missing_results():
    text = "model = 'gpt2'\n[[run]]\nseq-len = [128, 256]\nbs = [1, 8]\n[[run]]\nseq-len = 512\nbs = [1, 2]"
    lines = grid_of(text, (1, 2, 8), 0.02)
    assert [len(line.split("GiB")) - 1 for line in lines[3:]] == [3, 1, 2]
    assert all(line.count("~") == line.count("GiB") for line in lines)
    assert lines[4].split()[:3] == ["2", "-", "-"] and lines[5].split()[-1] == "-"


def test_a_grid_that_is_too_wide_goes_on_below():
    lines = grid_of("[[run]]\nmodel = 'gpt2'\nseq-len = [16, 32, 64, 128, 256, 512]\nbs = [1, 2]", (1, 2), 0.02)
    heads = [line.split() for line in lines if line.split()[:1] == ["batch"]]
    assert [n for _, *row in heads for n in row] == ["16", "32", "64", "128", "256", "512"] and len(heads) > 1
    assert max(map(len, lines)) <= TABLE_WIDTH


@pytest.mark.parametrize("text", [
    "model = 'a'\nbs = [1, 8]",  # nothing that differs
    "model = 'gpt2'\nseq-len = [128, 256]\nbs = 8",  # one batch size
    "model = 'gpt2'\nseq-len = [128, 256]\nbs = 'auto'",
    "model = ['gpt2', 'bert-base']\nbs = [1, 8]",
])  # fmt: skip
def test_a_suite_without_two_dimensions_has_no_grid(text):
    s = parse_suite("[[run]]\n" + text, "my", "my.toml")
    assert suite_grids(s, [(r, [result(r, bs) for bs in (1, 8)]) for r in s.runs]) == []


def test_shortened_names_keep_their_precision():
    run = "[[run]]\nmodel = 'gpt2-medium-of-a-very-long-name'\nseq-len = [128, 256]\nprecision = ['fp16', 'fp32']"
    s = parse_suite("show = ['tokens/s', 'it/s']\n" + run, "my", "my.toml")
    lines = suite_table(s, [(r, [result(r, 8, 0.02)]) for r in s.runs])
    assert all("… fp" in line for line in lines[1:]) and max(map(len, lines)) <= TABLE_WIDTH


def test_a_probe_is_marked_as_one_steady_or_not():
    s = parse_suite("[[run]]\nmodel = 'gpt2'", "my", "my.toml")
    looks = [replace(result(s.runs[0], 8, noise), search="probe") for noise in (0.0, 0.02)]
    lines = suite_table(s, [(s.runs[0], looks)])
    assert [(line.endswith("  probe"), "~" in line) for line in lines[1:]] == [(True, False), (True, True)]


def test_epochs_are_computed_from_the_throughput():
    s = load_suite("distilbert")
    (fp16, _) = s.runs
    spec = replace(request_of(fp16, {}).specs[0], bs=32)
    r = make_record(spec, TOY, Measurement(bs=32, windows=[(10, 0.625)] * 12))  # 16 it/s
    shared, *row = suite_table(s, [(fp16, [r])])
    assert shared == "all: 128 tokens, adamw, lr 5e-05, clip 1"
    assert row[0].startswith("model in fp16 ") and row[1].split()[0] == "distilbert-base-cased" and float(row[1].split()[3]) == 16
    assert float(row[1].split()[4]) == pytest.approx(3 * 3125 / 16, abs=1)
    assert row[-1].startswith("3 epochs of 3,125 steps: computed")


def test_a_step_has_the_samples_of_all_gpus_and_accumulated_batches():
    s = parse_suite("show = ['it/s', 'epochs']\nepochs = 3\nsteps-per-epoch = 100\n[[run]]\nmodel = 'a'", "my", "my.toml")
    r = replace(make_record(Spec(model="a", bs=8, grad_accum=4, n_gpus=2), TOY), throughput=640.0)
    assert EXTRA_COLUMNS["it/s"].value(r, s)[0] == 10 and EXTRA_COLUMNS["epochs"].value(r, s)[0] == 30
    assert EXTRA_COLUMNS["it/s"].value(replace(r, grad_accum=None, n_gpus=None), s)[0] == 80


def test_an_option_that_is_off_is_kept_and_named():
    s = parse_suite("[[run]]\nmodel = 'resnet50'\nfused = [false, true]", "my", "my.toml")
    assert [r.options["fused"] for r in s.runs] == [False, True]
    assert [run_label(r, ["fused"]) for r in s.runs] == ["not fused", "fused"]


SHIPPED = {
    "classic": [("resnet50", "vgg19", "swin_s3_base_224"), ("fp16", "fp32"), None, 6],
    "distilbert": [("distilbert-base-cased",), ("fp16", "fp32"), [32], 2],
    "transformers": [("distilroberta-base", "roberta-base", "roberta-large"), ("fp16",), [1, 8, 32, 64, 128, 256], 9],
    "rnn": [("lstm",), ("fp32",), [128], 2],
    "quick": [("resnet50", "distilbert-base-cased", "lstm"), ("fp16", "fp32"), None, 6],
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_suites_match_their_published_benchmarks(name):
    models, precisions, sizes, n = SHIPPED[name]
    requests = [request_of(r, {}) for r in load_suite(name).runs]
    specs = [s for request in requests for s in request.specs]
    assert len(specs) == n and {s.model for s in specs} == {*models} and {s.precision for s in specs} == {*precisions}
    assert all(request.options.bs == sizes for request in requests)


def test_details_of_the_published_benchmarks():
    specs = lambda name: [s for r in load_suite(name).runs for s in request_of(r, {}).specs]
    assert {(s.optimizer, s.seq_len) for s in specs("transformers")} == {("adamw", n) for n in (128, 256, 512)}
    assert {(s.optimizer, s.seq_len, s.lr, s.clip) for s in specs("distilbert")} == {("adamw", 128, 5e-5, 1.0)}
    assert [s.mode for s in specs("rnn")] == ["train", "infer"]
    ways = {(s.precision, s.mode, s.torchscript, s.compile) for s in specs("inference")}
    assert ways == {(p, "infer", *way) for p in ("fp32", "fp16") for way in ((False, None), (True, None), (False, "inductor"))}
    assert len({s.model for s in specs("inference")}) >= 5
    assert all(r.sizes == [1, 2, 4, 8] for r in load_suite("inference").runs)
    assert set(SHIPPED) | {"inference", "scaling"} == set(shipped_suites())


def test_the_suite_of_several_gpus_scales_weakly_and_strongly():
    requests = [request_of(r, {}) for r in load_suite("scaling").runs]
    specs = [s for request in requests for s in request.specs]
    assert {s.model for s in specs} == {"bert-base-cased", "distilbert-base-cased", "resnet50"}
    assert {s.precision for s in specs} == {"fp16", "fp32"}
    assert [s.n_gpus for s in specs[:4]] == [1, 2, 4, 0] and {r.on for r in requests} == {"accelerator"}
    assert {(str(r.options.bs), r.options.global_bs) for r in requests} == {("[32]", None), ("None", 64)}


def rsg(*args, capsys):
    "Run the command in this process; return exit code, stdout and stderr."
    with pytest.raises(SystemExit) as left: cli.main(["suite", *map(str, args)])
    return (left.value.code, *capsys.readouterr())


RUN = "[[run]]\nmodel = 'resnet50'\n"
WRONG = {
    "no suite": (None, ["clasic"], "no suite 'clasic': did you mean 'classic'?"),
    "nothing named": (None, [], "no suite given: name one of classic"),
    "no file": (None, ["nowhere.toml"], "no such file"),
    "a file without its ending": (RUN, ["my"], "did you mean my.toml?"),
    "broken": (RUN + "bs = \n", ["my.toml"], "my.toml: not TOML: Invalid value (at line 3"),
    "empty": ("", ["my.toml"], "my.toml: no [[run]]"),
    "an unknown word": (RUN + "precison = 'x'", ["my.toml"], "my.toml, run 1: no option 'precison': did you mean 'precision'?"),
    "a wrong value": (RUN + "mode = 'trian'", ["my.toml"], "my.toml, run 1: --mode trian"),
    "a wrong type": (RUN + "bs = true", ["my.toml"], "my.toml, run 1: bs = true"),
    "not a text": (b"\xff\xfe\x00", ["my.toml"], "not text in UTF-8"),
    "a wrong option": (RUN, ["my.toml", "--budget", "-1"], "--budget -1"),
    "no folder for the journal": (RUN, ["my.toml", "--out", "no/such.jsonl"], "there is no folder"),
    "no such device": (RUN, ["my.toml", "--device", "gpu"], "did you mean 'cuda'"),
}


@pytest.mark.parametrize("text,args,words", WRONG.values(), ids=WRONG)
def test_a_mistake_is_reported_in_one_line(text, args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if text is not None: (tmp_path / "my.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = sorted(p.name for p in tmp_path.iterdir())
    code, out, err = rsg(*args, capsys=capsys)
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("rsg: ") and words in err, err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_suites_are_listed_without_the_training_libraries(capsys):
    code, out, _ = rsg("--list", capsys=capsys)
    assert not code and all(f"\n{name}" in "\n" + out for name in shipped_suites()) and "54 points" in out and "tlkh" in out
    code, out, _ = rsg("rnn", "--list", "--json", capsys=capsys)
    assert [r["mode"] for r in json.loads(out)["runs"]] == ["train", "infer"]
    heavy = ("torch", "timm", "transformers", "wandb", "pandas", "matplotlib", "numpy")
    listing = "from ready_steady_go.commands.suite import list_suites\nlist_suites()"
    program = f"import sys\n{listing}\nprint([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


MINE = """
import torch
from torch import nn
from ready_steady_go.training.workload import Workload

def build(spec, device):
    model = nn.Linear(8, 2).to(device)
    def draw(bs): return torch.randn(bs, 8, device=device), torch.randint(2, (bs,), device=device)
    return Workload(model, draw, nn.functional.cross_entropy)
"""


def test_a_custom_suite_with_real_children(tmp_path):
    (tmp_path / "own_net.py").write_text(MINE)
    (tmp_path / "my.toml").write_text("[[run]]\nmodel = 'own_net:tiny'\nprecision = ['tf32', 'fp32', 'bf16']\nbs = [2, 4]\nn-batches = 3\n")
    command = [sys.executable, "-m", "ready_steady_go", "suite", "my.toml", "--device", "cpu"]
    first = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert first.returncode == 0 and "skipped: own_net:tiny tf32: --tf32" in first.stderr and "Traceback" not in first.stderr
    kept = Journal(tmp_path / "rsg-results.jsonl").read()
    assert [(r.precision, r.bs, r.outcome) for r in kept] == [
        *((("tf32", bs, REFUSED)) for bs in (2, 4)), *((p, bs, "ok") for p in ("fp32", "bf16") for bs in (2, 4))
    ]  # fmt: skip
    assert "\nsuite my\n" in first.stdout
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert again.returncode == 0 and Journal(tmp_path / "rsg-results.jsonl").read() == kept
    assert first.stdout[first.stdout.index("\nsuite my\n") :] == again.stdout[again.stdout.index("\nsuite my\n") :]


# What this device lacks, and parts


def test_a_mistake_in_a_suite_is_still_a_failure(tmp_path):
    (tmp_path / "own_net.py").write_text(MINE)
    (tmp_path / "my.toml").write_text("bs = 2\nn-batches = 3\n[[run]]\nmodel = 'own_net:tiny'\n[[run]]\nmodel = 'resnet5O'\n")
    command = [sys.executable, "-m", "ready_steady_go", "suite", "my.toml", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 1 and "no model 'resnet5O'" in done.stderr


def test_a_suite_skips_the_precision_that_a_cpu_emulates(journal, capsys, monkeypatch):
    emulated = lambda precision, device: [dict(code="fp16_emulated")] * (precision == "fp16")
    monkeypatch.setattr("ready_steady_go.run.campaign.precision_findings", emulated)
    text = "skip-emulated = true\n[[run]]\nmodel = 'distilbert-base-cased'\nprecision = ['fp16', 'fp32']\nbs = 8\n"
    typed = dict(out=str(journal.path), wandb="off")
    runner = Toy(CPU)
    assert run_suite(parse_suite(text, "my", "my.toml"), typed, Screen(), time.monotonic(), runner) == 0
    output = capsys.readouterr()
    assert [precision for _, precision, _, _ in runner.asked] == ["fp32"]
    assert "skipped: distilbert-base-cased fp16" in output.err and "emulates it slowly" in output.err
    only = parse_suite(text.replace(", 'fp32'", "").replace("'distilbert-base-cased'", "['a', 'b']"), "my", "my.toml")
    with pytest.raises(UserError, match="suite my: no run can be measured here: this CPU has no FP16 arithmetic"):
        run_suite(only, typed, Screen(), time.monotonic(), Toy(CPU))


def test_the_published_lengths_are_parts_of_the_inference_suite():
    suite = load_suite("inference")
    lengths = {part: sorted({int(run.options["seq-len"]) for run in chosen_runs(suite, part).runs}) for part in suite.parts}
    assert lengths == dict(medium=[128, 256], short=[8, 64], long=[512, 1024])
    assert {run.options["bs"] for run in suite.runs} == {"1,2,4,8"}
    longest = {run.options["model"] for run in suite.runs if run.options["seq-len"] == "1024"}
    assert longest == {"gpt2", "hf:xlnet"}  # the published table has N/A for the others
    assert chosen_runs(suite, "short, long").points == "552 points"


PARTS = {
    ("inference", "--part", "medum"): "--part medum: expected one of medium, short, long: did you mean 'medium'?",
    ("quick", "--part", "medium"): "--part medium: suite quick has no parts; remove --part",
    ("inference", "--part", "long", "--list"): "--part has no effect with --list",
}


@pytest.mark.parametrize("args", PARTS, ids=" ".join)
def test_a_wrong_part_is_refused_in_one_line(args, capsys):
    code, out, err = rsg(*args, capsys=capsys)
    assert (code, out) == (2, "") and err.startswith("rsg: ") and PARTS[args] in err and err.count("\n") == 1


def test_the_list_names_each_option(capsys):
    _, out, _ = rsg("distilbert", "--list", capsys=capsys)
    assert "distilbert-base-cased; fp16, fp32; 128 tokens; adamw; lr 5e-05; clip 1.0" in out
    _, out, _ = rsg("inference", "--list", capsys=capsys)
    assert "fp32; infer; 128, 256 tokens" in out and "fp16; infer; half weights; 128, 256 tokens" in out
    assert "parts: medium (336 points)" in out
    assert all(len(line) <= TABLE_WIDTH for line in out.splitlines() if not line.startswith("from "))


def test_json_lines_hold_the_columns_of_the_suite(journal, capsys):
    text = "show = ['it/s', 'epochs', 'forward']\nepochs = 3\nsteps-per-epoch = 100\n[[run]]\nmodel = 'a'\nbs = 8\n"
    run_suite(parse_suite(text, "my", "my.toml"), dict(out=str(journal.path), wandb="off"), Screen(as_json=True), time.monotonic(), Toy())
    line = capsys.readouterr().out
    found, record = json.loads(line)["suite"], from_line(line)
    assert found["name"] == "my" and found["it/s"] == pytest.approx(record.throughput / 8)
    assert found["s for 3 epochs"] == pytest.approx(300 * 8 / record.throughput) and found["fwd ms"] == 1.5
    assert found["it/s ci95"] == pytest.approx(record.throughput_ci95 / 8)
    assert record == journal.read()[0]  # the line is still a record
