#!/usr/bin/env bash
# Measures the sample that ships with rsg (ready_steady_go/report/sample.jsonl): small models on one core of a CPU, which is what every machine has.
#
#     bash benchmarks/sample.sh OUT.jsonl
#
# About ten minutes, on a machine with nothing else to do: on a busy one most points are not steady, and the report does not rank them.
set -euo pipefail
out=${1:?the file to write}
one() { OMP_NUM_THREADS=1 taskset -c "${CORE:-0}" rsg --device cpu --wandb off --n-seconds "${SECONDS_EACH:-8}" --out "$out" "$@"; }

one --model resnet18 --size 64 --fp32 --bs 1-32*2
one --model resnet18 --size 64 --bf16 --bs 1-4*2
one --model mobilenetv3_small_100 --size 64 --fp32 --bs 1-64*2
for tokens in 16 32 64; do one --model distilbert-base-cased --layers 2 --vocab 1000 --seq-len $tokens --fp32 --bs 1-8*2; done
for mode in train infer; do one --model lstm --layers 1 --emb-dim 128 --hid-dim 128 --vocab 1000 --seq-len 32 --mode $mode --fp32 --bs 4-64*2; done
