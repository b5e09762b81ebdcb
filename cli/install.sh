#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# `make install` calls this with BUILD, PREFIX, DESTDIR, VERSION, SONAME, PACKAGES and LIBS set.
set -eu
root=$DESTDIR$PREFIX

put() { # MODE FILE TARGET
    install -d "$(dirname "$root/$3")"
    install -m "$1" "$2" "$root/$3"
}

put 755 "$BUILD/softgate" bin/softgate
put 644 "$BUILD/libsoftgate.a" lib/libsoftgate.a
put 755 "$BUILD/pic/$SONAME" "lib/$SONAME"
ln -sf "$SONAME" "$root/lib/libsoftgate.so"

find lib -name '*.h' | while read -r header; do
    put 644 "$header" "include/softgate/${header#lib/}"
done

for experiment in notebooks-data/experiments/*.yaml notebooks-data/experiments/full/*.yaml; do
    put 644 "$experiment" "share/softgate/${experiment#notebooks-data/}"
done

install -d "$root/lib/pkgconfig"
cat >"$root/lib/pkgconfig/softgate.pc" <<EOF
prefix=$PREFIX

Name: softgate
Description: Policy objectives of LLM reinforcement learning: analysis and simulation
Version: $VERSION
Requires.private: $PACKAGES
Cflags: -I\${prefix}/include/softgate
Libs: -L\${prefix}/lib -lsoftgate
Libs.private: $LIBS
EOF

install -d "$root/share/bash-completion/completions" "$root/share/man/man1"
"$BUILD/softgate" help --completion >"$root/share/bash-completion/completions/softgate"
if command -v scdoc >/dev/null; then
    "$BUILD/softgate" help --manual | scdoc >"$root/share/man/man1/softgate.1"
else
    echo 'install: no manual page, because scdoc is not there to make it'
fi
cat >"$root/share/softgate/uninstall.sh" <<EOF
#!/bin/sh
# Removes softgate $VERSION from where 'make install' put it.
set -eu
cd "\$(dirname "\$0")/../.."
rm -f bin/softgate lib/libsoftgate.a lib/libsoftgate.so lib/$SONAME lib/pkgconfig/softgate.pc \\
    share/bash-completion/completions/softgate share/man/man1/softgate.1
rm -rf include/softgate share/softgate
EOF
echo "install: softgate $VERSION is in $root; sh $PREFIX/share/softgate/uninstall.sh removes it"
