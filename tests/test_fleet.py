"A fleet through a fake dstack on PATH: nothing is rented twice or forgotten, and nothing is called gone that is not."

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.commands import fleet as module
from ready_steady_go.commands.cli import main
from ready_steady_go.commands.fleet import fleet_collect, fleet_down, fleet_ls, fleet_up, read_state
from ready_steady_go.commands.fleet_plan import Plan, gpu_types, write_plan
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import make_record, to_line
from ready_steady_go.store.wire import WireLog

HERE = Path(__file__).resolve().parent
GPUS = ("rtx3060", "rtx3090", "rtx4090", "a100", "h100")
FLEET = "rsg-1126-0340"


def run_json(status="running", price=0.25, reason=None, name="NAME"):
    box = dict(price=price, backend="vastai") if price else None
    submission = dict(status=status, termination_reason=reason, job_provisioning_data=box, submitted_at="2026-11-26T03:00:00+00:00")
    run = dict(run_spec=dict(run_name=name), status=status, cost=0.01, submitted_at=submission["submitted_at"])
    return json.dumps(run | dict(latest_job_submission=submission), separators=(",", ":"))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    "Put the fake dstack on PATH; return its folder."
    folder = tmp_path / "fake"
    for name in ("bin", "runs", "fleets", "begin", "logs", "refused"): (folder / name).mkdir(parents=True)
    shutil.copy(HERE / "fake_dstack", folder / "bin" / "dstack")
    for gpu in GPUS: (folder / "begin" / gpu).write_text(run_json(), encoding="utf-8")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "SETTLE_S", 0.02)
    write_plan(Plan(fleet=FLEET, gpus=gpu_types(",".join(GPUS), {}), minutes=15, usd_most=5.0), Path("night"))
    return folder


def rented(fake):
    path = fake / "log"
    return sorted(path.read_text(encoding="utf-8").split()) if path.exists() else []


NAMES = sorted(f"{FLEET}-{gpu}" for gpu in GPUS)
NIGHT = Path("night")


def finish(fake, gpu, status="done", **more):
    (fake / "runs" / f"{FLEET}-{gpu}").write_text(run_json(status, name=f"{FLEET}-{gpu}", **more), encoding="utf-8")


def test_up_starts_each_task_once(fake, capsys):
    assert fleet_up(NIGHT) == 0 and rented(fake) == NAMES
    assert fleet_up(NIGHT) == 0 and rented(fake) == NAMES
    assert "rtx3060: rsg-1126-0340-rtx3060 is with dstack, at most 0.180 USD" in capsys.readouterr().out
    assert {task["state"] for task in read_state(NIGHT)["tasks"]} == {"applied"} and (fake / "fleets" / FLEET).exists()


def test_a_finished_task_is_not_started_again(fake):
    fleet_up(NIGHT)
    for gpu in GPUS: finish(fake, gpu)
    fleet_up(NIGHT)
    assert rented(fake) == NAMES


@pytest.mark.parametrize("state", [None, "planned", "applying", "applied"])
def test_a_task_that_dstack_has_is_not_started_whatever_the_state_says(fake, state):
    fleet_up(NIGHT)
    found = read_state(NIGHT)
    for task in found["tasks"]: task["state"] = state
    module.write_state(NIGHT, found)
    fleet_up(NIGHT)
    assert rented(fake) == NAMES


def test_a_task_that_is_lost_is_not_started_again(fake, capsys):
    fleet_up(NIGHT)
    (fake / "runs" / NAMES[0]).unlink()
    fleet_up(NIGHT)
    assert rented(fake) == NAMES
    fleet_ls(NIGHT)
    assert "lost" in capsys.readouterr().out


def killed(delay_s, until=lambda: True):
    "Run `up` in a process of its own, kill it with SIGKILL after this time, and return True if it was too late."
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1), os.dup2(1, 2)
            fleet_up(NIGHT)
        finally: os._exit(0)
    time.sleep(delay_s)
    while not until(): time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1] == 0


def new_fleet(fake):
    for name in ("runs", "fleets"): shutil.rmtree(fake / name), (fake / name).mkdir()
    (fake / "log").unlink(missing_ok=True)
    shutil.rmtree(NIGHT)
    write_plan(Plan(fleet=FLEET, gpus=gpu_types(",".join(GPUS), {}), minutes=15, usd_most=5.0), NIGHT)


def test_up_killed_fifty_times_rents_nothing_twice_and_forgets_nothing(fake):
    rng, kills, fleets = random.Random(1), 0, 0
    while kills < 50:
        new_fleet(fake)
        (fake / "delay").write_text(rng.choice(["0.01", "0.05"]), encoding="utf-8")
        for _ in range(10):
            if killed(rng.uniform(0.0, 0.4)): break
            kills += 1
        assert len(set(rented(fake))) == len(rented(fake))
        fleet_up(NIGHT)
        assert rented(fake) == NAMES
        fleets += 1
    assert fleets >= 5


def test_a_dstack_that_survives_its_parent_is_waited_for(fake, capfd):
    "The parent is killed while its dstack has not yet told the server."
    (fake / "delay").write_text("3", encoding="utf-8")
    (fake / "fleets" / FLEET).mkdir()
    assert not killed(0.0, (fake / "begun").exists) and rented(fake) == [] and read_state(NIGHT)["tasks"][0]["state"] == "applying"
    (fake / "delay").write_text("0.01", encoding="utf-8")
    fleet_up(NIGHT)
    assert rented(fake) == NAMES
    assert "another command works on night; waiting for its end" in capfd.readouterr().err


def test_a_refused_task_is_an_error_and_can_be_repeated(fake):
    (fake / "refused" / "rtx4090").write_text("x\nNo such image\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="^rtx4090: dstack apply: No such image; repair that, and repeat rsg fleet up$"): fleet_up(NIGHT)
    assert [task.get("state") for task in read_state(NIGHT)["tasks"]] == ["applied", "applied", "planned", None, None]
    (fake / "refused" / "rtx4090").unlink()
    assert fleet_up(NIGHT) == 0 and rented(fake) == NAMES


@pytest.mark.parametrize("text, code", [("Traceback", 1), ("<html>", 0), ("{}", 0), ('{"runs":[{}]}', 0), ('{"runs":3}', 0), ("", 0)])
@pytest.mark.parametrize("command", [fleet_up, fleet_ls, fleet_collect, fleet_down])
def test_a_dstack_that_answers_nonsense_starts_and_ends_nothing(fake, command, text, code):
    (fake / "broken").write_text(text, encoding="utf-8")
    (fake / "broken_code").write_text(str(code), encoding="utf-8")
    with pytest.raises(RuntimeError, match="dstack"): command(NIGHT)
    assert rented(fake) == []


def test_without_dstack_the_error_names_the_command_that_installs_it(fake, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="run uv tool install 'dstack\\[server\\]'"): fleet_up(NIGHT)


def test_ls_shows_every_state(fake, capsys):
    fleet_up(NIGHT)
    finish(fake, "rtx3060", "failed", price=None, reason="failed_to_start_due_to_no_capacity")
    finish(fake, "rtx3090", "provisioning", price=None)
    finish(fake, "rtx4090", "failed", reason="container_exited_with_error")
    finish(fake, "a100", "done")
    capsys.readouterr()
    fleet_ls(NIGHT)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "no offer at this price" in lines["rtx3060"] and "provisioning" in lines["rtx3090"]
    assert "a command failed: see dstack logs" in lines["rtx4090"] and "done" in lines["a100"] and "running" in lines["h100"]
    assert max(map(len, lines.values())) <= 80


# Results.


def log_of(fake, gpu, records, cut=0, end=True):
    lines = ["Collecting pip", "not healthy: 1 finding"]
    log = WireLog(lines.extend, "ab12cd34")
    for r in records: log.send(to_line(r))
    if end: log.end()
    (fake / "logs" / f"{FLEET}-{gpu}").write_text("\n".join(lines[: len(lines) - cut]), encoding="utf-8")


def record(gpu, throughput, **more):
    machine = Machine(device="cuda", device_name=gpu)
    return make_record(Spec(model="resnet50", bs=64), machine, throughput=throughput, throughput_ci95=1.0, **more)


def test_collect_makes_one_journal_ranked_by_dollars(fake, capsys):
    fleet_up(NIGHT)
    for gpu, price, throughput in (("rtx3090", 0.2, 500.0), ("h100", 2.0, 3000.0), ("a100", 1.0, 1500.0)):
        finish(fake, gpu, price=price)
        log_of(fake, gpu, [record(gpu, throughput)])
    for gpu in ("rtx3060", "rtx4090"):
        finish(fake, gpu, "failed", price=None)
        log_of(fake, gpu, [], end=False)
    capsys.readouterr()
    assert fleet_collect(NIGHT) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert said.index("  rtx3090\n") < said.index("  h100\n") and "rsg push --project NAME --group rsg-1126-0340" in said
    journal = Journal(f"night/{FLEET}.jsonl")
    assert [(r.device_name, r.usd_per_hour, r.usd_from) for r in journal.read()] == [
        ("rtx3090", 0.2, "dstack"), ("a100", 1.0, "dstack"), ("h100", 2.0, "dstack")
    ]  # fmt: skip
    assert fleet_collect(NIGHT) == 0 and len(journal.read()) == 3  # again: the same ids


def test_collect_keeps_the_price_that_the_box_knew(fake):
    fleet_up(NIGHT)
    finish(fake, "a100", price=1.0)
    log_of(fake, "a100", [record("a100", 100.0, usd_per_hour=0.9, usd_from="vast.ai")])
    fleet_collect(NIGHT)
    assert [r.usd_per_hour for r in Journal(f"night/{FLEET}.jsonl").read()] == [0.9]


def test_collect_names_what_is_missing(fake, capsys):
    fleet_up(NIGHT)
    for gpu in GPUS: log_of(fake, gpu, [record(gpu, 100.0)])
    log_of(fake, "a100", [record("a100", 100.0), record("a100", 200.0)], cut=2)
    log_of(fake, "h100", [record("h100", 100.0)], end=False)
    (fake / "logs" / f"{FLEET}-rtx3060").unlink()
    finish(fake, "a100")
    assert fleet_collect(NIGHT) == 1
    said = capsys.readouterr().err
    assert "rtx3060: missing: the log: no logs" in said and "a100: missing: record 2 of run ab12cd34: line" in said
    assert "a100: missing: run ab12cd34: its end is missing" in said and "h100" not in said  # it still runs


def test_a_done_task_without_results_is_named(fake, capsys):
    fleet_up(NIGHT)
    for gpu in GPUS: finish(fake, gpu), log_of(fake, gpu, [], end=False)
    assert fleet_collect(NIGHT) == 1 and capsys.readouterr().err.count("its log has no results") == 5


# The end.


def test_down_stops_all_and_deletes_the_fleet(fake, capsys):
    fleet_up(NIGHT)
    finish(fake, "a100")
    assert fleet_down(NIGHT, poll_s=0.01) == 0
    stops = sorted((fake / "stops").read_text(encoding="utf-8").split("\n")[:-1])
    assert stops == [f"stop {name}" for name in NAMES if "a100" not in name] and not (fake / "fleets" / FLEET).exists()
    assert "dstack has no run and no box of it; its consoles: https://cloud.vast.ai" in capsys.readouterr().out
    assert fleet_down(NIGHT, poll_s=0.01) == 0
    with pytest.raises(UserError, match="this fleet was ended at"): fleet_up(NIGHT)


def test_down_of_a_fleet_that_never_began(fake):
    assert fleet_down(NIGHT, poll_s=0.01) == 0


STILL_THERE = {
    "a run that does not stop": (lambda fake: (fake / "never_stops").touch(), "run rsg-1126-0340-a100"),
    "a box": (lambda fake: (fake / "fleets" / FLEET / "box").write_text('{"name":"box-7","status":"idle"}'), "box box-7"),
    "a terminating box": (lambda fake: (fake / "fleets" / FLEET / "b").write_text('{"name":"b","status":"terminating"}'), "box b"),
    "a lost run": (lambda fake: (fake / "runs" / f"{FLEET}-a100").unlink(), "run rsg-1126-0340-a100, which dstack does not know"),
    "another project": (lambda fake: [shutil.rmtree(fake / n) for n in ("runs", "fleets")], "which dstack does not know"),
}


@pytest.mark.parametrize("change, words", STILL_THERE.values(), ids=STILL_THERE)
def test_down_never_says_gone_when_it_is_not(fake, change, words):
    fleet_up(NIGHT)
    change(fake)
    with pytest.raises(RuntimeError) as error: fleet_down(NIGHT, wait_s=0.1, poll_s=0.01)
    assert "still there: " in str(error.value) and words in str(error.value)
    assert "look at dstack ps, dstack fleet, https://cloud.vast.ai/instances/ and https://console.runpod.io/pods" in str(error.value)


def test_a_terminated_box_is_gone(fake):
    fleet_up(NIGHT)
    (fake / "fleets" / FLEET / "box").write_text('{"name":"box-7","status":"terminated"}', encoding="utf-8")
    with pytest.raises(RuntimeError, match=f"still there: fleet {FLEET}"): fleet_down(NIGHT, wait_s=0.1, poll_s=0.01)
    (fake / "fleets" / FLEET / "box").unlink()
    assert fleet_down(NIGHT, poll_s=0.01) == 0


def test_down_without_a_server_is_not_proven(fake):
    fleet_up(NIGHT)
    (fake / "broken").write_text("Connection refused", encoding="utf-8")
    (fake / "broken_code").write_text("1", encoding="utf-8")
    with pytest.raises(RuntimeError, match="not proven to be gone: dstack ps: Connection refused.*look at dstack ps"): fleet_down(NIGHT)


@pytest.mark.parametrize("command", ["up", "ls", "collect", "down"])
def test_a_folder_without_a_plan_is_one_line(command, fake, capsys):
    with pytest.raises(SystemExit) as ended: main(["fleet", command, "nowhere"])
    said = capsys.readouterr()
    assert (ended.value.code, said.err.count("\n")) == (2, 1) and "nowhere: it has no rsg-fleet.json" in said.err


def test_the_commands_reach_the_functions(fake, capsys):
    for command in ("up", "ls", "collect"):
        for gpu in GPUS: log_of(fake, gpu, [record(gpu, 100.0)])
        with pytest.raises(SystemExit) as ended: main(["fleet", command, "night"])
        assert ended.value.code == 0
    assert len(Journal(f"night/{FLEET}.jsonl").read()) == 5
