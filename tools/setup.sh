# setup.sh: what ./quickstart and ./test share: messages, checks of the machine, packages.
# Sourced by bash with `set -euo pipefail`; $root is the folder of the project.
#
# Every failure is one sentence that says what is missing and what to do about it.

say() {
    printf '%s\n' "$*"
}

# Says a sentence on standard error and ends the script.
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# need_disk FOLDER MEBIBYTES
need_disk() {
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$2" ] ||
        die "$1 has $free MiB free, $2 MiB are needed: make room, or use another disk."
}

need_machine() {
    case "$(uname -s)-$(uname -m)" in
    Linux-x86_64 | Linux-aarch64) ;;
    *) die "this is a $(uname -s) on $(uname -m): Bastide runs on Linux on x86_64 and aarch64." ;;
    esac
    local id='' version=''
    if [ -r /etc/os-release ]; then
        id=$(. /etc/os-release && printf '%s %s' "${ID:-}" "${ID_LIKE:-}")
        version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}")
    fi
    case " $id " in
    *" debian "* | *" ubuntu "*) ;;
    *) die "this distribution (${id:-unknown}) is not Debian or a relative of it: install what" \
        "tools/packages.txt names by its own package manager, then use meson and ninja." ;;
    esac
    if [ "${id%% *}" = debian ] && [ -n "$version" ] && [ "${version%%.*}" -lt 12 ]; then
        die "this is Debian $version: Debian 12 or newer is needed."
    fi
    command -v apt-get >/dev/null || die "apt-get is not here, so packages cannot be installed."
}

# Runs a command as root: directly, or through sudo when that needs no terminal or has one.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        return 126
    fi
}

can_be_root() {
    as_root true 2>/dev/null
}

# The packages of these groups that are not installed, one a line.
packages_missing() {
    local group package status
    while read -r group package; do
        case " $* " in *" $group "*) ;; *) continue ;; esac
        status=$(dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null || true)
        [ "${status%%$'\n'*}" = installed ] || printf '%s\n' "$package"
    done < <(sed 's/#.*//; /^[[:space:]]*$/d' "$root/tools/packages.txt")
}

# How many records the package catalogue of this machine holds now.
catalogue_records() {
    apt-cache dumpavail 2>/dev/null | grep -c '^Package:' || true
}

# Fetches the package lists; the log says why when it fails.
update_catalogue() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update -o APT::Update::Error-Mode=any \
        -o Acquire::Retries=2 </dev/null >"$1" 2>&1
}

# Why apt failed, as the end of a sentence, from its log.
apt_reason() {
    local network='Temporary failure|Could not (connect|resolve)|Network is unreachable'
    network="$network|Connection (failed|timed out|refused)|Unable to connect"
    if grep -qE "$network" "$1"; then
        printf 'the package server cannot be reached: check the network, or the proxy in /etc/apt'
    elif grep -qE 'No space left|enough free space' "$1"; then
        printf 'the disk is full'
    elif grep -qE 'Could not get lock|is another process using it' "$1"; then
        printf 'another package manager is running: wait for it to end'
    elif grep -qE 'Unable to locate package|has no installation candidate' "$1"; then
        printf 'the sources in /etc/apt do not offer it: %s' \
            "$(grep -m1 -oE "Unable to locate package .*|Package .* has no" "$1")"
    else
        printf '%s' "$(grep -m1 -E '^(E|W|Err):' "$1" || tail -n 1 "$1")"
    fi
}

# install_packages GROUP...: installs what is missing of these groups. On failure returns 1 with
# the sentence in $install_problem; the caller decides whether that ends anything.
install_packages() {
    local missing log
    install_problem=''
    missing=$(packages_missing "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if ! can_be_root; then
        install_problem="packages are missing, and neither root nor sudo is at hand."
        install_problem+=" As root: apt-get install ${missing% }"
        return 1
    fi
    say "Installing from the distribution's packages: ${missing% }"
    log=$(mktemp)
    # Lists that are there are tried as they are; they are fetched when absent or out of date.
    # shellcheck disable=SC2086
    if { [ "$(catalogue_records)" -lt 1000 ] || ! apt_install "$log" $missing; } &&
        ! { update_catalogue "$log" && apt_install "$log" $missing; }; then
        install_problem="cannot install ${missing% }: $(apt_reason "$log")."
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

apt_install() {
    local log=$1
    shift
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends \
        -o Acquire::Retries=2 -o Dpkg::Use-Pty=0 "$@" </dev/null >"$log" 2>&1
}

# configure FOLDER MESON_OPTION...: a build folder, made or brought up to date, its log within. One
# that meson refuses, or that was made for a tree elsewhere, is made anew.
configure() {
    local folder=$1 log=$1/configure.log
    shift
    if grep -qsF "\"source\": \"$root\"" "$folder/meson-info/meson-info.json" &&
        [ -f "$folder/build.ninja" ] && meson configure "$folder" "$@" >"$log" 2>&1 </dev/null &&
        ninja -C "$folder" build.ninja >>"$log" 2>&1 </dev/null; then
        return 0
    fi
    rm -rf "$folder"
    mkdir -p "$folder"
    meson setup "$folder" "$root" "$@" >"$log" 2>&1 </dev/null
}
