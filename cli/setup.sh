#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs what softgate needs and this machine lacks, with the system's package manager.
#   setup.sh            install; asks nothing, does nothing when nothing is missing
#   setup.sh --missing  only print the names of what is missing, on one line
# Each need has a short name; the names of its package follow below, one column a package manager.
set -u
export LC_ALL=C
: "${CC:=gcc}"

has_program() { command -v "$1" >/dev/null 2>&1; }
has_header() { echo "#include <$1>" | $CC -E -x c - >/dev/null 2>&1; }
has_font() {
    for file in /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf \
        /usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf /usr/share/fonts/TTF/DejaVuSans.ttf \
        "$HOME/Library/Fonts/DejaVuSans.ttf" /Library/Fonts/DejaVuSans.ttf; do
        [ -e "$file" ] && return 0
    done
    has_program fc-list && [ -n "$(fc-list 'DejaVu Sans' 2>/dev/null)" ]
}

# pkg-config knows whether a library can be compiled against; the others are looked for directly.
missing() {
    has_program "${CC%% *}" || echo compiler
    has_header stdio.h || echo libc
    has_program pkg-config || echo pkg-config
    for library in gsl json-c libcyaml yaml-0.1 libzip zlib check; do
        pkg-config --exists "$library" 2>/dev/null || echo "$library"
    done
    has_header Random123/philox.h || echo random123
    has_program gnuplot || echo gnuplot
    has_font || echo fonts
}

#   need        apt                  dnf                    pacman      brew
table='
    compiler    gcc                  gcc                    gcc         -
    libc        libc6-dev            glibc-devel            glibc       -
    pkg-config  pkg-config           pkgconf-pkg-config     pkgconf     pkgconf
    gsl         libgsl-dev           gsl-devel              gsl         gsl
    json-c      libjson-c-dev        json-c-devel           json-c      json-c
    libcyaml    libcyaml-dev         libcyaml-devel         libcyaml    libcyaml
    yaml-0.1    libyaml-dev          libyaml-devel          libyaml     libyaml
    libzip      libzip-dev           libzip-devel           libzip      libzip
    zlib        zlib1g-dev           zlib-devel             zlib        zlib
    check       check                check-devel            check       check
    random123   librandom123-dev     random123-devel        random123   random123
    gnuplot     gnuplot-nox          gnuplot                gnuplot     gnuplot
    fonts       fonts-dejavu-core    dejavu-sans-fonts      ttf-dejavu  font-dejavu
'

fail() {
    echo "setup: $*" >&2
    exit 1
}

needs=$(missing | tr '\n' ' ')
needs=${needs% }
if [ "${1-}" = --missing ]; then
    [ -z "$needs" ] || echo "$needs"
    exit 0
fi
if [ -z "$needs" ]; then
    echo "setup: everything is there, nothing to install"
    exit 0
fi

manager=
column=2
for candidate in apt-get dnf pacman brew; do
    if has_program "$candidate"; then
        manager=$candidate
        break
    fi
    column=$((column + 1))
done
[ -n "$manager" ] || fail "missing: $needs; found none of apt-get, dnf, pacman and brew to install them with, so please install them by hand"

packages=
for need in $needs; do
    package=$(echo "$table" | awk -v need="$need" -v column="$column" '$1 == need {print $column}')
    [ "$package" = - ] || packages="$packages $package"
done
packages=${packages# }
# shellcheck disable=SC2086 # one argument a package
set -- $packages

# Packages of the system belong to root; Homebrew refuses root.
root=
if [ "$manager" != brew ] && [ "$(id -u)" != 0 ]; then
    if has_program sudo && sudo -n true 2>/dev/null; then
        root='sudo -n'
    else
        case $manager in
        apt-get) command="apt-get install $packages" ;;
        dnf) command="dnf install $packages" ;;
        pacman) command="pacman -S $packages" ;;
        esac
        fail "this account may not install packages; have root run: $command"
    fi
fi

echo "setup: installing with $manager: $packages"
case $manager in
apt-get)
    # The lists of a fresh machine are empty or old, hence the update.
    $root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
    ;;
dnf) $root dnf install -q -y "$@" ;;
pacman) $root pacman -S --noconfirm --needed "$@" ;;
brew) brew install -q "$@" ;;
esac || fail "$manager could not install: $packages"

left=$(missing | tr '\n' ' ')
[ -z "$left" ] || fail "$manager is done, but still missing: ${left% }"
echo "setup: installed $packages"
