#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# `make check-cuda-sanitizer` calls this with the test program. Needs a device.
set -eu
tool=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ ! -x "$tool" ]; then
    echo 'check-cuda-sanitizer: skipped, compute-sanitizer is not installed'
    exit 0
fi
# Calls that fail are not its business: tests ask for too much memory, and for clusters that may not fit.
export OMP_WAIT_POLICY=passive CK_FORK=no CK_DEFAULT_TIMEOUT=0
for check in memcheck racecheck initcheck; do
    for kernels in plain fast; do
        echo "compute-sanitizer $check, $kernels kernels"
        SOFTGATE_KERNELS=$kernels "$tool" --tool "$check" --report-api-errors no --error-exitcode 9 --print-limit 20 "$1"
    done
done
