"""How much of what timm and transformers have can be benchmarked.

    python benchmarks/breadth.py [--families timm,hf] [--sample 60] [--seed 0]

Builds every timm model, and every architecture that transformers has for classifying sequences and for predicting tokens, on the meta
device, with the configuration that `rsg` would train. Then a seeded sample of them does one real training step on the CPU: small pictures,
few tokens, two blocks, small experts and a small vocabulary, where the architecture can be had so. What is too large for the machine
however small it is made counts as not working. What does not work is listed with its reason; a reason that `rsg` would not give in one
plain line is counted as a traceback. An error in a step is one that it gives: the point has failed, and its last words are on record. The
last line is one JSON object; exit 1 below 98 % of timm, 95 % of transformers or 95 % of the steps, or with a traceback.
"""

import argparse
import json
import random
import signal
import sys
import time
import warnings
from contextlib import contextmanager

from ready_steady_go.spec.errors import UserError
from ready_steady_go.spec.spec import Spec
from ready_steady_go.training.families import load_family, resolve

LEAST = dict(timm=0.98, hf=0.95, steps=0.95)
STEP_S = 120  # seconds of work, of all threads together, that one model may take for building and stepping
MOST_PARAMS = 1e9  # of a model that is trained here: with gradients 8 GB


class Slow(Exception):
    "It takes longer than this machine has time for."


def _alarm(signum, frame): raise Slow(f"not done within {STEP_S} s of work")


def plain(error):
    "The reason in one line, and whether it is one that `rsg` itself would give."
    text = " ".join(str(error).split())
    if isinstance(error, UserError): return text[:220], "\n" not in str(error)
    return f"{type(error).__name__}: {text}"[:220], False


def attempt(do, family, name, task):
    "Do it within the time; returns why it did not work, or None, and whether that is a plain line."
    signal.setitimer(signal.ITIMER_PROF, STEP_S)
    try: do(family, name, task)
    except Exception as error: return plain(error)
    finally: signal.setitimer(signal.ITIMER_PROF, 0)
    return None, True


def asked(families):
    "Every (family, model, task)."
    if "timm" in families: yield from (("timm", name, None) for name in load_family("timm").names())
    if "hf" in families: yield from (("hf", name, task) for task in ("classify", "lm") for name in load_family("hf").architectures(task))


def on_meta(family, name, task):
    "The number of parameters of the model as `rsg` would build it."
    import torch

    spec = resolve(Spec(model=f"{family}:{name}", task=task))
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return sum(p.numel() for p in load_family(family).build(spec, "meta").model.parameters())


# What makes a model small, where the configuration has it, and disagrees with nothing else: few layers, few experts, few features in them.
NAMES = """num_hidden_layers num_layers n_layer n_layers encoder_layers decoder_layers num_encoder_layers num_decoder_layers depth"""
LAYERS = dict.fromkeys(NAMES.split(), 2)
FEW = dict(
    num_experts=4, n_routed_experts=4, num_local_experts=4, moe_num_experts=4, num_experts_per_tok=2, moe_k=2, n_group=1, topk_group=1,
    first_k_dense_replace=1, intermediate_size=512, moe_intermediate_size=256, vocab_size_per_layer_input=1024,
    num_kv_shared_layers=0, encoder_hash_byte_group_vocab=1024,
)  # fmt: skip


def shrunk(config, few):
    "A configuration of the same kind, small in all of its parts."
    from transformers import PretrainedConfig

    own = vars(config)
    parts = {name: shrunk(part, few) for name, part in own.items() if isinstance(part, PretrainedConfig)}
    less = {name: value for name, value in few.items() if isinstance(own.get(name), int) and own[name] >= value}
    return type(config)(**less, **parts) if less or parts else config


@contextmanager
def small_configs(few):
    "While it lasts, transformers' configurations are small by default."
    from transformers import AutoConfig

    usual = AutoConfig.for_model

    def small(arch, **more):
        own, asked = usual(arch, **more), more.keys() - {"num_hidden_layers"}
        return own if asked else shrunk(own, few | more)

    AutoConfig.for_model = small
    try: yield
    finally: AutoConfig.for_model = usual


@contextmanager
def few_blocks(blocks):
    "While it lasts, timm's models have so few blocks, where they can be told."
    import timm

    usual = timm.create_model
    timm.create_model = lambda name, **more: usual(name, **more, **blocks)
    try: yield
    finally: timm.create_model = usual


# Each way to make a model small, the smallest first; the last one is the model as it is.
WAYS = dict(
    timm=[(few_blocks, blocks, dict(size=size)) for blocks in (dict(depth=2), dict(depths=(1, 1, 1, 1)), dict(layers=(1, 1, 1, 1)), {})
          for size in (64, 128, None)],
    hf=[(small_configs, few, options | dict(seq_len=16)) for few in (LAYERS | FEW, FEW, {})
        for options in (dict(layers=2, vocab=256), dict(vocab=256), {})],
)  # fmt: skip


def looked_at(spec):
    "The number of parameters, and whether a forward pass goes through, on the meta device."
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        work = load_family(spec.family).build(spec, "meta")
        params = sum(p.numel() for p in work.model.parameters())
        try: work.model(work.draw(2)[0])
        except Slow: raise
        except Exception: return params, False  # what was left out was needed, or the meta device cannot do it
        return params, True


@contextmanager
def smallest(family, name, task):
    "The spec of the smallest model of that name whose parts fit together, and while it lasts that model is what is built."
    found = []
    for shrink, how, options in WAYS[family]:
        with shrink(how):
            try:
                spec = resolve(Spec(model=f"{family}:{name}", task=task, **options))
                params, goes = looked_at(spec)
            except Slow: raise
            except Exception: continue  # it cannot be had so small
            if params > MOST_PARAMS: continue
            found.append((shrink, how, spec))
            if goes: break
    else:
        found = found[:1]
    large = f"{family}:{name}: more than {MOST_PARAMS / 1e9:g} G parameters, however small: too large for this machine"
    if not found: raise UserError(large)
    shrink, how, spec = found[-1]
    with shrink(how): yield spec


def step(family, name, task):
    "One real training step. What goes wrong in it is said as `rsg` says it of a point."
    from ready_steady_go.run.bench import describe_error
    from ready_steady_go.training.workload import TrainStep, trouble

    with smallest(family, name, task) as spec:
        one = TrainStep(load_family(family).build(spec, "cpu"), "fp32", 2)
        try: one()
        except Slow: raise
        except Exception as error: raise UserError(f"{family}:{name}: failed: {describe_error(error)}") from error
        if wrong := trouble(one): raise UserError(wrong["text"])


def failures(what, do):
    "Do it for each; returns [(family, name, task, reason, plain)] of those that did not work."
    bad, began = [], time.monotonic()
    for i, one in enumerate(what, 1):
        reason, is_plain = attempt(do, *one)
        if reason: bad.append((*one, reason, is_plain)); print(*one[:2], reason, file=sys.stderr, flush=True)
        if i % 50 == 0: print(f"{i}/{len(what)}, {time.monotonic() - began:.0f} s: {len(bad)} did not work", file=sys.stderr, flush=True)
    return bad


def tell(title, what, bad):
    "Print shares by family, and the reasons; returns the shares."
    shares = {}
    print(f"\n{title}")
    for family in dict.fromkeys(f for f, *_ in what):
        n, lost = sum(f == family for f, *_ in what), [b for b in bad if b[0] == family]
        shares[family] = 1 - len(lost) / n
        print(f"  {family}: {n - len(lost)} of {n}, {shares[family]:.1%}")
        for _, name, task, reason, is_plain in lost:
            print(f"    {name}{f' ({task})' if task else ''}: {'' if is_plain else 'TRACEBACK '}{reason}")
    return shares


def about_this_machine():
    "Device, versions and date in a line."
    import importlib.metadata as metadata
    from datetime import UTC, datetime

    from ready_steady_go.box.machine import cpu_cores

    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "timm", "transformers", "ready_steady_go"))
    return f"CPU, {cpu_cores():g} cores; {versions}; {datetime.now(UTC):%Y-%m-%d}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="timm,hf", help="which of them, separated by commas")
    parser.add_argument("--sample", type=int, default=60, help="how many do a step")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _alarm)
    print(about_this_machine())
    everything = list(asked(arguments.families.split(",")))
    bad = failures(everything, on_meta)
    built = tell("built on the meta device", everything, bad)
    lost = {b[:3] for b in bad}
    works = [w for w in everything if w not in lost]
    rng, families = random.Random(arguments.seed), list(dict.fromkeys(f for f, *_ in everything))
    each = {f: [w for w in works if w[0] == f] for f in families}
    n = arguments.sample // len(families)  # as many of each family
    sample = [w for f in families for w in rng.sample(each[f], min(len(each[f]), n))]
    stuck = failures(sample, step)
    tell("one training step", sample, stuck)
    steps, tracebacks = 1 - len(stuck) / max(1, len(sample)), sum(not b[-1] for b in bad + stuck)
    about = dict(n=len(everything), sample=len(sample), seed=arguments.seed, tracebacks=tracebacks)
    print(json.dumps(dict(built={f: round(share, 4) for f, share in built.items()}, steps=round(steps, 4), **about)))
    sys.exit(any(share < LEAST[f] for f, share in built.items()) or steps < LEAST["steps"] or tracebacks > 0)


if __name__ == "__main__":
    main()
