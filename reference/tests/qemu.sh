#!/usr/bin/env bash
# The pinned bits on processors that this machine is not: the same test binary under qemu-user (Debian: qemu-user), with
# no AVX at all (Core 2, Westmere) and with AVX2 and FMA but no AVX-512 (Haswell). Says "skipped" where there is no qemu.
set -euo pipefail
cd "$(dirname "$0")/../.."

qemu=${QEMU_X86_64:-qemu-x86_64}
if [[ $(uname -m) != x86_64 ]] || ! command -v "$qemu" >/dev/null; then
  echo "skipped: no qemu-x86_64 on this machine (Debian: apt install qemu-user)"
  exit 0
fi

binary=$(cargo test --package flashproof-reference --lib --locked --no-run --message-format=json |
  python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        print(message["executable"])')

for cpu in core2duo Westmere Haswell; do
  echo "=== $cpu"
  "$qemu" -cpu "$cpu" "$binary" --exact --nocapture certified::tests::bits_are_pinned_at_every_level
done
