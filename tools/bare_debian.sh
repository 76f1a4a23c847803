#!/usr/bin/env bash
# bare_debian.sh FOLDER [options]: proves the first two commands on a machine where nothing is.
#
# Makes a minimal Debian root in FOLDER (debootstrap, kept for the next time as a tarball), puts a
# fresh clone of this tree's last commit into it, and runs there, as root and without a terminal,
# ./quickstart --once and ./test, each twice. Needs root. FOLDER lies outside the tree.
#
#   --mirror URL       where debootstrap fetches from (default: its own choice)
#   --suite NAME       default: bookworm
#   --host-apt         use the package sources, keys and certificates of this machine inside
#   --host-pip         use the pip settings of this machine inside, through the environment
#   --shared FOLDER    bind this folder read-only and name it in BASTIDE_SHARED
#   --once             run each command once
#   --command TEXT     run this instead of the two commands
#   --keep             leave the root for a look
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/setup.sh"

folder=${1:-}
[ -n "$folder" ] && [ "${folder#-}" = "$folder" ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
shift
suite=bookworm mirror='' shared='' host_apt=no host_pip=no keep=no times='1 2'
commands=('./quickstart --once' './test')
while [ $# -gt 0 ]; do
    case $1 in
    --mirror) mirror=$2; shift ;;
    --suite) suite=$2; shift ;;
    --shared) shared=$2; shift ;;
    --command) commands=("$2"); times=1; shift ;;
    --host-apt) host_apt=yes ;;
    --host-pip) host_pip=yes ;;
    --once) times=1 ;;
    --keep) keep=yes ;;
    *) die "unknown option $1." ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || die "a root for chroot can only be made by root."
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap."
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
case $folder/ in "$root"/*) die "$folder lies inside the tree: choose a folder outside it." ;; esac
need_disk "$folder" 6144
bare=$folder/root

leave() {
    local place
    for place in proc dev/pts dev sys shared; do
        ! mountpoint -q "$bare/$place" || umount "$bare/$place"
    done
    [ $keep = yes ] || rm -rf --one-file-system "$bare"
}
trap leave EXIT
leave

if [ ! -f "$folder/$suite.tar" ]; then
    say "Making a minimal $suite root."
    # shellcheck disable=SC2086
    debootstrap --variant=minbase "$suite" "$bare" $mirror >"$folder/debootstrap.log" 2>&1 ||
        die "debootstrap failed: $(tail -n 1 "$folder/debootstrap.log")"
    tar -C "$bare" -cf "$folder/$suite.tar" .
else
    mkdir -p "$bare"
    tar -C "$bare" -xf "$folder/$suite.tar"
fi

mount -t proc proc "$bare/proc"
mount --bind /dev "$bare/dev"
mount -t devpts devpts "$bare/dev/pts"
cp /etc/resolv.conf "$bare/etc/resolv.conf"
environment=(HOME=/tmp PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin CI=true)
if [ $host_apt = yes ]; then
    rm -f "$bare"/etc/apt/sources.list
    cp -rL /etc/apt/sources.list* /etc/apt/auth.conf* /etc/apt/apt.conf.d /etc/apt/keyrings \
        /usr/share/keyrings "$bare/etc/apt/" 2>/dev/null || true
    mkdir -p "$bare/usr/share/keyrings" "$bare/usr/local/share/ca-certificates"
    cp -rLn /usr/share/keyrings/. "$bare/usr/share/keyrings/"
    cp -rLn /usr/local/share/ca-certificates/. "$bare/usr/local/share/ca-certificates/"
    mkdir -p "$bare/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$bare/etc/ssl/certs/"
fi
if [ $host_pip = yes ]; then
    [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$bare/etc/pip.conf"
    mapfile -t -O ${#environment[@]} environment < <(env | grep -E '^(PIP_|https?_proxy=|no_proxy=)')
fi
if [ -n "$shared" ]; then
    mkdir -p "$bare/shared"
    mount --bind -o ro "$shared" "$bare/shared"
    environment+=(BASTIDE_SHARED=/shared)
fi

# A clone as a newcomer has it: the last commit, no build folders. git is not needed inside.
mkdir -p "$bare/srv/bastide"
git -C "$root" archive HEAD | tar -C "$bare/srv/bastide" -xf -

failures=0
for time in $times; do
    for command in "${commands[@]}"; do
        say "=== run $time: $command"
        begin=$SECONDS
        log=$folder/$(tr -cd 'a-z' <<<"${command%% *}")-$time.log
        if env -i "${environment[@]}" chroot "$bare" bash -c "cd /srv/bastide && $command" \
            >"$log" 2>&1 </dev/null; then
            say "    succeeded after $((SECONDS - begin)) s: $(tail -n 1 "$log")"
        else
            say "    FAILED after $((SECONDS - begin)) s; its log is $log: $(tail -n 1 "$log")"
            failures=$((failures + 1))
        fi
    done
done
[ $failures = 0 ]
