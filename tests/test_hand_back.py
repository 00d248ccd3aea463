"A box ends its own rent at test providers: only when its results are elsewhere, on time, and never with a word of the key."

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from ready_steady_go.box import hand_back as box_module
from ready_steady_go.box.hand_back import CONSOLES, NotHandedBack, hand_back, rented_box, request_lines
from ready_steady_go.commands.hand_back import hand_back_command, with_hand_back
from ready_steady_go.commands.wire_commands import collect_command
from ready_steady_go.run.watchdog import TRIES_OF_A_DAY, cancel_watchdog, deadline_file, start_watchdog
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.options import RunOptions
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.outside import ON_WANDB, mark_outside, only_here
from ready_steady_go.store.record import make_record

ROOT = Path(__file__).resolve().parent.parent
KEY = "k3y-planted-0123456789abcdef"
NOWHERE = dict(proc1=Path("/nowhere"), etc=Path("/nowhere"))
VARIABLES = "CONTAINER_ID CONTAINER_API_KEY VAST_CONTAINERLABEL RUNPOD_POD_ID RUNPOD_API_KEY RSG_VAST_URL RSG_RUNPOD_URL".split()


class Provider(ThreadingHTTPServer):
    "A provider that answers each request with the given function, and keeps what was asked."

    daemon_threads = True

    def __init__(self, answer):
        self.answer, self.asked, self.times = answer, [], []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self): return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_DELETE(self):
        self.question = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.times.append(time.time())
        self.server.asked.append((self.command, self.path, self.question, self.headers["Authorization"]))
        try: self.server.answer(self)
        except OSError: pass

    do_PUT = do_POST = do_GET = do_DELETE

    def say(self, body=b"", code=200, **headers):
        self.send_response(code)
        for name, value in headers.items(): self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, *args): pass


@pytest.fixture
def serve():
    "Return a function that starts a provider with an answer."
    servers = []
    def start(answer):
        servers.append(Provider(answer))
        return servers[-1]
    yield start
    for server in servers: server.shutdown(), server.server_close()


@pytest.fixture(autouse=True)
def no_box(monkeypatch, tmp_path):
    for name in VARIABLES: monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def vast(server): return dict(RSG_VAST_URL=server.url, CONTAINER_ID="883", CONTAINER_API_KEY=KEY)


def runpod(server): return dict(RSG_RUNPOD_URL=server.url, RUNPOD_POD_ID="xede", RUNPOD_API_KEY=KEY)


def back(env, tries=2):
    "Hand back; return the effect or the reason, and the pauses."
    pauses = []
    try: return hand_back(rented_box(env, **NOWHERE), tries, pauses.append), pauses
    except NotHandedBack as why: return str(why), pauses


accepts = lambda on: on.say(dict(success=True))


def by_method(**answers): return lambda on: answers[on.command](on)


def test_vast_is_destroyed(serve):
    server = serve(accepts)
    assert back(vast(server)) == ("destroyed", [])
    assert server.asked == [("DELETE", "/instances/883/", "", f"Bearer {KEY}")]


def test_runpod_is_terminated(serve):
    server = serve(lambda on: on.say(code=204))
    assert back(runpod(server)) == ("destroyed", [])
    assert server.asked == [("DELETE", "/pods/xede", "", f"Bearer {KEY}")]


@pytest.mark.parametrize("code", [401, 403, 404])
def test_vast_is_stopped_if_its_key_may_not_destroy(serve, code):
    server = serve(by_method(DELETE=lambda on: on.say(dict(success=False), code), PUT=accepts))
    assert back(vast(server)) == ("stopped", [])
    assert server.asked[1] == ("PUT", "/instances/883/", '{"state": "stopped"}', f"Bearer {KEY}")


@pytest.mark.parametrize("code", [401, 403, 404])
def test_runpod_is_asked_by_graphql_if_its_key_is_refused(serve, code):
    server = serve(by_method(DELETE=lambda on: on.say(code=code), POST=lambda on: on.say(dict(data=dict(podTerminate=None)))))
    assert back(runpod(server)) == ("destroyed", [])
    method, path, body, key = server.asked[1]
    assert (method, path, key) == ("POST", "/graphql", f"Bearer {KEY}")
    assert json.loads(body)["variables"] == dict(id="xede") and "podTerminate" in json.loads(body)["query"]


@pytest.mark.parametrize("env", [vast, runpod])
@pytest.mark.parametrize("code, word", [(401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found"), (302, "Found")])
def test_two_refusals_name_both_and_the_console(serve, env, code, word):
    found, pauses = back(env(serve(lambda on: on.say(b"", code, Location="/elsewhere"))))
    assert found.count(f"answered {code} ({word})") == 2 and pauses == []
    assert found.endswith(tuple(CONSOLES.values())) and KEY not in found


@pytest.mark.parametrize("env", [vast, runpod])
@pytest.mark.parametrize("answer", [dict(success=False), dict(success=None), [], dict(errors=[dict(message=KEY)]), b"<html>", b"[" * 10**5])
def test_an_answer_of_200_may_be_a_refusal(serve, env, answer):
    found, _ = back(env(serve(lambda on: on.say(answer))))
    assert ("refused" in found or "answer" in found) and KEY not in found


@pytest.mark.parametrize("env", [vast, runpod])
def test_a_busy_provider_is_asked_again(serve, env):
    def answer(on): on.say(code=429, Retry_After="7") if len(on.server.asked) == 1 else on.say(dict(success=True))
    server = serve(answer)
    assert back(env(server)) == ("destroyed", [7.0]) and [a[0] for a in server.asked] == ["DELETE"] * 2


@pytest.mark.parametrize("wished, waited", [("7", 7.0), ("86400", 60.0), ("soon", 5.0), ("-1", 5.0), (None, 5.0)])
def test_a_pause_is_bounded(serve, wished, waited):
    headers = {} if wished is None else dict(Retry_After=wished)
    found, pauses = back(vast(serve(lambda on: on.say(code=429, **headers))), tries=3)
    assert pauses == [waited] * 2 and "429 (Too Many Requests)" in found


@pytest.mark.parametrize("code", [500, 502, 503, 509, 520, 524, 530])
def test_a_broken_provider_is_asked_again_and_never_only_stopped(serve, code):
    server = serve(lambda on: on.say(code=code))
    found, pauses = back(vast(server), tries=4)
    assert len(pauses) == 3 and f"answered {code}" in found and {a[0] for a in server.asked} == {"DELETE"}


@pytest.mark.parametrize("env", [vast, runpod])
def test_a_provider_that_hangs_is_left(serve, env, monkeypatch):
    ended = threading.Event()
    send = box_module.send
    monkeypatch.setattr(box_module, "send", lambda box, way: send(box, way, 0.2))
    found, pauses = back(env(serve(lambda on: ended.wait(30))))
    ended.set()
    assert pauses == [2.0] and ("did not answer in time" in found or "did not finish" in found)


def test_an_unreachable_provider(serve):
    server = serve(accepts)
    env = vast(server)
    server.shutdown(), server.server_close()
    assert "cannot be reached (ConnectionRefusedError)" in back(env)[0]


@pytest.mark.parametrize("code", [301, 307, 308])
def test_a_redirect_does_not_get_the_key(serve, code):
    other = serve(accepts)
    moved = other.url.replace("127.0.0.1", "localhost")
    found, _ = back(vast(serve(lambda on: on.say(b"", code, Location=moved + "/instances/883/"))))
    assert f"answered {code}" in found and other.asked == []


def test_the_number_is_quoted(serve):
    server = serve(accepts)
    back(vast(server) | dict(CONTAINER_ID="../../users?x=1#"))
    assert server.asked[0][1] == "/instances/..%2F..%2Fusers%3Fx%3D1%23/"


UNKNOWN = {
    "nothing": ({}, "not rented from vast.ai or RunPod"),
    "no key": (dict(CONTAINER_ID="1"), "CONTAINER_API_KEY is not set; destroy the box at https://cloud.vast.ai"),
    "no key of a pod": (dict(RUNPOD_POD_ID="1"), "RUNPOD_API_KEY is not set"),
    "an impossible key": (dict(CONTAINER_ID="1", CONTAINER_API_KEY=KEY + "é"), "CONTAINER_API_KEY is not a key"),
    "plain http": (dict(CONTAINER_ID="1", CONTAINER_API_KEY=KEY, RSG_VAST_URL="http://example.org"), "needs an https address"),
    "dstack": (dict(DSTACK_RUN_NAME="x"), "belongs to dstack"),
    "Colab": (dict(COLAB_RELEASE_TAG="x"), "Google Colab"),
}


@pytest.mark.parametrize("env, words", UNKNOWN.values(), ids=UNKNOWN)
def test_a_box_that_cannot_be_handed_back_is_refused(env, words, tmp_path):
    with pytest.raises(UserError) as error: rented_box(env, dmi=tmp_path, **NOWHERE)
    assert words in str(error.value) and KEY not in str(error.value)


def test_the_firmware_names_the_console(tmp_path):
    (tmp_path / "sys_vendor").write_text("Amazon EC2\n")
    with pytest.raises(UserError, match="rented from Amazon EC2.*https://console.aws.amazon.com"): rented_box({}, dmi=tmp_path, **NOWHERE)


def test_the_dry_run_shows_the_request_without_the_key(serve):
    lines = request_lines(rented_box(vast(serve(accepts)), **NOWHERE))
    assert "DELETE " in lines[0] and "the key in CONTAINER_API_KEY" in lines[1] and KEY not in "\n".join(lines)


# Results first.


def journal_of(n=1, name="rsg-results.jsonl"):
    journal = Journal(name)
    for bs in range(1, n + 1): journal.append(make_record(Spec(model="resnet50", bs=bs), None, throughput=1.0))
    return journal


def test_results_that_are_only_here_keep_the_box(serve):
    server, journal = serve(accepts), journal_of(2)
    with pytest.raises(RuntimeError, match="2 results are only in rsg-results.jsonl; run rsg push, or add --anyway"):
        hand_back_command("rsg-results.jsonl", wait_s=0, env=vast(server))
    assert server.asked == []
    mark_outside(journal.path, [r.id for r in only_here(journal.path)], ON_WANDB, vast(server))
    assert hand_back_command("rsg-results.jsonl", wait_s=0, env=vast(server)) == 0 and len(server.asked) == 1


def test_anyway_hands_it_back(serve):
    server = serve(accepts)
    journal_of(1)
    assert hand_back_command("rsg-results.jsonl", anyway=True, wait_s=0, env=vast(server)) == 0 and len(server.asked) == 1


def test_a_box_that_is_only_stopped_is_exit_code_1(serve, capsys):
    server = serve(by_method(DELETE=lambda on: on.say(code=403), PUT=accepts))
    assert hand_back_command("none.jsonl", wait_s=0, env=vast(server)) == 1
    assert "its disk still costs money: destroy it at https://cloud.vast.ai/instances/" in capsys.readouterr().err


def rsg(*args, env=(), code="pass", **more):
    "Start the command in a new process; `code` runs before it."
    env = {k: v for k, v in os.environ.items() if k not in VARIABLES} | dict(env)
    program = f"import sys; from ready_steady_go.commands.cli import main; {code}; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **more)


QUICK = "import ready_steady_go.commands.hand_back as h; h.time = type('T', (), dict(sleep=lambda s: print('slept', s)))"


def test_ctrl_c_keeps_the_box(serve):
    server = serve(accepts)
    run = rsg("hand-back", env=vast(server))
    said = run.stderr.readline()
    assert "box 883 of vast.ai and everything on it is destroyed in 10 s; press Ctrl-C to keep it" in said
    run.send_signal(signal.SIGINT)
    rest = run.communicate(timeout=60)
    assert run.returncode == 130 and "the box is kept" in rest[1] and server.asked == [] and KEY not in said + "".join(rest)


MODEL = ("--model", "test_resnet", "--bs", "2", "--n-batches", "2", "--device", "cpu")


def test_a_run_hands_the_box_back_and_no_file_or_process_has_the_key(serve, tmp_path, monkeypatch):
    seen = []
    def answer(on):
        for process in Path("/proc").glob("[0-9]*"):
            try: seen.append((process / "cmdline").read_text())
            except OSError: pass
        on.say(dict(success=True) if on.command == "DELETE" else dict(dph_total=0.3))
    server = serve(answer)
    run = rsg(*MODEL, "--hand-back", "--wire", "--hand-back-after", "1h", "--json", "--expect", "rtx4090", env=vast(server), code=QUICK)
    out, err = run.communicate(timeout=300)
    Path("box.log").write_text(err, encoding="utf-8")
    assert run.returncode == 0, err
    assert [a[:2] for a in server.asked if a[0] != "GET"] == [("DELETE", "/instances/883/")]
    assert "slept 10.0" in out and "vast.ai accepted, box 883 of vast.ai is destroyed" in err
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    assert "rsg hand-back --cancel stops that" in err and cancel_watchdog() is not None
    files = [p.read_text(errors="replace") for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) >= 2 and not [text for text in (out, err, *files, *seen) if KEY in text]
    assert any("ready_steady_go.run.watchdog" in command for command in seen)
    assert collect_command(["box.log"], "home.jsonl") == 0 and only_here("rsg-results.jsonl") == []
    assert Path("home.jsonl").read_bytes() == Path("rsg-results.jsonl").read_bytes() and "rsg1:" not in out
    assert [f["text"] for f in Journal("home.jsonl").read()[0].findings if f["code"] == "wrong_gpu"][0].count("instead of rtx4090") == 1


@pytest.mark.parametrize("code, handed_back", [(0, 1), (1, 1), (130, 0)])
def test_a_call_from_python_hands_the_box_back(serve, monkeypatch, capsys, code, handed_back):
    from ready_steady_go import benchmark
    from ready_steady_go.commands import hand_back as module
    from ready_steady_go.commands import python

    server = serve(accepts)
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(python, "run", lambda *args, **more: code)
    call = lambda **more: benchmark("test_resnet", bs=2, device="cpu", wandb="off", hand_back=True, **more)
    with pytest.raises(UserError, match="--hand-back: the results would be lost with the box; add --wire"): call()
    if code == 130:
        with pytest.raises(KeyboardInterrupt): call(hand_back_anyway=True)
    else: assert len(call(hand_back_anyway=True)) == 0
    assert sum(asked[0] == "DELETE" for asked in server.asked) == handed_back
    assert ("the box is kept" in capsys.readouterr().err) == (not handed_back)


def options(**more): return RunOptions(hand_back=True, wandb="online", project="gpus", **more)


@pytest.mark.parametrize("code", [0, 1])
def test_a_run_whose_results_stay_here_keeps_the_box(serve, capsys, monkeypatch, code):
    server = serve(accepts)
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    def work():
        journal_of(1)
        return code
    assert with_hand_back(options(), work, wait_s=0) == 1 and server.asked == []
    assert "the box is kept and still costs money: 1 result is only in rsg-results.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("code", [129, 130, 143])
def test_an_interrupted_run_keeps_the_box(serve, capsys, monkeypatch, code):
    server = serve(accepts)
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    assert with_hand_back(options(), lambda: code, wait_s=0) == code and server.asked == []
    assert "the run was interrupted, so the box is kept" in capsys.readouterr().err


def test_a_lost_gpu_hands_the_box_back(serve, capsys, monkeypatch):
    server = serve(accepts)
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    def work(): raise RuntimeError("the GPU does not answer; rent another box")
    assert with_hand_back(options(), work, wait_s=0) == 1 and len(server.asked) == 1
    assert "rsg: the GPU does not answer" in capsys.readouterr().err


def test_a_mistake_keeps_the_box(serve, monkeypatch):
    server = serve(accepts)
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    def work(): raise UserError("no model 'resnet5O'")
    with pytest.raises(UserError, match="resnet5O"): with_hand_back(options(hand_back_after=3600.0), work, wait_s=0)
    assert server.asked == [] and cancel_watchdog() is None


def test_a_refusal_after_the_first_result_is_no_mistake(serve, monkeypatch, capsys):
    server = serve(accepts)
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    def work():
        journal_of(1)
        raise UserError("torch cannot use a GPU")
    more = dict(hand_back_after=3600.0, hand_back_anyway=True)
    assert with_hand_back(options(**more), work, wait_s=0) == 1 and len(server.asked) == 1
    assert "rsg: torch cannot use a GPU" in capsys.readouterr().err and cancel_watchdog() is not None


class Closed:
    "A stderr whose reader is gone."

    def write(self, text): raise BrokenPipeError(32, "Broken pipe")
    def flush(self): raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device"), KeyError("bug")], ids=repr)
@pytest.mark.parametrize("closed", [False, True])
def test_any_other_error_hands_the_box_back(serve, monkeypatch, capsys, error, closed):
    server = serve(accepts)
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    if closed: monkeypatch.setattr(sys, "stderr", Closed())
    def work(): raise error
    with pytest.raises(type(error)): with_hand_back(options(), work, wait_s=0)
    assert len(server.asked) == 1 and (closed or f"rsg: {type(error).__name__}" in capsys.readouterr().err)


def test_a_push_that_is_proven_lets_the_box_go(serve, monkeypatch, capsys):
    from ready_steady_go.store import wandb_sync
    from ready_steady_go.store.pushed import Pushed

    server, (first, second) = serve(accepts), journal_of(2).read()
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    monkeypatch.setattr(wandb_sync, "check_package", lambda: None)
    run = f"rsg-{second.id}"
    outcomes = [Pushed(2, 1, failed=[(run, "not whole")]), Pushed(1, 1, known=1, deleted=[run]), Pushed(1, 1, known=1)]
    monkeypatch.setattr(wandb_sync, "push_records", lambda *args, **more: outcomes.pop(0))
    left = []
    for _ in range(3):
        wandb_sync.push_command([], "gpus", quiet=True)
        left.append([r.id for r in only_here("rsg-results.jsonl")])
    assert left == [[second.id], [second.id], []] and first.id not in left[0]
    assert hand_back_command("rsg-results.jsonl", wait_s=0) == 0 and len(server.asked) == 1


def test_a_push_at_home_leaves_no_file(monkeypatch):
    mark_outside("rsg-results.jsonl", ["ab"], ON_WANDB, {})
    assert not list(Path(".").glob("*.outside"))


REFUSED = {
    "no way out": (("--hand-back",), "--hand-back: the results would be lost with the box"),
    "no effect": (("--hand-back-anyway",), "--hand-back-anyway has no effect without --hand-back or --hand-back-after; add one"),
    "no time": (("--hand-back-after", "soon", "--hand-back-anyway"), "--hand-back-after soon: expected a time"),
}


@pytest.mark.parametrize("typed, words", REFUSED.values(), ids=REFUSED)
def test_a_wrong_request_is_one_line(typed, words, serve, tmp_path):
    env = vast(serve(accepts)) | dict(WANDB_API_KEY="")
    run = rsg(*MODEL, "--wandb", "off", *typed, env=env)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err.count("\n")) == (2, "", 1) and words in err


def test_a_box_of_nobody_is_refused_before_anything_is_measured(tmp_path):
    run = rsg(*MODEL, "--hand-back", "--hand-back-anyway")
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (2, "") and err.startswith("rsg: hand-back: this box") and not list(tmp_path.glob("*.jsonl"))


# The watchdog.


def until(condition, seconds=30.0):
    "Wait until something is true; return when it was."
    ends = time.time() + seconds
    while time.time() < ends:
        if condition(): return time.time()
        time.sleep(0.02)
    raise AssertionError(log())


PARENT = """
import sys, time
from ready_steady_go.commands.wire_commands import collect_command
from ready_steady_go.run.watchdog import start_watchdog
start_watchdog(float(sys.argv[1]), sys.argv[2], sys.argv[3] == "anyway")
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def parent():
    "Return a function that starts a process with a watchdog and kills it."
    def start(seconds, journal, anyway, env):
        env = {k: v for k, v in os.environ.items() if k not in VARIABLES} | env
        command = [sys.executable, "-c", PARENT, str(seconds), str(journal), "anyway" if anyway else "not"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env, start_new_session=True)
        process.stdout.readline()
        began = time.time()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return began
    yield start
    for path in deadline_file().parent.glob("hand-back*.json"): path.unlink()  # those that still wait end when they wake


def watchdogs():
    "Return the watchdogs of this test: those with its folder in their environment."
    def is_ours(process):
        try: words, env = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError: return False
        return b"ready_steady_go.run.watchdog" in words and os.environ["XDG_CACHE_HOME"].encode() in env
    return [process for process in Path("/proc").glob("[0-9]*") if is_ours(process)]


@pytest.fixture(autouse=True)
def no_watchdog_is_left(no_box):
    yield
    for process in watchdogs(): os.kill(int(process.name), signal.SIGKILL)


def log():
    "Return what the watchdogs wrote."
    return "".join(path.read_text() for path in deadline_file().parent.glob("hand-back*.log"))


def test_the_watchdog_fires_on_time_after_its_parent_was_killed(serve, parent, tmp_path):
    server, journal = serve(accepts), journal_of(1)
    began = parent(3, journal.path.resolve(), True, vast(server))
    until(watchdogs)
    (dog,) = watchdogs()
    assert KEY.encode() not in (dog / "cmdline").read_bytes()
    until(lambda: server.times)
    assert server.times[0] - began >= 2.5  # the watchdog began before the parent told of it; a busy machine may be late
    until(lambda: "the provider accepted: the box is destroyed" in log())
    (path,) = deadline_file().parent.glob("hand-back*.json")
    assert path.name == "hand-back-vast.ai-883.json" and KEY not in log() + path.read_text()


def test_the_watchdog_waits_for_results(serve, parent):
    server, journal = serve(accepts), journal_of(2)
    parent(0.1, journal.path.resolve(), False, vast(server))
    until(lambda: "kept: 2 results are only in" in log())
    assert server.asked == [] and len(watchdogs()) == 1


def test_a_cancelled_or_replaced_watchdog_does_nothing(serve, monkeypatch):
    server = serve(accepts)
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    start_watchdog(0.5, "none.jsonl", True)
    assert cancel_watchdog().anyway and cancel_watchdog() is None
    start_watchdog(0.5, "none.jsonl", True)
    start_watchdog(600, "none.jsonl", True)  # waits
    until(lambda: log().count("cancelled, or replaced") == 2)
    until(lambda: len(watchdogs()) == 1)
    assert server.asked == [] and TRIES_OF_A_DAY > 1000


def test_a_refused_watchdog_tries_again(serve, monkeypatch):
    from ready_steady_go.run import watchdog

    server = serve(by_method(DELETE=lambda on: on.say(code=500)))
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    watchdog.write_deadline(deadline_file(), watchdog.Deadline("t", "2026-01-01T00:00:00Z", "none.jsonl", True))
    said, pauses = [], []
    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3: cancel_watchdog()
    watchdog.watch(0, "t", "none.jsonl", True, sleep, said.append)
    assert pauses == [watchdog.AGAIN_S] * 3 and len(server.asked) == 3
    assert [text.split(":")[0] for text in said] == ["not handed back"] * 3 + ["cancelled, or replaced by another deadline"]


def test_a_full_disk_does_not_end_the_watchdog(serve, monkeypatch):
    from ready_steady_go.run import watchdog

    server, asked = serve(accepts), []
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    watchdog.write_deadline(deadline_file(), watchdog.Deadline("t", "2026-01-01T00:00:00Z", "none.jsonl", False))
    def only_here(journal):
        asked.append(journal)
        if len(asked) == 1: raise OSError(5, "Input/output error")
        return []
    monkeypatch.setattr(watchdog, "only_here", only_here)
    pauses = []
    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2: cancel_watchdog()
    watchdog.log_line("a name that cannot be encoded: \udcff")
    with open("/dev/full", "w", encoding="utf-8") as full:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            watchdog.watch(0, "t", "none.jsonl", False, sleep)
        try: full.close()
        except OSError: pass
    assert pauses == [watchdog.AGAIN_S, watchdog.ACCEPTED_S] and len(server.asked) == 1


@pytest.mark.parametrize("error", [ValueError("bad"), RecursionError(), MemoryError(), KeyError("x")])
def test_no_failure_of_a_look_ends_the_watchdog(serve, monkeypatch, error):
    from ready_steady_go.run import watchdog

    server, looks, said, pauses = serve(accepts), [], [], []
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    watchdog.write_deadline(deadline_file(), watchdog.Deadline("t", "2026-01-01T00:00:00Z", "none.jsonl", False))
    def only_here(journal):
        looks.append(journal)
        if len(looks) <= 3: raise error
        return []
    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 4: cancel_watchdog()
    monkeypatch.setattr(watchdog, "only_here", only_here)
    watchdog.watch(0, "t", "none.jsonl", False, sleep, said.append)
    assert pauses == [watchdog.AGAIN_S] * 3 + [watchdog.ACCEPTED_S] and len(server.asked) == 1
    assert [type(error).__name__ in text for text in said] == [True, False, False] and said[1].startswith("the provider accepted")


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), OSError(116, "Stale file handle"), MemoryError()])
def test_a_deadline_that_cannot_be_read_is_not_cancelled(serve, monkeypatch, error):
    from ready_steady_go.run import watchdog

    server, pauses = serve(accepts), []
    for name, value in vast(server).items(): monkeypatch.setenv(name, value)
    def unreadable(path, **more): raise error
    with monkeypatch.context() as patch:
        patch.setattr(watchdog.Path, "read_text", unreadable)
        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 2: patch.undo()
        watchdog.watch(0, "t", "none.jsonl", True, sleep, lambda text: None)
    assert pauses == [watchdog.ACCEPTED_S] * 2 and len(server.asked) == 2


def test_a_shell_that_does_not_know_the_box_cancels_its_only_deadline(serve, monkeypatch, capsys):
    server = serve(accepts)
    def box(number):
        for name, value in (vast(server) | dict(CONTAINER_ID=number)).items(): monkeypatch.setenv(name, value)
        start_watchdog(600, "none.jsonl", True)
    def cancel_elsewhere():
        for name in vast(server): monkeypatch.delenv(name, raising=False)
        return hand_back_command("none.jsonl", cancelled=True)
    assert cancel_elsewhere() == 0 and f"no deadline was set in {deadline_file().parent}" in capsys.readouterr().out
    box("883")
    named = deadline_file()
    assert cancel_elsewhere() == 0 and capsys.readouterr().out.endswith(" is cancelled\n") and not named.exists()
    box("883"), box("884")
    files = sorted(deadline_file().parent.glob("hand-back*.json"))
    with pytest.raises(UserError, match="2 boxes have a deadline here.*; remove the file of this box: ") as error: cancel_elsewhere()
    assert len(files) == 2 and all(path.exists() and str(path) in str(error.value) for path in files)
    files[0].unlink()
    assert cancel_elsewhere() == 0 and not files[1].exists()


def test_a_relative_cache_folder_is_that_of_the_watchdog_too(serve, monkeypatch):
    server = serve(accepts)
    for name, value in (vast(server) | dict(XDG_CACHE_HOME="cache")).items(): monkeypatch.setenv(name, value)
    assert deadline_file().is_absolute()


def test_two_boxes_with_one_cache_folder_have_two_deadlines(serve, monkeypatch):
    server, names = serve(accepts), []
    for env in (vast(server), vast(server) | dict(CONTAINER_ID="884"), vast(server) | dict(CONTAINER_ID="../8?84")):
        for name, value in env.items(): monkeypatch.setenv(name, value)
        start_watchdog(600, "none.jsonl", True)
        names.append(deadline_file().name)
    assert names == ["hand-back-vast.ai-883.json", "hand-back-vast.ai-884.json", "hand-back-vast.ai-.._8_84.json"]
    monkeypatch.setenv("CONTAINER_ID", "884")
    assert hand_back_command("none.jsonl", cancelled=True) == 0
    assert [p.name for p in deadline_file().parent.glob("*.json")].count("hand-back-vast.ai-884.json") == 0
    monkeypatch.setenv("CONTAINER_ID", "883")
    assert cancel_watchdog() is not None


def test_a_user_without_a_home_has_a_folder_of_its_own(monkeypatch, tmp_path):
    from ready_steady_go.box import kept

    def no_home(): raise RuntimeError("Could not determine home directory.")
    monkeypatch.delenv("XDG_CACHE_HOME")
    with monkeypatch.context() as patch:
        patch.setattr(kept.Path, "home", no_home)
        patch.setattr(kept.tempfile, "gettempdir", lambda: str(tmp_path))
        folder = deadline_file().parent.parent
        assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o777)
        assert not deadline_file().is_relative_to(tmp_path)
        with pytest.raises(UserError, match="cannot be written .*set XDG_CACHE_HOME"): start_watchdog(600, "none.jsonl", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
