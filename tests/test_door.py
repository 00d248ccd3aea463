"The command line: help and errors are fast, short and right."

import json
import os
import re
import shlex
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
LIGHT += [["fleet", "down", "nowhere"], ["offers", "--help"], ["show", "nowhere.jsonl"]]
LIGHT += [["leaderboard", "--help"], ["leaderboard", "nowhere.jsonl"], ["dashboard", "--help"], ["dashboard", "--host", "0.0.0.0"]]
LIGHT += [["--help"], ["--version"], ["--model", "resnet50", "--bs", "0"], ["--nope"], ["--model", "x", "--out", "/"]]


@pytest.mark.parametrize("args", LIGHT)
def test_help_and_errors_load_nothing_heavy(args):
    assert loaded(args) == []
    assert loaded(args, ("typer", "torch")) == ["typer"]  # the check can fail


def test_a_search_for_models_loads_a_library_only_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "torch" in loaded(["models", "test_resnet"]) and loaded(["models", "test_resnet"]) == []
    assert re.fullmatch(r"timm:\n  test_resnet +\d+ k\n", rsg("models", "test_resnet").stdout)
    assert loaded(["models", "resnet5O"]) == []  # no such name


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
    "an option of other programs": (["--model", "resnet50", "--batch-size", "64"], "--batch-size: no such option; use --bs\n"),
    "a precision of other programs": (["--model", "resnet50", "--dtype=fp16"], "use --fp16 or --bf16 or --tf32\n"),
    "an option of other programs, of a command": (["report", "--output", "x"], "use --out\n"),
    "an option like no other": (["--model", "resnet50", "--workers", "4"], "--workers: no such option; see --help\n"),
    "a precision without dashes": (["resnet50", "fp16"], "type --fp16\n"),
    "capitals": (["resnet50", "--FP16"], "use --fp16\n"),
    "a number without its option": (["resnet50", "64"], "type --bs 64\n"),
    "two models as two words": (["resnet50", "vgg16"], "type --model resnet50,vgg16\n"),
    "a long dash": (["resnet50", "\u2014bs", "0"], "--bs 0: "),
    "a command of other programs": (["list", "vit"], "type rsg models vit\n"),
    "a value of a flag": (["--model", "resnet50", "--fp16", "true"], "'true': no such command"),
    "a model to tune": (["tune", "resnet-50"], "did you mean 'resnet50'"),
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
    "one of two models": (
        ["--model", "lstm,test_resnet", "--size", "64", "--device", "cpu"],
        "--size: lstm:lstm does not use it; run --model test_resnet --size 64 and --model lstm one after the other",
    ),
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
    text = rsg(*command, "--help" if command else "--help-all", COLUMNS="80").stdout
    sections = dict(part.split(":\n", 1) for part in text.split("\n\n") if ":\n  -" in part)
    assert [row.name for row in rows.values() if f"  {row.name} " not in sections[row.panel]] == []
    order = [panel for panel in sections if panel in cli.PANELS]
    assert order == sorted(order, key=cli.PANELS.index)


def test_the_short_help_fits_two_screens():
    "It has the options that most runs need, and every command with its whole first sentence."
    lines = rsg("--help", COLUMNS="80").stdout.splitlines()
    assert len(lines) <= 2 * 25 and max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert [name for name in cli.MOST_NEEDED if f"  {cli.OPTION_ROWS[name].name} " not in text] == [] and len(cli.MOST_NEEDED) == 10
    assert "--clip" not in text and "--help-all" in text and "..." not in text.replace("[ARGS]...", "")
    assert [name for name in command_names() if f"\n  {name}  " not in text] == []


def command_names():
    from typer.main import get_command

    return [*get_command(cli.app).commands]


def test_the_whole_help_has_the_variable_of_each_option():
    lines = rsg("--help-all", COLUMNS="80").stdout.splitlines()
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80
    assert [row.name for row in cli.OPTION_ROWS.values() if f"[{cli.variable_of(row.name)}]" not in text] == []


def test_a_variable_is_an_option(tmp_path):
    options = dict(RSG_MODEL="test_vit", RSG_BS="2", RSG_N_BATCHES="2", RSG_JSON="1", RSG_DEVICE="cpu", RSG_WANDB="off")
    done = rsg(cwd=tmp_path, **options)
    assert done.returncode == 0 and json.loads(done.stdout)["model"] == "test_vit", done.stderr
    done = rsg("--bs", "3", cwd=tmp_path, **options)
    assert json.loads(done.stdout)["bs"] == 3  # what is typed wins


def test_variables_are_checked_like_options():
    done = rsg("--model", "resnet50", RSG_BS="0")
    assert done.returncode == 2 and "(set by RSG_BS)" in done.stderr and done.stderr.count("\n") == 1
    assert "set by" not in rsg("--model", "resnet50", "--bs", "0", RSG_BS="8").stderr
    assert "RSG_FP16" in rsg("--model", "resnet50", RSG_FP16="maybe").stderr
    assert rsg("models", "test_resnet", RSG_VERSION="0.1.0", RSG_HELP_ALL="1").stdout.startswith("timm:")  # these may mean anything
    done = rsg("doctor", "--require", "x", RSG_FP16="1")  # no option of this command
    assert "no quantity 'x'" in done.stderr
    assert "no quantity 'y'" in rsg("doctor", RSG_DOCTOR_REQUIRE="y").stderr


def test_color_is_for_terminals():
    assert "\x1b" not in rsg("--help").stdout + rsg("--nope").stderr
    assert "\x1b[1mRenting" in rsg("--help", FORCE_COLOR="1").stdout and "\x1b[31mrsg:" in rsg("--nope", FORCE_COLOR="1").stderr
    assert "\x1b" not in rsg("--help", FORCE_COLOR="1", NO_COLOR="1").stdout


def commands_with_parents():
    "Yield the words and the command of everything that `rsg` can run."
    from typer.main import get_command

    yield [], get_command(cli.app)
    for name, command in get_command(cli.app).commands.items():
        inner = getattr(command, "commands", {})
        yield from [([name, deep], child) for deep, child in inner.items()] or [([name], command)]


def test_each_command_has_an_example_that_parses():
    for words, command in commands_with_parents():
        (line,) = [text for text in (command.help or "").splitlines() if text.startswith("For example: ")]
        _, *typed = shlex.split(line.removeprefix("For example: ").rpartition("| ")[2])
        assert typed[: len(words)] == words, line
        with command.make_context("rsg", typed[len(words) :]) as context: assert not context.args


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
