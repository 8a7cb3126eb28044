#!/usr/bin/env bash
# What a GPU is worth, in eight minutes at most and one file of figures: $OUT/gpu_check.json.
#
#   [OUT=folder] [PYTHON=python3] benchmarks/gpu_check.sh
exec "${PYTHON:-python3}" "$(dirname "${BASH_SOURCE[0]}")/gpu_check.py" "$@"
