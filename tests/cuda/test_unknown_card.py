"A GPU without a row in the table of data sheets is measured: no share of a peak, and nothing else is missing."


def test_a_card_without_a_data_sheet_is_measured(rsg):
    options = ("--model", "test_vit", "--fp16", "--bs", "4,8", "--n-batches", "20", "--wandb", "off")
    code, out, err, records = rsg(*options, NAME="NVIDIA Mystery 9000", KERNEL_US=50)
    assert code == 0 and len(records) == 2, err
    for record in records:
        assert record["outcome"] == "ok" and record["device_name"] == "NVIDIA Mystery 9000" and record["mfu"] is None
        assert record["model_tflops"] > 0 and record["plausible"] is not False
    assert "MFU" not in out and "* test_vit fp16" in out and "data sheet" not in out
