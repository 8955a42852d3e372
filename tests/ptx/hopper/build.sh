#!/usr/bin/env bash
# Builds the kernels of this folder to PTX with the compiler that cuda/build.sh installs: NAME.ptx, and NAME.defectN.ptx
# for each defect. No debug lines: the tests name codes, not places.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bin="${XDG_CACHE_HOME:-$HOME/.cache}/flashproof/cuda-13.0/nvidia/cu13/bin"
build() {
  local source="$1" defect="$2" output="$3"
  "$bin/nvcc" -std=c++20 -gencode=arch=compute_90a,code=sm_90a -ptx --fmad=false -DDEFECT="$defect" "$source" -o "$output"
  "$bin/ptxas" -arch=sm_90a "$output" -o /dev/null
}
for name in gemm attention; do
  build "$name.cu" 0 "$name.ptx"
  last="$(grep -oE 'DEFECT (==|!=) [0-9]+' "$name.cu" | grep -oE '[0-9]+$' | sort -n | tail -1)"
  for defect in $(seq 1 "$last"); do
    build "$name.cu" "$defect" "$name.defect$defect.ptx"
  done
done
