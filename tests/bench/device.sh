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
# TESTS="cuda_gates ..." (suites of check-cuda; default: all)
# SUITES="cuda_gates ..." (what compute-sanitizer looks at; default: those of the kernels, no others)
# PARTS=DIR (for what is not finished; default: FOLDER/DATE-DEVICE.parts)
# Written: FOLDER/DATE-DEVICE.txt, the record, and beside it DATE-DEVICE.json, every measurement. Each suite of tests and each
# group of workloads is a process of its own, as after a fault of the device a process gets nothing more from it. A step that
# fails is named in the record with its first complaints, the others go on, and the exit status is 1. Steps without
# time, and a compute-sanitizer that was cut off or does not know the machine, are named and do not fail.
set -u
cd "$(dirname "$0")/../.." || exit 2
rounds=${ROUNDS:-3}
python=${PYTHON:-python3}
small=${SMALL:+--small}
build=${BUILD:-build}

if [ "${1:-}" = --bundle ]; then
    to=${2:?"--bundle needs a folder"}
    make -j2 BUILD="$build" "$build/softgate" "$build/softgate-check-cuda" || exit 1
    mkdir -p "$to/lib" || exit 1
    for program in softgate softgate-check-cuda; do
        strip -o "$to/$program" "$build/$program" || exit 1
        # Not the C library and what belongs to it: those must fit the machine's own.
        ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
            grep -v '/lib\(c\|m\|mvec\|dl\|rt\|pthread\)\.so' | while read -r library; do
            cp -L "$library" "$to/lib/" || exit 1
        done || exit 1
    done
    echo "device.sh: $to holds the programs and their libraries, $(du -sm "$to" | cut -f 1) MB"
    exit 0
fi

# The libraries that came along are for these programs only: python and the others have their own.
ours='env'
if [ -n "${USE:-}" ]; then
    softgate=$USE/softgate
    check=$USE/softgate-check-cuda
    ours="env LD_LIBRARY_PATH=$USE/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
else
    softgate=$build/softgate
    check=$build/softgate-check-cuda
    make -j"$(nproc)" BUILD="$build" "$build/softgate" "$build/softgate-check-cuda" || exit 1
fi
# shellcheck disable=SC2086 # $ours is words, here and below
$ours "$softgate" info --format csv >/dev/null || exit 1

folder=${1:-notebooks-data/bench}
mkdir -p "$folder" || exit 1
# The program says which device it would use, before it finds no such suite.
# shellcheck disable=SC2086
said=$(timeout 300 $ours CK_RUN_SUITE=none "$check" 2>&1)
device=$(echo "$said" | sed -n 's/^CUDA tests on //p')
if [ -z "$device" ]; then
    echo "device.sh: no device can be used: $said" >&2
    exit 1
fi
name=$(date -u +%F)-$(echo "$device" | tr 'A-Z ' 'a-z-' | sed 's/^nvidia-//')
record=$folder/$name.txt
work=${PARTS:-$folder/$name.parts}
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

# suites NAME VARIABLE=VALUE: the tests, suite by suite; those that fail with their first complaints.
suites() {
    what=$1
    passed=0 checks=0
    # shellcheck disable=SC2086
    for suite in ${TESTS:-$($ours "$check" --list)}; do
        echo "== $what, $suite" >&2
        limited "$a_step" $ours "$2" CK_RUN_SUITE="$suite" "$check" >"$work/log" 2>&1
        code=$?
        cat "$work/log"
        case $code in
        0)
            passed=$((passed + 1))
            some=$(sed -n 's/.*Checks: \([0-9]*\),.*/\1/p' "$work/log" | tail -n 1)
            checks=$((checks + ${some:-0}))
            grep "^$suite: " "$work/log" | sed 's/^/#     /' >>"$work/notes" # what a suite has to say
            ;;
        125) missed="$missed; $what, $suite" ;;
        *)
            note "$what, $suite: FAILED with status $code$([ "$code" -ne 124 ] || echo ", out of time")," \
                "$(grep 'Checks:' "$work/log")"
            { grep -E ':[EF]:' "$work/log" || tail -n 15 "$work/log"; } | head -n 15 | cut -c 1-300 |
                sed 's/^/#     /' >>"$work/notes"
            failed=1
            ;;
        esac
    done
    note "$what: $passed suites passed, $checks checks"
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
    echo "# commit $($ours "$softgate" version | sed -n '1s/.*git \(.*\))/\1/p'), $(date -u +%F)"
    echo "# ROUNDS=$rounds ${SMALL:+SMALL=1 }${WORKLOADS:+WORKLOADS=\"$WORKLOADS\" }${USE:+USE=$USE }tests/bench/device.sh"
    echo "# $device: $(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory --format=csv,noheader | head -n 1)"
    $ours "$softgate" info --format csv | grep '^cuda,' | sed 's/^/# /'
    echo "# cuBLASLt: ${SOFTGATE_CUBLASLT:-that of the loader or of /usr/local/cuda}"
    echo "# device in use by others before: $(nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader | head -n 1)"
} >"$work/notes"
publish

suites 'check-cuda' SOFTGATE_KERNELS=plain
suites 'check-cuda, fast kernels' SOFTGATE_KERNELS=fast

# Benchmarks, a process for each workload, so that one which fails takes no other with it.
version=$(limited 120 "$python" -c \
    'import torch; torch.zeros(1).cuda(); print(torch.__version__, torch.version.cuda)' 2>/dev/null)
if [ -n "$version" ]; then
    note "torch, and its CUDA: $version"
else
    note 'PyTorch with CUDA: not here, so no ratios'
fi
peers=$(echo "${WORKLOADS:-W1 W1g W1s W2 W2a W3 W4}" | tr ' ' ',')
# bench WORKLOAD KERNELS: one file of the round; $code is the status of the program.
bench() {
    # shellcheck disable=SC2086 # $small is one word or none
    limited "$a_step" $ours SOFTGATE_KERNELS="$2" "$softgate" bench "$1" $small --backend cuda --format json \
        >"$work/$2.$round.$1" 2>"$work/log"
    code=$?
    [ "$code" -eq 0 ] || rm -f "$work/$2.$round.$1"
    if [ "$code" -eq 125 ]; then
        missed="$missed; $1, $2 kernels, round $round"
    elif [ "$code" -ne 0 ]; then
        note "bench $1, $2 kernels, round $round: FAILED with status $code: $(tail -n 1 "$work/log")"
        failed=1
    fi
}

# W1.stats and the like are their own; W2 stands for all W2.*. One that fails must not hide the others of its group.
# shellcheck disable=SC2086
all=$($ours "$softgate" bench --list)
workloads=${WORKLOADS:-$(echo "$all" | sed '/^W1\./!s/\..*//' | uniq)}
round=1
while [ "$round" -le "$rounds" ]; do
    for workload in $workloads; do
        for kernels in plain fast; do
            bench "$workload" "$kernels"
            case $code$workload in
            0* | 125* | *W1) ;;
            *)
                for one in $(echo "$all" | grep "^$workload\."); do
                    bench "$one" "$kernels"
                done
                ;;
            esac
        done
    done
    for mode in eager compile; do
        [ -n "$version" ] || continue
        compile=
        [ "$mode" = eager ] || compile=--compile
        # shellcheck disable=SC2086
        limited "$a_step" "$python" tests/bench/peer_torch.py --device cuda $compile $small --only "$peers" \
            >"$work/$mode.$round" 2>"$work/log"
        code=$?
        if [ "$code" -eq 125 ]; then
            missed="$missed; PyTorch, $mode, round $round"
        elif [ "$code" -ne 0 ]; then
            note "PyTorch, $mode, round $round: FAILED with status $code: $(tail -n 1 "$work/log")"
        fi
    done
    "$python" tests/bench/device_table.py "$work" "$round" "${record%.txt}.json" >"$work/table" || failed=1
    publish
    round=$((round + 1))
done

suites 'check-cuda, a second time' SOFTGATE_KERNELS=plain

sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
# Not every machine lets it at the device; then it fails whatever it is given. So a few small kernels come first.
can_look() {
    # shellcheck disable=SC2086
    limited "$a_step" $ours CK_RUN_SUITE=device_maths "$sanitizer" --report-api-errors no --error-exitcode 9 \
        "$check" >"$work/log" 2>&1
    code=$?
    [ "$code" -eq 0 ] || [ "$code" -eq 125 ]
}
if [ "${SANITIZER:-yes}" = no ] || [ ! -x "$sanitizer" ]; then
    note 'compute-sanitizer: not run'
elif ! can_look; then
    note "compute-sanitizer: not run, as it fails on device_maths: $(grep '^=' "$work/log" | grep -v 'COMPUTE-SAN' | head -n 1)"
else
    # Every access is looked at, which makes a suite slower by orders of magnitude. Calls that fail are not its business: tests
    # ask for too much memory, and for clusters that may not fit.
    for tool in memcheck racecheck initcheck; do
        for kernels in fast plain; do
            for suite in ${SUITES:-cuda_gates_sizes cuda_bandits cuda_rows cuda_head}; do
                what="compute-sanitizer $tool, $kernels kernels, $suite"
                echo "== $what" >&2
                # shellcheck disable=SC2086
                limited "$a_step" $ours SOFTGATE_KERNELS=$kernels CK_RUN_SUITE="$suite" "$sanitizer" --tool "$tool" \
                    --report-api-errors no --error-exitcode 9 --print-limit 20 "$check" >"$work/log" 2>&1
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
