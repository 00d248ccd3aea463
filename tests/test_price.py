"The price from a test provider: correct if there is one, one plain line if not, in time, and never a word of the key."

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ready_steady_go.box.price import SECRET_VARIABLES, Price, find_price
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.parse import parse_usd

ROOT = Path(__file__).resolve().parent.parent
KEY = "k3y-planted-0123456789abcdef"
NOWHERE = Path("/nowhere/environ")
LATE_S, IN_TIME_S = 30.0, 10.0  # far apart: a busy machine is not late

KEPT = dict(machine_id=178, num_gpus=1, gpu_lanes=16, pcie_bw=12.1, dlperf=21.5, geolocation="Sweden, SE")
VAST = KEPT | dict(id=883, dph_total=0.2315, is_bid=True, jupyter_token="53fc", public_ipaddr="192.0.2.1", ssh_host="ssh1.example.org")
RUNPOD = dict(id="xede", machineId="s194", adjustedCostPerHr=0.69, costPerHr="0.74", interruptible=False, gpu=dict(count=2), env={"T": "t"})


class Server(ThreadingHTTPServer):
    "A provider that answers each request with the given function."

    daemon_threads = True

    def __init__(self, answer):
        self.answer, self.asked = answer, []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self): return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.question = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.asked.append((self.path, dict(self.headers)))
        try: self.server.answer(self)
        except OSError: pass

    do_POST = do_GET

    def say(self, body, code=200, **headers):
        self.send_response(code)
        for name, value in headers.items(): self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, *args): pass


@pytest.fixture
def serve():
    "Return a function that starts a server with an answer."
    servers = []
    def start(answer):
        servers.append(Server(answer))
        return servers[-1]
    yield start
    for server in servers: server.shutdown(), server.server_close()


def vast(server, **more): return dict(RSG_VAST_URL=server.url, CONTAINER_ID="883", CONTAINER_API_KEY=KEY) | more


def runpod(server, **more): return dict(RSG_RUNPOD_URL=server.url + "/", RUNPOD_POD_ID="xede", RUNPOD_API_KEY=KEY) | more


def ask(env, timeout_s=2.0, **more):
    "Return the price; check that it came in time and without the key."
    began = time.monotonic()
    found = find_price(None, env=env, proc1=more.pop("proc1", NOWHERE), timeout_s=timeout_s, etc=more.pop("etc", NOWHERE))
    assert time.monotonic() - began < timeout_s + IN_TIME_S
    assert KEY not in repr(found) and KEY not in str(vars(found))
    return found


@pytest.mark.parametrize("wrap", [lambda box: {"instances": box}, lambda box: box], ids=["wrapped", "bare"])
def test_vast(serve, wrap):
    server = serve(lambda on: on.say(wrap(VAST)))
    found = ask(vast(server))
    assert (found.usd_per_hour, found.source, found.price_kind, found.note) == (0.2315, "vast.ai", "spot", None)
    assert found.more == KEPT
    assert found.time.endswith("Z")
    ((path, headers),) = server.asked
    assert path == "/instances/883/" and headers["Authorization"] == f"Bearer {KEY}"


def test_runpod(serve):
    server = serve(lambda on: on.say(RUNPOD))
    found = ask(runpod(server))
    assert (found.usd_per_hour, found.source, found.price_kind) == (0.69, "RunPod", "on-demand")
    assert found.more == dict(machine_id="s194", num_gpus=2)
    assert server.asked[0][0] == "/pods/xede"


def test_runpod_without_a_savings_plan(serve):
    found = ask(runpod(serve(lambda on: on.say(RUNPOD | dict(adjustedCostPerHr=None, interruptible=True)))))
    assert (found.usd_per_hour, found.price_kind) == (0.74, "spot")


POD = dict(costPerHr=0.74, adjustedCostPerHr=0.69, machineId="s194", gpuCount=2, podType="INTERRUPTABLE")


def refuses_rest(code, pod):
    "Return an answer like RunPod's for a pod's own key: the first interface refuses it, GraphQL accepts it."
    return lambda on: on.say({"data": {"pod": pod}}) if on.command == "POST" else on.say({"error": "no"}, code)


@pytest.mark.parametrize("code", [401, 403, 404])
def test_runpod_is_asked_by_graphql_if_the_key_is_refused(serve, code):
    asked = []
    def answer(on):
        asked.append(on.question)
        refuses_rest(code, POD)(on)
    server = serve(answer)
    found = ask(runpod(server))
    assert (found.usd_per_hour, found.source, found.price_kind) == (0.69, "RunPod", "spot")
    assert found.more == dict(machine_id="s194", num_gpus=2)
    (first, _), (second, headers) = server.asked
    assert (first, second) == ("/pods/xede", "/graphql") and headers["Authorization"] == f"Bearer {KEY}"
    question = json.loads(asked[1])
    assert question["variables"] == {"id": "xede"} and "xede" not in question["query"] and "mutation" not in question["query"]


@pytest.mark.parametrize("pod", [None, [], {}, dict(costPerHr="free"), dict(podType="RESERVED")], ids=repr)
def test_if_both_interfaces_refuse_the_first_answer_is_the_note(serve, pod):
    assert "answered 401 (Unauthorized)" in ask(runpod(serve(refuses_rest(401, pod)))).note


def test_a_broken_server_is_asked_once(serve):
    server = serve(refuses_rest(500, POD))
    assert "answered 500" in ask(runpod(server)).note and len(server.asked) == 1


def test_vast_does_not_know_graphql(serve):
    server = serve(refuses_rest(401, POD))
    assert "answered 401" in ask(vast(server)).note and len(server.asked) == 1


def test_the_label_of_vast_has_the_number_of_the_box(serve):
    server = serve(lambda on: on.say(VAST))
    env = vast(server, VAST_CONTAINERLABEL="C.12345")
    del env["CONTAINER_ID"]
    assert ask(env).usd_per_hour == 0.2315 and server.asked[0][0] == "/instances/12345/"
    assert ask(env | dict(VAST_CONTAINERLABEL="my box")) == Price() and len(server.asked) == 1
    assert ask(env | dict(CONTAINER_ID="883")).usd_per_hour == 0.2315 and server.asked[1][0] == "/instances/883/"


def test_the_systems_file_is_the_last_source(serve, tmp_path):
    "Quotes and `export` are removed; what the session has comes first."
    server = serve(lambda on: on.say(VAST))
    etc = tmp_path / "environment"
    etc.write_text(f'PATH="/bin"\nexport CONTAINER_API_KEY="{KEY}"\nVAST_CONTAINERLABEL=\'C.77\'\nbroken\n')
    assert ask(dict(RSG_VAST_URL=server.url), etc=etc).usd_per_hour == 0.2315 and server.asked[0][0] == "/instances/77/"
    assert ask(dict(RSG_VAST_URL=server.url, CONTAINER_ID="9"), etc=etc).usd_per_hour == 0.2315 and server.asked[1][0] == "/instances/9/"


def test_a_typed_price_comes_first(serve):
    server = serve(lambda on: on.say(VAST))
    found = find_price(0.5, env=vast(server), proc1=NOWHERE)
    assert (found.usd_per_hour, found.source, server.asked) == (0.5, "typed", [])


def test_an_ssh_session_reads_the_variables_of_the_first_process(serve, tmp_path):
    server = serve(lambda on: on.say(VAST))
    proc1 = tmp_path / "environ"
    proc1.write_bytes(f"PATH=/bin\0CONTAINER_ID=883\0CONTAINER_API_KEY={KEY}\0".encode() + b"ODD=\xff\0")
    assert ask(dict(RSG_VAST_URL=server.url), proc1=proc1).usd_per_hour == 0.2315
    assert ask({}, proc1=tmp_path) == Price()  # a folder cannot be read


def drip(on):
    "Send a byte now and then, for ever."
    on.send_response(200)
    on.end_headers()
    while True:
        on.wfile.write(b" ")
        on.wfile.flush()
        time.sleep(0.05)


def drip_headers(on):
    "Send a byte of the headers now and then, for ever."
    while True:
        on.wfile.write(b"H")
        on.wfile.flush()
        time.sleep(0.05)


def echo(on): on.say({"message": on.headers["Authorization"]}, 403)


WRONG = dict(
    unauthorized=(lambda on: on.say({"msg": "no"}, 401), "answered 401 (Unauthorized)"),
    too_many=(lambda on: on.say({"detail": "later"}, 429), "answered 429 (Too Many Requests)"),
    broken=(lambda on: on.say(b"", 500), "answered 500 (Internal Server Error)"),
    odd_code=(lambda on: on.say(b"", 599), "answered 599"),
    echo_of_the_key=(echo, "answered 403 (Forbidden)"),
    moved_nowhere=(lambda on: on.say(b"", 302), "answered 302 (Found)"),
    garbage=(lambda on: on.say(b"\xff\x00<html>"), "not JSON"),
    deep=(lambda on: on.say(b"[" * 100_000), "not JSON"),
    nothing=(lambda on: on.say(b""), "not JSON"),
    not_http=(lambda on: on.wfile.write(KEY.encode() + b"\r\n\r\n"), "cannot be asked (BadStatusLine)"),
    hangs_up=(lambda on: on.connection.close(), "cannot be"),
    a_list=(lambda on: on.say([VAST]), "no record of this box"),
    instances_is_null=(lambda on: on.say({"instances": None}), "no record of this box"),
    instances_is_a_list=(lambda on: on.say({"instances": [VAST]}), "no record of this box"),
    no_price=(lambda on: on.say({"instances": {}}), "has no price"),
    nan=(lambda on: on.say(VAST | dict(dph_total=float("nan"))), "has no price"),
    infinite=(lambda on: on.say(b'{"dph_total": 1e999}'), "has no price"),
    negative=(lambda on: on.say(VAST | dict(dph_total=-0.1)), "has no price"),
    true=(lambda on: on.say(VAST | dict(dph_total=True)), "has no price"),
    a_dict=(lambda on: on.say(VAST | dict(dph_total={"usd": 1})), "has no price"),
    endless=(lambda on: on.say(b" " * 2**22), "did not finish its answer"),
)


@pytest.mark.parametrize("provider", [vast, runpod])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_a_note(serve, name, provider):
    answer, note = WRONG[name]
    found = ask(provider(serve(answer)))
    if provider is runpod and name.startswith("instances"): note = ""
    assert found.usd_per_hour is None and found.source is None and not found.more
    assert note in found.note and found.note.endswith("; add --usd-per-hour") and "\n" not in found.note and len(found.note) < 120


@pytest.mark.parametrize("answer", [lambda on: time.sleep(LATE_S), drip, drip_headers], ids=["silent", "dripping", "dripping headers"])
def test_a_slow_answer_does_not_delay_the_run(serve, answer):
    found = ask(vast(serve(answer)), timeout_s=0.3)
    assert found.usd_per_hour is None
    assert any(why in found.note for why in ("within 0.3 s", "did not answer in time", "did not finish its answer"))


def test_the_thread_of_an_endless_answer_ends(serve):
    before = set(threading.enumerate())
    ask(vast(serve(drip)), timeout_s=0.2)
    (asking,) = [t for t in set(threading.enumerate()) - before if t.name == "rsg-price"] or [None]
    if asking: asking.join(30)
    assert asking is None or not asking.is_alive()


def test_a_hanging_name_server(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **more: time.sleep(LATE_S))
    assert "within 0.3 s" in ask(dict(CONTAINER_ID="883", CONTAINER_API_KEY=KEY), timeout_s=0.3).note


def test_an_unreachable_server(serve):
    server = serve(lambda on: None)
    env = vast(server)
    server.shutdown(), server.server_close()
    assert "cannot be reached (ConnectionRefusedError)" in ask(env).note


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_does_not_get_the_key(serve, code):
    other = serve(lambda on: on.say(VAST))
    moved = other.url.replace("127.0.0.1", "localhost") + "/instances/883/"
    found = ask(vast(serve(lambda on: on.say(b"", code, Location=moved))))
    assert found.usd_per_hour is None and f"answered {code}" in found.note and other.asked == []


def test_a_proxy_does_not_get_the_key(serve, monkeypatch):
    proxy = serve(lambda on: on.say(VAST))
    server = serve(lambda on: on.say(VAST))
    for name in ("http_proxy", "all_proxy"): monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(vast(server)).usd_per_hour == 0.2315 and proxy.asked == []


def test_no_key(serve):
    server = serve(lambda on: on.say(VAST))
    env = vast(server)
    del env["CONTAINER_API_KEY"]
    assert "CONTAINER_API_KEY is not set" in ask(env).note and server.asked == []


@pytest.mark.parametrize("key", [KEY + "\nX: y", KEY + "é", KEY + " " + KEY])
def test_an_impossible_key_is_neither_sent_nor_printed(serve, key):
    server = serve(lambda on: on.say(VAST))
    found = ask(vast(server, CONTAINER_API_KEY=key))
    assert "is not a key" in found.note and server.asked == []


def test_a_line_end_after_the_key_is_removed(serve):
    assert ask(vast(serve(lambda on: on.say(VAST)), CONTAINER_API_KEY=KEY + "\n")).usd_per_hour == 0.2315


def test_the_number_of_a_box_is_quoted_in_the_address(serve):
    server = serve(lambda on: on.say(VAST))
    ask(vast(server, CONTAINER_ID="../../users?x=1#"))
    assert server.asked[0][0] == "/instances/..%2F..%2Fusers%3Fx%3D1%23/"


def test_a_fact_that_contains_the_key_is_dropped(serve):
    found = ask(vast(serve(lambda on: on.say(VAST | dict(geolocation=f"at {KEY}", machine_id="a\nb")))))
    assert found.usd_per_hour == 0.2315 and not {"geolocation", "machine_id"} & set(found.more)


def test_the_key_is_not_printed_and_heavy_modules_load_late(serve):
    "In a new process: no output contains the key, and network modules are imported only when a provider is asked."
    code = """
import sys
from ready_steady_go.box.price import find_price
assert not {"urllib.request", "http.client", "ssl", "torch"} & set(sys.modules)
from pathlib import Path
print(find_price(None, proc1=Path("/nowhere")))
"""
    for answer in (echo, lambda on: on.wfile.write(KEY.encode() + b"\r\n\r\n"), lambda on: on.say(VAST)):
        env = {k: v for k, v in os.environ.items() if k not in SECRET_VARIABLES} | vast(serve(answer))
        done = subprocess.run([sys.executable, "-X", "dev", "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and not done.stderr and KEY not in done.stdout, done.stderr


def test_the_keys_are_withheld_from_the_child():
    assert {"CONTAINER_API_KEY", "RUNPOD_API_KEY", "WANDB_API_KEY"} <= set(SECRET_VARIABLES)


def test_a_typed_price_is_read():
    assert [parse_usd(text) for text in ("0", ".5", "2.", "$ 1.5", " 3 ", "$0.35")] == [0, 0.5, 2, 1.5, 3, 0.35]


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e3", "1_0", "0.35 EUR", "٣", "1,000.5"])
def test_a_wrong_price_names_the_option(text):
    with pytest.raises(UserError, match="--usd-per-hour"): parse_usd(text)


def test_a_decimal_comma_gets_a_suggestion():
    with pytest.raises(UserError, match="did you mean 0.29"): parse_usd("0,29")
