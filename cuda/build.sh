#!/usr/bin/env bash
# Builds every kernels/*.cu and defects/*.cu to PTX with a pinned compiler from PyPI; no CUDA installation, no GPU.
#
#   cuda/build.sh           writes cuda/ptx/*.ptx, cuda/ptx/resources.csv and cuda/defects/ptx/*.ptx
#   cuda/build.sh --check   builds elsewhere, compares with the committed files, exits 1 on a difference
#
# A defect of block_sparse_sm80 is built twice: NAME.ptx, and NAME.repaired.ptx with -DREPAIRED. Of a defect of another
# kernel, NAME.ptx has no lines of the source, and with -DREPAIRED its code must be the kernel's. ptxas accepts every file
# for sm_80 and sm_90, and what is built for sm_90a (entries NAME_sm90_*) for that. Needs python3 with pip, and g++. The compiler
# (NVIDIA's wheels, under its EULA, never committed) goes to
# ${XDG_CACHE_HOME:-$HOME/.cache}/flashproof/cuda-13.0; set PIP_FIND_LINKS and PIP_NO_INDEX to install from a folder.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

check=no
case "${1-}" in
  "") ;;
  --check) check=yes ;;
  *)
    echo "usage: cuda/build.sh [--check], not '$1'" >&2
    exit 2
    ;;
esac

# All five of one release: with a newer nvvm, nvcc 13.0 writes a PTX version that ptxas 13.0 refuses.
wheels=(
  nvidia-cuda-nvcc==13.0.88
  nvidia-nvvm==13.0.88
  nvidia-cuda-crt==13.0.88
  nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85
)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/flashproof/cuda-13.0"
stamp="${wheels[*]}"
if [[ "$(cat "$cache/wheels.txt" 2>/dev/null || true)" != "$stamp" ]]; then
  echo "installing ${wheels[*]} into $cache"
  rm -rf "$cache"
  mkdir -p "$cache"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$cache" "${wheels[@]}"
  printf '%s\n' "$stamp" >"$cache/wheels.txt"
fi
bin="$cache/nvidia/cu13/bin"

# The disassembler is in no release of 13.0; 13.2's reads 13.0's machine code.
disassembler="nvidia-cuda-nvdisasm==13.2.51"
tools="${XDG_CACHE_HOME:-$HOME/.cache}/flashproof/nvdisasm-13.2"
if [[ "$(cat "$tools/wheels.txt" 2>/dev/null || true)" != "$disassembler" ]]; then
  echo "installing $disassembler into $tools"
  rm -rf "$tools"
  mkdir -p "$tools"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$tools" "$disassembler"
  printf '%s\n' "$disassembler" >"$tools/wheels.txt"
fi
nvdisasm="$(find "$tools" -name nvdisasm -type f | head -1)"
chmod +x "$nvdisasm"

out="$PWD"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
if [[ $check == yes ]]; then
  out="$scratch/out"
fi
mkdir -p "$out/ptx" "$out/defects/ptx"

# What ptxas said of each entry, and how many instructions of which kind its machine code has, as rows of CSV.
resources() {
  python3 - "$1" "$2" "$3" "$4" <<'PYTHON'
import re
import sys

kernel, target, said, sass = sys.argv[1], sys.argv[2], open(sys.argv[3]).read(), open(sys.argv[4]).read()
counts = {}
for part in re.split(r"^\s*\.section\s+\.text\.", sass, flags=re.MULTILINE)[1:]:
    name = re.match(r"[\w$]+", part).group()
    # A line of code is `/*0010*/ @P0 NAME.MODIFIERS ...`.
    names = re.findall(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)", part, re.MULTILINE)
    names = [n for n in names if n != "NOP"]
    counts[name] = [
        len(names),
        sum(n in ("HMMA", "HGMMA") for n in names),
        sum(n == "MUFU" for n in names),
        sum(n in ("LDSM", "LDS", "STS", "LDGSTS", "UTMALDG", "SYNCS") for n in names),
    ]
for entry in re.split(r"Compiling entry function '", said)[1:]:
    name = entry.split("'")[0]
    spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", entry)
    registers = re.search(r"Used (\d+) registers", entry).group(1)
    stack, stores, loads = spills.groups()
    print(",".join(map(str, [kernel, name, target, registers, stack, int(stores) + int(loads), *counts[name]])))
PYTHON
}

# entry_of SOURCE: its first entry, KERNEL_FORMAT_dN
entry_of() {
  grep -oE '[a-z_]+_sm[0-9]+_b?f16_d[0-9]+' "$1" | head -1
}

# compile SOURCE OUTPUT [FLAG]..
compile() {
  local source="$1" output="$2" arch=(-arch=sm_80)
  shift 2
  if [[ $(entry_of "$source") == *_sm90_* ]]; then
    arch=(-gencode=arch=compute_90a,code=sm_90a)
  fi
  "$bin/nvcc" -std=c++20 "${arch[@]}" -ptx --fmad=false "$@" "$source" -o "$scratch/$(basename "$output").raw"
  python3 portable_ptx.py "$scratch/$(basename "$output").raw" "$output"
}

# assemble SOURCE PTX: has ptxas accept it for each of $targets; what it says of NAME.ptx lies in $scratch/NAME.ptx.TARGET.txt
assemble() {
  local name target
  name="$(basename "$2")"
  targets=(sm_80 sm_90)
  if [[ $(entry_of "$1") == *_sm90_* ]]; then
    targets=(sm_90a)
  fi
  for target in "${targets[@]}"; do
    "$bin/ptxas" -v -arch="$target" "$2" -o "$scratch/$name.$target.cubin" 2>"$scratch/$name.$target.txt" || {
      head -20 "$scratch/$name.$target.txt" >&2
      return 1
    }
  done
}

# build SOURCE OUTPUT [FLAG]..: of a right kernel, which neither spills nor waits for itself
build() {
  local source="$1" output="$2" said target
  shift 2
  compile "$source" "$output" -lineinfo "$@"
  assemble "$source" "$output"
  for target in "${targets[@]}"; do
    said="$scratch/$(basename "$output").$target"
    if grep -F 'Potential Performance Loss' "$said.txt"; then
      echo "$output has products that ptxas makes wait for each other" >&2
      return 1
    fi
    if grep -E '[1-9][0-9]* bytes spill' "$said.txt"; then
      echo "$output spills registers on $target" >&2
      return 1
    fi
    if [[ $source == kernels/* ]]; then
      # A driver that is older than the compiler is given this version (src/device/driver.rs).
      sed 's/^\.version .*/.version 8.3/' "$output" >"$scratch/older.ptx"
      "$bin/ptxas" -arch="$target" "$scratch/older.ptx" -o "$scratch/older.cubin"
      "$nvdisasm" -c "$said.cubin" >"$scratch/out.sass"
      resources "$(basename "$source" .cu)" "$target" "$said.txt" "$scratch/out.sass" >>"$out/ptx/resources.csv"
    fi
  done
  echo "${output#"$out"/}: $(grep -oE 'Used [0-9]+ registers' "$said.txt" | tr '\n' ' ')"
}

# defect SOURCE: a defect's files
defect() {
  set -euo pipefail
  local source="$1" name entry
  name="$(basename "$source" .cu)"
  entry="$(entry_of "$source")"
  if [[ $entry == block_sparse_sm80_* ]]; then
    compile "$source" "$out/defects/ptx/$name.ptx" -lineinfo
    build "$source" "$out/defects/ptx/$name.repaired.ptx" -DREPAIRED
  else
    compile "$source" "$out/defects/ptx/$name.ptx"
    compile "$source" "$scratch/$name.repaired.ptx" -DREPAIRED
    same_code "$entry" "$scratch/$name.repaired.ptx" "$out/ptx/${entry%_*_*}.ptx"
  fi
  assemble "$source" "$out/defects/ptx/$name.ptx"
}

# same_code ENTRY PTX PTX: fails if the entry's instructions differ
same_code() {
  python3 - "$@" <<'PYTHON'
import sys

entry, *files = sys.argv[1:]


def code(file):
    body = open(file).read().split(f".entry {entry}(")[1].split("\n}\n")[0]
    lines = (line.strip() for line in body.splitlines())
    return [line for line in lines if line and not line.startswith((".loc", "//"))]


if code(files[0]) != code(files[1]):
    sys.exit(f"{files[0]}: the repaired defect is not {files[1]}")
PYTHON
}

echo "kernel,entry,target,registers,stack_bytes,spilled_bytes,instructions,tensor,mufu,shared_and_copies" >"$out/ptx/resources.csv"
for source in kernels/*.cu; do
  build "$source" "$out/ptx/$(basename "$source" .cu).ptx"
done
export bin out scratch
export -f compile assemble build defect entry_of same_code
printf '%s\n' defects/*.cu | xargs -P "$(nproc)" -I{} bash -c 'defect "$1"' _ {}

if [[ $check == yes ]]; then
  failed=no
  for folder in ptx defects/ptx; do
    diff -rq "$folder" "$out/$folder" || failed=yes
  done
  if [[ $failed == yes ]]; then
    echo "committed PTX is not what the source gives: run cuda/build.sh and commit the result" >&2
    exit 1
  fi
  echo "committed PTX is what the source gives"
fi
