"The plan of a fleet: the arithmetic, the limit, and files that are what dstack expects."

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ready_steady_go.commands.fleet_plan import (
    BOUNDED_BACKENDS,
    GPU_TYPES,
    PRICE_SOURCES,
    SET_UP_MIN,
    STOP_MIN,
    Plan,
    check_plan,
    fleet_plan_command,
    fleet_yaml,
    gpu_types,
    plan_lines,
    task_yaml,
    typed_prices,
)  # fmt: skip
from ready_steady_go.spec.errors import UserError

ALL = "rtx3060,rtx3090,rtx4090,a100,h100"


def plan(gpus=ALL, minutes=15, usd_most=5.0, usd=(), **more):
    return Plan(fleet="rsg-1126-0340", gpus=gpu_types(gpus, typed_prices(usd)), minutes=minutes, usd_most=usd_most, **more)


def rsg(*args, **more):
    return subprocess.run([sys.executable, "-m", "ready_steady_go", *args], capture_output=True, text=True, timeout=300, **more)


def test_the_arithmetic_is_printed_and_fits_80_columns(tmp_path):
    done = rsg("fleet", "plan", "--gpus", ALL, "--usd-most", "5", "--minutes", "15", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line for line in lines if re.match(r"(rtx|a1|h1|sum)", line)}
    assert [*rows] == [*ALL.split(","), "sum"]
    total = 0
    for name in ALL.split(","):
        _, usd, numbers, worst = re.fullmatch(r"(\w+) +([\d.]+) +([\d +]+) min +([\d.]+)  .*", rows[name]).groups()
        assert float(worst) == pytest.approx(float(usd) * eval(numbers) / 60, abs=6e-4)
        total += float(worst)
    assert float(rows["sum"].split()[1]) == pytest.approx(total, abs=3e-3) and rows["sum"].endswith("limit 5")
    (folder,) = tmp_path.iterdir()
    assert len([*folder.iterdir()]) == 7 and f"7 files in {folder.name}; next: rsg fleet up {folder.name}" == lines[-1]


def test_one_gpu_type_has_a_worst_case_too():
    one = plan("h100", minutes=60, usd=["h100=2"])
    assert one.worst_sum_usd == 2 * (SET_UP_MIN + 60 + STOP_MIN) / 60 and "on 1 GPU type" in plan_lines(one)[0]


def test_each_default_price_has_a_source_with_a_date():
    for gpu in GPU_TYPES.values():
        text, date = PRICE_SOURCES[gpu.source]
        assert re.search(r"2026-\d\d", date) and len(text) > 20
    assert {gpu.source for gpu in GPU_TYPES.values()} == {*PRICE_SOURCES}


def test_a_fleet_above_the_limit_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--usd-most 1: the worst case is 4.14 USD; remove a GPU type such as h100, or raise it"):
        fleet_plan_command(ALL, "1")
    assert [*tmp_path.iterdir()] == []


def test_the_fleet_owns_no_box_by_itself():
    found = yaml.safe_load(fleet_yaml(plan()))
    limits = dict(backends=[*BOUNDED_BACKENDS], spot_policy="on-demand", idle_duration="0s")
    assert found == dict(type="fleet", name="rsg-1126-0340", nodes="0..5", **limits)


@pytest.mark.parametrize("gpu", plan().gpus, ids=lambda gpu: gpu.name)
def test_a_task_is_what_the_plan_calculates(gpu):
    task = yaml.safe_load(task_yaml(plan(), gpu))
    commands = task.pop("commands")
    assert task == dict(
        type="task", name=f"rsg-1126-0340-{gpu.name}", fleets=["rsg-1126-0340"], image=plan().image, env=["PIP_BREAK_SYSTEM_PACKAGES=1"],
        resources=dict(gpu=f"{gpu.dstack}:1", disk="40GB.."), backends=[*BOUNDED_BACKENDS], spot_policy="on-demand", max_price=gpu.usd,
        max_duration="15m", stop_duration=f"{STOP_MIN}m", idle_duration="0s", retry=False,
    )  # fmt: skip
    assert re.fullmatch(r"[a-z][a-z0-9-]{1,40}", task["name"]) and commands[0].startswith("pip install ")
    assert [c.split()[:2] for c in commands[1:]] == [["rsg", "doctor"], ["rsg", "suite"]]
    assert all(f"--expect '{gpu.name},price<={gpu.usd:g}'" in c for c in commands[1:]) and "--budget 10m" in commands[2]
    assert "--wire --wandb off" in commands[2] and "KEY" not in task_yaml(plan(), gpu)


def test_the_commands_of_a_task_are_ours():
    "They parse as they are written."
    from test_docs import accepted, arguments

    for command in yaml.safe_load(task_yaml(plan(), plan().gpus[0]))["commands"][1:]: accepted(arguments(command))


def test_quotes_of_a_user_survive():
    odd = plan("a100", install="pip install 'x y' \"z\" # \\ : {")
    assert yaml.safe_load(task_yaml(odd, odd.gpus[0]))["commands"][0] == odd.install


WRONG = {
    "a typo": (["--gpus", "rtx409"], "did you mean 'rtx4090'"),
    "no price": (["--gpus", "mi300x"], "no price is known; add --usd mi300x=PRICE"),
    "no name": (["--gpus", "a100,,h100"], "an empty name is no GPU type"),
    "no number": (["--gpus", "a100", "--usd", "a100"], "expected a GPU type and its highest price"),
    "a price of nothing": (["--gpus", "a100", "--usd", "h100=1"], "--usd h100: it is not in --gpus; remove it"),
    "no minutes": (["--gpus", "a100", "--minutes", "x"], "--minutes x"),
    "few minutes": (["--gpus", "a100", "--minutes", "5"], "use at least 6"),
    "no suite": (["--gpus", "a100", "--suite", "quik"], "quik"),
    "a file": (["--gpus", "a100", "--suite", "my.toml"], "the boxes do not have your file"),
    "a backend": (["--gpus", "a100", "--backends", "aws"], "--backends aws"),
    "a folder": (["--gpus", "a100", "--out", "."], "--out .: it exists"),
}


@pytest.mark.parametrize("args, words", WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line(args, words, tmp_path, monkeypatch, capsys):
    from ready_steady_go.commands.cli import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended: main(["fleet", "plan", "--usd-most", "99", *args])
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1) and words in said.err and [*tmp_path.iterdir()] == []


def test_a_required_option_is_named(capsys):
    from ready_steady_go.commands.cli import main

    with pytest.raises(SystemExit): main(["fleet", "plan", "--gpus", "a100"])
    assert "--usd-most" in capsys.readouterr().err


def test_the_state_begins_with_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fleet_plan_command("a100,h100", "9", out="night")
    state = json.loads(Path("night/rsg-fleet.json").read_text(encoding="utf-8"))
    assert [task["file"] for task in state["tasks"]] == ["a100.dstack.yml", "h100.dstack.yml"]
    assert all(Path("night", task["file"]).exists() and task["name"].startswith(state["fleet"]) for task in state["tasks"])
    check_plan(plan())
