"A box that is not the one that was asked for is a finding, in the doctor and in each record."

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ready_steady_go.box.expected import is_gpu, parse_expected, unexpected
from ready_steady_go.box.machine import Machine
from ready_steady_go.box.price import Price
from ready_steady_go.commands.doctor import Sources, doctor_command
from ready_steady_go.commands.fleet_plan import GPU_TYPES
from ready_steady_go.run.campaign import Campaign
from ready_steady_go.run.screen import Screen
from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import make_record

GIB = 2**30
CARD = dict(device="cuda", device_name="NVIDIA GeForce RTX 3090", gpu_mem=24 * GIB)
CASES = {
    "the right box": ("rtx3090,mem>=24GB,price<=0.5", ""),
    "another card": ("rtx4090", "NVIDIA GeForce RTX 3090 instead of rtx4090"),
    "less memory": ("mem>=40GB", "mem>=40GB was asked for, found 25.77 GB"),
    "a higher price": ("price<=0.2", "price<=0.2 was asked for, found 0.35 USD/h"),
    "all three": ("h100,mem>=80GB,price<=0.1", "instead of h100, mem>=80GB was asked for, found 25.77 GB, price<=0.1 was asked for"),
    "nothing": (None, ""),
}


@pytest.mark.parametrize("text, words", CASES.values(), ids=CASES)
def test_a_record_has_the_finding(text, words):
    price = SimpleNamespace(price=Price(usd_per_hour=0.35, source="typed"))
    watch = SimpleNamespace(seen=lambda record, since: replace(record, findings=[dict(code="drift", text="x")]))
    campaign = Campaign(Screen(), None, None, price, watch, expected=parse_expected(text))
    record = campaign.annotate(make_record(Spec(model="resnet50", bs=8), Machine(**CARD), throughput=100.0), 0.0)
    found = [f["text"] for f in record.findings if f["code"] == "wrong_gpu"]
    assert record.findings[0]["code"] == "drift" and len(found) == bool(words) and all(words in text for text in found)


REPEAT = dict(first_difference=None, first_nonfinite=None, steps=3, equal=True, finite=True, differing=0, nonfinite=0)
MACHINE = dict(CARD, device_capability="(8, 6)", cpu="x", cpu_cores=4.0, ram_bytes=GIB, driver="550.54", pytorch="2.6", cuda="12.4")


@pytest.mark.parametrize("text, words", CASES.values(), ids=CASES)
def test_the_doctor_has_the_finding(text, words, monkeypatch, capsys):
    from ready_steady_go.commands import doctor

    def examine(*args, **more):
        seen = doctor.Examination()
        seen.machine, seen.measured = MACHINE, dict(repeat=REPEAT)
        return seen

    monkeypatch.setattr(doctor, "examine", examine)
    sources = Sources(price=lambda typed: Price(usd_per_hour=0.35, source="typed"))
    code = doctor_command(require="healthy", as_json=True, sources=sources, expect=text)
    report = json.loads(capsys.readouterr().out)
    found = [f["text"] for f in report["findings"] if f["code"] == "wrong_gpu"]
    assert code == bool(words) and len(found) == bool(words) and all(words in one for one in found)


@pytest.mark.parametrize("text", ["fp16>=60", "mem>=lots", "", "rtx4090,", "price=<1", "healthy>=1"])
def test_a_wrong_rule_names_the_option(text):
    with pytest.raises(UserError, match="^--expect"): parse_expected(text)


def test_an_unknown_price_is_no_finding():
    assert unexpected(parse_expected("price<=0.1"), "x", GIB, None) == []
    assert unexpected(parse_expected("mem>=1GB"), "x", None, None)[0]["code"] == "wrong_gpu"


NVML_NAMES = dict(
    rtx3060="NVIDIA GeForce RTX 3060", rtx3090="NVIDIA GeForce RTX 3090", rtx4090="NVIDIA GeForce RTX 4090",
    rtx5090="NVIDIA GeForce RTX 5090", rtxa6000="NVIDIA RTX A6000", a40="NVIDIA A40", l4="NVIDIA L4", l40s="NVIDIA L40S",
    a100="NVIDIA A100-SXM4-80GB", h100="NVIDIA H100 80GB HBM3",
)  # fmt: skip


def test_each_gpu_type_of_a_fleet_is_only_its_own_gpu():
    assert {*NVML_NAMES} == {*GPU_TYPES}
    assert [(a, b) for a in NVML_NAMES for b in NVML_NAMES if is_gpu(a, NVML_NAMES[b]) != (a == b)] == []


MAX_Q = "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition"
NAMES = [
    ("rtx4070tisuper", "NVIDIA GeForce RTX 4070 Ti SUPER", True),
    ("rtx4070ti", "NVIDIA GeForce RTX 4070 Ti SUPER", False),
    ("rtxpro6000", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", True),
    ("rtxpro6000", MAX_Q, False),
    ("RTX PRO 6000 Blackwell Max-Q", MAX_Q, True),
    ("h100", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", False),
    ("H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", True),
    ("rtx6000", "Quadro RTX 6000 with Max-Q Design", False),
    ("rtx6000", "Quadro RTX 6000", True),
    ("rtxa600", "NVIDIA RTX A6000", False),
    ("a10", "NVIDIA RTX A1000", False),
]


@pytest.mark.parametrize("wanted, found, same", NAMES)
def test_a_name_is_compared_without_its_spaces(wanted, found, same):
    assert is_gpu(wanted, found) == same


def test_a_second_gpu_name_is_a_mistake():
    words = "^--expect h100: a box has one GPU name, and rtx4090 is another; remove one of the two$"
    with pytest.raises(UserError, match=words): parse_expected("rtx4090,h100")
