#!/bin/sh
# Installs the C library: headers, the static and the shared library, and what pkg-config reads.
#
#   runtime/capi/install.sh [--movable] LIBRARIES [PREFIX]
#
# LIBRARIES is where cargo has put them, as target/library or target/aarch64-unknown-linux-gnu/library; PREFIX is
# /usr/local. With DESTDIR set, everything goes below it, as for a package or a board's root.
# With --movable, pkg-config finds the rest from where its own file lies: for a folder that is not a system's.
set -eu
movable=
[ "${1:-}" != --movable ] || { movable=1; shift; }
[ $# -ge 1 ] || { echo "usage: $0 [--movable] LIBRARIES [PREFIX]" >&2; exit 2; }
libraries=$1 prefix=${2:-/usr/local}
here=$(dirname "$0")
for file in libedgepack.a libedgepack.so; do
    [ -f "$libraries/$file" ] || {
        echo "error: there is no $libraries/$file: cargo build --profile library -p edgepack-capi" >&2
        exit 2
    }
done
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")
to=${DESTDIR:-}$prefix
[ -z "$movable" ] || prefix='${pcfiledir}/../..'
mkdir -p "$to/include" "$to/lib/pkgconfig"
install -m 644 "$here/include/edgepack.h" "$here/include/edgepack.hpp" "$to/include/"
install -m 644 "$libraries/libedgepack.a" "$to/lib/"
install -m 755 "$libraries/libedgepack.so" "$to/lib/libedgepack.so.$version"
ln -sf "libedgepack.so.$version" "$to/lib/libedgepack.so.0"
ln -sf libedgepack.so.0 "$to/lib/libedgepack.so"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$here/edgepack.pc.in" >"$to/lib/pkgconfig/edgepack.pc"
