#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Times softgate and PyTorch on the same workloads, alternating, and prints how many times faster softgate is.
#
#   tests/bench/compare.sh [ROUNDS] [THREADS]     defaults: 3 rounds, all processors
#   SOFTGATE=build/softgate  PYTHON=/usr/bin/python3  WORKLOADS="W1 W1g W1s W2 W2a W4"  SMALL=1 (sizes / 16)
#
# PYTHON needs torch and numpy (Debian: python3-torch python3-numpy). Only ratios of one run mean anything. On a busy
# machine look at the ratio of processor times: wall times then measure the neighbours.
set -eu
cd "$(dirname "$0")/../.."
rounds=${1:-3}
threads=${2:-$(getconf _NPROCESSORS_ONLN)}
softgate=${SOFTGATE:-build/softgate}
python=${PYTHON:-/usr/bin/python3}
workloads=${WORKLOADS:-W1 W1g W1s W1s.row W2 W2a W3.forward W3.fwdbwd W3.grouped W3.step W4}
small=${SMALL:+--small}
[ -x "$softgate" ] || { echo "compare.sh: $softgate is missing: run make first" >&2; exit 2; }
"$python" -c 'import torch, numpy' 2>/dev/null || {
    echo "compare.sh: $python has no torch or no numpy: install them, or set PYTHON" >&2
    exit 2
}
peers=$(echo "$workloads" | tr ' ' ',')
case " $workloads " in *" W1 "*) peers=$peers,W1n ;; esac
case " $workloads " in *" W3"*) peers=$peers,W3 ;; esac
records=$(mktemp -d)
trap 'rm -rf "$records"' EXIT INT TERM
export OMP_NUM_THREADS="$threads" OMP_WAIT_POLICY=passive
round=1
while [ "$round" -le "$rounds" ]; do
    echo "round $round of $rounds" >&2
    # shellcheck disable=SC2086 # workloads are words
    "$softgate" bench $workloads $small --format json > "$records/mine.$round"
    # shellcheck disable=SC2086 # $small is a word or nothing
    "$python" tests/bench/peer_torch.py --threads "$threads" --passive --head-n 512 --only "$peers" $small \
        > "$records/peer.$round"
    round=$((round + 1))
done
"$python" - "$records" "$rounds" "$threads" <<'EOF'
import json, os, statistics, sys
import torch

folder, rounds, threads = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PEERS = {
    "W1": ["W1", "W1n.sapo"], "W1g": ["W1g", "W1n.grpo"], "W1s": ["W1s", "W1n.gspo"],
    "W1s.row": ["W1s", "W1n.gspo"],
    "W1.stats": ["W1"], "W2.update": ["W2.update", "W2.update_analytic", "W2.np_update"],
    "W2.step": ["W2.step"], "W2.draw": ["W2.multinomial", "W2.gumbel1", "W2.np_sample"],
    "W2.observe": ["W2.entropy"], "W2a": ["W2a.foreach", "W2a.loop"],
    "W3.forward": ["W3.gemm", "W3.forward"], "W3.fwdbwd": ["W3.fwdbwd_chunked", "W3.fwdbwd_full"],
    "W3.grouped": ["W3.fwdbwd_chunked", "W3.fwdbwd_full"],
    "W3.step": ["W3.step.foreach"], "W2.light": ["W2.step"], "W4": ["W4"],
}
mine, peer = {}, {}
for k in range(1, rounds + 1):
    for row in json.load(open(f"{folder}/mine.{k}")):
        mine.setdefault(row["workload"], []).append(row)
    for line in open(f"{folder}/peer.{k}"):
        row = json.loads(line)
        peer.setdefault(row["workload"], []).append(row)


def of(rows, key, pick):
    return pick(row[key] for row in rows)


print(f"torch {torch.__version__}, {threads} threads, {rounds} rounds, "
      f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
print(f"{'workload':11}{'peer':19}{'reps':>9}{'softgate ms':>13}{'peer ms':>10}"
      f"{'median':>9}{'best':>8}{'cpu':>8}   fraction  error")
for name, rows in mine.items():
    for other in PEERS.get(name, []):
        if other not in peer:
            continue
        ratios = [of(peer[other], key, pick) / of(rows, key, pick)
                  for key, pick in (("median_s", statistics.median), ("best_s", min), ("cpu_s", min))]
        reps = f"{rounds}x{rows[0]['repetitions']}/{peer[other][0]['reps']}"
        print(f"{name:11}{other:19}{reps:>9}{1e3 * of(rows, 'median_s', statistics.median):13.3f}"
              f"{1e3 * of(peer[other], 'median_s', statistics.median):10.2f}"
              f"{ratios[0]:8.1f}x{ratios[1]:7.1f}x{ratios[2]:7.1f}x"
              f"{of(rows, 'fraction', max):10.2f}{of(rows, 'error_vs_fp64', max):10.1e}")
EOF
