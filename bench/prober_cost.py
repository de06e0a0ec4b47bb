#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures `stallscope probe`: how exactly it keeps its schedule, what a probe costs, how many a CPU sends, and many targets; beside
hping3 and fping where they are installed.

usage: prober_cost.py STALLSCOPE [--json FILE] [--seconds N]

Needs root. Everything happens between two network namespaces of its own, which end with it, joined by a pair of veth devices. Both ends run on this machine's
CPUs: the cost of a probe includes the far end's, which answers in the sender's own softirq. Nothing passes or fails.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE, FAR = "10.9.0.1", "10.9.0.2"
MANY = "10.20"  # /16, every address of which the far namespace answers for
NOWHERE = "10.30.0.1"  # swallowed by the far namespace, which has a blackhole route for it


def run(command, **arguments):
    return subprocess.run(command, shell=isinstance(command, str), check=True, capture_output=True, text=True, **arguments)


def in_own_namespace():
    """Starts this program again in a fresh network namespace."""
    os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__), "--inside"] + sys.argv[1:])


class FarSide:
    """The other namespace, as long as a process that sleeps in it."""

    def __enter__(self):
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
        try:
            self.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def connect(self):
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == own:
            time.sleep(0.01)
        run("ip link set lo up")
        run(f"ip link add veth type veth peer name veth netns {self.process.pid}")
        run(f"ip addr add {HERE}/24 dev veth && ip link set veth up")
        self.run(f"ip link set lo up && ip addr add {FAR}/24 dev veth && ip link set veth up && ip route add local {MANY}.0.0/16 dev lo")
        run(f"ip route add {MANY}.0.0/16 via {FAR}")
        self.run(f"echo 1 > /proc/sys/net/ipv4/ip_forward && ip route add blackhole {NOWHERE}/32")
        run(f"ip route add {NOWHERE}/32 via {FAR}")
        run(f"ping -c 3 -i 0.2 {FAR}")

    def run(self, command):
        return run(["nsenter", "-t", str(self.process.pid), "-n", "sh", "-c", command])

    def start(self, command):
        return subprocess.Popen(["nsenter", "-t", str(self.process.pid), "-n"] + command, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def timed(command):
    """Output, wall-clock and CPU seconds of a command."""
    with tempfile.TemporaryFile("w+") as output:
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begin
        output.seek(0)
        text = output.read()
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise RuntimeError(f"{' '.join(command[:12])}: {text[-500:]}")
    return text, wall, usage.ru_utime + usage.ru_stime


class Bench:
    def __init__(self, binary, seconds):
        self.binary = binary
        self.seconds = seconds
        self.results = []

    def probe(self, title, arguments, seconds=None):
        seconds = seconds or self.seconds
        text, wall, cpu = timed([self.binary, "probe", "--json", "--for", f"{seconds}s"] + arguments)
        summary = json.loads(text.strip().splitlines()[-1])
        lateness = summary["own_lateness"]
        result = {
            "what": title,
            "per_second": round(summary["sent"] / seconds),
            "lost": summary["lost"],
            "skipped": summary["skipped"],
            "cpu_percent": round(100 * cpu / seconds, 1),
            "cpu_ns_per_probe": round(1e9 * cpu / max(1, summary["sent"])),
            "late_p50_us": lateness["p50_ns"] / 1e3,
            "late_p99_us": lateness["p99_ns"] / 1e3,
            "late_p99_9_us": lateness["p99_9_ns"] / 1e3,
            "late_max_us": lateness["max_ns"] / 1e3,
            "rtt_p50_us": (summary["from_intended"] or {}).get("p50_ns", 0) / 1e3,
            "path_p50_us": (summary["path"] or {}).get("p50_ns", 0) / 1e3,
            "window_bytes": summary["window_bytes"],
        }
        self.add(result)

    def add(self, result):
        self.results.append(result)
        print("  ".join(f"{name}={value}" for name, value in result.items()), flush=True)

    def other(self, title, command, count, pattern):
        """A tool that prints its own summary."""
        if not shutil.which(command[0]):
            self.add({"what": title, "missing": command[0]})
            return
        text, wall, cpu = timed(command)
        found = re.search(pattern, text)
        self.add({"what": title, "per_second": round(count / wall), "cpu_percent": round(100 * cpu / wall, 1),
                  "cpu_ns_per_probe": round(1e9 * cpu / count), "says": found.group(0) if found else text.strip()[-120:]})

    def all(self, far):
        listener = far.start([sys.executable, "-m", "http.server", "80"])
        responder = far.start([self.binary, "respond", "--rate", "1000000"])
        time.sleep(1)
        every = ["--interval", "100us"]
        self.probe("ICMP, 10 kpps, sleeping", [FAR] + every)
        self.probe("ICMP, 10 kpps, busy polling", [FAR, "--busy-poll"] + every)
        self.probe("ICMP, 10 kpps, without transmit timestamps", [FAR, "--no-transmit-timestamps"] + every)
        self.probe("TCP SYN to an open port, 10 kpps", [f"tcp://{FAR}:80"] + every)
        self.probe("TCP SYN to a closed port, 10 kpps", [f"tcp://{FAR}:81"] + every)
        self.probe("UDP, 10 kpps", [f"udp://{FAR}"] + every)
        self.probe("HTTP, 100 a second", [f"http://{FAR}/", "--interval", "10ms"])
        with tempfile.NamedTemporaryFile("w") as targets:
            targets.writelines(f"{MANY}.{n // 250}.{n % 250 + 1}\n" for n in range(1000))
            targets.flush()
            self.probe("1,000 targets, 10 a second each, ICMP", ["--targets", targets.name, "--interval", "100ms"])
            self.probe("1,000 targets, 10 a second each, TCP SYN to a closed port",
                       ["--targets", targets.name, "--tcp", "81", "--interval", "100ms"])
            for rate in (50_000, 100_000, 200_000, 400_000):
                interval = f"{1000 * 1_000_000 // rate}us"
                self.probe(f"1,000 targets, {rate:,}/s, ICMP, answered",
                           ["--targets", targets.name, "--interval", interval, "--rate", "5000000", "--no-transmit-timestamps"], 3)
        for rate in (200_000, 500_000, 1_000_000):
            self.probe(f"{rate:,}/s, ICMP, swallowed by the far end",
                       [NOWHERE, "--interval", f"{1_000_000 // rate}us", "--rate", "5000000", "--no-transmit-timestamps",
                        "--timeout", "100ms"], 3)
        count = 10_000 * self.seconds
        self.other("hping3, ICMP, asked for 10 kpps", ["hping3", "-1", "-q", "-i", "u100", "-c", str(count), FAR], count,
                   r"\d+ packets transmitted.*\n.*")
        self.other("fping, ICMP, asked for 10 kpps", ["fping", "-q", "-p", "0.1", "-i", "0.1", "-c", str(count), FAR], count,
                   r"xmt/rcv.*")
        listener.kill()
        responder.send_signal(signal.SIGINT)
        listener.wait()
        responder.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("--json")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("prober_cost.py needs root, for network namespaces")
    if not arguments.inside:
        in_own_namespace()
    bench = Bench(os.path.abspath(arguments.binary), arguments.seconds)
    with FarSide() as far:
        bench.all(far)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"kernel": os.uname().release, "results": bench.results}, file, indent=1)


if __name__ == "__main__":
    main()
