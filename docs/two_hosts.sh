#!/usr/bin/env bash
# Two machines in one: trains recipes/toy.toml on two hosts that share no disk, kills a worker once, shows that it resumes.
# As root on Linux with `ip`, the hosts are network namespaces joined by a cable; else two launchers on the loopback.
# Usage: docs/two_hosts.sh [FOLDER]       PYTHON names the interpreter that has corpuscle[train].
set -euo pipefail
cd "$(dirname "$0")/.."
work="${1:-$(mktemp -d)}"
python="${PYTHON:-python}"
names=("corpuscle-$$-0" "corpuscle-$$-1")
ends=("cor$$a" "cor$$b")
address=127.0.0.1
interfaces=(lo lo)
hosts_up=()
port=$((20000 + $$ % 10000))

workers() { cat "/proc/$1/task/$1/children" 2>/dev/null || true; }

clean_up() {
  for up in "${hosts_up[@]}"; do kill -9 $(workers "$up") "$up" 2>/dev/null || true; done
  for name in "${names[@]}"; do ip netns delete "$name" 2>/dev/null || true; done
}
trap clean_up EXIT

make_hosts() {
  ip netns add "${names[0]}" && ip netns add "${names[1]}" || return 1
  ip link add "${ends[0]}" netns "${names[0]}" type veth peer name "${ends[1]}" netns "${names[1]}" || return 1
  for k in 0 1; do
    ip -n "${names[k]}" address add "10.98.0.$((k + 1))/24" dev "${ends[k]}" || return 1
    ip -n "${names[k]}" link set lo up && ip -n "${names[k]}" link set "${ends[k]}" up || return 1
  done
}

start() { # HOST: the same command on both, but for the number of the host
  local on=()
  [ "$address" = 127.0.0.1 ] || on=(ip netns exec "${names[$1]}")
  mkdir -p "$work/host-$1"
  CORPUSCLE_CACHE="$work/host-$1/cache" GLOO_SOCKET_IFNAME="${interfaces[$1]}" OMP_NUM_THREADS=1 \
    "${on[@]}" "$python" -m torch.distributed.run --nnodes 2 --node-rank "$1" --nproc-per-node 1 \
    --master-addr "$address" --master-port "$port" --max-restarts 3 \
    -m corpuscle train recipes/toy.toml --set run.epochs=6 --set run.threads=1 \
    --output "$work/host-$1/run" >"$work/host-$1/log" 2>&1 &
  hosts_up+=($!)
}

wait_for() { # SECONDS COMMAND...: until the command succeeds
  local end=$((SECONDS + $1))
  until "${@:2}" 2>/dev/null; do
    [ $SECONDS -lt $end ] || { echo "Nothing happened for $1 seconds:"; tail -n 30 "$work"/host-*/log; exit 1; }
    sleep 0.1
  done
}
ended() { ! kill -0 "${hosts_up[0]}" 2>/dev/null && ! kill -0 "${hosts_up[1]}" 2>/dev/null; }

if make_hosts 2>/dev/null; then
  address=10.98.0.1
  interfaces=("${ends[@]}")
  echo "Two network namespaces, $address and 10.98.0.2."
else
  echo "No namespaces here: two launchers on the loopback."
fi
start 0
start 1
wait_for 180 grep -q '^epoch 2:' "$work/host-0/log"
echo "Epoch 2 is done; the worker of host 1 is killed."
kill -9 $(workers "${hosts_up[1]}")
wait_for 300 ended
wait "${hosts_up[0]}" && wait "${hosts_up[1]}" || { tail -n 30 "$work"/host-*/log; exit 1; }
grep -hE '^epoch|^corpuscle:|^The bundle' "$work/host-0/log"
[ "$(grep -c '^epoch [1-6]:' "$work/host-0/log")" = 6 ] || { echo "An epoch was done twice, or not at all."; exit 1; }
[ ! -e "$work/host-1/run" ] || { echo "Host 1 wrote into its own folder."; exit 1; }
for crops in "$work/host-1/cache/"*.npy; do cmp "$crops" "$work/host-0/cache/${crops##*/}"; done
echo "Each host cut its own crops, and they are equal."
echo "The run: $work/host-0/run"
