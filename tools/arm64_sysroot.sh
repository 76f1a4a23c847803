#!/usr/bin/env bash
# arm64_sysroot.sh FOLDER: the libraries of the build for arm64, unpacked into FOLDER, with a meson
# cross file beside them. Nothing of the system is touched: apt works on lists, a cache and an empty
# status of its own there, from the sources that the machine has anyway. The last line says why
# when it fails. A folder that is complete is left as it is.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/setup.sh"
[ $# = 1 ] || die "usage: arm64_sysroot.sh FOLDER"
mkdir -p "$1"
folder=$(cd "$1" && pwd)

wanted=$(awk '$1 ~ /^(build|test)$/ && $2 ~ /^lib.*-dev$/ { print $2 }' "$root/tools/packages.txt")
if [ -f "$folder/cross.ini" ] && [ "$(cat "$folder/made-from" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
: >"$folder/apt/status"
log=$folder/apt/log
apt_here() {
    apt-get -q -y -o APT::Architecture=arm64 -o APT::Architectures::=arm64 \
        -o Dir::State::Lists="$folder/apt/lists" -o Dir::State::Status="$folder/apt/status" \
        -o Dir::Cache="$folder/apt" -o Dir::Cache::Archives="$folder/apt/archives" \
        -o APT::Update::Error-Mode=any -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 \
        -o APT::Update::Post-Invoke::= -o DPkg::Post-Invoke::= -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        --no-install-recommends "$@" </dev/null >"$log" 2>&1
}
apt_here update || die "the package lists of arm64 cannot be fetched: $(apt_reason "$log")."
# shellcheck disable=SC2086
apt_here --download-only install $wanted ||
    die "the packages of arm64 cannot be fetched: $(apt_reason "$log")."
for package in "$folder"/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$folder"
done
rm -rf "$folder/apt" "${folder:?}"/usr/share

cat >"$folder/cross.ini" <<END
[binaries]
c = ['aarch64-linux-gnu-gcc', '--sysroot=$folder']
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '$folder']

[built-in options]
c_link_args = ['-Wl,-rpath-link,$folder/usr/lib/aarch64-linux-gnu',
               '-Wl,-rpath-link,$folder/lib/aarch64-linux-gnu']

[properties]
sys_root = '$folder'
pkg_config_libdir = '$folder/usr/lib/aarch64-linux-gnu/pkgconfig:$folder/usr/share/pkgconfig'

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
printf '%s\n' "$wanted" >"$folder/made-from"
