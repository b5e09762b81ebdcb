#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Reads the #include "..." lines below ROOT (default: here) and fails on an arrow that points back:
# cli -> plots -> lib, and inside lib as in the table below. A new folder of lib needs a line in it.
cd "${1:-.}" || exit 1
folders=$(ls -d lib plots cli 2>/dev/null)
# shellcheck disable=SC2086 # the names are ours
find $folders -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inc' | sort | xargs awk '
BEGIN {
    below["core"] = ""
    below["io"] = "core"
    below["objective"] = "core"
    below["curve"] = "objective core"
    below["backend"] = "objective core"
    below["policy"] = "backend objective core"
    below["sim"] = "policy backend objective curve io core"
    below["trace"] = "objective io core"
    below["diagnose"] = "trace sim curve policy backend objective io core"
    below["study"] = below["diagnose"]
    below["claims"] = "study " below["diagnose"]
    for (folder in below)
        below["lib"] = below["lib"] " " folder  # lib/softgate.h
    below["plots"] = "lib " below["lib"]
    below["cli"] = "plots " below["plots"]
}
# "core" of lib/core/table.c, "lib" of lib/softgate.h, "cli" of cli/main.c
function layer_of_file(path,    part) {
    split(path, part, "/")
    if (part[1] != "lib")
        return part[1]
    return path ~ /^lib\/[^\/]*$/ ? "lib" : part[2]
}
function layer_of_include(path,    part) {
    split(path, part, "/")
    return path ~ /\// ? part[1] : path == "softgate.h" ? "lib" : ""
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    from = layer_of_file(FILENAME)
    to = layer_of_include(quoted[2])
    count++
    if (!(from in below))
        why = "lib/" from " has no place in the order; give it one in tests/layering.sh"
    else if (to == "")
        why = "the path of \"" quoted[2] "\" does not start from lib/ or from the top"
    else if (from != to && index(" " below[from] " ", " " to " ") == 0)
        why = from " must not depend on " to " (\"" quoted[2] "\")"
    else
        next
    printf "%s:%d: %s\n", FILENAME, FNR, why
    bad++
}
END {
    if (count == 0) {
        print "layering: no #include was found; is this the right folder?"
        exit 1
    }
    if (!bad)
        printf "layering: %d includes, all arrows point down\n", count
    exit bad > 0
}' || exit 1
