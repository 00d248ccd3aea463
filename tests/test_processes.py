"No process outlives a run, for every process that is killed and all that a model starts: the parent is real, a script is the model."

import json
import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from functools import partial
from pathlib import Path

import pytest

from ready_steady_go.box import machine
from ready_steady_go.run import supervise
from ready_steady_go.run.supervise import Child, Runner
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes of a run are found in /proc")

# A parent, which measures four batch sizes, and a child that does DEED at batch size 4; then there is a record of batch size 2.
RUN = """
import sys, time
from ready_steady_go.run.campaign import run
from ready_steady_go.run.request import Request
from ready_steady_go.run.screen import Screen
from ready_steady_go.run.supervise import Child, Runner
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec

CHILD = '''
from ready_steady_go.box.process import answer_in_copies, answer_questions, begin_child, can_be_copied, take_pipes
begin_child()
import os, signal, subprocess, sys, time

def answer(question, send):
    if question["do"] == "check":
        specs = [dict(s, family="timm", size=8) for s in question["specs"]]
        return dict(event="checked", specs=specs, machine=dict(device="cpu", device_name="Toy CPU", cpu_cores=2.0, pytorch="2.15.0"))
    send(dict(event="beat", phase="ready"))
    bs = question["spec"]["bs"]
    if bs == 4:
        DEED
    return dict(event="record", record=dict(model="toy", bs=bs, device_name="Toy CPU", outcome="ok", throughput=100.0, step_ms=80.0))

pipes = take_pipes()
if COPIED and can_be_copied(): answer_in_copies(lambda: answer, pipes)
answer_questions(answer, pipes)
'''
request = Request([Spec(model="toy")], RunOptions(bs=[2, 4, 8, 16], out="j.jsonl", wandb="off"))
sys.exit(run([request], Screen(), time.monotonic(), Runner(None, lambda: Child((sys.executable, "-c", CHILD)))))
"""
FAMILY = {
    "a copy": "os.fork() or time.sleep(600)",
    "a program": "subprocess.Popen(['sleep', '600'])",
    "a program in its own session": "subprocess.Popen(['sleep', '600'], start_new_session=True)",
    "a program that ignores signals": "subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP INT; sleep 600'])",
}
ALL = "; ".join(FAMILY.values())  # each leaves one process or two
WAIT = "open('waits', 'w').close(); time.sleep(600)"
DEADLINE_S = 100  # never reached, even on a busy machine


class Toy:
    "A run in a folder, whose processes can be found."

    def __init__(self, folder, deed, copied=True, **how):
        self.folder, self.mark = folder, uuid.uuid4().hex
        (folder / "tmp").mkdir()
        env = os.environ | dict(RUN_OF_TEST=self.mark, TMPDIR=str(folder / "tmp"), PYTHONPATH=os.pathsep.join(sys.path))
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE) | how
        code = RUN.replace("DEED", deed).replace("COPIED", str(copied))  # a copy of the child answers, or the child itself
        self.process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=env, **pipes)

    def wait_for(self, met):
        "Wait until a condition is met."
        until = time.monotonic() + DEADLINE_S
        while not met(): assert time.sleep(0.01) or time.monotonic() < until, self.processes()

    def waits(self): return (self.folder / "waits").exists()

    def processes(self):
        "Return the ids of all living processes that were started by this run."
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                alive = (path / "stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
                ours = f"RUN_OF_TEST={self.mark}".encode() in (path / "environ").read_bytes().split(b"\0")
                if alive and ours: found.append(int(path.name))
            except (OSError, IndexError): continue
        return found

    def child(self):
        "Return the id of the process that measures, or None before it is started."
        for pid in self.processes():
            try:
                if os.getsid(pid) == pid and os.getpgid(pid) != os.getpgid(self.process.pid): return pid
            except ProcessLookupError: continue  # it has just ended
        return None

    def end(self):
        "Return exit code, stderr and the records, when no process is left."
        _, err = self.process.communicate(timeout=DEADLINE_S)
        self.wait_for(lambda: not self.processes())
        assert os.listdir(self.folder / "tmp") == []
        return self.process.returncode, (err or b"").decode(), [(r.bs, r.outcome) for r in Journal(self.folder / "j.jsonl").read()]


MEASURED = [(2, "ok"), (4, "ok"), (8, "ok"), (16, "ok")]


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("deed", FAMILY.values(), ids=FAMILY)
def test_what_a_model_starts_ends_with_the_run(deed, copied, tmp_path):
    run = Toy(tmp_path, deed, copied)
    code, err, found = run.end()
    assert (code, found) == (0, MEASURED), err


@pytest.mark.parametrize("copied", [True, False])
def test_what_a_model_starts_ends_with_a_child_that_crashes(copied, tmp_path):
    code, err, found = Toy(tmp_path, ALL + "; os.kill(os.getpid(), signal.SIGSEGV)", copied).end()
    assert (code, found) == (1, [(2, "ok"), (4, "failed:SIGSEGV"), (8, "ok"), (16, "ok")]), err


SIGNALS = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda s: s.name)
def test_a_signal_to_the_parent_ends_everything(signum, tmp_path):
    run = Toy(tmp_path, f"{ALL}; {WAIT}")
    run.wait_for(run.waits)
    run.process.send_signal(signum)
    code, err, found = run.end()
    assert (code, found) == (SIGNALS[signum], MEASURED[:1]) and "Traceback" not in err, err


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda s: s.name)
def test_a_signal_while_the_child_starts_ends_everything(signum, tmp_path):
    run = Toy(tmp_path, WAIT)
    run.wait_for(run.child)
    run.process.send_signal(signum)
    code, err, found = run.end()
    assert code == SIGNALS[signum] and found in ([], MEASURED[:1]) and "Traceback" not in err, (code, found, err)


def test_a_child_without_its_copy_is_gone(tmp_path):
    "Whatever kills the copy, the child ends as it did, and the next point has a new one."
    code, err, found = Toy(tmp_path, "os.kill(os.getpid(), signal.SIGTERM)").end()
    assert (code, found) == (1, [(2, "ok"), (4, "failed:SIGTERM"), (8, "ok"), (16, "ok")]), err


def test_a_copy_does_not_outlive_its_child(tmp_path):
    code, err, found = Toy(tmp_path, "os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)").end()
    assert (code, found) == (1, [(2, "ok"), (4, "failed:SIGKILL"), (8, "ok"), (16, "ok")]), err


def test_signals_one_after_the_other_end_a_run_once(tmp_path):
    run = Toy(tmp_path, f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}")
    run.wait_for(run.waits)
    for signum in (signal.SIGHUP, signal.SIGCONT, signal.SIGHUP, signal.SIGTERM, signal.SIGINT): run.process.send_signal(signum)
    code, err, found = run.end()
    assert code in (129, 130, 143) and found == MEASURED[:1] and "Traceback" not in err, err


def test_parent_and_child_killed_together_leave_nothing(tmp_path):
    run = Toy(tmp_path, f"{ALL}; {WAIT}")
    run.wait_for(run.waits)
    for pid in run.child(), run.process.pid: os.kill(pid, signal.SIGKILL)
    assert run.end()[::2] == (-9, MEASURED[:1])


def test_a_stopped_run_goes_on(tmp_path):
    run = Toy(tmp_path, f"open('waits', 'w').close(); time.sleep(0.5); {FAMILY['a copy']}")
    run.wait_for(run.waits)
    for pid in run.process.pid, run.child(): os.kill(pid, signal.SIGSTOP)
    time.sleep(0.2)
    for pid in run.child(), run.process.pid: os.kill(pid, signal.SIGCONT)
    assert run.end()[::2] == (0, MEASURED)


def test_nohup_is_respected(tmp_path):
    run = Toy(tmp_path, "open('waits', 'w').close(); time.sleep(1)", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    run.wait_for(run.waits)
    run.process.send_signal(signal.SIGHUP)
    assert run.end()[::2] == (0, MEASURED)


@pytest.mark.parametrize("controlling", [True, False], ids=["with SIGHUP", "without SIGHUP"])
def test_a_closed_terminal_ends_a_run_in_order(controlling, tmp_path):
    "A terminal that closes sends SIGHUP to the session that it controls; to another one, each write fails with EIO."
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    take = lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    streams = dict(stdin=theirs, stdout=theirs, stderr=theirs)
    deed = f"{ALL}; open('waits', 'w').close(); time.sleep({600 if controlling else 1})"
    run = Toy(tmp_path, deed, start_new_session=True, preexec_fn=take if controlling else None, **streams)
    os.close(theirs)
    run.wait_for(run.waits)
    os.close(ours)
    code, _, found = run.end()
    assert (code, found) == (129, MEASURED[:1] if controlling else MEASURED[:2])


def test_a_pipe_of_the_parent_is_not_read_by_a_program_of_the_model(tmp_path):
    code, err, found = Toy(tmp_path, "subprocess.run(['cat'], timeout=60)").end()
    assert (code, found) == (0, MEASURED), err


# ---- the kernel's count of processes that it killed for want of memory

ANSWERS = """
import os, sys
from ready_steady_go.box.process import answer_questions
TOY = dict(device={device!r}, device_name="Toy", cpu_cores=2.0)
def answer(question, send):
    if question["do"] == "check": return dict(event="checked", specs=question["specs"], machine=TOY)
    if {kills}: open({path!r}, "w").write("oom 9\\noom_kill 8\\n")
    os.kill(os.getpid(), 9)
answer_questions(answer)
"""
KILLED = {  # device, the kernel counts it -> outcome, words
    ("cpu", True): ("oom", "killed by the kernel"), ("cpu", False): ("failed:SIGKILL", "another process sent it"),
    ("cuda", True): ("failed:SIGKILL", "more RAM"), ("cuda", False): ("failed:SIGKILL", "another process sent it"),
}  # fmt: skip


@pytest.mark.parametrize("device,kills", KILLED)
def test_sigkill_is_out_of_memory_only_if_the_kernel_counted_it(device, kills, tmp_path, monkeypatch):
    path = tmp_path / "memory.events"
    path.write_text("oom 9\noom_kill 7\n")
    monkeypatch.setattr(supervise, "oom_kills", partial(machine.oom_kills, tmp_path, tmp_path))
    code = ANSWERS.format(device=device, kills=kills, path=str(path))
    runner = Runner(start=lambda: Child((sys.executable, "-c", code)))
    (spec,) = runner.check([Spec(model="toy", family="timm")])
    record = runner.point(spec, {})
    outcome, words = KILLED[device, kills]
    assert record.outcome == outcome and words in record.error


def test_a_system_that_counts_nothing_proves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "oom_kills", partial(machine.oom_kills, tmp_path, tmp_path))
    runner = Runner(start=lambda: Child((sys.executable, "-c", ANSWERS.format(device="cpu", kills=False, path=""))))
    (spec,) = runner.check([Spec(model="toy", family="timm")])
    record = runner.point(spec, {})
    assert record.outcome == "failed:SIGKILL" and "perhaps for want of host memory" in record.error


def test_this_machine_counts():
    assert machine.oom_kills() is None or machine.oom_kills() >= 0


def test_a_child_that_writes_without_end_is_ended(monkeypatch):
    monkeypatch.setattr(supervise, "MAX_ANSWER_BYTES", 2**20)
    child = Child((sys.executable, "-c", "import os\nwhile True: os.write(1, b'x' * 65536)"))
    with pytest.raises(supervise.ChildGone, match="is no answer") as gone: child.ask({})
    assert gone.value.outcome == "failed:protocol" and child.process.returncode is not None


def test_stderr_needs_no_file_and_no_memory(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/no/such/folder")
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    child = Child((sys.executable, "-c", "import sys; input(); sys.stderr.write('x' * 10**7 + '\\nthe last line\\n'); sys.exit(3)"))
    with pytest.raises(supervise.ChildGone, match="^the last line$"): child.ask({})
    assert len(child.errors.kept) <= supervise.MAX_KEPT_BYTES


def test_an_answer_to_another_question_is_none():
    child = Child((sys.executable, "-c", f"for i in range(9): input(); print({json.dumps(dict(id=1, event='hello'))!r}, flush=True)"))
    assert child.ask({})["event"] == "hello"
    with pytest.raises(supervise.ChildGone) as gone: child.ask({})
    assert gone.value.outcome == "failed:protocol"


RECORD = dict(model="toy", bs=8, outcome="ok", throughput=100.0)
UNSOUND = {
    "none": {}, "a list": dict(record=[1]), "an unknown field": dict(record=RECORD | dict(x=1)),
    "a wrong type": dict(record=RECORD | dict(step_ms="x")), "another batch size": dict(record=RECORD | dict(bs=16)),
}  # fmt: skip


@pytest.mark.parametrize("answer", UNSOUND.values(), ids=UNSOUND)
def test_an_unsound_record_is_a_failure_of_its_point(answer):
    checked = dict(event="checked", specs=[], machine=dict(device="cpu", device_name="Toy"))
    lines = [json.dumps(dict(checked, id=1)), json.dumps(dict(answer, event="record", id=2))]
    runner = Runner(start=lambda: Child((sys.executable, "-c", f"for line in {lines!r}: input(); print(line, flush=True)")))
    record = runner.point(Spec(model="toy", family="timm", bs=8), {})
    assert (record.outcome, record.bs) == ("failed:protocol", 8) and "no sound record" in record.error


@pytest.mark.parametrize("machine", [{}, dict(machine=[1]), dict(machine=dict(x=1))], ids=["none", "a list", "an unknown field"])
def test_an_unsound_machine_is_a_failure_of_the_child(machine):
    line = json.dumps(dict(machine, event="checked", specs=[], id=1))
    runner = Runner(start=lambda: Child((sys.executable, "-c", f"input(); print({line!r}, flush=True); input()")))
    with pytest.raises(supervise.ChildGone, match="no machine"): runner.check([])
    runner.end()
