#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A CPU of the lab's node stalls while tcpdump records on the client and on the node. From the two files alone `stallscope capture` must
say: on the receive side of the node, one queue, and when each stall was and how long.

    capture_incident_test.py STALLSCOPE

Needs root, two CPUs, tcpdump and a kernel that the doctor calls ready. Exits with 77 and the reason where that is missing.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CANNOT_RUN = 77
TARGET = "10.0.1.2"
LENGTH_NS = 60_000_000
# SYNs are sent 2 ms apart over all ports; a stall's edges are known to a few of those, and veth hands packets over in a moment.
EDGE_NS = 15_000_000
EACH_MS = 2


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def inside(namespace, *command):
    return ("ip", "netns", "exec", namespace, *command)


def recorder(namespace, device, path):
    process = subprocess.Popen(inside(namespace, "tcpdump", "-Z", "root", "-i", device, "-s", "128", "-B", "8192", "-U", "-w", str(path), "tcp"),
                               stderr=subprocess.PIPE, text=True)
    while "listening" not in process.stderr.readline():
        expect(process.poll() is None, f"tcpdump ended in {namespace}")
    return process


def record(stallscope, client, node):
    lab = subprocess.Popen([stallscope, "lab", "run", "irq-off-section", "--cpu", "0", "--length", f"{LENGTH_NS // 10**6}ms", "--period",
                            "900ms", "--for", "5m"], stdout=subprocess.PIPE, text=True)
    recorders = []
    try:
        expect(json.loads(lab.stdout.readline())["type"] == "ready", "the lab does not start")
        # Both CPUs receive: RPS spreads the source ports over them.
        for queue in ("rx-0", "rx-1"):
            script = f"echo 3 > /sys/class/net/n0/queues/{queue}/rps_cpus"
            subprocess.run(inside("stallscope-node", "sh", "-c", script), check=True)
        recorders = [recorder("stallscope-client", "c0", client), recorder("stallscope-node", "n0", node)]
        done = subprocess.run([stallscope, "probe", f"tcp://{TARGET}:9", "--netns", "stallscope-client", "--probe-cpu", "1", "--interval",
                               f"{EACH_MS}ms", "--for", "8s", "--source-port", "40000-40015"], capture_output=True, text=True, check=False)
        expect(done.returncode in (0, 1), f"probe failed: {done.stderr}")
    finally:
        for process in recorders:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        lab.send_signal(signal.SIGTERM)
        rest, _ = lab.communicate(timeout=120)
    return [json.loads(line) for line in rest.splitlines() if json.loads(line)["type"] == "stall"]


def check(stallscope, directory):
    client, node = pathlib.Path(directory, "client.pcap"), pathlib.Path(directory, "node.pcap")
    truths = record(stallscope, client, node)
    # The ground truth is on the monotonic clock, the captures on the real one.
    offset_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    done = subprocess.run([stallscope, "capture", str(client), str(node), "--json"], capture_output=True, text=True, check=False)
    expect(done.returncode == 1 and done.stdout, f"{done.returncode}: {done.stderr}")
    report = json.loads(done.stdout)
    places = report["places"]
    all_ns = places["before_ns"] + places["receive_queue_ns"] + places["inside_ns"] + places["after_ns"]
    expect(places["late"] > 0 and places["receive_queue_ns"] > 0.9 * all_ns, f"{places}")
    expect(len(report["shapes"]) == 1, f"{len(report['shapes'])} shapes")
    shape = report["shapes"][0]
    expect(shape["verdict"]["cause"] == "receive_queue", f"{shape['verdict']}")
    run = report["run"]
    back_ns = run["realtime_offset_ns"] - offset_ns
    inside_run = [t for t in truths if t["start_ns"] > run["start_ns"] + back_ns + 10**9 and t["end_ns"] < run["end_ns"] + back_ns - 10**9]
    expect(len(inside_run) >= 4, f"only {len(inside_run)} whole stalls fell into the recording")
    for truth in inside_run:
        found = [e for e in shape["episodes"] if abs(e["release_ns"] + back_ns - truth["end_ns"]) < EDGE_NS]
        expect(found, f"no episode ends at {truth['end_ns']}: {[e['release_ns'] + back_ns for e in shape['episodes']]}")
        expect(found[0]["earliest_start_ns"] + back_ns - EDGE_NS < truth["start_ns"] < found[0]["latest_start_ns"] + back_ns + EDGE_NS,
               f"{truth} began elsewhere: {found[0]}")
        expect(found[0]["shortest_ns"] - EDGE_NS < truth["length_ns"] < found[0]["longest_ns"] + EDGE_NS, f"{truth}: {found[0]}")
    return f"{len(inside_run)} stalls, {places}"


def main():
    stallscope = os.path.abspath(sys.argv[1])
    if os.geteuid() != 0 or os.cpu_count() < 2 or shutil.which("tcpdump") is None:
        print("cannot run: needs root, two CPUs and tcpdump")
        return CANNOT_RUN
    if subprocess.run([stallscope, "doctor"], capture_output=True, check=False).returncode == 2:
        print("cannot run: the doctor finds this kernel not observable")
        return CANNOT_RUN
    with tempfile.TemporaryDirectory(prefix="stallscope-test-") as directory:
        print(check(stallscope, directory))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
