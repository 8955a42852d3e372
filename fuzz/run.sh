#!/usr/bin/env bash
# Fuzzes every target for SECONDS (60) on a stable toolchain, with coverage: fuzz/run.sh [SECONDS [TARGET..]]
#
# Targets: `layout` (any bytes are a layout) and `ptx` (any text is a program or is refused). Replays
# fuzz/regressions/TARGET first. Fails on a crash, and for `layout` unless empty, partial and full blocks, empty rows and
# ragged tails were all reached. With a nightly toolchain, `cargo +nightly fuzz run TARGET` does the fuzzing alone.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] || targets=(layout ptx)

host=$(rustc -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-target}/fuzz
flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
flags+=' -Ccodegen-units=1 -Coverflow-checks=on -Cdebug-assertions=on'

for name in "${targets[@]}"; do
  # What the target starts from, and the longest input: 32 bytes are what a case reads.
  case $name in
    layout) seeds=fuzz/seeds/layout length=32 ;;
    ptx) seeds=tests/ptx length=4096 ;;
    *)
      echo "fuzz/run.sh: no target '$name'; there are layout and ptx" >&2
      exit 2
      ;;
  esac
  RUSTFLAGS=$flags cargo build --release --package flashproof-fuzz --bin "$name" --target "$host" --target-dir "$folder"
  target=$folder/$host/release/$name
  corpus=$folder/corpus/$name
  log=$folder/$name.log
  mkdir -p "$corpus" "$folder/artifacts"
  find fuzz/regressions -path "*/$name/*.bin" -exec "$target" {} +
  # Without -len_control=0 libFuzzer spends its minute on inputs of a few bytes.
  "$target" -max_total_time="$seconds" -len_control=0 -max_len="$length" -print_final_stats=1 \
    -artifact_prefix="$folder/artifacts/" "$corpus" "$seeds" 2>&1 | tee "$log" | grep -E '^(reached|stat::|==|SUMMARY|thread|INFO: seed)' || true

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
