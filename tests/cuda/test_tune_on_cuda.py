"rsg tune on CUDA: a configuration whose numbers differ from FP32 is out."

MODEL = ("--model", "vit_tiny_patch16_224", "--bs", "2", "--precision", "tf32")


def test_a_configuration_with_other_numbers_is_out(rsg):
    "Numbers in tensors are garbage here, so nothing agrees with FP32, and plain FP32 remains."
    code, out, err, records = rsg("tune", *MODEL, "--budget", "40", "--wandb", "off", timeout=200, KERNEL_US=20, TFLOPS=10)
    assert code == 0, err
    probes = [r for r in records if r["search"] == "tune"]
    assert {r["precision"] for r in probes} <= {"fp32", "tf32"}
    assert all(r["outcome"] == "ok" or "does not train as FP32 does" in r["error"] for r in probes)
    assert any(r["outcome"] != "ok" for r in probes)
    assert {(r["precision"], r["fused"]) for r in probes if r["outcome"] == "ok"} == {("fp32", False)}
    assert "plain FP32 is the fastest" in out and [r for r in records if r["search"] == "confirm"][-1]["tune_ratio"] > 0
