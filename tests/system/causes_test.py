#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the lab causes and the report has to tell apart: two causes at once, a server that its CPU quota makes late, and what SYNs
wait for.

    causes_test.py STALLSCOPE

Needs root, two CPUs and a kernel that the doctor calls ready. Exits with 77 and the reason where that is missing.
"""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile

CANNOT_RUN = 77
TARGET = "10.0.1.2"
# A stall that was under way when recording began or ended is seen in part only.
EDGE_NS = 300_000_000
# src/shape/lateness.h
LATE_NS = 5_000_000
PAIR = ("irq-off-section", "softirq-vector")


class CannotRun(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


class Lab:
    """`stallscope lab run`, from the moment all of it is in place."""

    def __init__(self, stallscope, fault, *arguments):
        self.process = subprocess.Popen([stallscope, "lab", "run", fault, "--cpu", "0", "--for", "5m", *arguments],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.ready = {}
        while len(self.ready) < fault.count("+") + 1:
            line = self.process.stdout.readline()
            if not line:
                messages = self.process.communicate()[1]
                if "this kernel lacks" in messages:
                    raise CannotRun(messages)
                raise AssertionError(f"the lab ended before {fault} was in place: {messages}")
            self.lines.append(json.loads(line))
            if self.lines[-1]["type"] == "ready":
                self.ready[self.lines[-1]["fault"]] = self.lines[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        rest, messages = self.process.communicate(timeout=120)
        expect(self.process.returncode == 0, f"the lab failed: {messages}")
        self.lines += [json.loads(line) for line in rest.splitlines()]
        return [line for line in self.lines if line["type"] == "stall"]


def diagnose(stallscope, directory, seconds, *arguments, target=(TARGET, "--netns", "stallscope-client")):
    """The report as JSON and as text."""
    bundle = str(pathlib.Path(directory, "run.stall"))
    recorded = subprocess.run([stallscope, "diagnose", *target, "--probe-cpu", "1", "--for", f"{seconds}s", "--out", bundle, "--json",
                               *arguments], capture_output=True, text=True, timeout=300)
    expect(recorded.returncode in (0, 1), f"diagnose failed ({recorded.returncode}): {recorded.stderr}")
    text = subprocess.run([stallscope, "report", bundle], capture_output=True, text=True, timeout=60).stdout
    return json.loads(recorded.stdout), text


def overlaps(stall, truth):
    return stall["start_ns"] < truth["end_ns"] and stall["end_ns"] > truth["start_ns"]


def first_cause(report, index):
    claimed = {}
    for finding in report["findings"]:
        for claim in finding["claims"]:
            if claim["stall"] == index:
                claimed[finding["rule"]] = claimed.get(finding["rule"], 0) + claim["length_ns"]
    return max(claimed, key=claimed.get, default=None)


def check_pair(stallscope, directory):
    with Lab(stallscope, "+".join(PAIR), "--length", "50ms", "--period", "2s") as lab:
        report, text = diagnose(stallscope, directory, 12)
        truths = lab.stop()
    run = report["run"]
    inside = [t for t in truths if t["start_ns"] > run["start_ns"] + EDGE_NS and t["end_ns"] < run["end_ns"] - EDGE_NS]
    by_rule = {rule: [t for t in inside if t["rule"] == rule] for rule in PAIR}
    for rule, of_rule in by_rule.items():
        expect(len(of_rule) >= 3, f"only {len(of_rule)} whole stalls of {rule} fell into the recording")
        for truth in of_rule:
            found = [index for index, stall in enumerate(report["stalls"]) if overlaps(stall, truth)]
            expect(found, f"{rule} at {truth['start_ns']} was not found")
            longest = max(found, key=lambda index: report["stalls"][index]["length_ns"])
            cause = first_cause(report, longest)
            expect(cause == rule, f"{rule} at {truth['start_ns']} was blamed on {cause}")
    findings = {finding["rule"]: finding for finding in report["findings"]}
    for rule, of_rule in by_rule.items():
        # A softirq vector's stall begins with the first packet that waits: up to one probe later. The edges are not in the truth.
        least_ns = sum(truth["length_ns"] - run_interval_ns(report) for truth in of_rule)
        expect(findings[rule]["explained_ns"] >= 0.9 * least_ns,
               f"{rule} gets {findings[rule]['explained_ns']} ns, its stalls have {least_ns} ns")
    expect(sum(f["explained_ns"] for f in report["findings"]) <= report["stalled_ns"], "more is explained than was stalled")
    ranked = [f["explained_ns"] for f in report["findings"] if f["confidence"]]
    expect(ranked == sorted(ranked, reverse=True), f"not ranked: {ranked}")
    causes = re.findall(r"explains [\d.,]+ of [\d.,]+ m?s stalled \([\d.]+ %\)", " ".join(text.split()))
    expect(len(causes) >= 2, f"the text does not give two causes their shares:\n{text}")
    return "two causes: " + ", ".join(f"{rule} {findings[rule]['explained_ns'] / 1e6:.0f} ms" for rule in PAIR)


def run_interval_ns(report):
    return report["run"].get("probe_interval_ns", 10_000_000)


def check_throttled(stallscope, directory):
    with Lab(stallscope, "cfs-throttled", "--length", "100ms", "--period", "1s") as lab:
        report, _ = diagnose(stallscope, directory, 5)
        truths = lab.stop()
    ready = lab.ready["cfs-throttled"]
    finding = next((f for f in report["findings"] if f["rule"] == "cfs-throttling"), None)
    expect(finding, f"no finding cfs-throttling: {report['findings']}, {report['throttled_cgroups']}, {report['gaps']}")
    expect(f"lab-server (pid {ready['pid']})" in finding["cause"] and ready["address"] in finding["cause"],
           f"the server is {ready['pid']} at {ready['address']}; found: {finding['cause']}")
    expect(not finding["claims"] and "packet path is innocent" in finding["no_stall"], f"{finding}")
    cgroup = report["throttled_cgroups"][0]
    expect(cgroup["quota_ns"] == ready["quota_ns"] and cgroup["period_ns"] == ready["quota_period_ns"], f"{cgroup}")
    run = report["run"]
    inside = [t for t in truths if t["start_ns"] > run["start_ns"] and t["end_ns"] < run["end_ns"]]
    # What was under way when the counters were read is in one of the two and not in the other.
    expect(abs(cgroup["throttled_count"] - len(inside)) <= 2, f"{cgroup['throttled_count']} periods, true {len(inside)}")
    return f"throttled: {finding['cause']}"


def check_not_throttled(stallscope, directory):
    with Lab(stallscope, "cfs-throttled", "--length", "100ms", "--period", "1s", "--healthy"):
        report, _ = diagnose(stallscope, directory, 5)
    expect(not report["throttled_cgroups"], f"{report['throttled_cgroups']}")
    expect("cfs-throttling" not in {f["rule"] for f in report["findings"]}, f"{report['findings']}")
    return "not throttled: no finding"


def packets_by_leg(directory):
    """Of how many probes the kernel saw a packet, by the direction it went."""
    with contextlib.closing(sqlite3.connect(pathlib.Path(directory, "run.stall"))) as bundle:
        sent = bundle.execute("SELECT count(*) FROM probe").fetchone()[0]
        legs = dict(bundle.execute("SELECT leg, count(DISTINCT sequence) FROM packet WHERE sequence IN (SELECT sequence FROM probe) "
                                   "GROUP BY leg"))
    return sent, legs


def send_times(directory):
    with contextlib.closing(sqlite3.connect(pathlib.Path(directory, "run.stall"))) as bundle:
        return [time_ns for time_ns, in bundle.execute("SELECT sent_ns FROM probe")]


def check_syns(stallscope, directory):
    """To a port that nobody listens on: resets answer them."""
    with Lab(stallscope, "irq-off-section", "--length", "100ms", "--period", "1s") as lab:
        report, text = diagnose(stallscope, directory, 5, "--tcp", "4711")
        truths = lab.stop()
    run = report["run"]
    inside = [t for t in truths if t["start_ns"] > run["start_ns"] + EDGE_NS and t["end_ns"] < run["end_ns"] - EDGE_NS]
    sent_ns = send_times(directory)
    probed = 0
    for truth in inside:
        found = [index for index, stall in enumerate(report["stalls"]) if overlaps(stall, truth)]
        expect(found, f"the stall at {truth['start_ns']} was not found")
        longest = max(found, key=lambda index: report["stalls"][index]["length_ns"])
        cause = first_cause(report, longest)
        expect(cause == "irq-off-section", f"the stall at {truth['start_ns']} was blamed on {cause}")
        held = report["stalls"][longest]["held"]
        # A prober that has to wait for the silent CPU as well (it tells others what of its memory is gone) sends few meanwhile.
        sent = sum(truth["start_ns"] < time_ns < truth["end_ns"] - LATE_NS for time_ns in sent_ns)
        expect(sent <= 1 or (held and held["count"] >= sent - 1), f"{sent} SYNs were sent in a stall of 100 ms, held were: {held}")
        probed += sent >= 5
    expect(probed >= 2, f"SYNs every 10 ms, and in {probed} of {len(inside)} whole stalls of 100 ms five or more were sent")
    expect("TCP SYNs to port 4711" in " ".join(text.split()), f"the report does not say what was sent:\n{text}")
    sent, legs = packets_by_leg(directory)
    expect(min(legs.get(leg, 0) for leg in ("request", "reply")) >= 0.99 * sent, f"{sent} SYNs, seen on their way: {legs}")
    # What another CPU saw while the interrupts were off.
    hints = [sample for wait in report["waits"] if wait["mode"] == "hard_irqs_off"
             for sample in wait["samples"] if sample["sample_count"] == 0 and sample["comm"] == "lab-irqs-off"]
    expect(hints and any("do_syscall_64" in (hint["stack"] or []) for hint in hints), f"no CPU looked at the silent one: {hints}")
    return f"SYNs: {sent} sent, {legs}, {len(hints)} looks at a silent CPU"


def check_open_port(stallscope, directory):
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        port = server.getsockname()[1]
        report, _ = diagnose(stallscope, directory, 2, "--tcp", str(port), target=("127.0.0.1",))
    expect(report["probes"]["lost"] == 0, f"{report['probes']}")
    sent, legs = packets_by_leg(directory)
    expect(min(legs.get(leg, 0) for leg in ("request", "reply")) >= 0.99 * sent, f"{sent} SYNs, seen on their way: {legs}")
    return f"open port: {sent} SYNs, {legs}"


def main():
    stallscope = os.path.abspath(sys.argv[1])
    if os.geteuid() != 0 or os.cpu_count() < 2:
        print("cannot run: needs root and two CPUs")
        return CANNOT_RUN
    if subprocess.run([stallscope, "doctor"], capture_output=True).returncode == 2:
        print("cannot run: the doctor finds this kernel not observable")
        return CANNOT_RUN
    for check in (check_open_port, check_syns, check_throttled, check_not_throttled, check_pair):
        with tempfile.TemporaryDirectory(prefix="stallscope-test-") as directory:
            try:
                print(check(stallscope, directory), flush=True)
            except CannotRun as reason:
                print(f"{check.__name__}: cannot run: {reason}")
                return CANNOT_RUN
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
