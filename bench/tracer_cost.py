#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what a recording costs the host that is recorded. Publishes figures; nothing passes or fails.

usage: tracer_cost.py STALLSCOPE [--json FILE] [--seconds N] [--pairs N] [--only PART...]

Needs root, bpftool, two CPUs, and the helpers of the preset bench beside STALLSCOPE (build/bench/stallscope). Takes about two
minutes. Uses the network of `stallscope lab up` and removes it afterwards, unless it was up already.
"""
import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import platform
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from kernel_accounts import CpuClock, EmptyProgram, Programs, RunTimeStatistics

CLIENT, NODE, ADDRESS = "stallscope-client", "stallscope-node", "10.0.1.2"
RECEIVE_CPU, SEND_CPU = 0, 1
STEADY_PACKETS_PER_S = 200_000
PACKETS_PER_S = 100_000
SMALL_BYTES, LARGE_BYTES = 64, 1_400
CLOCK_PERIOD_NS = 1_000_000  # of the tracer
# How long a condition may take on a loaded machine.
PATIENCE_SECONDS = 60
# A recording that is ended by a signal when it has been measured; this ends it if the signal never comes.
LONGEST_RECORDING = "5m"
SYS_EPOLL_WAIT, SYS_EPOLL_PWAIT = 232, 281  # x86_64
PR_SET_PDEATHSIG = 1
EMPTY = "(empty program)"
WATCH = []
PROBE = [ADDRESS, "--netns", CLIENT, "--probe-cpu", str(SEND_CPU)]

libc = ctypes.CDLL(None)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen within {PATIENCE_SECONDS} s")
        time.sleep(0.02)


class Tools:
    """The binary under test, and the helpers built beside it."""

    def __init__(self, stallscope):
        self.stallscope = stallscope
        self.directory = stallscope.parent / "bench"

    def start(self, name, *arguments):
        return subprocess.Popen([self.directory / name, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                                preexec_fn=die_with_parent)

    @staticmethod
    def result(process):
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        if process.returncode != 0:
            raise RuntimeError(f"{process.args[0]} failed")
        return json.loads(output)

    def run(self, name, *arguments):
        return self.result(self.start(name, *arguments))

    def udp(self, payload_bytes, packets_per_s, seconds):
        return self.start("udp_load", CLIENT, NODE, ADDRESS, payload_bytes, packets_per_s, seconds, SEND_CPU)


def lab(tools, *arguments):
    done = subprocess.run([tools.stallscope, "lab", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"stallscope lab {' '.join(arguments)}: {done.stderr.strip()}")


@contextlib.contextmanager
def lab_network(tools):
    was_up = pathlib.Path("/run/netns", CLIENT).exists()
    lab(tools, "up", "--receive-cpu", str(RECEIVE_CPU))
    try:
        yield
    finally:
        if not was_up:
            lab(tools, "down")


class Recording:
    """A `stallscope diagnose` that observes while it is entered."""

    def __init__(self, tools, arguments):
        self.tools = tools
        self.arguments = arguments

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="stallscope-bench-")
        self.bundle = os.path.join(self.directory.name, "run.stall")
        command = [self.tools.stallscope, "diagnose", *self.arguments, "--for", LONGEST_RECORDING, "--no-read-cost",
                   "--out", self.bundle]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=die_with_parent)
        try:
            wait_until(self.observes, "the start of the recording")
        except BaseException:
            self.process.kill()
            self.process.wait()
            self.directory.cleanup()
            raise
        self.start_cpu_ms = self.cpu_ns()[0] / 1e6
        return self

    def observes(self):
        """Whether everything is attached: only then does its main thread wait for events."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the recording ended: {self.process.stderr.read()}")
        call = pathlib.Path(f"/proc/{self.process.pid}/syscall").read_text().split()[0]
        return call in (str(SYS_EPOLL_WAIT), str(SYS_EPOLL_PWAIT))

    def cpu_ns(self):
        """User and system time so far: of all its threads (clock_getcpuclockid(3)), and of the one that drains and stores."""
        main_thread = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/schedstat").read_text()
        return time.clock_gettime_ns((~self.process.pid << 3) | 2), int(main_thread.split()[0])

    def wait_count(self):
        with contextlib.closing(sqlite3.connect(f"file:{self.bundle}?mode=ro", uri=True)) as bundle:
            return bundle.execute("SELECT count(*) FROM wait").fetchone()[0]

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=PATIENCE_SECONDS)
        self.directory.cleanup()
        if self.process.returncode not in (0, 1):
            raise RuntimeError(f"the recording failed: {said}")


def cpu_times():
    """Of all CPUs together, in ticks: everything, idle, stolen."""
    ticks = list(map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
    return sum(ticks[:8]), ticks[3] + ticks[4], ticks[7]


class Machine:
    """What else the machine did meanwhile: the figures are worth as much as it was quiet."""

    def __enter__(self):
        self.before = cpu_times()
        return self

    def __exit__(self, *_):
        all_ticks, idle, stolen = (after - before for after, before in zip(cpu_times(), self.before))
        self.busy_percent = 100 * (all_ticks - idle - stolen) / max(all_ticks, 1)
        self.stolen_percent = 100 * stolen / max(all_ticks, 1)

    def note(self):
        return {"machine_busy_percent": self.busy_percent, "machine_stolen_percent": self.stolen_percent}


def program_costs(windows, seconds):
    """The median over windows of each program's mean, so that a window in which the machine was disturbed does not count."""
    costs = {}
    for name in windows[0]:
        accounts = [window[name] for window in windows]
        runs = sum(account.runs for account in accounts)
        means = [account.time_ns / account.runs for account in accounts if account.runs > 0]
        costs[name] = {"events_per_s": runs / seconds, "ns": statistics.median(means) if means else None,
                       "time_ns": sum(account.time_ns for account in accounts)}
    return costs


class LoadFigures:
    """What the kernel has counted of a recording up to now."""

    def __init__(self, recording, programs, empty):
        self.time_ns = time.monotonic_ns()
        self.cpu_ns, self.main_thread_ns = recording.cpu_ns()
        self.wait_count = recording.wait_count()
        self.accounts = {**programs.accounts(), EMPTY: empty.account()}


def measure_load(tools, arguments, seconds, generate=None):
    """Cost of each program and of the recorder under one load."""
    with RunTimeStatistics(), Recording(tools, arguments) as recording, EmptyProgram("softirq_raise") as empty, \
            Machine() as machine:
        generator = generate(seconds + 3) if generate else None
        time.sleep(1)  # past the start of the load
        programs = Programs(recording.process.pid)
        figures = [LoadFigures(recording, programs, empty)]
        for _ in range(seconds):
            time.sleep(1)
            figures.append(LoadFigures(recording, programs, empty))
        load = tools.result(generator) if generator else None
    first, last = figures[0], figures[-1]
    elapsed_ns = last.time_ns - first.time_ns
    windows = [{name: after.accounts[name] - before.accounts[name] for name in after.accounts}
               for before, after in zip(figures, figures[1:])]
    costs = program_costs(windows, elapsed_ns / 1e9)
    ours = [cost for name, cost in costs.items() if name != EMPTY and cost["ns"] is not None]
    counting_ns = costs[EMPTY]["ns"] or 0
    recorder_ns = last.main_thread_ns - first.main_thread_ns
    return {"programs": costs, "load": load, "start_cpu_ms": recording.start_cpu_ms,
            "waits_per_s": 1e9 * (last.wait_count - first.wait_count) / elapsed_ns,
            "recorder_percent": 100 * recorder_ns / elapsed_ns,
            "prober_percent": 100 * (last.cpu_ns - first.cpu_ns - recorder_ns) / elapsed_ns,
            "programs_percent": 100 * sum(cost["time_ns"] for cost in ours) / elapsed_ns,
            # Robust against disturbed windows as the costs are, and without what counting costs.
            "programs_net_percent": 1e-7 * sum(cost["events_per_s"] * max(cost["ns"] - counting_ns, 0) for cost in ours),
            **machine.note()}


def quantile(values, part):
    return sorted(values)[min(int(part * len(values)), len(values) - 1)]


def slow_recording(tools):
    """All programs are loaded, those for probes included; one probe per 10 s sends next to nothing."""
    return Recording(tools, [*PROBE, "--interval", "10s"])


def compare(conditions, rounds, measure):
    """Measures under each condition in turn, so that what changes on the machine changes for all. Each round has the other order
    than the one before. Returns the results of each condition, and how busy the machine was."""
    results = {name: [] for name in conditions}
    with Machine() as machine:
        for number in range(rounds):
            for name in list(conditions)[::1 if number % 2 == 0 else -1]:
                with conditions[name]():
                    results[name].append(measure())
    return results, machine.note()


def compare_tracer(tools, pairs, measure):
    return compare({"without": contextlib.nullcontext, "with": lambda: slow_recording(tools)}, pairs, measure)


def ratio(results, figure):
    """The median of the pairs' ratios, and the two between which the middle half of them lies."""
    without, traced = ([figure(result) for result in results[name]] for name in ("without", "with"))
    ratios = [after / before for before, after in zip(without, traced)]
    quarters = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {"without": statistics.median(without), "with": statistics.median(traced), "ratio": statistics.median(ratios),
            "ratio_from": quarters[0], "ratio_to": quarters[2]}


def measure_rtt(tools, pairs):
    results, note = compare_tracer(tools, pairs, lambda: tools.run("echo_rtt", CLIENT, ADDRESS, 1000, 2, SEND_CPU)["rtt_ns"])
    return {"median": ratio(results, statistics.median), "p99": ratio(results, lambda times: quantile(times, 0.99)), **note}


def measure_flood(tools, pairs):
    results, note = compare_tracer(tools, pairs, lambda: tools.result(tools.udp(SMALL_BYTES, 0, 2)))
    return {"packets_per_s": ratio(results, lambda outcome: outcome["taken"] / outcome["seconds"]), **note}


def measure_steady(tools, pairs):
    """A flood that the machine can just take without a tracer, and what probes among it see."""
    def once():
        generator = tools.udp(SMALL_BYTES, STEADY_PACKETS_PER_S, 3)
        rtt = tools.run("echo_rtt", CLIENT, ADDRESS, 1000, 2, SEND_CPU)["rtt_ns"]
        return {**tools.result(generator), "rtt_ns": rtt}

    results, note = compare_tracer(tools, pairs, once)
    return {"packets_per_s": ratio(results, lambda outcome: outcome["taken"] / outcome["seconds"]),
            "taken_part": ratio(results, lambda outcome: 100 * outcome["taken"] / outcome["sent"]),
            "median": ratio(results, lambda outcome: statistics.median(outcome["rtt_ns"])),
            "p99": ratio(results, lambda outcome: quantile(outcome["rtt_ns"], 0.99)), **note}


def measure_interrupts(tools, rounds):
    """What interrupts take from a program that uses a whole CPU: without, with a clock like the tracer's, with the tracer."""
    def once():
        outcome = tools.run("cpu_taken", SEND_CPU, 1)
        running_ns = outcome["elapsed_ns"] - outcome["other_ns"]
        return {"per_s": 1e9 * outcome["interrupts"] / running_ns, "percent": 100 * outcome["interrupts_ns"] / running_ns}

    results, note = compare({"without": contextlib.nullcontext, "clock alone": lambda: CpuClock(SEND_CPU, CLOCK_PERIOD_NS),
                             "with": lambda: slow_recording(tools)}, rounds, once)
    # What else runs on the machine only adds: the least disturbed run of each is compared.
    return {**{name: min(runs, key=lambda run: run["percent"]) for name, runs in results.items()}, **note}


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def packets(payload_bytes):
    return (f"{PACKETS_PER_S:,} UDP packets/s of {payload_bytes:,} bytes, probing every 10 ms",
            lambda tools, seconds: measure_load(tools, PROBE, seconds,
                                                lambda for_s: tools.udp(payload_bytes, PACKETS_PER_S, for_s)))


LOADS = {
    "idle": ("nothing sent, no target", lambda tools, seconds: measure_load(tools, WATCH, seconds)),
    "small": packets(SMALL_BYTES),
    "large": packets(LARGE_BYTES),
    "probing": ("probing every 1 ms", lambda tools, seconds: measure_load(tools, [*PROBE, "--interval", "1ms"], seconds)),
}
COMPARISONS = {"rtt": measure_rtt, "flood": measure_flood, "steady": measure_steady, "interrupts": measure_interrupts}


def machine_note(part):
    return f"machine {part['machine_busy_percent']:.0f} % busy, {part['machine_stolen_percent']:.1f} % stolen"


def print_loads(loads):
    names = sorted({name for load in loads.values() for name in load["programs"]})
    print("ns per run, and runs/s\n")
    print(f"{'':<22}" + "".join(f"{name:>24}" for name in loads))
    for name in names:
        cells = []
        for load in loads.values():
            cost = load["programs"].get(name)
            cells.append("-" if not cost or cost["ns"] is None else f"{cost['ns']:.0f} ns {cost['events_per_s']:>9,.0f}/s")
        print(f"{name:<22}" + "".join(f"{cell:>24}" for cell in cells))
    for label, key in (("recorder", "recorder_percent"), ("prober", "prober_percent"), ("programs, as counted", "programs_percent"),
                       ("programs, net", "programs_net_percent")):
        print(f"{label:<22}" + "".join(f"{load[key]:>17.2f} % CPU " for load in loads.values()))
    for name, load in loads.items():
        sent = f"; {load['load']['sent'] / load['load']['seconds']:,.0f} packets/s sent" if load["load"] else ""
        print(f"{name}: {LOADS[name][0]}; {load['waits_per_s']:.1f} waits/s recorded; {machine_note(load)}{sent}")
    print(f"a recording takes {statistics.median(load['start_cpu_ms'] for load in loads.values()):.0f} ms of CPU to start")


def print_ratio(label, value, unit, scale=1.0):
    print(f"{label:<22}{value['without'] / scale:>14,.1f} {unit:<10}{value['with'] / scale:>14,.1f} {unit:<10}"
          f"{value['ratio']:>8.3f}  ({value['ratio_from']:.3f}-{value['ratio_to']:.3f})")


def print_comparisons(results):
    print(f"{'':<22}{'without tracer':>24} {'with tracer':>24}   ratio  (middle half of pairs)")
    if "rtt" in results:
        print_ratio("RTT, median", results["rtt"]["median"], "us", 1000)
        print_ratio("RTT, p99", results["rtt"]["p99"], "us", 1000)
    if "flood" in results:
        print_ratio("flood", results["flood"]["packets_per_s"], "packets/s")
    if "steady" in results:
        print_ratio("steady", results["steady"]["packets_per_s"], "packets/s")
        print_ratio("steady, taken", results["steady"]["taken_part"], "%")
        print_ratio("steady, RTT, median", results["steady"]["median"], "us", 1000)
        print_ratio("steady, RTT, p99", results["steady"]["p99"], "us", 1000)
    if "interrupts" in results:
        for label, name in (("without tracer", "without"), ("1 kHz clock alone", "clock alone"), ("with tracer", "with")):
            part = results["interrupts"][name]
            print(f"interrupts, {label:<20}{part['per_s']:>7,.0f}/s take {part['percent']:.2f} % of a busy CPU")
    for name in COMPARISONS:
        if name in results:
            print(f"{name}: {machine_note(results[name])}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stallscope", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--pairs", type=int, default=6, help="of each comparison")
    parser.add_argument("--only", nargs="+", choices=[*LOADS, *COMPARISONS], default=[*LOADS, *COMPARISONS])
    arguments = parser.parse_args()
    if os.geteuid() != 0 or (os.cpu_count() or 1) < 2:
        sys.exit("tracer_cost: needs root and two CPUs")
    # Ended by a signal, it still removes what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("tracer_cost: terminated"))
    tools = Tools(arguments.stallscope.resolve())
    results = {"kernel": platform.release(), "cpu": cpu_model(), "cpu_count": os.cpu_count()}
    print(f"Linux {results['kernel']}, {results['cpu_count']} CPUs, {results['cpu']}\n")
    with lab_network(tools):
        loads = {name: measure(tools, arguments.seconds) for name, (_, measure) in LOADS.items() if name in arguments.only}
        if loads:
            print_loads(loads)
            print()
        for name, measure in COMPARISONS.items():
            if name in arguments.only:
                results[name] = measure(tools, arguments.pairs)
    if any(name in results for name in COMPARISONS):
        print_comparisons(results)
    if arguments.json:
        arguments.json.write_text(json.dumps({**results, "loads": loads}, indent=2) + "\n")


if __name__ == "__main__":
    main()
