"""Made-up records for tests and benchmarks of the report, never for a result. All their GPUs are called Synthetic."""

import math
import random
from dataclasses import fields

from ready_steady_go.box.machine import Machine
from ready_steady_go.spec.spec import Spec
from ready_steady_go.store.record import Record, make_record
from ready_steady_go.timing.measure import Measurement

SHARE = dict(fp16=1.0, bf16=0.97, tf32=0.62, fp32=0.46)
GPUS = [
    f"Synthetic GPU {n}"
    for n in (
        9000,
        8000,
        7500,
        7000,
        6500,
        6000,
        5500,
        5000,
        4500,
        4000,
        3900,
        3800,
        3700,
        3600,
        3500,
        3400,
        3300,
        3200,
        3100,
        3000,
        2900,
        2800,
        2600,
        2400,
        2200,
        2000,
        1800,
        1600,
        1400,
        1200,
    )
]


def machine(gpu, box=0, **more):
    "Return a box with that GPU."
    about = dict(device="cuda", device_name=gpu, driver="550.54.15", pytorch="2.4.1+cu121", cuda="12.1", gpu_mem=24 * 2**30)
    return Machine(**(about | dict(ram_bytes=(64 + box) * 2**30, cpu="Synthetic CPU", cpu_cores=16) | more))


def speed(gpu):
    "Return the throughput of a synthetic GPU in samples/s: a tenth of the number in its name."
    return float("".join(c for c in gpu if c.isdigit())[-5:] or 1000) / 10


def point(gpu=GPUS[0], bs=64, model="synthetic-net", precision="fp16", box=0, factor=1.0, spec=(), noise=0.004, windows=12, **more):
    "Return one result."
    rate = speed(gpu) * SHARE.get(precision, 0.5) * factor * bs / (bs + 12)
    s = Spec(**(dict(model=model, family="timm", precision=precision, bs=bs, size=224) | dict(spec)))
    m = Measurement(bs, [(10, 10 * bs / rate * (1 + noise * (i % 3 - 1))) for i in range(windows)], 1.0, 0.1, True)
    about = dict(steady=True, search="confirm", plausible=True, peak_mem_bytes=int((2 + 0.06 * bs) * 2**30), busy=0.99)
    return make_record(s, machine(gpu, box), m, **(about | more))


def ladder(gpu=GPUS[0], sizes=(8, 16, 32, 64, 128), oom=256, **more):
    "Return the records of a search: short measurements, a size that does not fit, and the confirmed winner."
    probes = [point(gpu, bs, search="probe", steady=False, windows=3, **more) for bs in sizes]
    kept = {k: v for k, v in more.items() if k in ("model", "precision")}
    out = make_record(
        Spec(**(dict(family="timm", bs=oom, size=224, model="synthetic-net", precision="fp16") | kept)),
        machine(gpu, more.get("box", 0)),
        outcome="oom",
        search="probe",
    )
    parts = 1e3 * sizes[-1] / speed(gpu)
    best = dict(
        forward_ms=0.3 * parts,
        backward_ms=0.62 * parts,
        optimizer_ms=0.08 * parts,
        mfu=0.31,
        ceiling_share=0.44,
        samples_per_joule=speed(gpu) / 300,
        energy_from="counter",
    )
    return [*probes, out, point(gpu, sizes[-1], **(best | more))]


def market(n_gpus=30, precisions=("fp16", "fp32"), models=("synthetic-net", "synthetic-vit")):
    "Return the searches of many GPUs, some of them with several boxes."
    found = []
    for i, gpu in enumerate(GPUS[:n_gpus]):
        for box in range(1 + (i % 4 == 1) * 13):
            for k, model in enumerate(models):
                for p in precisions:
                    usd = dict(
                        usd_per_hour=0.2 + speed(gpu) / 1500,
                        usd_from="vast.ai",
                        usd_time=f"2026-01-{1 + i % 28:02}T03:04:05Z",
                        usd_gpus=1,
                        usd_kind=("spot", "on-demand")[i % 2],
                        usd_per_msample=(0.2 + speed(gpu) / 1500) / 3600 / speed(gpu) / (0.7 + 0.3 * k) * 1e6,
                    )
                    found += ladder(
                        gpu,
                        model=model,
                        precision=p,
                        box=box,
                        factor=(1 - 0.03 * box / 13 + 0.01 * (box % 3)) * (1 - 0.6 * k * (1 + i % 3) / 3),
                        **usd,
                    )
    return found


def many(n, seed=0):
    "Yield `n` records, as in a large project: 40 models, 30 GPUs, 4 precisions, 12 windows each."
    random.seed(seed)
    made, sizes = 0, (8, 16, 32, 64, 96, 128, 192, 256)
    while True:
        gpu, model, precision, box = (
            random.choice(GPUS),
            f"synthetic-{random.randrange(40)}",
            random.choice(list(SHARE)),
            random.randrange(50),
        )
        for bs in sizes:
            yield point(
                gpu,
                bs,
                model,
                precision,
                box,
                factor=math.exp(random.gauss(0, 0.03)),
                search="probe" if bs != 128 else "confirm",
                steady=bs == 128,
            )
            made += 1
            if made == n:
                return


def every_field(text):
    "Return `text` for each free text field of a record."
    ours = "outcome mode precision optimizer task attention cell size search energy_from".split()
    return {f.name: text for f in fields(Record) if "str" in str(f.type) and f.name not in ours}
