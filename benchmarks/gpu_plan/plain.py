"""Plain training and inference loops that share no code with rsg.

    python plain.py '{"model": "timm:resnet50", "bs": 64, "precision": "fp16", "device": "cuda", "seconds": 3}'

Builds the model and warms up. Then each line on stdin times the loop once and prints samples per second: on a GPU between two
events on the device, else by the wall clock. A further `tune` turns cuDNN's autotuning on (the default) or off; `half` converts
the weights instead of using autocast.
"""

import json
import os
import sys
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

WARM_UP_S = 1.0
HALF = dict(fp16=torch.float16, bf16=torch.bfloat16)


class Lstm(nn.Module):
    "An embedding, one LSTM layer, and scores for the next token."

    def __init__(self, vocab=33279, dim=1024):
        super().__init__()
        self.embedding, self.cells, self.scores = nn.Embedding(vocab, dim), nn.LSTM(dim, dim, batch_first=True), nn.Linear(dim, vocab)

    def forward(self, tokens):
        return self.scores(self.cells(self.embedding(tokens))[0]).flatten(0, 1)


def image_model(case, device):
    import timm

    model = timm.create_model(case["name"]).to(device)
    images = torch.randn(case["bs"], *model.default_cfg["input_size"], device=device)
    return model, images, torch.randint(model.num_classes, (case["bs"],), device=device)


def lstm_model(case, device):
    tokens, following = (torch.randint(33279, (case["bs"], case["seq_len"]), device=device) for _ in range(2))
    return Lstm().to(device), tokens, following.flatten()


class Classifier(nn.Module):
    "A transformer of which only the scores of the classes are used."

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model(tokens).logits


def text_model(case, device):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    vocab = dict(bert=30522, distilbert=28996)[case["name"]]
    layers = dict(num_hidden_layers=case["layers"]) if case.get("layers") else {}
    config = AutoConfig.for_model(case["name"], vocab_size=vocab, **layers)
    model = AutoModelForSequenceClassification.from_config(config).to(device)
    tokens = torch.randint(vocab, (case["bs"], case["seq_len"]), device=device)
    return Classifier(model), tokens, torch.randint(config.num_labels, (case["bs"],), device=device)


BUILD = dict(timm=image_model, hf=text_model, lstm=lstm_model)


def optimizer_of(case, model, cuda):
    "Return SGD, Adam or AdamW, fused on a GPU."
    name, parameters = case.get("optimizer", "sgd"), model.parameters()
    if name == "sgd": return torch.optim.SGD(parameters, lr=1e-5, weight_decay=5e-5, fused=cuda or None)
    return dict(adam=torch.optim.Adam, adamw=torch.optim.AdamW)[name](parameters, lr=1e-5, fused=cuda or None)


def training(case, model, batch, labels, device):
    "Return a function that runs one training step."
    dtype, scaled = HALF.get(case["precision"]), case["precision"] == "fp16"
    optimizer, scaler = optimizer_of(case, model.train(), device.type == "cuda"), torch.amp.GradScaler(device.type, enabled=scaled)

    def step():
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None): loss = cross_entropy(model(batch), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


def inference(case, model, batch, labels, device):
    "Return a function that runs one forward pass."
    dtype, half = HALF.get(case["precision"]), case.get("half", False)
    model = model.eval().to(dtype) if half and dtype else model.eval()
    if half and dtype and batch.is_floating_point(): batch = batch.to(dtype)

    def step():
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None and not half): model(batch)

    return step


def seconds_of(step, n, device):
    "Return the seconds of n steps."
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(n): step()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(n): step()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3


def main():
    case = dict(mode="train", seconds=3.0, seq_len=128, tune=True) | json.loads(sys.argv[1])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = case["precision"] == "tf32"
    torch.backends.cudnn.benchmark = case["tune"]
    if case["device"] == "cpu": torch.set_num_threads(len(os.sched_getaffinity(0)))
    device, (family, _, case["name"]) = torch.device(case["device"]), case["model"].partition(":")
    step = (training if case["mode"] == "train" else inference)(case, *BUILD[family](case, device), device)
    seconds_of(step, 3, device)  # the first steps tune and allocate
    for _ in sys.stdin:
        spent, n = 0.0, 1
        while spent < min(WARM_UP_S, case["seconds"]):
            took = seconds_of(step, n, device)
            spent, per_step, n = spent + took, took / n, 2 * n
        n = max(1, round(case["seconds"] / per_step))
        print(case["bs"] * n / seconds_of(step, n, device), flush=True)


if __name__ == "__main__":
    main()
