#!/usr/bin/env bash
# Builds every kernels/*.cu and defects/*.cu to PTX with a pinned compiler from PyPI; no CUDA installation, no GPU.
#
#   cuda/build.sh           writes cuda/ptx/*.ptx, cuda/ptx/resources.csv and cuda/defects/ptx/*.ptx
#   cuda/build.sh --check   builds elsewhere, compares with the committed files, exits 1 on a difference
#
# A defect is built twice: NAME.ptx, and NAME.repaired.ptx with -DREPAIRED. ptxas accepts every file for sm_80 and
# sm_90, and NAME_sm90.cu, which is built for sm_90a, for that. Needs python3 with pip, and g++. The compiler (NVIDIA's wheels, under its EULA, never committed) goes to
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

# Makes the text independent of where the checkout lies: `.file` keeps base names, and the hash of the path that NVVM
# puts after _INTERNAL_ in .debug_str, spelt as .b8 bytes, becomes zeros.
normalize() {
  python3 - "$1" "$2" <<'PYTHON'
import re
import sys

text = open(sys.argv[1]).read()
text = re.sub(r'(\.file\s+\d+\s+")[^"]*/([^"/]+")', r"\1\2", text)

head, section, debug = text.partition(".section\t.debug_str")
numbers = re.compile(r"(?<=[ ,])\d+")
places = []  # of every byte of the section, in order
for line in re.finditer(r"^\.b8 .*$", debug, re.MULTILINE):
    places += [(line.start() + m.start(), line.start() + m.end()) for m in numbers.finditer(line.group())]
data = bytes(int(debug[a:b]) for a, b in places)
spans = [m.span(1) for m in re.finditer(rb"_INTERNAL_([0-9a-f]{8})_", data)]
for first, last in reversed(spans):
    for a, b in reversed(places[first:last]):
        debug = debug[:a] + "48" + debug[b:]  # "0"
open(sys.argv[2], "w").write(head + section + debug)
PYTHON
}

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

# build SOURCE OUTPUT [FLAG]..
build() {
  local source="$1" output="$2"
  shift 2
  local arch=(-arch=sm_80) targets=(sm_80 sm_90)
  if [[ $source == *_sm90.cu ]]; then
    arch=(-gencode=arch=compute_90a,code=sm_90a) targets=(sm_90a)
  fi
  "$bin/nvcc" -std=c++20 "${arch[@]}" -ptx -lineinfo --fmad=false "$@" "$source" -o "$scratch/raw.ptx"
  normalize "$scratch/raw.ptx" "$output"
  for target in "${targets[@]}"; do
    "$bin/ptxas" -v -arch="$target" "$output" -o "$scratch/out.cubin" 2>"$scratch/ptxas.txt" || {
      head -20 "$scratch/ptxas.txt" >&2
      exit 1
    }
    if grep -F 'Potential Performance Loss' "$scratch/ptxas.txt"; then
      echo "$output has products that ptxas makes wait for each other" >&2
      exit 1
    fi
    if grep -E '[1-9][0-9]* bytes spill' "$scratch/ptxas.txt"; then
      echo "$output spills registers on $target" >&2
      exit 1
    fi
    if [[ $source == kernels/* ]]; then
      # A driver that is older than the compiler is given this version (src/device/driver.rs).
      sed 's/^\.version .*/.version 8.3/' "$output" >"$scratch/older.ptx"
      "$bin/ptxas" -arch="$target" "$scratch/older.ptx" -o "$scratch/older.cubin"
      "$nvdisasm" -c "$scratch/out.cubin" >"$scratch/out.sass"
      resources "$(basename "$source" .cu)" "$target" "$scratch/ptxas.txt" "$scratch/out.sass" >>"$out/ptx/resources.csv"
    fi
  done
  echo "${output#"$out"/}: $(grep -oE 'Used [0-9]+ registers' "$scratch/ptxas.txt" | tr '\n' ' ')"
}

echo "kernel,entry,target,registers,stack_bytes,spilled_bytes,instructions,tensor,mufu,shared_and_copies" >"$out/ptx/resources.csv"
for source in kernels/*.cu; do
  build "$source" "$out/ptx/$(basename "$source" .cu).ptx"
done
for source in defects/*.cu; do
  [[ -e $source ]] || continue
  name="$(basename "$source" .cu)"
  build "$source" "$out/defects/ptx/$name.ptx"
  build "$source" "$out/defects/ptx/$name.repaired.ptx" -DREPAIRED
done

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
