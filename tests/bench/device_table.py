#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Called by device.sh: prints the table of a record and keeps every measurement as JSON.

  device_table.py FOLDER ROUNDS RECORD.json

FOLDER holds plain.K.WORKLOAD and fast.K.WORKLOAD (arrays of softgate, by the kernels in use), eager.K and compile.K (JSON lines of
peer_torch.py; may be missing).
"""
import glob
import json
import os
import re
import statistics
import sys

folder, rounds, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PEERS = {
    "W1": ["W1"], "W1g": ["W1g"], "W1s": ["W1s"], "W1s.row": ["W1s"], "W1.stats": ["W1"],
    "W2.update": ["W2.update", "W2.update_analytic"], "W2.step": ["W2.step"], "W2.light": ["W2.step"],
    "W2.draw": ["W2.multinomial", "W2.gumbel1"], "W2.observe": ["W2.entropy"],
    "W2a": ["W2a.foreach", "W2a.loop"], "W3.grouped": ["W3.fwdbwd_chunked"],
    "W3.step": ["W3.step.fused", "W3.step.foreach"], "W4": ["W4"],
}
for kind, suffix in (("", ""), (".tf32", "_tf32"), (".bf16", "_bf16")):
    PEERS["W3.forward" + kind] = ["W3.gemm" + suffix, "W3.forward" + suffix]
    PEERS["W3.fwdbwd" + kind] = ["W3.fwdbwd_chunked" + suffix, "W3.fwdbwd_full" + suffix]
    PEERS["W3.large" + kind] = ["W3.large.fwdbwd_chunked" + suffix, "W3.large.fwdbwd_full" + suffix]


def read(name, parse):
    path = os.path.join(folder, name)
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        return []
    with open(path) as file:
        return parse(file)


def lines(file):
    return [json.loads(line) for line in file if line.strip()]


mine, peer, every = {}, {"eager": {}, "compile": {}}, []
for k in range(1, rounds + 1):
    for kernels in ("plain", "fast"):
        for path in sorted(glob.glob(os.path.join(folder, f"{kernels}.{k}.*"))):
            for row in read(os.path.basename(path), json.load):
                mine.setdefault((row["workload"], kernels), []).append(row)
                every.append(dict(row, program="softgate", kernels=kernels, round=k))
    for mode, rows in peer.items():
        for row in read(f"{mode}.{k}", lines):
            rows.setdefault(row["workload"], []).append(row)
            every.append(dict(row, program=f"torch {mode}", round=k))
with open(target, "w") as file:
    json.dump(every, file, indent=0)
    file.write("\n")

def numbers(rows, key):
    """NaN is null in JSON; a number that is none must not go under in a maximum."""
    return [float("nan") if row.get(key) is None else row[key] for row in rows]


def greatest(rows, key):
    found = numbers(rows, key)
    return float("nan") if any(x != x for x in found) else max(found)


def median(rows):
    return statistics.median(numbers(rows, "median_s"))


def arithmetic(rows, key):
    """Where that is the limit; bench leaves the numbers out elsewhere."""
    return f"{greatest(rows, key):10.0f}" if rows[0].get(key) is not None else f"{'-':>10}"


def same_work(name, row, other):
    """Layers of as many samples; --small cuts some and not others."""
    n = re.search(r"\bN=(\d+)", row["shape"])
    return not name.startswith("W3") or name == "W3.step" or (n and int(n.group(1)) == other["shape"]["N"])


print(f"# {rounds} rounds, medians of their medians; ratios are how many times faster softgate is")
print(f"{'workload':17}{'kernels':9}{'shape':34}{'us':>10}{'GB/s':>8}{'machine':>9}{'GFLOP/s':>10}{'machine':>10}{'fraction':>9}{'error':>9}"
      f"   {'peer':29}{'us':>10}{'eager':>8}{'compiled':>9}")
for (name, kernels), rows in sorted(mine.items(), key=lambda item: item[0][0]):
    head = (f"{name:17}{kernels:9}{rows[0]['shape']:34}{1e6 * median(rows):10.1f}"
            f"{greatest(rows, 'gb_per_s'):8.0f}"
            f"{greatest(rows, 'machine_gb_per_s'):9.0f}"
            f"{arithmetic(rows, 'gflops')}{arithmetic(rows, 'machine_gflops')}"
            f"{statistics.median(numbers(rows, 'fraction')):9.2f}"
            f"{greatest(rows, 'error_vs_fp64'):9.1e}")
    others = [p for p in PEERS.get(name, []) if any(
        p in peer[m] and same_work(name, rows[0], peer[m][p][0]) for m in peer)]
    if not others:
        print(head)
    for other in others:
        eager, compiled = (peer[m].get(other, []) for m in ("eager", "compile"))
        ratio = [f"{median(r) / median(rows):.1f}x" if r else "-" for r in (eager, compiled)]
        print(f"{head}   {other:29}{1e6 * median(eager or compiled):10.1f}"
              f"{ratio[0]:>8}{ratio[1]:>9}")
sys.exit(0 if mine else 1)
