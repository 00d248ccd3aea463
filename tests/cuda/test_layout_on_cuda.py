"A search on CUDA measures its best batch size in channels_last, too, and the tensors are in that layout."

SEARCH = ("--model", "test_vit", "--fp16", "--search-until", "8", "--n-seconds", "0.3", "--wandb", "off")


def test_the_best_point_is_tried_in_channels_last(rsg):
    code, out, err, records = rsg(*SEARCH, KERNEL_US=50)
    (trial,) = [r for r in records if r["search"] == "layout"]
    best = max((r for r in records if r["search"] == "confirm"), key=lambda r: r["throughput"])
    assert code == 0 and trial["outcome"] == "ok" and (trial["layout"], trial["bs"]) == ("channels_last", best["bs"]), err
    assert {r["layout"] for r in records if r is not trial} == {"nchw"} and trial["device"].startswith("cuda")
    ratio = trial["throughput"] / best["throughput"]
    assert f"  channels_last: {ratio:.2f}x ± " in out and "NHWC" in out
    again = rsg(*SEARCH, KERNEL_US=50)
    assert again[0] == 0 and again[3] == records and f"  channels_last: {ratio:.2f}x ± " in again[1]
