"""Count the models of timm and transformers that can be benchmarked.

    python benchmarks/breadth.py [--families timm,hf] [--sample 60] [--seed 0]

Builds every timm model, and every architecture that transformers has for classifying sequences and for predicting tokens, on the
meta device, with the configuration that `rsg` would train. Then a seeded sample of them does one real training step on the CPU:
small pictures, few tokens, two blocks, small experts and a small vocabulary, where the architecture allows it. A model that is
too large for the machine in every form counts as a failure. Each failure is listed with its reason. A reason that `rsg` would not
give in one line counts as a traceback; an error in a step does not, because it becomes the record of a failed point. The last
line is one JSON object; exit 1 below 98 % of timm, 95 % of transformers or 95 % of the steps, or with a traceback.
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
    "A model that needs more time than it is given here."


def _alarm(signum, frame): raise Slow(f"not done within {STEP_S} s of work")


def plain(error):
    "Return the reason in one line, and True if `rsg` would give it so."
    text = " ".join(str(error).split())
    if isinstance(error, UserError): return text[:220], "\n" not in str(error)
    return f"{type(error).__name__}: {text}"[:220], False


def attempt(do, family, name, task):
    "Call `do` within the time limit. Return why it failed, or None, and True if that is one line of `rsg`."
    signal.setitimer(signal.ITIMER_PROF, STEP_S)
    try: do(family, name, task)
    except Exception as error: return plain(error)
    finally: signal.setitimer(signal.ITIMER_PROF, 0)
    return None, True


def combinations(families):
    "Yield each (family, model, task)."
    if "timm" in families: yield from (("timm", name, None) for name in load_family("timm").names())
    if "hf" in families: yield from (("hf", name, task) for task in ("classify", "lm") for name in load_family("hf").architectures(task))


def build_on_meta(family, name, task):
    "Return the number of parameters of the model that `rsg` would build."
    import torch

    spec = resolve(Spec(model=f"{family}:{name}", task=task))
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return sum(p.numel() for p in load_family(family).build(spec, "meta").model.parameters())


# Values that make a configuration small and do not contradict each other: few layers, few experts with few features.
NAMES = """num_hidden_layers num_layers n_layer n_layers encoder_layers decoder_layers num_encoder_layers num_decoder_layers depth"""
LAYERS = dict.fromkeys(NAMES.split(), 2)
FEW = dict(
    num_experts=4, n_routed_experts=4, num_local_experts=4, moe_num_experts=4, num_experts_per_tok=2, moe_k=2, n_group=1, topk_group=1,
    first_k_dense_replace=1, intermediate_size=512, moe_intermediate_size=256, vocab_size_per_layer_input=1024,
    num_kv_shared_layers=0, encoder_hash_byte_group_vocab=1024,
)  # fmt: skip


def shrunk(config, few):
    "Return a configuration of the same kind that is small in all its parts."
    from transformers import PretrainedConfig

    own = vars(config)
    parts = {name: shrunk(part, few) for name, part in own.items() if isinstance(part, PretrainedConfig)}
    less = {name: value for name, value in few.items() if isinstance(own.get(name), int) and own[name] >= value}
    return type(config)(**less, **parts) if less or parts else config


@contextmanager
def small_configs(few):
    "Make transformers' default configurations small within the context."
    from transformers import AutoConfig

    usual = AutoConfig.for_model

    def small(arch, **more):
        default, options = usual(arch, **more), more.keys() - {"num_hidden_layers"}
        return default if options else shrunk(default, few | more)

    AutoConfig.for_model = small
    try: yield
    finally: AutoConfig.for_model = usual


@contextmanager
def few_blocks(blocks):
    "Make timm's models with few blocks within the context, if they have such arguments."
    import timm

    usual = timm.create_model
    timm.create_model = lambda name, **more: usual(name, **more, **blocks)
    try: yield
    finally: timm.create_model = usual


# Ways to make a model small, the smallest first; the last one leaves the model as it is.
WAYS = dict(
    timm=[(few_blocks, blocks, dict(size=size)) for blocks in (dict(depth=2), dict(depths=(1, 1, 1, 1)), dict(layers=(1, 1, 1, 1)), {})
          for size in (64, 128, None)],
    hf=[(small_configs, few, options | dict(seq_len=16)) for few in (LAYERS | FEW, FEW, {})
        for options in (dict(layers=2, vocab=256), dict(vocab=256), {})],
)  # fmt: skip


def try_forward(spec):
    "Return the number of parameters, and True if a forward pass on the meta device works."
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        work = load_family(spec.family).build(spec, "meta")
        params = sum(p.numel() for p in work.model.parameters())
        try: work.model(work.draw(2)[0])
        except Slow: raise
        except Exception: return params, False  # a removed part was needed, or the meta device cannot do it
        return params, True


@contextmanager
def smallest(family, name, task):
    "Yield the spec of the smallest model of that name that works; within the context, that model is built."
    found = []
    for shrink, how, options in WAYS[family]:
        with shrink(how):
            try:
                spec = resolve(Spec(model=f"{family}:{name}", task=task, **options))
                params, works = try_forward(spec)
            except Slow: raise
            except Exception: continue  # it does not work this small
            if params > MOST_PARAMS: continue
            found.append((shrink, how, spec))
            if works: break
    else:
        found = found[:1]
    large = f"{family}:{name}: more than {MOST_PARAMS / 1e9:g} G parameters, however small: too large for this machine"
    if not found: raise UserError(large)
    shrink, how, spec = found[-1]
    with shrink(how): yield spec


def train_one_step(family, name, task):
    "Run one real training step. Raise a `UserError` with the words of a failed point."
    from ready_steady_go.run.bench import describe_error
    from ready_steady_go.training.workload import TrainStep, nonfinite_finding
    from ready_steady_go.truth.findings import finding

    with smallest(family, name, task) as spec:
        one = TrainStep(load_family(family).build(spec, "cpu"), "fp32", 2)
        try: one()
        except Slow: raise
        except Exception as error: raise UserError(f"{family}:{name}: failed: {describe_error(error)}") from error
        if found := nonfinite_finding(one): raise UserError(finding(**found)["text"])


def failures(what, do):
    "Call `do` for each. Return [(family, name, task, reason, plain)] of the failures."
    bad, began = [], time.monotonic()
    for i, one in enumerate(what, 1):
        reason, is_plain = attempt(do, *one)
        if reason: bad.append((*one, reason, is_plain)); print(*one[:2], reason, file=sys.stderr, flush=True)
        if i % 50 == 0: print(f"{i}/{len(what)}, {time.monotonic() - began:.0f} s: {len(bad)} did not work", file=sys.stderr, flush=True)
    return bad


def print_shares(title, what, bad):
    "Print the shares by family and the reasons of the failures. Return the shares."
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
    "Return device, versions and date in a line."
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
    everything = list(combinations(arguments.families.split(",")))
    bad = failures(everything, build_on_meta)
    built = print_shares("built on the meta device", everything, bad)
    lost = {b[:3] for b in bad}
    works = [w for w in everything if w not in lost]
    rng, families = random.Random(arguments.seed), list(dict.fromkeys(f for f, *_ in everything))
    each = {f: [w for w in works if w[0] == f] for f in families}
    n = arguments.sample // len(families)  # as many of each family
    sample = [w for f in families for w in rng.sample(each[f], min(len(each[f]), n))]
    stuck = failures(sample, train_one_step)
    print_shares("one training step", sample, stuck)
    steps, tracebacks = 1 - len(stuck) / max(1, len(sample)), sum(not b[-1] for b in bad + stuck)
    about = dict(n=len(everything), sample=len(sample), seed=arguments.seed, tracebacks=tracebacks)
    print(json.dumps(dict(built={f: round(share, 4) for f, share in built.items()}, steps=round(steps, 4), **about)))
    sys.exit(any(share < LEAST[f] for f, share in built.items()) or steps < LEAST["steps"] or tracebacks > 0)


if __name__ == "__main__":
    main()
