#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Everything that needs a CUDA device, in one call: build, tests, benchmarks beside PyTorch, compute-sanitizer. Leaves a
# record that can be committed. What matters most comes first and the record is written as it goes, so a call that is
# cut off has lost least.
#
#   tests/bench/device.sh [FOLDER]            default folder: notebooks-data/bench
#   tests/bench/device.sh --bundle DIR        only pack the programs and their libraries into DIR, on a machine
#                                             that builds them ...
#   USE=DIR tests/bench/device.sh [FOLDER]    ... for one that has a device but not the libraries
#
# ROUNDS=3  PYTHON=python3 (with torch, for the peers)  SANITIZER=no (leave compute-sanitizer out)
# WORKLOADS="W1 W4" (default: all that CUDA has)  SMALL=1 (sizes / 16)
# SECONDS_IN_ALL=3600 (after the build; no step begins or goes on after that)  SECONDS_A_STEP=300
# SUITES="cuda_gates ..." (what compute-sanitizer looks at; default: those of the kernels, no others)
# Written: FOLDER/DATE-DEVICE.txt, the record, and beside it DATE-DEVICE.json, every measurement, and the folder
# DATE-DEVICE.parts with what is not finished. A step that fails is named in the record, the others go on, and the exit
# status is 1. Steps without time, and a compute-sanitizer that was cut off, are named and do not fail.
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
work=$folder/$name.parts
rm -rf "$work"
mkdir -p "$work" || exit 1
export OMP_WAIT_POLICY=passive CK_FORK=no CK_DEFAULT_TIMEOUT=300 TEST_DATA="$PWD/tests"
failed=0
end=$(($(date +%s) + ${SECONDS_IN_ALL:-3600}))

# The record is these, one after the other.
: >"$work/notes"
: >"$work/table"
missed=
publish() {
    cat "$work/notes" >"$record"
    [ -z "$missed" ] || echo "# no time was left for$missed" >>"$record"
    cat "$work/table" >>"$record"
}
note() {
    echo "# $*" >>"$work/notes"
    publish
}

# limited SECONDS COMMAND...: cut off after so many seconds or when all are used up; 124 then, and 125 if none were left.
limited() {
    left=$((end - $(date +%s)))
    limit=$1
    shift
    [ "$left" -lt "$limit" ] && limit=$left
    [ "$limit" -lt 3 ] && return 125
    timeout -k 5 "$limit" "$@"
}

# step NAME SECONDS COMMAND...: its last lines go into the record, all of it to standard output.
step() {
    what=$1
    shift
    echo "== $what" >&2
    limited "$@" >"$work/log" 2>&1
    code=$?
    cat "$work/log"
    case $code in
    0) note "$what: passed. $(grep -E 'Checks:|ERROR SUMMARY|RACECHECK SUMMARY' "$work/log" | tail -n 1)" ;;
    125) missed="$missed; $what" ;;
    *)
        note "$what: FAILED with status $code$([ "$code" -ne 124 ] || echo ", out of time")"
        tail -n 15 "$work/log" | sed 's/^/#     /' >>"$work/notes"
        failed=1
        ;;
    esac
    return "$code"
}
a_step=${SECONDS_A_STEP:-300}

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
} >"$work/notes"
publish

step 'check-cuda' "$a_step" "$check"
step 'check-cuda, fast kernels' "$a_step" env SOFTGATE_KERNELS=fast "$check"

# Benchmarks, a process for each workload, so that one which fails takes no other with it.
version=$("$python" -c 'import torch; torch.zeros(1).cuda(); print(torch.__version__, torch.version.cuda)' 2>/dev/null)
if [ -n "$version" ]; then
    note "torch, and its CUDA: $version"
else
    note 'PyTorch with CUDA: not here, so no ratios'
fi
peers=$(echo "${WORKLOADS:-W1 W1g W1s W2 W2a W3 W4}" | tr ' ' ',')
# W1.stats and the like are their own; W2 stands for all W2.*.
workloads=${WORKLOADS:-$("$softgate" bench --list | sed '/^W1\./!s/\..*//' | uniq)}
round=1
while [ "$round" -le "$rounds" ]; do
    for workload in $workloads; do
        for kernels in plain fast; do
            # shellcheck disable=SC2086 # $small is one word or none
            limited "$a_step" env SOFTGATE_KERNELS=$kernels "$softgate" bench "$workload" $small --backend cuda \
                --format json >"$work/$kernels.$round.$workload" 2>"$work/log"
            code=$?
            [ "$code" -eq 0 ] && continue
            rm -f "$work/$kernels.$round.$workload"
            if [ "$code" -eq 125 ]; then
                missed="$missed; $workload, $kernels kernels, round $round"
            else
                note "bench $workload, $kernels kernels, round $round: FAILED with status $code: $(tail -n 1 "$work/log")"
                failed=1
            fi
        done
    done
    for mode in eager compile; do
        [ -n "$version" ] || continue
        compile=
        [ "$mode" = eager ] || compile=--compile
        # shellcheck disable=SC2086
        if ! limited "$a_step" "$python" tests/bench/peer_torch.py --device cuda $compile $small --only "$peers" \
            >"$work/$mode.$round" 2>"$work/log"; then
            note "PyTorch, $mode, round $round: FAILED: $(tail -n 1 "$work/log")"
        fi
    done
    "$python" tests/bench/device_table.py "$work" "$round" "${record%.txt}.json" >"$work/table" || failed=1
    publish
    round=$((round + 1))
done

step 'check-cuda, a second time' "$a_step" "$check"

sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ "${SANITIZER:-yes}" = no ] || [ ! -x "$sanitizer" ]; then
    note 'compute-sanitizer: not run'
else
    # Every access is looked at, which makes a suite slower by orders of magnitude.
    for tool in memcheck racecheck initcheck; do
        for kernels in fast plain; do
            for suite in ${SUITES:-cuda_gates_sizes cuda_bandits cuda_rows cuda_head}; do
                what="compute-sanitizer $tool, $kernels kernels, $suite"
                echo "== $what" >&2
                limited "$a_step" env SOFTGATE_KERNELS=$kernels CK_RUN_SUITE="$suite" "$sanitizer" --tool "$tool" \
                    --error-exitcode 9 --print-limit 20 "$check" >"$work/log" 2>&1
                code=$?
                cat "$work/log"
                summary=$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$work/log" | tail -n 1)
                case $code in
                0) note "$what: passed. $summary" ;;
                124 | 137) note "$what: cut off. Errors until then: $(grep -cE '^=+ (Error|Invalid|Uninit|Race)' "$work/log")" ;;
                125) missed="$missed; $what" ;;
                *)
                    note "$what: FAILED with status $code. $summary"
                    grep -E '^=' "$work/log" | head -n 15 | sed 's/^/#     /' >>"$work/notes"
                    failed=1
                    ;;
                esac
            done
        done
    done
fi
publish
[ "$failed" -ne 0 ] || rm -rf "$work"
cat "$record"
echo "device.sh: the record is $record" >&2
exit "$failed"
