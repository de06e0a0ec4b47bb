#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What letting go of zombie memory cgroups does to packets: in small steps, by removing the file at once, and by drop_caches.

usage: remedy_release.py STALLSCOPE [--zombies N] [--where DIRECTORY]... [--cpu N]    (as root, cgroup v1 or v2)

For each directory (a tmpfs, a disk) and way it makes N zombies, each pinned by a page of one file there, probes loopback at 1 kHz from the
CPU on which the release is done, lets go of them, and prints how long it took, how many were freed, and the worst that was added to a
probe. The probes are those of another process than the remedy's own. Everything made is removed.
"""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

PAGE = 4096
# Until the kernel has freed what it was let go of; those that nothing lets go of stay.
PATIENCE_SECONDS = 20
# The first is the control: what this machine does to probes by itself.
WAYS = ("nothing", "in steps", "at once", "drop_caches")
CONTROL_SECONDS = 10
# FLUSH_TIME of mm/memcontrol.c.
FLUSH_SECONDS = 2
# The default of --max-added.
LATE_MS = 5


def hierarchy():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup" and "memory" in options.split(","):
            return pathlib.Path(mount.split()[4])
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] == "cgroup2":
            return pathlib.Path(mount.split()[4])
    sys.exit("no memory cgroups are mounted")


def count():
    for line in pathlib.Path("/proc/cgroups").read_text().splitlines():
        if line.startswith("memory"):
            return int(line.split()[2])
    sys.exit("/proc/cgroups does not count memory cgroups")


def make(parent, file, zombies):
    """In a process of its own, which hops through the cgroups."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit("cannot make zombies")
        return
    fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    page = bytes(PAGE)
    previous = None
    for i in range(zombies):
        directory = parent / f"z{i}"
        os.mkdir(directory)
        with open(directory / "cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")
        os.pwrite(fd, page, i * PAGE)
        if previous:
            os.rmdir(previous)
        previous = directory
    with open(parent / "cgroup.procs", "w", encoding="ascii") as procs:
        procs.write("0")
    os.rmdir(previous)
    os.fdatasync(fd)
    os._exit(0)


class Prober:
    """Probes in 1 kHz until stopped."""

    def __init__(self, stallscope, cpu):
        # To a file: a pipe that nobody reads would hold the prober up when it is full.
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([stallscope, "probe", "127.0.0.1", "--interval", "1ms", "--for", "10m", "--probe-cpu", str(cpu),
                                         "--each", "--json"], stdout=self.output, stderr=subprocess.DEVNULL, text=True)
        time.sleep(1)

    def worst_added_ms(self, start):
        """Of the probes that were due from `start` on: the worst, when that was due, how many were above 5 ms, and how many there were."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=PATIENCE_SECONDS)
        self.output.seek(0)
        times = [(line["received_ns"] - line["intended_ns"], line["intended_ns"]) for line in map(json.loads, self.output)
                 if line.get("type") == "probe" and line.get("received_ns") is not None and line["intended_ns"] >= start * 1e9]
        if len(times) < 100:
            sys.exit("too few probes were answered")
        usual = sorted(times)[len(times) // 2][0]
        worst, due = max(times)
        late = sum(time - usual > LATE_MS * 1e6 for time, _ in times)
        return (worst - usual) / 1e6, due / 1e9 - start, late, len(times)


def settle(parent):
    """What making zombies left to be counted is flushed with interrupts off, 0.1 s of it, by the kernel's own worker every 2 s: that is
    what zombies do, not what letting go of them does. A read has it done now."""
    (parent / "memory.stat").read_text()
    time.sleep(2 * FLUSH_SECONDS)


def wait_for(target):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while count() > target and time.monotonic() < deadline:
        time.sleep(0.05)


def release(stallscope, way, file, cpu, on_disk):
    if way == "in steps":
        option = "drop-file-cache" if on_disk else "punch-file"
        result = subprocess.run([stallscope, "remedy", "apply", option, "--file", str(file), "--cpu", str(cpu), "--go"], check=False,
                                capture_output=True, text=True)
        if result.returncode == 2:
            sys.exit(result.stderr)
        # What it measured itself, the tracer's waits among it.
        print(*(line for line in result.stdout.splitlines() if line.startswith(("Done", "Ended"))), sep="\n", file=sys.stderr, flush=True)
    elif way == "nothing":
        time.sleep(CONTROL_SECONDS)
    elif way == "at once":
        subprocess.run(["taskset", "-c", str(cpu), "rm", str(file)], check=True)
    else:
        subprocess.run(["taskset", "-c", str(cpu), "sh", "-c", "echo 3 > /proc/sys/vm/drop_caches"], check=True)


def measure(options, directory, way):
    parent = hierarchy() / "stallscope-bench-remedy"
    file = pathlib.Path(directory) / "stallscope-bench-remedy-pins"
    on_disk = subprocess.run(["stat", "-f", "-c", "%T", directory], check=True, capture_output=True, text=True).stdout.strip() != "tmpfs"
    parent.mkdir(exist_ok=True)
    try:
        before = count()
        make(parent, file, options.zombies)
        made = count() - before
        settle(parent)
        prober = Prober(options.stallscope, options.cpu)
        start = time.monotonic()
        release(options.stallscope, way, file, options.cpu, on_disk)
        if way in ("in steps", "at once"):
            wait_for(before)
        seconds = time.monotonic() - start
        worst, at, late, probes = prober.worst_added_ms(start)
        freed = made - max(count() - before, 0)
        print(f"{'disk' if on_disk else 'tmpfs':<6} {way:<12} {made:>8,} {freed:>8,} {seconds:>8.1f} {worst:>10.1f} {at:>8.1f} {late:>6,} {probes:>8,}", flush=True)
    finally:
        if file.exists():
            subprocess.run(["sync", str(file)], check=True)
            for left in range(file.stat().st_size, -1, -1000 * PAGE):
                os.truncate(file, left)
                time.sleep(0.03)
            file.unlink()
        wait_for(before)
        parent.rmdir()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stallscope")
    parser.add_argument("--zombies", type=int, default=60_000)
    parser.add_argument("--where", action="append")
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--cpu", type=int, default=1)
    options = parser.parse_args()
    print(f"{'pages':<6} {'released':<12} {'zombies':>8} {'freed':>8} {'s':>8} {'worst +ms':>10} {'at s':>8} {'> 5 ms':>6} {'probes':>8}", flush=True)
    for directory in options.where or ["/dev/shm"]:
        for way in options.way or WAYS:
            measure(options, directory, way)


if __name__ == "__main__":
    main()
