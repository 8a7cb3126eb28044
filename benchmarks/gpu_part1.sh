#!/usr/bin/env bash
# The first four minutes on a GPU: whether the installation works, every kind of kernel once at the smallest size, what
# the GPU can do at most, and one study from file to p-values.
#
#   [OUT=folder] benchmarks/gpu_part1.sh
source "$(dirname "${BASH_SOURCE[0]}")/gpu_steps.sh"

step doctor 90 "$python" -m ibsync doctor
step tiny 40 "$python" benchmarks/gpu_tiny.py
step peaks 30 "$python" benchmarks/gpu.py --only peaks -o "$out/peaks.json"
step typical 60 "$python" -m ibsync bench --backend cuda --workload typical --json "$out/typical.json"
finish gpu_part1
