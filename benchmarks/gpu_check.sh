#!/usr/bin/env bash
# What only a GPU can show, in minutes: the installation, the tests with the GPU's backend, memory and races in its
# kernels, and the time of every stage. Ends at the first part that fails; figures go to benchmarks/results/.
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

finish() {
  local status=$?
  if ((${#rows[@]})); then
    echo
    echo "== gpu_check"
    printf '  %s\n' "${rows[@]}"
  fi
  ((status == 0)) || echo "gpu_check: FAILED after $SECONDS s" >&2
}
trap finish EXIT

# step NAME SECONDS COMMAND...: run within so many seconds, note how it went
step() {
  local name=$1 most=$2 started=$SECONDS status=0
  shift 2
  echo "== $name (at most $most s)"
  timeout --kill-after=10 "$most" "$@" || status=$?
  if ((status == 0)); then
    rows+=("$(printf '%-28s ok      %4d s' "$name" $((SECONDS - started)))")
    return
  fi
  ((status != 124 && status != 137)) || echo "gpu_check: $name took more than $most s" >&2
  rows+=("$(printf '%-28s FAILED  %4d s' "$name" $((SECONDS - started)))")
  exit 1
}

if ! reason=$("$python" -c '
from ibsync.backends.cuda import default_device
from ibsync.errors import DeviceError
try:
    print(default_device().name)
except DeviceError as error:
    raise SystemExit(str(error))
' 2>&1); then
  trap - EXIT
  echo "gpu_check: ${reason##*$'\n'}" >&2
  exit 1
fi
rows+=("$(printf '%-28s %s' device "$reason")")

step doctor 30 "$python" -m ibsync doctor
step "tests on the GPU" 130 "$python" -m pytest tests/test_engine.py tests/test_shares.py --backend cuda -q -x

if sanitizer=$(command -v compute-sanitizer); then
  for tool in memcheck racecheck; do
    step "$tool" 75 "$sanitizer" --tool "$tool" --error-exitcode 9 "$python" benchmarks/gpu_tiny.py
  done
else
  echo "== memcheck, racecheck: compute-sanitizer is not on the PATH, left out"
  rows+=("$(printf '%-28s left out: compute-sanitizer is not on the PATH' 'memcheck, racecheck')")
fi

step benchmarks 160 "$python" benchmarks/gpu.py ${output:+-o "$output"}
