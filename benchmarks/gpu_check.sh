#!/usr/bin/env bash
# What only a GPU can show, in minutes: the installation, the tests with the GPU's backend, memory and races in its
# kernels, and the time of every stage. A part that fails does not keep the others from running, but for the
# installation; the exit status is 0 if none failed. Figures go to benchmarks/results/.
#
#   benchmarks/gpu_check.sh [NAME.json]      PYTHON: the interpreter, python3 by default
set -euo pipefail
shopt -s inherit_errexit

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
export PYTHONPATH="$repository${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
output=${1:-}

rows=() # of the table at the end
failed=0

# step NAME SECONDS COMMAND...: run within so many seconds, note how it went; the status is that of the command
step() {
  local name=$1 most=$2 started=$SECONDS status=0 word=ok
  shift 2
  echo "== $name (at most $most s)"
  timeout --kill-after=10 "$most" "$@" || status=$?
  if ((status != 0)); then
    word=FAILED
    failed=$((failed + 1))
  fi
  if ((status == 124 || status == 137)); then
    word="FAILED: more than $most s"
  fi
  rows+=("$(printf '%-22s %4d s  %s' "$name" $((SECONDS - started)) "$word")")
  return "$status"
}

finish() {
  printf '%s\n' "" "== gpu_check" "${rows[@]/#/  }"
  if ((failed)); then
    echo "gpu_check: $failed of its steps FAILED, after $SECONDS s" >&2
    exit 1
  fi
  exit 0
}

if ! reason=$("$python" -c '
from ibsync.coupling.backends.cuda.backend import default_device
from ibsync.errors import DeviceError
try:
    print(default_device().name)
except DeviceError as error:
    raise SystemExit(str(error))
' 2>&1); then
  echo "gpu_check: ${reason##*$'\n'}" >&2
  exit 1
fi
rows+=("$(printf '%-22s %s' device "$reason")")

step doctor 30 "$python" -m ibsync doctor || finish
step "tests on the GPU" 170 "$python" -m pytest tests/test_engine.py tests/test_shares.py tests/kernels/test_backend.py \
  tests/kernels/test_null_there.py tests/kernels/test_whole.py --backend cuda -q || true

if sanitizer=$(command -v compute-sanitizer); then
  for tool in memcheck racecheck; do
    step "$tool" 60 "$sanitizer" --tool "$tool" --error-exitcode 9 "$python" benchmarks/gpu_tiny.py || true
  done
else
  echo "== memcheck, racecheck: compute-sanitizer is not on the PATH"
  rows+=("$(printf '%-22s left out: compute-sanitizer is not on the PATH' 'memcheck, racecheck')")
fi

step benchmarks 155 "$python" benchmarks/gpu.py ${output:+-o "$output"} || true
finish
