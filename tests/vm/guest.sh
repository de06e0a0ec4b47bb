#!/bin/sh
# What runs inside the virtual machine; vm_test.py judges the files that it leaves in $OUT.
# usage: guest.sh INCIDENT_ZOMBIES CONTROL_ZOMBIES PERIOD SECONDS
set -eu
incident_zombies=$1
control_zombies=$2
period=$3
seconds=$4

# with_lab NAME ZOMBIES OPTION...: stallscope looks while the fault is in place. The ground truth goes to NAME-truth.jsonl.
with_lab() {
  name=$1
  zombies=$2
  shift 2
  mkfifo "/tmp/$name"
  # Longer than all that follows; it is stopped when that is done.
  ./stallscope lab run memcg-stat-flush --zombies "$zombies" --cpu 0 --period "$period" --for 10m "$@" >"/tmp/$name" 2>"$OUT/$name-lab.log" &
  lab=$!
  exec 3<"/tmp/$name"
  # None comes where the lab failed.
  if ! read -r ready <&3; then
    cat "$OUT/$name-lab.log"
    exit 1
  fi
  echo "$ready" >"$OUT/$name-truth.jsonl"
  cat <&3 >>"$OUT/$name-truth.jsonl" &
  copy=$!
  # Nothing goes to the console meanwhile: each byte would stop the virtual CPU for a while.
  status=0
  ./stallscope diagnose 10.0.1.2 --netns stallscope-client --probe-cpu 1 --for "$seconds" --out "/tmp/$name.stall" --json \
    >"$OUT/$name.json" 2>"$OUT/$name.log" || status=$?
  echo "$status" >"$OUT/$name.status"
  ./stallscope census --json >"$OUT/$name-census.json"
  cat /sys/fs/cgroup/cgroup.stat >"$OUT/$name-cgroup.stat"
  kill -TERM "$lab"
  wait "$lab"
  wait "$copy"
  # For a look by hand.
  mv "/tmp/$name.stall" "$OUT"
}

status=0
./stallscope doctor >"$OUT/doctor.txt" || status=$?
echo "$status" >"$OUT/doctor.status"
with_lab incident "$incident_zombies"
with_lab control "$control_zombies" --healthy
./stallscope lab zombies --count "$control_zombies" --json >"$OUT/zombies.jsonl" 2>"$OUT/zombies.log"
# What only these kernels do, or do in another way.
./stallscope lab matrix irq-off-section ksoftirqd-starved --lengths 60ms --stalls 4 --json >"$OUT/matrix.jsonl" 2>"$OUT/matrix.log" || true
