"rsg quality on CUDA: FP16 trains with the gradient scaler and deterministic kernels, in the child that sets cuBLAS's workspace."

import json


def test_pairs_are_trained_on_cuda(rsg, tmp_path):
    "Numbers in tensors are garbage here, so no verdict is checked."
    args = "quality", "--model", "tiny-bert", "--fp16", "--tf32", "--seeds", "3", "--epochs", "1", "--bs", "1024", "--quiet"
    code, out, err, _ = rsg(*args, timeout=200, KERNEL_US=5)
    lines = [json.loads(line) for line in (tmp_path / "rsg-quality.jsonl").read_text().splitlines()]
    assert code in (0, 1) and "Traceback" not in err, err
    assert {line["config"] for line in lines} == {"fp32", "fp16", "tf32"} and {line["device"] for line in lines} == {"cuda"}, lines
    assert all(line.get("error") is None and line["steps"] == 3 for line in lines), lines
