#!/usr/bin/env bash
# Compiles attention.cu to PTX with an nvcc 13.0: compile.sh [FILE.ptx]. NVCC names the compiler; without it the one
# that cuda/build.sh brings is used.
set -euo pipefail
nvcc="${NVCC:-${XDG_CACHE_HOME:-$HOME/.cache}/flashproof/cuda-13.0/nvidia/cu13/bin/nvcc}"
output="$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/attention.ptx}")"
cd "$(dirname "${BASH_SOURCE[0]}")"
raw="$(mktemp)"
trap 'rm -f "$raw"' EXIT
"$nvcc" -std=c++17 -arch=sm_80 -ptx -lineinfo attention.cu -o "$raw"
python3 ../../cuda/portable_ptx.py "$raw" "$output"
