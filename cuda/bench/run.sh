#!/usr/bin/env bash
# One call on a machine with a card, under 9 minutes: sampled rows judged, kernels and peers timed, the card's own checks.
#
#   cuda/bench/run.sh FLASHPROOF OUT_DIR [SECONDS]
#
# FLASHPROOF is the program, built before: cargo build --release --features cuda. Nothing is built here but what PyTorch and
# Triton compile for themselves. Without a card: FLASHPROOF bench device --dry.
set -euo pipefail
if (($# < 2)); then
  sed -n '2,7p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
exec "$1" bench device --peers "$here/peers.py" --out "$2" --seconds "${3:-520}"
