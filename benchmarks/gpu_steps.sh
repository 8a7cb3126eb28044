# What the scripts for a GPU share: sourced by gpu_part1.sh and gpu_part2.sh. PYTHON: the interpreter, python3 by default.
set -euo pipefail
shopt -s inherit_errexit

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
export PYTHONPATH="$repository${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
out=${OUT:-benchmarks/results} # where figures and logs go
mkdir -p "$out"

rows=() # of the table at the end
failed=0

# step NAME SECONDS COMMAND...: run within so many seconds and keep the output in $out; a failure keeps no other from running
step() {
  local name=$1 most=$2 started=$SECONDS status=0 word=ok
  shift 2
  echo "== $name (at most $most s)"
  timeout --kill-after=10 "$most" "$@" > >(tee "$out/$name.log") 2>&1 || status=$?
  if ((status != 0)); then
    word=FAILED
    failed=$((failed + 1))
  fi
  if ((status == 124 || status == 137)); then
    word="FAILED: more than $most s"
  fi
  rows+=("$(printf '%-12s %4d s  %s' "$name" $((SECONDS - started)) "$word")")
}

# finish NAME: the table, and 1 if a step failed
finish() {
  printf '%s\n' "" "== $1" "${rows[@]/#/  }"
  if ((failed)); then
    echo "$1: $failed of its steps FAILED, after $SECONDS s" >&2
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
  echo "$(basename "$0" .sh): ${reason##*$'\n'}" >&2
  exit 1
fi
rows+=("$(printf '%-12s %s' device "$reason")")
