#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What works for a user without any capability, and that the rest says what is missing.

    unprivileged_test.py STALLSCOPE

Needs root, to become nobody in a network namespace of its own. Exits with 77 and the reason where that is missing.
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

CANNOT_RUN = 77
NOBODY = 65534
INSIDE = "--inside"
PING_GROUPS = pathlib.Path("/proc/sys/net/ipv4/ping_group_range")


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


class Nobody:
    """Runs the program with no capability, and none to be had."""

    def __init__(self, stallscope):
        self.prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
                       "--no-new-privs", stallscope]

    def run(self, *arguments):
        return subprocess.run([*self.prefix, *arguments], capture_output=True, text=True, timeout=120)

    def start(self, *arguments):
        return subprocess.Popen([*self.prefix, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def probe(self, *arguments):
        """The last line, which sums up."""
        result = self.run("probe", "--json", "--count", "20", "--interval", "5ms", *arguments)
        expect(result.returncode in (0, 1), f"probe {arguments}: {result.returncode}, {result.stderr}")
        return json.loads(result.stdout.splitlines()[-1])

    def refused(self, *arguments):
        """What is said when it cannot be done."""
        result = self.run(*arguments)
        expect(result.returncode == 2, f"{arguments} returned {result.returncode}: {result.stdout}{result.stderr}")
        return " ".join(result.stderr.split())


def check_echo(nobody):
    PING_GROUPS.write_text("1 0")
    message = nobody.refused("probe", "127.0.0.1", "--count", "1")
    expect("CAP_NET_RAW" in message and "ping_group_range" in message, f"not said what is missing: {message}")
    PING_GROUPS.write_text("0 2147483647")
    summary = nobody.probe("127.0.0.1", "::1")
    expect(summary["answers"]["echo_reply"] == 40, f"ping sockets: {summary}")
    return "echo: by ping sockets, IPv4 and IPv6; without them it says what is missing"


def check_tcp(nobody):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        port = server.getsockname()[1]
        accepting = threading.Thread(target=lambda: [server.accept()[0].close() for _ in range(20)])
        accepting.start()
        summary = nobody.probe(f"tcp://127.0.0.1:{port}")
        accepting.join()
    expect(summary["answers"]["syn_ack"] == 20, f"open port: {summary}")
    expect(any("CAP_NET_RAW" in gap["reason"] and "connect" in gap["reason"] for gap in summary["gaps"]), f"not said: {summary['gaps']}")
    # Nobody listens there any more.
    summary = nobody.probe(f"tcp://127.0.0.1:{port}")
    expect(summary["answers"]["reset"] == 20, f"closed port: {summary}")
    return "TCP: by connect(2), open and closed port, and it says so"


def check_udp(nobody):
    responder = nobody.start("respond", "127.0.0.1")
    try:
        line = responder.stderr.readline()
        expect("127.0.0.1" in line, f"the responder did not start: {line}")
        summary = nobody.probe("udp://127.0.0.1")
        expect(summary["answers"]["udp_answer"] == 20, f"UDP: {summary}")
    finally:
        responder.terminate()
        responder.communicate(timeout=60)
    return "UDP: prober and responder"


def check_bundles(nobody, directory):
    """What one has recorded another may read; probes can be kept without a privilege."""
    bundle = str(pathlib.Path(directory, "probes.stall"))
    nobody.probe("127.0.0.1", "--output", bundle)
    report = nobody.run("report", bundle)
    expect(report.returncode == 0 and "20 ICMP echoes" in " ".join(report.stdout.split()), f"{report.stdout}{report.stderr}")
    return "bundles: written and reported"


def check_kernel(nobody):
    """What looks into the kernel names what it would need, and shows what is to be had."""
    doctor = nobody.run("doctor")
    expect(doctor.returncode == 1 and "CAP_BPF" in doctor.stdout, f"doctor: {doctor.returncode}, {doctor.stdout}")
    census = nobody.run("census", "--json")
    expect(census.returncode == 0, f"census: {census.returncode}, {census.stderr}")
    seen = json.loads(census.stdout)
    cgroups = seen["memory_cgroups"]
    expect(cgroups["kernel_total"] >= cgroups["visible"] > 0 and cgroups["walked_dying"] is None, f"census: {cgroups}")
    missing = {gap["what"]: gap["reason"] for gap in seen["gaps"]}
    expect("CAP_BPF" in missing["walk of the memory cgroups"] and "slab caches" in missing, f"census: {missing}")
    expect("not root" in nobody.refused("lab", "run", "irq-off-section"), "the lab does not say what it needs")
    return "doctor and census: show what they can, and name the rest"


def main():
    stallscope = os.path.abspath(sys.argv[1])
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        print("cannot run: needs root and setpriv")
        return CANNOT_RUN
    if INSIDE not in sys.argv:
        os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__), stallscope, INSIDE])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="stallscope-test-") as directory:
        os.chown(directory, NOBODY, NOBODY)
        # The tree may lie where nobody may look.
        program = shutil.copy(stallscope, directory)
        nobody = Nobody(program)
        print(check_echo(nobody), flush=True)
        print(check_tcp(nobody), flush=True)
        print(check_udp(nobody), flush=True)
        print(check_bundles(nobody, directory), flush=True)
        print(check_kernel(nobody), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
