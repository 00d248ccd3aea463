"The table of data sheets is consistent, has sources, and is strict about names."

import subprocess
import sys

import pytest

from ready_steady_go.spec.options import PRECISIONS
from ready_steady_go.truth.peaks import boost_clock, cards, find_card, peak, possible_cards, published_sms


def test_the_table_has_enough_cards():
    amd = [p for p in cards() if p.name.startswith("AMD")]
    assert len(amd) >= 8 and len(cards()) - len(amd) >= 60


@pytest.mark.parametrize("p", cards(), ids=lambda p: p.name)
def test_line(p):
    assert p.source and p.url.startswith("https://") and p.memory and p.bandwidth > 0
    assert p.fp32 <= (p.tf32 or p.fp32) <= p.fp16 and p.fp32 <= (p.bf16 or p.fp32) <= p.fp16
    assert find_card(p.name) is p and possible_cards(p.name) == (p,)
    assert [peak(p.name, x) for x in PRECISIONS] == [p.fp32, p.tf32, p.fp16, p.bf16]
    for other in (p.name.lower(), p.name.replace("NVIDIA ", ""), f"  {p.name} ", p.name.replace("-", " ")): assert find_card(other) is p
    for more in ("Laptop GPU", "D", "MIG 1g.5gb", "Max-Q", "7GB"):
        assert find_card(f"{p.name} {more}") is None and not possible_cards(f"{p.name} {more}")


# as torch counts them on the card
@pytest.mark.parametrize("name, sms, other", [
    ("NVIDIA GeForce RTX 3080", 68, 70), ("NVIDIA GeForce RTX 2060", 30, 34), ("NVIDIA GeForce GTX 1070", 15, 16),
    ("NVIDIA GeForce RTX 3050", 20, 18), ("NVIDIA GeForce RTX 4090", 128, 114), ("NVIDIA A100-SXM4-80GB", 108, 96),
    ("NVIDIA H100 80GB HBM3", 132, 114), ("Tesla T4", 40, 20), ("Tesla P100-SXM2-16GB", 56, 28), ("NVIDIA GeForce RTX 5090", 170, 84),
    ("AMD Instinct MI300X", 304, 38), ("AMD Instinct MI250X", 110, 104),
])  # fmt: skip
def test_another_chip_of_the_same_name_is_not_known(name, sms, other):
    assert find_card(name, sms) is find_card(name) is not None and find_card(name, other) is None
    assert boost_clock(name, sms) == boost_clock(name) and boost_clock(name, other) is None


def test_where_multiprocessors_are_not_published_the_name_decides():
    for name, chip in ("NVIDIA A10G", "GA102"), ("AMD Radeon RX 7900 XTX", "RDNA3"), ("NVIDIA B200", "GB100"):
        assert find_card(name).chip == chip and published_sms(find_card(name)) is None and find_card(name, 48) is find_card(name)
    assert all(card.cores % (published_sms(card) or 1) == 0 for card in cards() if card.cores)
    unknown = [card.name for card in cards() if card.cores and not published_sms(card)]
    assert all(name.startswith("AMD Radeon") for name in unknown)


def test_a_v100_with_a_higher_clock_has_no_data_sheet():
    assert find_card("Tesla V100-SXM3-32GB") is None and not possible_cards("Tesla V100-SXM3-32GB-H")


# dense, tensor cores accumulating in FP32, as the whitepapers print them
@pytest.mark.parametrize("name, precision, tflops", [
    ("NVIDIA GeForce RTX 3090", "fp16", 71), ("NVIDIA GeForce RTX 3090", "tf32", 35.6), ("NVIDIA GeForce RTX 4090", "fp16", 165.2),
    ("NVIDIA GeForce RTX 2080 Ti", "fp16", 56.9), ("NVIDIA TITAN RTX", "fp16", 130.5), ("Tesla T4", "fp16", 65.1),
    ("NVIDIA A100-SXM4-80GB", "bf16", 312), ("NVIDIA A100-SXM4-40GB", "fp32", 19.5), ("NVIDIA H100 80GB HBM3", "fp16", 989.4),
    ("NVIDIA H100 PCIe", "fp16", 756), ("NVIDIA H200", "tf32", 494.7), ("NVIDIA GeForce RTX 5090", "bf16", 209.5),
    ("NVIDIA RTX A6000", "fp16", 154.8), ("NVIDIA RTX 6000 Ada Generation", "fp16", 364.2), ("NVIDIA L40S", "fp16", 362.1),
    ("Tesla P100-PCIE-16GB", "fp16", 18.7), ("NVIDIA GeForce GTX 1080 Ti", "fp16", 11.34), ("GeForce GTX TITAN X", "fp32", 6.6),
    ("Tesla V100-SXM2-32GB", "fp16", 125.3), ("Tesla V100-SXM2-16GB", "bf16", None), ("AMD Instinct MI300X", "fp16", 1307.4),
    ("NVIDIA GeForce RTX 3090", "int4", None), ("Toy GPU 3000", "fp16", None),
])  # fmt: skip
def test_peak(name, precision, tflops): assert peak(name, precision) == tflops


@pytest.mark.parametrize("short, name", [
    ("3090", "NVIDIA GeForce RTX 3090"), ("RTX3090Ti", "NVIDIA GeForce RTX 3090 Ti"), ("2080 super", "NVIDIA GeForce RTX 2080 SUPER"),
    ("A100", "NVIDIA A100-SXM4-80GB"), ("A100 40GB", "NVIDIA A100-SXM4-40GB"), ("H100 SXM", "NVIDIA H100 80GB HBM3"),
    ("H100-SXM5-80GB", "NVIDIA H100 80GB HBM3"), ("H100 PCIe 80GB", "NVIDIA H100 PCIe"), ("V100", "Tesla V100-SXM2-16GB"),
    ("RTX A6000", "NVIDIA RTX A6000"), ("A6000", "NVIDIA RTX A6000"), ("RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation"),
    ("P100", "Tesla P100-SXM2-16GB"), ("MI300X", "AMD Instinct MI300X"), ("7900 XTX", "AMD Radeon RX 7900 XTX"), ("T4", "Tesla T4"),
    ("B200 SXM", "NVIDIA B200"), ("titan rtx", "NVIDIA TITAN RTX"), ("RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"),
])  # fmt: skip
def test_a_short_name_means_the_fastest_card(short, name): assert possible_cards(short)[0].name == name


def test_no_heavy_library_is_imported():
    code = "import sys, ready_steady_go.truth.published; sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
