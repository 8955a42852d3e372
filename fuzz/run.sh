#!/usr/bin/env bash
# Fuzzes the target `layout` for SECONDS (60) on a stable toolchain, with coverage: fuzz/run.sh [SECONDS]
#
# Replays fuzz/regressions/layout first. Fails on a crash, and unless empty, partial and full blocks, empty rows and
# ragged tails were all reached. With a nightly toolchain, `cargo +nightly fuzz run layout` does the fuzzing alone.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}

host=$(rustc -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-target}/fuzz
flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
flags+=' -Ccodegen-units=1 -Coverflow-checks=on -Cdebug-assertions=on'
RUSTFLAGS=$flags cargo build --release --package flashproof-fuzz --bin layout --target "$host" --target-dir "$folder"
target=$folder/$host/release/layout

corpus=$folder/corpus/layout
log=$folder/layout.log
mkdir -p "$corpus" "$folder/artifacts"
find fuzz/regressions -path '*/layout/*.bin' -exec "$target" {} +
# Without -len_control=0 libFuzzer spends its minute on inputs of a few bytes; 32 is what a case reads.
"$target" -max_total_time="$seconds" -len_control=0 -max_len=32 -print_final_stats=1 \
  -artifact_prefix="$folder/artifacts/" "$corpus" fuzz/seeds/layout 2>&1 | tee "$log" | grep -E '^(reached|stat::|==|SUMMARY|thread|INFO: seed)' || true

if ! grep -q '^stat::number_of_executed_units' "$log" || grep -qE '^(SUMMARY|==[0-9]+==)' "$log"; then
  tail -n 40 "$log" >&2
  echo "fuzz/run.sh: the fuzzer stopped on an input; it lies in $folder/artifacts: put it into fuzz/regressions/layout as NAME.bin with the fix" >&2
  exit 1
fi
reached=$(grep '^reached:' "$log" | tail -n 1)
if [[ -z $reached || $reached == *=0* ]]; then
  echo "fuzz/run.sh: not every kind of layout was reached in $seconds s: $reached" >&2
  exit 1
fi
