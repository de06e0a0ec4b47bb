#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node translates both addresses of connections and pings (DNAT and masquerade), and where the kernel can, its way to the pod is slow by 30 ms.
From a capture of all the node's interfaces `stallscope capture` must count each exchange once and find the 30 ms inside the node; from captures
of client and pod, which share no address, it must match them all.

    capture_nat_test.py STALLSCOPE

Needs root, tcpdump and nft with NAT; for the delay the queueing discipline netem. Exits with 77 and the reason where that is missing.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

CANNOT_RUN = 77
SERVICE = ("10.123.9.9", 80)
CONNECTIONS = 40
PINGS = 20
DELAY_NS = 30_000_000
# netem's timer and the scheduler of a busy machine.
TOLERANCE_NS = 20_000_000
PREFIX = f"stnat{os.getpid()}"
CLIENT, NODE, POD = (f"{PREFIX}-{name}" for name in ("client", "node", "pod"))
RULES = """
table ip stallscope_test {
  chain before { type nat hook prerouting priority dstnat; ip daddr 10.123.9.9 tcp dport 80 dnat to 10.123.2.2:8080; ip daddr 10.123.9.9 dnat to 10.123.2.2; }
  chain after { type nat hook postrouting priority srcnat; oifname "p0" masquerade; }
}
"""


class CannotRun(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, **options)


def try_to(what, *command, **options):
    try:
        return run(*command, **options)
    except subprocess.CalledProcessError as failure:
        raise CannotRun(f"{what}: {failure.stderr.strip()}") from failure


def inside(namespace, *command):
    return ("ip", "netns", "exec", namespace, *command)


@contextlib.contextmanager
def topology():
    try:
        for namespace in (CLIENT, NODE, POD):
            try_to("network namespaces", "ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        for end, device, peer, network in ((CLIENT, "c0", "n0", 1), (POD, "d0", "p0", 2)):
            try_to("veth", "ip", "link", "add", device, "netns", end, "type", "veth", "peer", "name", peer, "netns", NODE)
            for namespace, name, host in ((end, device, 2), (NODE, peer, 1)):
                run("ip", "-n", namespace, "address", "add", f"10.123.{network}.{host}/24", "dev", name)
                run("ip", "-n", namespace, "link", "set", name, "up")
            run("ip", "-n", end, "route", "add", "default", "via", f"10.123.{network}.1")
        run(*inside(NODE, "sysctl", "-w", "net.ipv4.ip_forward=1"))
        try_to("NAT by nft", *inside(NODE, "nft", "-f", "-"), input=RULES)
        slow = subprocess.run(("tc", "-n", NODE, "qdisc", "add", "dev", "p0", "root", "netem", "delay", f"{DELAY_NS // 10**6}ms"), check=False,
                              capture_output=True)
        yield DELAY_NS if slow.returncode == 0 else 0
    finally:
        for namespace in (CLIENT, NODE, POD):
            subprocess.run(("ip", "netns", "delete", namespace), check=False, capture_output=True)


@contextlib.contextmanager
def recorded(namespace, device, path):
    process = subprocess.Popen(inside(namespace, "tcpdump", "-Z", "root", "-i", device, "-s", "160", "--immediate-mode", "-U", "-w", str(path), "tcp or icmp"),
                               stderr=subprocess.PIPE, text=True)
    try:
        while "listening" not in process.stderr.readline():
            expect(process.poll() is None, f"tcpdump ended in {namespace}")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


LISTEN = """
import socket, sys
server = socket.create_server(("10.123.2.2", 8080), backlog=128)
print("ready", flush=True)
sys.stdin.read()
"""
CONNECT = f"""
import socket
for _ in range({CONNECTIONS}):
    socket.create_connection({SERVICE!r}, timeout=10).close()
"""


def cause_traffic():
    server = subprocess.Popen(inside(POD, sys.executable, "-c", LISTEN), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        expect(server.stdout.readline() == "ready\n", "the server does not listen")
        run(*inside(CLIENT, sys.executable, "-c", CONNECT))
        run(*inside(CLIENT, "ping", "-c", str(PINGS), "-i", "0.02", SERVICE[0]))
    finally:
        server.communicate(timeout=60)


def capture(stallscope, *files):
    done = subprocess.run([stallscope, "capture", *map(str, files), "--json", "--csv", f"{files[0]}.csv"], capture_output=True, text=True, check=False)
    expect(done.returncode in (0, 1) and done.stdout, f"{done.returncode}: {done.stderr}")
    lines = pathlib.Path(f"{files[0]}.csv").read_text(encoding="ascii").splitlines()
    names = lines[0].split(",")
    return json.loads(done.stdout), [dict(zip(names, line.split(","))) for line in lines[1:]]


def check(stallscope, directory):
    client, node, pod = (pathlib.Path(directory, f"{name}.pcap") for name in ("client", "node", "pod"))
    with topology() as delay_ns:
        with recorded(CLIENT, "c0", client), recorded(NODE, "any", node), recorded(POD, "d0", pod):
            cause_traffic()
    report, rows = capture(stallscope, node)
    legs = report["captures"][0]["legs"]
    expect(legs["ambiguous"] == 0, f"{legs}")
    for kind, count in (("handshake", CONNECTIONS), ("echo", PINGS)):
        ours = [row for row in rows if row["kind"] == kind]
        expect(len(ours) == count, f"{len(ours)} exchanges of kind {kind}")
        for row in ours:
            expect(row["destination"] == SERVICE[0] and row["legs"] == "2", f"{row}")
            expect(delay_ns <= int(row["request_passed_ns"] or 0) < delay_ns + TOLERANCE_NS, f"{row}")
    report, _ = capture(stallscope, client, pod)
    places = report["places"]
    expect(places["translated"] == places["matched"] >= CONNECTIONS + PINGS, f"{places}")
    expect(places["ambiguous"] == 0, f"{places}")
    return f"delay of {delay_ns // 10**6} ms, {legs}, {places}"


def main():
    stallscope = os.path.abspath(sys.argv[1])
    missing = [tool for tool in ("ip", "tc", "nft", "tcpdump", "ping") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        print(f"cannot run: needs root, ip, tc, nft, tcpdump and ping; not there: {' '.join(missing) or 'root'}")
        return CANNOT_RUN
    with tempfile.TemporaryDirectory(prefix="stallscope-test-") as directory:
        try:
            print(check(stallscope, directory))
        except CannotRun as reason:
            print(f"cannot run: {reason}")
            return CANNOT_RUN
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
