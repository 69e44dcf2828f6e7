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
start() {
    local name=$1
    shift
    setsid nohup ray start --block --disable-usage-stats "$@" >"$folder/$name.log" 2>&1 &
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
    local port=$1 nodes=$2 cpus=$3 first memory
    if compgen -G "$folder/*.pid" >/dev/null; then
        echo "a cluster is up already, or was not taken down: make cluster-down" >&2
        exit 2
    fi
    mkdir -p "$folder"
    # Only who has this user's token (~/.ray/auth_token, made here if there is none) gets in.
    ray get-auth-token --generate >/dev/null
    export RAY_AUTH_MODE=token
    # All nodes share this machine's memory, and must not look for their workers' ports in the same range.
    memory=$((400 * 1024 * 1024)) first=$((port + 4000))
    start head --head --port="$port" --num-cpus=0 --num-gpus=0 --object-store-memory="$memory" \
        --include-dashboard=false --min-worker-port="$first" --max-worker-port=$((first + 199))
    for ((node = 1; node <= nodes; node++)); do
        first=$((first + 200))
        start "node-$node" --address="127.0.0.1:$port" --num-cpus="$cpus" --object-store-memory="$memory" \
            --min-worker-port="$first" --max-worker-port=$((first + 199))
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
