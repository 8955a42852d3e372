#!/usr/bin/env bash
# Compiles attention.cu to PTX with an nvcc 13.0: compile.sh [FILE.ptx]. NVCC names the compiler; without it the one
# that cuda/build.sh brings is used.
set -euo pipefail
nvcc="${NVCC:-${XDG_CACHE_HOME:-$HOME/.cache}/flashproof/cuda-13.0/nvidia/cu13/bin/nvcc}"
output="$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/attention.ptx}")"
cd "$(dirname "${BASH_SOURCE[0]}")"
"$nvcc" -std=c++17 -arch=sm_80 -ptx -lineinfo attention.cu -o "$output"
# The path of the source, and the debug section made of it, differ from machine to machine.
sed -i -E -e 's|(\.file[[:space:]]+[0-9]+[[:space:]]+")[^"]*/([^/"]+")|\1\2|' -e '/\.section[[:space:]]+\.debug/,$d' "$output"
