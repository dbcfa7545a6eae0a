# Machines that are namespaces of this one: a Debian of their own (an overlay on tests/packages/root), a network of their
# own on one bridge, and systemd as their first process. Sourced by run.
# shellcheck shell=bash

bridge=varvetest
network=10.231.77
host=$network.254

# The bridge is in a namespace too: Docker has this machine's own drop what bridges forward.
make_network() {
    ip netns add $bridge
    ip -n $bridge link add $bridge type bridge
    ip -n $bridge address add $host/24 dev $bridge
    ip -n $bridge link set $bridge up
    ip -n $bridge link set lo up
}

# make_machine NAME NUMBER: it does not run yet; in $work/NAME/root it is seen from outside.
make_machine() {
    local name=$1 place=$work/$1
    mkdir -p "$place"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$place/upper,workdir=$place/work" "$place/root"
    echo "$name" > "$place/root/etc/hostname"
    printf '%s\n' '127.0.0.1 localhost' "$network.1 db1" "$network.2 db2" "$network.3 db3" > "$place/root/etc/hosts"
    ip netns add "$bridge-$name"
    ip -n $bridge link add "vt-$name" type veth peer name eth0 netns "$bridge-$name"
    ip -n $bridge link set "vt-$name" master $bridge up
    ip -n "$bridge-$name" address add "$network.$2/24" dev eth0
    ip -n "$bridge-$name" link set lo up
    ip -n "$bridge-$name" link set eth0 up
}

# boot NAME
boot() {
    local name=$1 groups
    # A control group of its own, in the second version's tree, whichever tree this machine's init uses.
    groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/$bridge-$name
    mkdir -p "$groups"
    # First the group: `ip netns exec` has a /sys of its own.
    # shellcheck disable=SC2016 # for the bash that is started
    bash -c 'echo $$ > "$1/cgroup.procs" && exec ip netns exec "$2" unshare --mount --uts --ipc --pid --cgroup --fork \
        --propagation private "$3" "$4"' boot "$groups" "$bridge-$name" "$here/become-init" "$work/$name/root" \
        > "$work/$name/boot.log" 2>&1 < /dev/null &
    echo $! > "$work/$name/unshare"
    local tries=0
    until [ -s "$work/$name/init" ] || { find_init "$name"; [ -s "$work/$name/init" ]; }; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { cat "$work/$name/boot.log"; return 1; }
        sleep 0.1
    done
    # "degraded" is what one is whose mounts are not all to be had here.
    for _ in $(seq 120); do
        case "$(on "$name" systemctl is-system-running 2>/dev/null || true)" in running | degraded) return 0 ;; esac
        sleep 0.5
    done
    cat "$work/$name/boot.log"
    return 1
}

# The child of unshare, once it has become systemd.
find_init() {
    local pid
    for pid in $(pgrep -P "$(cat "$work/$1/unshare")"); do
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = systemd ]; then echo "$pid" > "$work/$1/init"; fi
    done
}

# on NAME COMMAND...: runs it there, as root.
on() {
    nsenter --target "$(cat "$work/$1/init")" --all -- \
        env -i --chdir=/root HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive "${@:2}"
}

# As if its power failed.
cut_power() {
    kill -9 "$(cat "$work/$1/init")"
    rm "$work/$1/init"
}

remove_machine() {
    if [ -s "$work/$1/init" ]; then kill -9 "$(cat "$work/$1/init")" 2>/dev/null; fi
    ip netns delete "$bridge-$1" 2>/dev/null
    for _ in $(seq 50); do
        umount "$work/$1/root" 2>/dev/null && break
        mountpoint -q "$work/$1/root" || break
        sleep 0.1
    done
    find "$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/$bridge-$1" -depth -type d -exec rmdir {} + 2>/dev/null
    return 0
}
