"The command line: help and errors are fast, short and right."

import json
import os
import subprocess
import sys

import pytest

from ready_steady_go.commands import cli
from ready_steady_go.spec.options import RunOptions, SpecFields, options_of

HEAVY = ("torch", "torchvision", "timm", "transformers", "wandb", "pandas", "matplotlib", "numpy", "pynvml")
REPORT = """
import sys
from ready_steady_go.commands.cli import main
try: main({args!r})
finally: print("loaded:", *[m for m in {heavy!r} if m in sys.modules])
"""


def rsg(*args, cwd=None, **env):
    "Run the command as a user does."
    command = [sys.executable, "-m", "ready_steady_go", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ | env, timeout=300)


def loaded(args, names=HEAVY):
    "Return which of these libraries a call of the command loads."
    done = subprocess.run([sys.executable, "-c", REPORT.format(args=args, heavy=names)], capture_output=True, text=True)
    return done.stdout.splitlines()[-1].removeprefix("loaded:").split()


LIGHT = [["doctor", "--help"], ["check", "--help"], ["doctor", "--require", "x"]]
LIGHT += [["compare", "--help"], ["compare", "nowhere.jsonl", "b.jsonl"], ["push", "--help"], ["pull", "--help"]]
LIGHT += [["models", "--help"], ["suite", "--help"], ["report", "--help"], ["suite"], ["--fp16", "doctor"]]
LIGHT += [["hand-back", "--help"], ["hand-back", "--dry-run"], ["export", "--help"], ["collect", "--help"], ["fleet", "--help"]]
LIGHT += [["fleet", "plan", "--gpus", "nope", "--usd-most", "1"], ["fleet", "up", "nowhere"]]
LIGHT += [["fleet", "down", "nowhere"], ["offers", "--help"], ["leaderboard", "--help"], ["leaderboard", "nowhere.jsonl"]]
LIGHT += [["--help"], ["--version"], ["--model", "resnet50", "--bs", "0"], ["--nope"], ["--model", "x", "--out", "/"]]


@pytest.mark.parametrize("args", LIGHT)
def test_help_and_errors_load_nothing_heavy(args):
    assert loaded(args) == []
    assert loaded(args, ("typer", "torch")) == ["typer"]  # the check can fail


WRONG = {
    "no model": ([], "no model given: add --model"),
    "an empty model": (["--model", ""], "one name is empty"),
    "zero": (["--model", "resnet50", "--bs", "0"], "at least 1"),
    "dots": (["--model", "resnet50", "--bs", "8..64"], "not a batch size"),
    "downwards": (["--model", "resnet50", "--bs", "64-8"], "use 8-64"),
    "negative batch": (["--model", "resnet50", "--bs", "-8"], "not a batch size"),
    "two lengths": (["--model", "resnet50", "--n-seconds", "1", "--n-batches", "5"], "mutually exclusive; use one"),
    "negative seconds": (["--model", "resnet50", "--n-seconds", "-1"], "--n-seconds"),
    "negative batches": (["--model", "resnet50", "--n-batches", "-1"], "--n-batches"),
    "negative run": (["--model", "resnet50", "--run-number", "-1"], "--run-number"),
    "negative seed": (["--model", "resnet50", "--seed", "-1"], "--seed"),
    "negative size": (["--model", "resnet50", "--size", "-224"], "--size"),
    "negative budget": (["--model", "resnet50", "--budget", "-5"], "--budget"),
    "no such device": (["--model", "resnet50", "--device", "gpu"], "did you mean 'cuda'"),
    "no such option": (["--model", "resnet50", "--fp17"], "--fp16"),
    "a verb of other programs": (["train", "resnet50"], "type rsg --model resnet50"),
    "a file of a suite": (["my.toml"], "type rsg suite my.toml"),
    "no value": (["--model"], "--model"),
    "no such mode": (["--model", "resnet50", "--mode", "trian"], "did you mean 'train'"),
    "no soak": (["--model", "resnet50", "--soak", "0"], "--soak"),
    "a price below nothing": (["--model", "resnet50", "--usd-per-hour", "-1"], "--usd-per-hour"),
    "a price in words": (["--model", "resnet50", "--usd-per-hour", "cheap"], "--usd-per-hour"),
    "an option before a command": (["--fp16", "doctor"], "--fp16: it has no effect before doctor"),
    "a rule without a number": (["doctor", "--require", "fp16>=lots"], "fp16"),
    "a rule with a typo": (["doctor", "--require", "helthy"], "did you mean 'healthy'"),
    "no table": (["check", "nowhere.csv"], "nowhere.csv"),
    "no table named": (["check"], "FILE"),
    "no folder": (["--model", "resnet50", "--out", "no/such/folder.jsonl"], "there is no folder"),
}


@pytest.mark.parametrize("args,words", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_an_error_of_one_line(args, words, tmp_path):
    done = rsg(*(args or ["--fp16"]), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("rsg: ") and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_journal_is_not_changed(tmp_path):
    (tmp_path / "notes.txt").write_text("milk")
    (tmp_path / "other.json").write_text('[{"model": "resnet50"}]\n')
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    for name in (*before, "."):
        done = rsg("--model", "resnet50", "--out", tmp_path / name)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    done = rsg("--model", "resnet50", "--out", tmp_path / "x.jsonl")
    tmp_path.chmod(0o700)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot write there" in done.stderr


# Errors that need torch or timm: they come before anything is built, so there is no progress line and no journal.
LATER = {
    "model": (["--model", "resnet5O"], "did you mean 'resnet50'"),
    "second model": (["--model", "test_resnet,resnet5O"], "did you mean 'resnet50'"),
    "family": (["--model", "tim:resnet50"], "no family 'tim'"),
    "size": (["--model", "coat_tiny", "--size", "200"], "its own 224"),
    "tf32": (["--model", "test_resnet", "--tf32", "--device", "cpu"], "use --fp32"),
    "device": (["--model", "test_resnet", "--device", "cuda:99"], "--device cuda:99"),
}


@pytest.mark.parametrize("args,words", LATER.values(), ids=LATER.keys())
def test_an_error_that_needs_a_library_is_one_line(args, words, tmp_path):
    done = rsg(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("rsg: ") and words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_without_arguments():
    "Without arguments rsg prints its help, at most 80 columns wide."
    assert rsg().stdout == rsg("--help").stdout
    assert rsg().returncode == 0
    assert max(map(len, rsg("--help", COLUMNS="80").stdout.splitlines())) <= 80


@pytest.mark.parametrize("command, cls", [([], SpecFields), ([], RunOptions), (["suite"], None)])
def test_help_lists_each_option_under_its_heading(command, cls):
    rows = options_of(cls) if cls else {name: options_of(RunOptions)[name] for name in cli.SUITE_FIELDS}
    text = rsg(*command, "--help", COLUMNS="80").stdout
    sections = dict(part.split(":\n", 1) for part in text.split("\n\n") if ":\n  -" in part)
    assert [row.name for row in rows.values() if f"  {row.name} " not in sections[row.panel]] == []
    order = [panel for panel in sections if panel in cli.PANELS]
    assert order == sorted(order, key=cli.PANELS.index)


def test_the_version_is_the_one_in_settings():
    settings = open(os.path.join(os.path.dirname(__file__), "..", "settings.ini"), encoding="utf-8").read()
    assert f"version = {rsg('--version').stdout.split()[1]}\n" in settings


def test_json_is_json(tmp_path):
    done = rsg("--model", "test_resnet", "--bs", "2", "--n-batches", "2", "--device", "cpu", "--json", cwd=tmp_path)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["model"] == "test_resnet"
    assert (tmp_path / "rsg-results.jsonl").read_text() == done.stdout


def test_a_first_word_that_no_command_has_is_a_model(tmp_path):
    done = rsg("test_vit", "--bs", "2", "--n-batches", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "test_vit"
