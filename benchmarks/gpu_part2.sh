#!/usr/bin/env bash
# Seven minutes more: the tests with the GPU's backend, the time of every stage beside its bound, and errors of memory.
#
#   [OUT=folder] benchmarks/gpu_part2.sh
source "$(dirname "${BASH_SOURCE[0]}")/gpu_steps.sh"

step tests 150 "$python" -m pytest tests/coupling/test_engine.py tests/kernels/test_backend.py \
  tests/kernels/test_null_there.py --backend cuda -q --maxfail=30 -p no:cacheprovider
step stages 120 "$python" benchmarks/gpu.py --only peaks stages workloads textbook -o "$out/stages.json"
if sanitizer=$(command -v compute-sanitizer); then
  step memcheck 110 "$sanitizer" --tool memcheck --error-exitcode 9 "$python" benchmarks/gpu_tiny.py
else
  rows+=("$(printf '%-12s left out: compute-sanitizer is not on the PATH' memcheck)")
fi
finish gpu_part2
