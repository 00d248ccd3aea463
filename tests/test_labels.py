"Two results that differ in a setting never share a label, a row or a comparison; another stack is labelled, and never compared unasked."

from dataclasses import fields, replace

import pandas as pd
import pytest
from synthetic import point

from ready_steady_go.commands.compare import compare, json_lines, report_lines
from ready_steady_go.report.comparable import classify
from ready_steady_go.report.ranking import best_rows
from ready_steady_go.report.table import table_of
from ready_steady_go.run.screen import best_line
from ready_steady_go.spec.options import SpecFields, label_words, options_of
from ready_steady_go.store.record import Record, seal, settings_key, stack_of, stack_text
from ready_steady_go.store.wandb_runs import run_of

# Two values of each field, besides those that name a repeat (bs, seed) and the one that describes the others (changed).
VALUES = dict(
    model=("a", "b"), family=("timm", "hf", "lstm", "my_models"), mode=("train", "infer", "forward"), precision=("fp16", "fp32", "bf16"),
    size=(224, 96, "320x224"), channels=(3, 1), classes=(1000, 10), layout=("nchw", "channels_last"), optimizer=("sgd", "adam"),
    fused=(True, False), lr=(0.1, 0.2), clip=(None, 0.5, 1.0), grad_accum=(1, 2), checkpointing=(False, True),
    compile=(None, "inductor", "inductor:max-autotune"), torchscript=(False, True), cuda_graph=(False, True), n_gpus=(1, 2),
    strategy=("ddp", "fsdp2"), n_nodes=(None, 2), backend=("nccl", "gloo"),
    task=("classify", "lm"), seq_len=(64, 128), attention=("sdpa", "eager"), cell=("LSTM", "GRU"), layers=(1, 2), emb_dim=(64, 128),
    hid_dim=(64, 128), tied=(True, False), vocab=(1000, 2000), dropout=(0.1, 0.5),
    digest=(None, "0123456789abcdef", "fedcba9876543210"),
    full_dropout=(True, None), carry_state=(None, True), no_cudnn=(None, True), half_weights=(None, True),
)  # fmt: skip
NOT_A_SETTING = {"bs", "seed", "changed"}
STACK = dict(
    pytorch=("2.4.1", "2.5.1"), cuda=("12.1", "12.4"), cudnn=("9.1.0", "9.3.0"), driver=("550.54", "570.1"), rsg_version=("0.1.0", "0.2.0"),
    timm=("0.9.16", "1.0.31"), cudnn_benchmark=(True, False),
)  # fmt: skip


def test_all_fields_of_the_spec_are_tested():
    assert VALUES.keys() | NOT_A_SETTING == {f.name for f in fields(SpecFields)}
    assert all(row.label for name, row in options_of(SpecFields).items() if name != "seed")


def variants(field, known):
    "Return a record for each value of a field; where the model's own values are known, only the first value is its own."
    base = replace(point(spec=dict(size=224, changed="" if known else None)), fused=None)
    if field == "full_dropout": base = replace(base, family="lstm", task="lm")  # only these have it
    is_own = field in options_of(SpecFields) and options_of(SpecFields)[field].own
    more = [dict(changed=field) if known and is_own and i else {} for i in range(len(VALUES[field]))]
    return [seal(replace(base, **{field: value}, **m)) for value, m in zip(VALUES[field], more)]


@pytest.mark.parametrize("known", (True, False), ids=("own values known", "old record"))
@pytest.mark.parametrize("field", VALUES)
def test_two_settings_never_share_a_label_or_a_row(field, known):
    records = variants(field, known)
    n = len(records)
    assert len({r.label for r in records}) == len({settings_key(r) for r in records}) == len({best_line(r) for r in records}) == n
    assert len({run_of(r)["name"] for r in records}) == len({run_of(r)["summary"]["label"] for r in records}) == n
    rows = classify(table_of(records))
    assert rows.key.nunique() == len(set(zip(rows.what, rows.precision))) == len(best_rows(rows)) == n


@pytest.mark.parametrize("field", VALUES)
def test_two_settings_are_never_compared(field):
    first, second = variants(field, known=True)[:2]
    found = compare([first], [replace(second, throughput=2.0, id="other")], across=True)
    assert not found.points and len(found.missing) == len(found.added) == 1
    text = "\n".join([*report_lines(found, []), *json_lines(found)])
    assert len({line for line in text.splitlines() if line.startswith("{")}) == 2
    assert all(r.label in text.replace("\n    ", " ") for r in (first, second))


@pytest.mark.parametrize("field", STACK)
def test_another_stack_is_in_the_same_chart_with_a_note_and_is_compared_only_when_asked_for(field):
    known = {name: values[0] for name, values in STACK.items()}
    first, second = (seal(replace(point(noise=0.0), **known | {field: value})) for value in STACK[field])
    repeat = seal(replace(point(box=1), **known))
    assert first.label == second.label and settings_key(first) == settings_key(second)
    rows = classify(table_of([first, repeat, second]))
    assert rows.group.nunique() == 1 and list(rows.note)[:2] == ["", ""] and rows.note[2] != ""
    assert len(best_rows(rows)) == 3
    refused = compare([first], [second])
    assert not refused.points and "use --across versions to compare" in refused.hints[0]
    asked = compare([first], [second], across=True)
    assert len(asked.points) == 1 and asked.points[0].across


def test_what_an_old_record_does_not_hold_is_unknown():
    old = Record(model="resnet50", family="timm", size=224, classes=1000)
    assert old.label == "resnet50 fp32, 224 px, 1000 classes, sgd"
    assert stack_text(stack_of(replace(old, device="cuda:0", pytorch="2.4.1"))) == (
        "torch 2.4, CUDA unknown, cuDNN unknown, driver unknown, rsg 0.1, timm unknown, autotuning unknown"
    )
    assert "options" in label_words(replace(old, mode=None))


def test_a_cpu_has_no_stack_of_a_gpu():
    assert stack_of(Record(model="x", device="cpu", pytorch="2.9.0", rsg_version="0.1.0")) == dict(torch="2.9", rsg="0.1")


def test_options_that_all_records_share_are_in_each_label_and_once_at_the_top():
    from ready_steady_go.report.data import ReportData
    from ready_steady_go.report.overview import overview

    some = [point(model=model, spec=dict(clip=0.5, changed="")) for model in ("a", "b")]
    data = ReportData(classify(pd.concat([table_of(some)])), ["toys"])
    assert set(data.rows.what) == {"a, 224 px, clip 0.5", "b, 224 px, clip 0.5"}
    shared = [note.texts[0] for note in overview(data) if note.title == "All results:"]
    assert shared[0].startswith("224 px, clip 0.5, FP16; torch 2.4, CUDA 12.1")
