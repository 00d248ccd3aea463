"The guard refuses impossible results, accepts measured ones, and leaves the others unknown."

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ready_steady_go.spec.errors import UserError
from ready_steady_go.truth.guard import highest_tflops, judge, verdict_fields
from ready_steady_go.truth.published import TABLE_COLUMNS, check_table

PUBLISHED = Path(__file__).parent / "data/published_throughput.csv"
ROWS = list(csv.DictReader(PUBLISHED.open()))


def judged(rows, tmp_path, columns=TABLE_COLUMNS):
    "Return the verdicts of `check_table` on these rows, by id."
    text, lines = io.StringIO(newline=""), []
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
    writer.writeheader(), writer.writerows(rows)
    (tmp_path / "rows.csv").write_text(text.getvalue())
    code = check_table(str(tmp_path / "rows.csv"), as_json=True, out=lines.append)
    found = [json.loads(line) for line in lines]
    assert code == any(v["plausible"] is False for v in found)
    return {v["id"]: v for v in found}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory): return judged(ROWS, tmp_path_factory.mktemp("published"))


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r["id"])
def test_published(row, verdicts):
    v = verdicts[row["id"]]
    assert v["plausible"] is (row["plausible"] == "yes") and bool(v["why"]) is (row["plausible"] == "no")


def test_why(verdicts):
    assert "13.6 times the FP32 peak of Tesla P100-PCIE-16GB" in verdicts["rnn-p100pcie-train"]["why"]
    assert "138%" in verdicts["tlkh-a100-distil-infer"]["why"]
    assert verdicts["lambda-b200x8-bert"]["why"].startswith("21.5 times lambda-b200x1-bert (1405 samples/s), on 8 times its GPUs")
    assert verdicts["rnn-p100sxm2-train"]["tflops"] == pytest.approx(139.4, abs=0.1)


def test_an_authors_own_verdict_is_not_read(verdicts, tmp_path):
    wrong = [row | dict(plausible="no" if row["plausible"] == "yes" else "yes", why="because") for row in ROWS]
    assert judged(wrong, tmp_path, list(ROWS[0])) == verdicts
    assert judged(ROWS[::-1], tmp_path) == verdicts


def row(id, gpu, model, value, *, family="timm", n_gpus=1, mode="train", precision="fp16", unit="samples/s", source="a source", **more):
    "Return a row with invented values."
    about = dict(family=family, n_gpus=n_gpus, mode=mode, precision=precision, unit=unit, source=source)
    return dict(id=id, gpu=gpu, model=model, value=value) | about | more


LM = "nlayers=2 emb=1500 hid=1500 vocab=10000 tied"
INVENTED = {  # plausible: rows
    True: [
        row("matmul-heavy", "NVIDIA H100 80GB HBM3", "llama-2-7b", 10_500, family="hf", precision="bf16", unit="tokens/s", seq_len=4096),
        row("highest-known", "NVIDIA GeForce RTX 5090", "repvgg_b3", 4010.91, mode="infer", image_size=224),
        row("vit-5090", "RTX 5090", "vit_base_patch16_224", 4900, mode="infer", image_size=224),
        row("short-name", "3090", "resnet50", 1218, image_size=224),
        row("own-size", "RTX 3090", "resnet50", 1218),
        row("spreadsheet", "A100 40GB", "resnet50", "2,470.0", image_size="224.0", n_gpus="1.0", batch_size="256.0"),
        row("a-time", "Tesla T4", "resnet18", 250, unit="ms/step", batch_size=64, image_size=224),
        row("iterations", "TITAN RTX", "distilbert-base-cased", 15.3, unit="it/s", family="hf", batch_size=32, seq_len=128),
        row("lstm", "NVIDIA GeForce GTX 1080 Ti", LM, 12_000, family="lstm", precision="fp32", unit="words/s"),
        row("tf32-without-unit", "Tesla V100-SXM2-16GB", "resnet50", 380, precision="tf32", image_size=224),
        row("bf16-without-unit", "Tesla V100-SXM2-16GB", "resnet50", 300, precision="bf16", image_size=224),
        row("winograd", "GeForce GTX TITAN X", "vgg19", 1000 * 16 / 93.83, mode="forward", precision="fp32", image_size=224),
        row("winograd-too", "GTX 1080 Ti", "vgg19", 320, mode="infer", precision="fp32", image_size=224),
        row("four", "NVIDIA A100-SXM4-80GB", "resnet50", 4 * 2470 * 0.97, n_gpus=4, image_size=224, batch_size=1024, source="four"),
        row("one-of-four", "NVIDIA A100-SXM4-80GB", "resnet50", 2470, image_size=224, batch_size=256, source="four"),
        row("step", "RTX 3090", "vit_base_patch16_224", 390, batch_size=64, image_size=224, source="ratio"),
        row("its-forward", "RTX 3090", "vit_base_patch16_224", 1260, mode="infer", batch_size=64, image_size=224, source="ratio"),
        row("other-batch", "RTX 3090", "vit_base_patch16_224", 1960, mode="infer", batch_size=128, image_size=224, source="ratio"),
    ],
    False: [
        row("x100", "NVIDIA GeForce RTX 4090", "bert-base", 100 * 700, family="hf", seq_len=128),
        row("x13", "Tesla V100S-PCIE-32GB", LM, 900_000, family="lstm", precision="fp32", unit="words/s"),
        row("infer-138", "NVIDIA GeForce RTX 3090", "vit_base_patch16_224", 1.38 * 71e12 / 35.1e9, mode="infer", image_size=224),
        row("not-even-winograd", "GTX 1080 Ti", "vgg19", 700, mode="infer", precision="fp32", image_size=224),
        row("no-3x3-to-spare", "GTX 1080 Ti", "vit_base_patch16_224", 350, mode="infer", precision="fp32", image_size=224),
        row("tf32-as-fp32", "NVIDIA A100-SXM4-80GB", "resnet50", 1043.5, precision="fp32", image_size=224),
        row("four-too-good", "H200", "resnet18", 4 * 3000 * 1.2, n_gpus=4, image_size=224, batch_size=64, source="scaling"),
        row("forward-too-fast", "H100 PCIe", "resnet18", 33_000, mode="infer", image_size=224, batch_size=64, source="unread"),
        row("zero", "H200", "resnet18", 0), row("negative", "NVIDIA H200", "resnet18", -5), row("nan", "NVIDIA H200", "resnet18", "nan"),
        row("inf", "NVIDIA H200", "resnet18", "inf"),
        row("faster-than-any-card", "Toy GPU 3000", "resnet50", 1e9, image_size=224),
    ],
    None: [
        row("no-card", "Toy GPU 3000", "resnet50", 100), row("laptop", "NVIDIA GeForce RTX 4090 Laptop GPU", "resnet50", 100),
        row("no-model", "NVIDIA H200", "resnet5O", 100), row("no-length", "NVIDIA H200", "bert-base", 100, family="hf"),
        row("no-unit", "NVIDIA H200", "resnet50", 100, unit="apples"),
        row("no-batch", "NVIDIA H200", "resnet50", 100, unit="it/s"), row("no-value", "NVIDIA H200", "resnet50", ""),
        row("text", "NVIDIA H200", "resnet18", "fast"), row("decimal-comma", "NVIDIA H200", "resnet18", "815,1"),
        row("no-mode", "NVIDIA H200", "resnet50", 100, mode="dream"), row("no-precision", "NVIDIA H200", "resnet50", 100, precision="int8"),
        row("no-count", "NVIDIA H200", "resnet50", 100, n_gpus="some"), row("no-size", "NVIDIA H200", "resnet50", 100, image_size="big"),
    ],
}  # fmt: skip
COMPARED_WITH = [  # rows that some of the above are compared with
    row("one", "H200", "resnet18", 3000, image_size=224, batch_size=64, source="scaling"),
    row("whole-step", "H100 PCIe", "resnet18", 6000, image_size=224, batch_size=64, source="unread"),
]


def test_invented_rows(tmp_path):
    found = judged([r for rows in INVENTED.values() for r in rows] + COMPARED_WITH, tmp_path)
    wanted = {r["id"]: plausible for plausible, rows in INVENTED.items() for r in rows} | {r["id"]: True for r in COMPARED_WITH}
    assert {id: v["plausible"] for id, v in found.items()} == wanted
    assert all(v["why"] for id, v in found.items() if wanted[id] is not True)
    assert "Winograd" in found["winograd-too"]["why"]
    assert "looks like TF32" in found["tf32-as-fp32"]["why"]


def code_of(fields): return (fields["finding"] or {}).get("code")


def test_a_record_is_judged_by_the_same_rules():
    "A little above the peak, the program's own result keeps its throughput, with a finding; a published one is refused."
    h = dict(forward_flops=10**12, mode="infer", precision="bf16", device_name="NVIDIA H200")
    for share, code in ((0.5, None), (0.99, None), (1.05, "over_peak"), (1.29, "over_peak"), (1.31, "impossible"), (100, "impossible")):
        rate = share * 989.4
        fields = verdict_fields(10**12, "infer", "bf16", "NVIDIA H200", 1, rate)
        assert judge(throughput=rate, **h).plausible is (code is None) and fields["mfu"] == pytest.approx(share)
        assert code_of(fields) == code and fields["plausible"] is (code != "impossible")
    over = verdict_fields(10**12, "infer", "bf16", "NVIDIA H200", 2, 2 * 700, 650)
    assert over["plausible"] and over["finding"]["code"] == "over_ceiling" and over["ceiling_share"] == pytest.approx(700 / 650)


def test_a_limit_leaves_out_what_a_causal_mask_hides(tmp_path):
    "Of 8192 tokens of GPT-2, a kernel that skips the masked half does 70 % of what is counted: at 80 % of the peak, MFU is 1.15."
    from ready_steady_go.truth.flops import SHAPES

    whole, needed = (SHAPES["gpt2"].flops(8192, masked=masked) for masked in (False, True))
    assert 0.65 < needed / whole < 0.75
    for share, code in ((0.8, None), (1.1, "over_peak"), (1.35, "impossible")):
        rate = share * 312e12 / (3 * needed)
        fields = verdict_fields(whole, "train", "bf16", "NVIDIA A100-SXM4-80GB", 1, rate, 310.0, needed_flops=needed)
        assert code_of(fields) == code and fields["mfu"] == pytest.approx(share * whole / needed)
        assert fields["ceiling_share"] == pytest.approx(fields["mfu"] * 312 / 310)
    rows = [row(f"{share}", "NVIDIA A100-SXM4-80GB", "gpt2", share * 312e12 / (3 * needed), family="hf", precision="bf16", seq_len=8192)
            for share in (0.9, 1.1)]  # fmt: skip
    found = judged(rows, tmp_path)
    assert [found[id]["plausible"] for id in ("0.9", "1.1")] == [True, False]
    assert found["0.9"]["tflops"] == pytest.approx(0.9 * 312 * whole / needed, rel=1e-3) and "110% of" in found["1.1"]["why"]


VGG19 = 39.3e9, 17.6e9  # FLOP per sample, forward: counted directly, and by Winograd's algorithm


def test_winograd_excuses_fp32_where_tf32_was_read_back_as_off():
    "An A100 trains VGG-19 at 1.4 times its FP32 peak, as counted; it has TF32, so a published result is refused."
    rate = 1.4 * 19.5e12 / (3 * VGG19[0])
    about = int(VGG19[0]), "train", "fp32", "NVIDIA A100-SXM4-80GB", 1
    own = verdict_fields(*about, rate, 18.9, int(VGG19[1]), tf32_off=True)
    assert own["plausible"] is True and own["finding"] is None and own["mfu"] == pytest.approx(1.4)
    assert code_of(verdict_fields(*about, rate, 18.9, int(VGG19[1]), tf32_off=False)) == "impossible"
    known = dict(forward_flops=int(VGG19[0]), least_flops=int(VGG19[1]), mode="train", precision="fp32", device_name=about[3])
    published = judge(throughput=rate, **known)
    assert published.plausible is False and "looks like TF32" in published.why
    for share, code in ((1.1, "over_peak"), (1.25, "over_peak"), (1.4, "impossible")):  # of the peak, as Winograd multiplies
        high = share * 19.5e12 / (3 * VGG19[1])
        assert code_of(verdict_fields(*about, high, 18.9, int(VGG19[1]), tf32_off=True)) == code


@pytest.fixture(scope="module")
def a100():
    "A bench that believes in an A100, and VGG-19 in FP32."
    from ready_steady_go.run.bench import Bench
    from ready_steady_go.spec.spec import Spec

    bench = Bench("cpu")
    bench.machine = replace(bench.machine, device="cuda", device_name="NVIDIA A100-SXM4-80GB")
    return bench, replace(bench.check(Spec(model="vgg19", precision="fp32")), bs=8)


def point_of(bench, spec, share, **switches):
    "Return the record of a throughput that is this share of the FP32 peak of an A100."
    from ready_steady_go.timing.measure import Measurement
    from ready_steady_go.truth.flops import forward_flops

    step_s = spec.bs * 3 * forward_flops(spec) / (share * 19.5e12)
    return bench._judge(spec, Measurement(spec.bs, [(1, step_s)] * 9), [], switches)


def test_a_record_of_vgg19_in_fp32_is_kept(a100):
    "The bench hands over what was read back. Without it, the same rate looks like TF32."
    off, on = dict(tf32_matmul=False, tf32_conv=False), dict(tf32_matmul=False, tf32_conv=True)
    record = point_of(*a100, 1.25, **off)
    assert (record.outcome, record.findings) == ("ok", []) and record.mfu == pytest.approx(1.25)
    assert [f["code"] for f in point_of(*a100, 1.25, **on).findings] == ["over_peak"]
    assert (point_of(*a100, 1.4, **off).outcome, point_of(*a100, 1.4, **on).outcome) == ("ok", "impossible")
    above = point_of(*a100, 3.0, **off)
    assert above.outcome == "impossible" and above.throughput is not None


def test_a_ceiling_that_a_model_beats_is_measured_once_more(a100, monkeypatch):
    "The first reading was of a cold card. A second result above the new one is a finding, without a third reading."
    from ready_steady_go.run import bench as module

    bench, spec = a100
    asked = []
    def measured(*about, again=False):
        asked.append(again)
        return 17.0, []
    monkeypatch.setattr(module, "box_ceiling", measured)
    monkeypatch.setattr(bench, "ceiling", 10.0)
    monkeypatch.setattr(bench, "remeasured", False)
    switches = dict(tf32_matmul=True, tf32_conv=True)
    record = point_of(bench, spec, 0.8, **switches)
    assert asked == [True] and record.findings == [] and record.ceiling_share == pytest.approx(0.8 * 19.5 / 17)
    assert [f["code"] for f in point_of(bench, spec, 0.95, **switches).findings] == ["over_ceiling"] and asked == [True]


@pytest.mark.parametrize("factor", [3, 1000])
def test_a_wrong_ceiling_does_not_switch_the_guard_off(factor):
    "30 times the peak of an RTX 3090 is impossible whatever the ceiling; the share of a wrong ceiling is not printed."
    fields = verdict_fields(10**12, "infer", "fp16", "NVIDIA GeForce RTX 3090", 1, 30 * 71.0, 71.0 * factor, max_clock_mhz=2100)
    assert code_of(fields) == "impossible" and fields["ceiling_share"] is None


def test_the_highest_clock_moves_the_hard_limit():
    rtx_3090 = [highest_tflops("NVIDIA GeForce RTX 3090", "fp16", clock) for clock in (None, 2100)]
    assert rtx_3090 == [pytest.approx(1.3 * 71)] * 2
    assert highest_tflops("NVIDIA RTX A2000 12GB", "fp16", 2100) == pytest.approx(1.02 * 2100 / 1200 * 31.9)  # a low nominal boost
    assert 146_589 > highest_tflops("Toy GPU 3000", "fp16") > 4 * 2250


@pytest.mark.parametrize("column", ["id", "gpu", "n_gpus", "family", "model", "mode", "precision", "value", "unit"])
def test_an_error_names_the_missing_column(column, tmp_path):
    with pytest.raises(UserError, match=f"no column '{column}'") as error: judged(ROWS, tmp_path, [c for c in TABLE_COLUMNS if c != column])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data, message", [
    (b"", "empty"), (b"\xef\xbb\xbf", "empty"), (b"\xff\xd8\xff\xe0\x00\x10JFIF", "UTF-8"), (b"id\0,gpu", "not text"),
    (b"hello", "no column 'id'"), (b"{}", "no column"), (",".join(TABLE_COLUMNS).encode(), "no row"),
])  # fmt: skip
def test_a_file_that_is_no_table(data, message, tmp_path):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(UserError, match=message): check_table(str(tmp_path / "t.csv"))


def test_a_ragged_row_is_unknown(tmp_path):
    (tmp_path / "t.csv").write_text(",".join(TABLE_COLUMNS) + "\nshort,Tesla T4\n" + "x," * 40 + "\n")
    lines = []
    assert check_table(str(tmp_path / "t.csv"), as_json=True, out=lines.append) == 0
    assert [json.loads(line)["plausible"] for line in lines] == [None, None]


def test_a_long_name_is_cut(tmp_path):
    lines = []
    text = ",".join(TABLE_COLUMNS[:9]) + f"\n{'x' * 100},Tesla T4,1,hf,gpt2,train,fp16,3,samples/s\n"
    (tmp_path / "t.csv").write_text(text)
    check_table(str(tmp_path / "t.csv"), out=lines.append)
    assert lines[1].startswith("x" * 40 + "...") and max(map(len, lines)) <= 80


def test_the_table_is_80_columns_wide(capsys):
    assert check_table(str(PUBLISHED)) == 1
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 80 and "REFUSED" in out and err == "34 rows: 28 ok, 6 refused, 0 unknown\n"


def test_a_control_character_does_not_reach_the_terminal(tmp_path):
    lines = []
    red = "\x1b[31mred,Tesla\x1b T4,1,hf,gpt2,train,fp16,3,\x07"
    (tmp_path / "t.csv").write_text(f"id,gpu,n_gpus,family,model,mode,precision,value,unit\n{red}\n")
    check_table(str(tmp_path / "t.csv"), out=lines.append)
    assert all(line.isprintable() for line in lines)


def test_torch_is_not_loaded_without_a_timm_row(tmp_path):
    text = [line for line in PUBLISHED.read_text().splitlines() if ",timm," not in line]
    (tmp_path / "t.csv").write_text("\n".join(text))
    code = "import sys; from ready_steady_go.truth.published import check_table; check_table(sys.argv[1]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.csv")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
