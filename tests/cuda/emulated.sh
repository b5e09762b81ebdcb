#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# `make check-cuda-emulated` calls this with the test program. Plain kernels run with threads and blocks in
# ascending order and everything done at once (seed 0), and with both shuffled (2); fast ones in descending order and
# everything done as late as possible (1), and with another shuffle (3). That shows missing barriers, waits and
# events as wrong results. Two side by side, as one emulator keeps one processor busy.
set -u
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 CK_FORK=no
export ASAN_OPTIONS=detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1
logs=$(mktemp -d) || exit 1
running=
trap 'rm -rf "$logs"' EXIT
trap 'kill $running 2>/dev/null; exit 130' INT TERM
failed=0
for kernels in ${SOFTGATE_KERNELS:-plain fast}; do
    running=
    [ "$kernels" = plain ] && seeds='0 2' || seeds='1 3'
    for seed in ${SOFTGATE_EMULATOR_SEED:-$seeds}; do
        SOFTGATE_KERNELS=$kernels SOFTGATE_EMULATOR_SEED=$seed "$1" >"$logs/$kernels kernels, seed $seed" 2>&1 &
        running="$running $!"
    done
    # shellcheck disable=SC2086 # process numbers
    for process in $running; do
        wait "$process" || failed=1
    done
done
for log in "$logs"/*; do
    basename "$log"
    cat "$log"
done
exit "$failed"
