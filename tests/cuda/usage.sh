#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# `make check-cuda-build` calls this with what ptxas said about the kernels of each file. Fails where a kernel keeps more
# registers in memory than is known and accepted, or has static shared memory beside dynamic that takes all there is.
set -eu
cat "$@" | { c++filt 2>/dev/null || cat; } | awk '
# Bytes of spills: by accident a few, where a kernel calls functions; these are known to have more.
function most(name) {
    if (name ~ /of_many/) return 224 # stays at 64 registers for four blocks; the gates with least arithmetic
    if (name ~ /resident_updates/) return 256 # 80 or 128 registers, so that three blocks, or one of 512 threads, fit
    return 64
}
function complain(what) {
    printf "%s: %s has %s\n", architecture, name, what
    failed = 1
}
/Compiling entry function/ {
    architecture = $NF
    gsub(/[^a-z0-9_]/, "", architecture)
    name = $0
    sub(/.*entry function ./, "", name)
    sub(/. for .sm_[0-9]*.$/, "", name)
    sub(/\(anonymous namespace\)::/, "", name)
    sub(/\(.*/, "", name)
    spilled = 0
}
/bytes spill stores/ { spilled = $5 }
/Used [0-9]+ registers/ {
    shared = 0
    for (i = 2; i <= NF; i++)
        if ($i ~ /^smem/) shared = $(i - 1)
    kernels++
    if (spilled > 0) spilling++
    if (spilled > most(name)) complain(spilled " bytes of spills, more than the " most(name) " that are accepted")
    if (name ~ /resident_updates/ && shared > 0) complain(shared " bytes of static shared memory beside all dynamic")
}
END {
    if (kernels == 0) {
        print "usage: ptxas said nothing"
        exit 1
    }
    printf "check-cuda-build: %d kernels, %d with spills%s\n", kernels, spilling, failed ? "" : ", none more than accepted"
    exit failed
}'
