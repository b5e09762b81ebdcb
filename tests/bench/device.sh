#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Everything that needs a CUDA device, in one call: build, tests, compute-sanitizer, benchmarks beside PyTorch. Leaves a
# record that can be committed.
#
#   tests/bench/device.sh [FOLDER]            default folder: notebooks-data/bench
#   tests/bench/device.sh --bundle DIR        only pack the programs and their libraries into DIR, on a machine
#                                             that builds them ...
#   USE=DIR tests/bench/device.sh [FOLDER]    ... for one that has a device but not the libraries
#
# ROUNDS=3  PYTHON=python3 (with torch, for the peers)  SANITIZER=no (leave compute-sanitizer out)
# WORKLOADS="W1 W4" (default: all that CUDA has)  SMALL=1 (sizes / 16)
# Written: FOLDER/DATE-DEVICE.txt, the record, and beside it DATE-DEVICE.json, every measurement. A step that
# fails is named in the record, the others go on, and the exit status is 1.
set -u
cd "$(dirname "$0")/../.." || exit 2
rounds=${ROUNDS:-3}
python=${PYTHON:-python3}
small=${SMALL:+--small}
build=${BUILD:-build}

if [ "${1:-}" = --bundle ]; then
    to=${2:?"--bundle needs a folder"}
    make -j2 BUILD="$build" check-cuda-build || exit 1
    mkdir -p "$to/lib" || exit 1
    for program in softgate softgate-check-cuda; do
        strip -o "$to/$program" "$build/$program" || exit 1
        # Not the C library and what belongs to it: those must fit the machine's own.
        ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
            grep -v '/lib\(c\|m\|mvec\|dl\|rt\|pthread\)\.so' | while read -r library; do
            cp -L "$library" "$to/lib/" || exit 1
        done || exit 1
    done
    echo "device.sh: $to holds the programs and their libraries"
    exit 0
fi

if [ -n "${USE:-}" ]; then
    softgate=$USE/softgate
    check=$USE/softgate-check-cuda
    LD_LIBRARY_PATH=$USE/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
else
    softgate=$build/softgate
    check=$build/softgate-check-cuda
    make -j"$(nproc)" BUILD="$build" check-cuda-build || exit 1
fi
"$softgate" info --format csv >/dev/null || exit 1

folder=${1:-notebooks-data/bench}
mkdir -p "$folder" || exit 1
device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
if [ -z "$device" ]; then
    echo 'device.sh: nvidia-smi shows no device' >&2
    exit 1
fi
name=$(date -u +%F)-$(echo "$device" | tr 'A-Z ' 'a-z-' | sed 's/^nvidia-//')
record=$folder/$name.txt
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT INT TERM
export OMP_WAIT_POLICY=passive CK_FORK=no CK_DEFAULT_TIMEOUT=300 TEST_DATA="$PWD/tests"
failed=0

# step NAME COMMAND...: its last lines go into the record, all of it to standard output.
step() {
    what=$1
    shift
    echo "== $what" >&2
    "$@" >"$work/log" 2>&1
    code=$?
    cat "$work/log"
    if [ "$code" -eq 0 ]; then
        echo "# $what: passed. $(grep -E 'Checks:|ERROR SUMMARY|RACECHECK SUMMARY' "$work/log" | tail -n 1)" >>"$record"
    else
        echo "# $what: FAILED with status $code" >>"$record"
        tail -n 15 "$work/log" | sed 's/^/#     /' >>"$record"
        failed=1
    fi
    return "$code"
}

# tf32 and bf16 need cuBLASLt: CUDA's, or else PyTorch's.
if [ -z "${SOFTGATE_CUBLASLT:-}" ] && ! ldconfig -p 2>/dev/null | grep -q 'libcublasLt\.so\.1[23]' &&
    ! ls /usr/local/cuda/lib64/libcublasLt.so.1[23] >/dev/null 2>&1; then
    SOFTGATE_CUBLASLT=$("$python" - 2>/dev/null <<'EOF'
import glob, os, torch
home = os.path.dirname(torch.__file__)
found = [path for folder in ("../nvidia/*/lib", "lib") for path in glob.glob(f"{home}/{folder}/libcublasLt.so.1[23]*")]
print(os.path.realpath(found[0]) if found else "")
EOF
    )
    [ -z "$SOFTGATE_CUBLASLT" ] || export SOFTGATE_CUBLASLT
fi

{
    echo "# commit $("$softgate" version | sed -n '1s/.*git \(.*\))/\1/p'), $(date -u +%F)"
    echo "# ROUNDS=$rounds ${SMALL:+SMALL=1 }${WORKLOADS:+WORKLOADS=\"$WORKLOADS\" }${USE:+USE=$USE }tests/bench/device.sh"
    echo "# $(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory --format=csv,noheader | head -n 1)"
    "$softgate" info --format csv | grep '^cuda,' | sed 's/^/# /'
    echo "# cuBLASLt: ${SOFTGATE_CUBLASLT:-that of the loader or of /usr/local/cuda}"
    echo "# device in use by others before: $(nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader | head -n 1)"
} >"$record"

step 'check-cuda' "$check"
step 'check-cuda, a second time' "$check"
step 'check-cuda, fast kernels' env SOFTGATE_KERNELS=fast "$check"

sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ "${SANITIZER:-yes}" = no ] || [ ! -x "$sanitizer" ]; then
    echo '# compute-sanitizer: not run' >>"$record"
else
    for tool in memcheck racecheck initcheck; do
        for kernels in plain fast; do
            step "compute-sanitizer $tool, $kernels kernels" env SOFTGATE_KERNELS=$kernels \
                "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 20 "$check"
        done
    done
fi

has_torch=no
"$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null && has_torch=yes
[ "$has_torch" = yes ] || echo '# PyTorch with CUDA: not here, so no ratios' >>"$record"
peers=$(echo "${WORKLOADS:-W1 W1g W1s W2 W2a W3 W4}" | tr ' ' ',')
round=1
while [ "$round" -le "$rounds" ]; do
    # shellcheck disable=SC2086 # workloads are words, $small is one or nothing
    for kernels in plain fast; do
        if ! SOFTGATE_KERNELS=$kernels "$softgate" bench ${WORKLOADS:-} $small --backend cuda --format json \
            >"$work/$kernels.$round" 2>"$work/log"; then
            echo "# bench, $kernels kernels: FAILED: $(cat "$work/log")" >>"$record"
            failed=1
        fi
    done
    for mode in eager compile; do
        [ "$has_torch" = yes ] || continue
        compile=
        [ "$mode" = eager ] || compile=--compile
        # shellcheck disable=SC2086
        if ! "$python" tests/bench/peer_torch.py --device cuda $compile $small --only "$peers" \
            >"$work/$mode.$round" 2>"$work/log"; then
            echo "# PyTorch, $mode: FAILED: $(tail -n 1 "$work/log")" >>"$record"
        fi
    done
    round=$((round + 1))
done
"$python" tests/bench/device_table.py "$work" "$rounds" "${record%.txt}.json" >>"$record" || failed=1
cat "$record"
echo "device.sh: the record is $record" >&2
exit "$failed"
