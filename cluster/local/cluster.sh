#!/bin/bash
# A Ray cluster of several nodes on this one machine: what a real one does, without the machines.
#   cluster.sh up FOLDER PORT NODES CPUS     start a head that computes nothing and so many nodes
#   cluster.sh down FOLDER                   stop what `up` started, and nothing else
# Process numbers and logs are kept in FOLDER. `ray` and `labelgen` are looked for on the PATH.
set -euo pipefail

usage() {
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
}

# Start one node in a session of its own, so that it outlives this shell and can be stopped as one; wait for it.
#   start NAME FIRST_PORT [option of `ray start`]…
start() {
    local name=$1 first=$2
    shift 2
    # Ports of its own for each node, all of them: one that Ray chooses is waited for, and nodes take the same.
    # All share this machine's memory.
    setsid nohup ray start --block --disable-usage-stats --object-store-memory=$((400 << 20)) \
        --dashboard-agent-grpc-port="$first" --dashboard-agent-listen-port=$((first + 1)) \
        --metrics-export-port=$((first + 2)) --runtime-env-agent-port=$((first + 3)) \
        --min-worker-port=$((first + 10)) --max-worker-port=$((first + 199)) \
        "$@" >"$folder/$name.log" 2>&1 &
    echo $! >"$folder/$name.pid"
    until grep -q 'Ray runtime started' "$folder/$name.log"; do
        if ! kill -0 $! 2>/dev/null; then
            tail -n 5 "$folder/$name.log" >&2
            echo "$name did not start; more in $folder/$name.log" >&2
            down
            exit 1
        fi
        sleep 0.2
    done
}

up() {
    local port=$1 nodes=$2 cpus=$3
    if compgen -G "$folder/*.pid" >/dev/null; then
        echo "a cluster is up already, or was not taken down: make cluster-down" >&2
        exit 2
    fi
    mkdir -p "$folder"
    # Only who has this user's token (~/.ray/auth_token, made here if there is none) gets in.
    (umask 077 && ray get-auth-token --generate >/dev/null)
    chmod 600 ~/.ray/auth_token
    export RAY_AUTH_MODE=token
    start head $((port + 4000)) --head --port="$port" --num-cpus=0 --num-gpus=0 --include-dashboard=false
    for ((node = 1; node <= nodes; node++)); do
        start "node-$node" $((port + 4000 + 200 * node)) --address="127.0.0.1:$port" --num-cpus="$cpus"
    done
    if ! labelgen doctor --nodes $((nodes + 1)) --ray-address "127.0.0.1:$port"; then
        echo "the cluster is not fit; logs are in $folder" >&2
        exit 1
    fi
    echo "RAY_ADDRESS=127.0.0.1:$port"
}

down() {
    local file pid
    for file in "$folder"/node-*.pid "$folder"/head.pid; do
        [[ -e $file ]] || continue
        pid=$(cat "$file")
        kill -TERM -- "-$pid" 2>/dev/null || true # the session: Ray and what it started
        for _ in $(seq 50); do
            kill -0 -- "-$pid" 2>/dev/null || break
            sleep 0.2
        done
        kill -KILL -- "-$pid" 2>/dev/null || true
        rm -f "$file"
    done
}

(($# >= 2)) || usage
command=$1
folder=$2
shift 2
case $command in
    up)
        (($# == 3)) || usage
        up "$@"
        ;;
    down) down ;;
    *) usage ;;
esac
