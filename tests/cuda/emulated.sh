#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# `make check-cuda-emulated` calls this with the test program: once with threads and blocks in ascending
# order and once with them shuffled, which shows missing barriers as wrong results.
set -eu
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 CK_FORK=no
export ASAN_OPTIONS=detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1
for seed in ${SOFTGATE_EMULATOR_SEED:-0 2}; do
    SOFTGATE_EMULATOR_SEED=$seed "$1"
done
