"GPUs for a model, the cheapest samples first: results at hand, prices of now."

import json
import os
import shutil
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from ready_steady_go.box.machine import Machine
from ready_steady_go.box.market import vast_prices
from ready_steady_go.commands.cli import main
from ready_steady_go.commands.offers import offered_prices, own_results, published_results, ranked
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.journal import Journal
from ready_steady_go.store.record import make_record, seal

HERE = Path(__file__).resolve().parent
CARDS = {"NVIDIA GeForce RTX 3090": 500.0, "NVIDIA GeForce RTX 4090": 1000.0, "NVIDIA H100 80GB HBM3": 3000.0}


def record(gpu="NVIDIA GeForce RTX 3090", throughput=500.0, **more):
    spec = Spec(model="resnet50", family="timm", precision="fp16", bs=64)
    about = dict(throughput=throughput, throughput_ci95=1.0, steady=True, search="confirm") | more
    return make_record(spec, Machine(device="cuda", device_name=gpu), **about)


def offer(name, price, spot=False, n=1, mib=81920):
    resources = dict(gpus=[dict(name=name, memory_mib=mib)] * n, spot=spot)
    return dict(price=price, backend="vastai", instance=dict(name="x", resources=resources))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    shutil.copy(HERE / "fake_dstack", tmp_path / "bin" / "dstack")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    monkeypatch.delenv("VAST_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    price = dict(usd_per_hour=1.0, usd_time="2026-11-09T00:00:00Z")
    for gpu, throughput in CARDS.items(): Journal("night.jsonl").append(record(gpu, throughput, **price))
    return tmp_path


def rsg(*args):
    with pytest.raises(SystemExit) as ended: main([*args])
    return ended.value.code


def rows(text): return [line.split() for line in text.splitlines() if "NVIDIA" in line or "RTX" in line]


def test_the_cheapest_samples_come_first(fake, capsys):
    offers = [offer(name, price) for name, price in (("RTX3090", 0.2), ("RTX4090", 0.3), ("H100", 3.0))]
    (fake / "offers").write_text(json.dumps(dict(offers=offers)), encoding="utf-8")
    assert rsg("offers", "--model", "resnet50", "--fp16", "night.jsonl") == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert [row[0] for row in rows(said)] == ["0.0833", "0.111", "0.278"] and [" ".join(r[-2:]) for r in rows(said)][0] == "RTX 4090"
    assert said.count("dstack now") == 3 and "no prices of now" not in said


@pytest.mark.parametrize("text", ["", "Traceback", "[]", "{}", '{"offers":[{}]}', '{"offers":[{"price":"x"}]}', '{"offers":3}'])
def test_without_offers_the_recorded_prices_are_used_and_dated(fake, capsys, text):
    (fake / "offers").write_text(text, encoding="utf-8")
    assert rsg("offers", "--model", "resnet50", "--fp16", "night.jsonl") == 0
    said = capsys.readouterr().out
    assert said.count("2026-11-09") == 3 and "  vast.ai cannot be asked: VAST_API_KEY is not set; dstack " in said
    assert "no prices of now, so the recorded ones are used" in said
    assert rows(said)[0][-3] == "H100"  # all cost the same


@pytest.fixture
def market(fake, monkeypatch):
    "A vast.ai on this machine. `market` holds what it answers, and what it was asked."
    state = SimpleNamespace(status=200, body=None, wait=0.0, asked=[])

    class Market(BaseHTTPRequestHandler):
        def do_POST(self):
            question = self.rfile.read(int(self.headers["Content-Length"]))
            state.asked.append((self.path, self.headers["Authorization"], json.loads(question)))
            time.sleep(state.wait)
            self.send_response(state.status)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere/")
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *args): pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Market)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("RSG_VAST_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("VAST_API_KEY", "a-key-of-mine")
    (fake / "offers").write_text("{}", encoding="utf-8")
    yield state
    server.shutdown()
    server.server_close()


def test_vast_prices_with_the_users_own_key(market, capsys):
    cards = [("RTX 3090", 24576, 0.2), ("RTX 4090", 24564, 0.5), ("RTX 4090", 24564, 0.4)]
    cards += [("H100 SXM", 81559, 2.0), ("H100 PCIE", 81559, 0.1)]
    offers = [dict(gpu_name=name, gpu_ram=mib, num_gpus=1, dph_total=usd, is_bid=False) for name, mib, usd in cards]
    market.body = json.dumps(dict(offers=offers)).encode()
    assert rsg("offers", "--model", "resnet50", "--fp16", "night.jsonl") == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80 and said.count("vast.ai now") == 3 and "no prices of now" not in said
    assert [row[0] for row in rows(said)] == ["0.111", "0.111", "0.185"] and "a-key-of-mine" not in said
    ((path, key, question),) = market.asked
    assert path == "/bundles/" and key == "Bearer a-key-of-mine" and question["type"] == "on-demand" and question["num_gpus"] == dict(eq=1)
    assert question["gpu_name"] == {"in": ["H100 SXM", "RTX 3090", "RTX 4090"]}


def test_the_cheaper_market_gives_the_price(market, fake, capsys):
    market.body = json.dumps(dict(offers=[dict(gpu_name="RTX 4090", gpu_ram=24564, num_gpus=1, dph_total=0.4)])).encode()
    (fake / "offers").write_text(json.dumps(dict(offers=[offer("RTX4090", 0.3), offer("RTX3090", 0.9)])), encoding="utf-8")
    assert rsg("offers", "--model", "resnet50", "--fp16", "night.jsonl") == 0
    said = capsys.readouterr().out
    assert said.count("dstack now") == 2 and "vast.ai now" not in said and said.count("2026-11-09") == 1 and "prices of dstack" not in said
    market.status = 401
    assert rsg("offers", "--model", "resnet50", "--fp16", "night.jsonl") == 0
    assert "prices of dstack only: vast.ai answered 401 (Unauthorized)" in capsys.readouterr().out


ANSWERS = {
    "a refused key": (401, b"a-key-of-mine", "vast.ai answered 401 (Unauthorized)"),
    "too many questions": (429, b"", "vast.ai answered 429 (Too Many Requests)"),
    "a redirect": (302, b"", "vast.ai answered 302 (Found)"),
    "garbage": (200, b"<html>a-key-of-mine", "vast.ai gave an answer that is no list of offers"),
    "an endless answer": (200, b" " * 3_000_000, "vast.ai did not finish its answer"),
    "no offer": (200, b'{"offers": []}', "vast.ai has no offer of these GPUs"),
}


@pytest.mark.parametrize("status, body, words", ANSWERS.values(), ids=ANSWERS)
def test_a_market_that_fails_leaves_the_recorded_prices(market, capsys, status, body, words):
    market.status, market.body = status, body
    assert rsg("offers", "--model", "resnet50", "--fp16", "night.jsonl") == 0
    said = capsys.readouterr()
    assert said.out.count("2026-11-09") == 3 and words in said.out and len(market.asked) == 1
    assert "a-key-of-mine" not in said.out + said.err


def test_a_market_that_hangs_is_left_alone(market):
    market.wait, market.body = 3.0, b"{}"
    started = time.monotonic()
    assert vast_prices(["NVIDIA L4"], timeout_s=0.3) == ({}, "vast.ai did not answer in time") and time.monotonic() - started < 2.5


def test_what_does_not_count():
    assert own_results([record(steady=False)], "resnet50", "fp16") == []
    assert own_results([seal(replace(record(), mode="infer"))], "resnet50", "fp16") == []
    assert own_results([seal(replace(record(), n_gpus=2))], "resnet50", "fp16") == []
    assert own_results([seal(replace(record(), layout="channels_last"))], "resnet50", "fp16") == []
    assert own_results([record()], "resnet50", "fp32") == [] == own_results([record()], "resnet18", "fp16")
    (one,) = own_results([record(throughput=500.0), record(throughput=510.0)], "resnet50", "fp16")
    assert one.throughput == 510.0


def test_spot_and_several_gpus_are_no_offer():
    offers = [offer("A100", 0.5, spot=True), offer("A100", 0.6, n=2), offer("A100", 1.2), offer("A100", 1.1)]
    assert offered_prices(dict(offers=offers)) == {("A100", 81920): 1.1}


def test_a_price_of_a_box_with_several_gpus_is_divided():
    (one,) = own_results([record(usd_per_hour=4.0, usd_gpus=4)], "resnet50", "fp16")
    assert one.own_usd == 1.0


def test_a_variant_does_not_get_the_price_of_another_card():
    results = own_results([record("NVIDIA GeForce RTX 3060 Ti")], "resnet50", "fp16")
    assert [o.usd for o in ranked(results, {("RTX3060", 12288): 0.1}, {})] == [None]


A100 = {"NVIDIA A100-SXM4-80GB": 2.0, "NVIDIA A100-SXM4-40GB": 1.0, "NVIDIA A100-SXM4-80GB MIG 3g.40gb": None}  # USD/h


@pytest.mark.parametrize("gpu, usd", A100.items())
def test_a_price_is_that_of_a_card_with_the_same_memory(gpu, usd):
    prices = offered_prices(dict(offers=[offer("A100", 1.0, mib=40960), offer("A100", 2.0)]))
    assert [o.usd for o in ranked(own_results([record(gpu)], "resnet50", "fp16"), prices, {})] == [usd]


def test_published_images_of_another_size_are_not_ranked(tmp_path):
    head = "id,gpu,n_gpus,family,model,mode,precision,image_size,seq_len,value,unit,source"
    sizes = (("T4", "64", ""), ("V100", "224", ""), ("A100", "224.0", ""), ("L4", "", ""), ("A10", "224x224", ""), ("A40", "", "64"))
    lines = [f"{gpu},{gpu},1,timm,resnet50,train,fp16,{size},{length},300,samples/s,a blog" for gpu, size, length in sizes]
    (tmp_path / "p.csv").write_text("\n".join([head, *lines]), encoding="utf-8")
    found = published_results(str(tmp_path / "p.csv"), "resnet50", "fp16")
    assert [result.gpu for result in found] == ["V100", "A100", "L4", "A10"]


def test_published_results_are_marked_and_never_replace_measured_ones(fake, capsys):
    (fake / "offers").write_text("{}", encoding="utf-8")
    head = "id,gpu,n_gpus,family,model,mode,precision,layout,batch_size,image_size,seq_len,value,unit,source"
    found = (("RTX 3090", 1, 700, "a blog"), ("A100", 1, 2000, "a paper"), ("A100", 1, 2_000_000, "a dream"), ("V100", 8, 9000, "a farm"))
    lines = [f"{i},{gpu},{n},timm,resnet50,train,fp16,,,,,{value},samples/s,{source}" for i, (gpu, n, value, source) in enumerate(found)]
    Path("p.csv").write_text("\n".join([head, *lines]), encoding="utf-8")
    assert rsg("offers", "--model", "resnet50", "--fp16", "--published", "p.csv", "night.jsonl") == 0
    said = capsys.readouterr().out
    assert said.count("(published)") == 1 and "A100 (published)" in said and "published, not measured with rsg: A100: a paper" in said
    assert "a blog" not in said and "a dream" not in said and "V100" not in said


WRONG = {
    "no model": (["offers"], 2, "--model"),
    "two precisions": (["offers", "--model", "resnet50", "--fp16", "--bf16"], 2, "--bf16: offers are ranked for one precision"),
    "no journal": (["offers", "--model", "resnet50", "nowhere.jsonl"], 2, "nowhere.jsonl"),
    "no result": (["offers", "--model", "vgg16", "night.jsonl"], 1, "vgg16 fp32: no steady result in night.jsonl; measure it"),
}


@pytest.mark.parametrize("args, code, words", WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line(args, code, words, fake, capsys):
    assert rsg(*args) == code
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and words in said.err and said.out == ""


def test_another_size_is_another_model():
    large = seal(replace(record(throughput=9000.0), size=448, changed="size"))
    found = own_results([seal(replace(record(), size=224, changed="")), large], "resnet50", "fp16")
    assert [result.throughput for result in found] == [500.0]
