#!/usr/bin/env bash
# Fuzzes for SECONDS (60), shared by the targets, on a stable toolchain, with coverage: fuzz/run.sh [SECONDS [TARGET..]]
#
# Targets: `layout` (any bytes are a layout), `ptx` (any text is a program or is refused), `manifest` (any text is a
# manifest that binds or is refused), `program` (the virtual machine and a scalar interpreter agree). Replays
# fuzz/regressions/TARGET first. Fails on a crash, and for `layout` unless empty, partial and full blocks, empty rows and
# ragged tails were all reached. With a nightly toolchain, `cargo +nightly fuzz run TARGET` does the fuzzing alone.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] || targets=(layout ptx manifest program)
seconds=$((seconds / ${#targets[@]}))
((seconds > 0)) || seconds=1

host=$(rustc -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-target}/fuzz
flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
flags+=' -Ccodegen-units=1 -Coverflow-checks=on -Cdebug-assertions=on'

bins=()
for name in "${targets[@]}"; do
  if [[ ! -f fuzz/fuzz_targets/$name.rs ]]; then
    echo "fuzz/run.sh: no target '$name'; there are layout, ptx, manifest and program" >&2
    exit 2
  fi
  bins+=(--bin "$name")
done
# Once for all targets: the library is built once, and no time of one target goes into the build of the next.
RUSTFLAGS=$flags cargo build --release --package flashproof-fuzz "${bins[@]}" --target "$host" --target-dir "$folder"

for name in "${targets[@]}"; do
  # What the target starts from, and the longest input: 32 bytes are what a case reads.
  seeds=(fuzz/seeds/"$name")
  dictionary=()
  case $name in
    layout) length=32 ;;
    ptx) seeds=(tests/ptx) length=4096 ;;
    manifest)
      length=8192 dictionary=(-dict=fuzz/manifest.dict)
      seeds=(fuzz/seeds/manifest examples/*_attention cuda/kernels)
      ;;
    program) length=580 ;;
  esac
  target=$folder/$host/release/$name
  corpus=$folder/corpus/$name
  log=$folder/$name.log
  mkdir -p "$corpus" "$folder/artifacts"
  find fuzz/regressions -path "*/$name/*.bin" -exec "$target" {} +
  # Without -len_control=0 libFuzzer spends its minute on inputs of a few bytes.
  "$target" -max_total_time="$seconds" -len_control=0 -max_len="$length" "${dictionary[@]}" -timeout=20 -rss_limit_mb=2048 \
    -print_final_stats=1 \
    -artifact_prefix="$folder/artifacts/" "$corpus" "${seeds[@]}" 2>&1 | tee "$log" | grep -E '^(reached|stat::|==|SUMMARY|thread|INFO: seed)' || true

  if ! grep -q '^stat::number_of_executed_units' "$log" || grep -qE '^(SUMMARY|==[0-9]+==)' "$log"; then
    tail -n 40 "$log" >&2
    echo "fuzz/run.sh: the fuzzer stopped on an input; it lies in $folder/artifacts: put it into fuzz/regressions/$name as NAME.bin with the fix" >&2
    exit 1
  fi
  if [[ $name == layout ]]; then
    reached=$(grep '^reached:' "$log" | tail -n 1)
    if [[ -z $reached || $reached == *=0* ]]; then
      echo "fuzz/run.sh: not every kind of layout was reached in $seconds s: $reached" >&2
      exit 1
    fi
  fi
done
