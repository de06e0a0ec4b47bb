#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tracer for kernels without BTF against the lab's ground truth: perf events name the culprit of each stall, too, leave no mount
behind, and are what is used where BTF is missing.

usage: perf_tracer_test.py STALLSCOPE    (as root, with two CPUs)
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

CANNOT_RUN = 77
TARGET = "10.0.1.2"
STALL_CPU, PROBE_CPU = 0, 1
SECONDS = 5
# A stall that was under way when recording began or ended is seen in part only.
EDGE_NS = 300_000_000
# Two samples of the CPU clock, and what a shared machine adds.
TOLERANCE_NS = 4_000_000
# A shared machine takes its virtual CPUs away at times, also in the middle of a stall; then all is tried again.
ATTEMPTS = 4
# A softirq delays packets from the first one on that comes while another vector runs: up to two probes later than the lab's stall began.
LATEST_FIRST_PACKET_NS = 22_000_000
ZOMBIES = "15000"


class Mismatch(AssertionError):
    pass


def expect(condition, message):
    if not condition:
        raise Mismatch(message)


# Runs what follows where the kernel's BTF cannot be seen, which is all that tells this kernel from one without.
WITHOUT_BTF = ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /sys/kernel/btf/vmlinux && exec "$@"', "sh"]


def diagnose_fault(stallscope, fault, hide_btf, directory):
    size = ["--zombies", ZOMBIES] if fault == "memcg-stat-flush" else ["--length", "30ms"]
    with open(pathlib.Path(directory, "lab.log"), "w") as log:
        lab = subprocess.Popen([stallscope, "lab", "run", fault, "--cpu", str(STALL_CPU), "--period", "500ms", "--for", "2m", *size],
                               stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        ready = lab.stdout.readline()
        if not ready:
            print(f"{fault}: not caused here: {pathlib.Path(directory, 'lab.log').read_text().strip()}")
            return None
        bundle = pathlib.Path(directory, f"{fault}.stall")
        bundle.unlink(missing_ok=True)
        command = [*WITHOUT_BTF, stallscope, "diagnose"] if hide_btf else [stallscope, "diagnose", "--tracer", "perf"]
        result = subprocess.run([*command, TARGET, "--netns", "stallscope-client", "--probe-cpu", str(PROBE_CPU), "--for",
                                 f"{SECONDS}s", "--no-read-cost", "--json", "--out", str(bundle)],
                                capture_output=True, text=True, timeout=SECONDS + 120, check=False)
        expect(result.returncode == 1, f"diagnose: exit status {result.returncode}: {result.stderr}")
        lab.send_signal(signal.SIGTERM)
        output, _ = lab.communicate(timeout=120)
    finally:
        if lab.poll() is None:
            lab.terminate()
            lab.communicate(timeout=120)
    return json.loads(result.stdout), [json.loads(line) for line in output.splitlines()]


def check_irqs_off(where, stall, truth, system_call):
    expect(abs(stall["length_ns"] - truth["length_ns"]) < TOLERANCE_NS,
           f"{where}: {stall['length_ns'] / 1e6:.2f} ms, true {truth['length_ns'] / 1e6:.2f} ms")
    occupant = next((share["occupant"] for share in stall["shares"] if share["occupant"]), None)
    expect(occupant, f"{where}: nobody named")
    expect((occupant["pid"], occupant["comm"]) == (truth["pid"], truth["comm"]), f"{where}: {occupant}")
    expect(occupant["cgroup"].startswith("/stallscope-lab"), f"{where}: cgroup {occupant['cgroup']}")
    expect(not occupant["file"], f"{where}: invented file {occupant['file']}")
    # The other fault's stalls begin before the system call's own function.
    if system_call:
        expect(occupant["syscall"], f"{where}: no system call")
        expect((occupant["syscall"]["name"], occupant["syscall"]["arguments"]) == (system_call, None), f"{where}: {occupant['syscall']}")


def check(fault, hide_btf, report, lines):
    start_ns, end_ns = report["run"]["start_ns"] + EDGE_NS, report["run"]["end_ns"] - EDGE_NS
    truths = [line for line in lines if line["type"] == "stall" and line["start_ns"] > start_ns and line["end_ns"] < end_ns]
    expect(len(truths) >= 4, f"only {len(truths)} whole stalls fell into the recording")
    for truth in truths:
        where = f"stall at {truth['start_ns']}"
        found = [s for s in report["stalls"]
                 if s["cpu"] == STALL_CPU and s["start_ns"] < truth["end_ns"] and s["end_ns"] > truth["start_ns"]]
        expect(len(found) == 1, f"{where}: found {len(found)} times")
        stall = found[0]
        expect(stall["mode"] == truth["mode"], f"{where}: mode {stall['mode']}, true {truth['mode']}")
        if truth["mode"] == "hard_irqs_off":
            check_irqs_off(where, stall, truth, "read" if fault == "memcg-stat-flush" else None)
        else:
            expect(-LATEST_FIRST_PACKET_NS < stall["length_ns"] - truth["length_ns"] < TOLERANCE_NS,
                   f"{where}: {stall['length_ns'] / 1e6:.2f} ms, true {truth['length_ns'] / 1e6:.2f} ms")
    rule = truths[0]["rule"]
    expect(rule in [finding["rule"] for finding in report["findings"]], f"no finding {rule}")
    expect(any(gap["what"] == "preempt count" for gap in report["gaps"]), f"gaps: {report['gaps']}")
    fell_back = [gap for gap in report["gaps"] if gap["what"] == "tracing by BPF"]
    expect(len(fell_back) == (1 if hide_btf else 0), f"gaps: {report['gaps']}")
    return f"{len(truths)} stalls found"


def check_doctor(stallscope):
    result = subprocess.run([*WITHOUT_BTF, stallscope, "doctor", "--json"], capture_output=True, text=True, timeout=120, check=False)
    expect(result.returncode == 1, f"doctor: exit status {result.returncode}: {result.stderr}")
    doctor = json.loads(result.stdout)
    tracer = next(check for check in doctor["checks"] if check["name"] == "tracer")
    expect(doctor["verdict"] == "partial" and tracer["state"] == "present" and "perf events" in tracer["purpose"], f"doctor: {tracer}")


def main(stallscope):
    if os.geteuid() != 0 or os.cpu_count() < 2:
        print("cannot run: needs root and two CPUs")
        return CANNOT_RUN
    mounts = pathlib.Path("/proc/self/mounts").read_text()
    check_doctor(stallscope)
    for fault, hide_btf in (("irq-off-section", False), ("softirq-vector", False), ("memcg-stat-flush", False),
                            ("irq-off-section", True)):
        for attempt in range(ATTEMPTS):
            try:
                with tempfile.TemporaryDirectory(prefix="stallscope-test-") as directory:
                    observed = diagnose_fault(stallscope, fault, hide_btf, directory)
                if observed:
                    print(f"{fault}: {check(fault, hide_btf, *observed)}")
                break
            except Mismatch as mismatch:
                print(f"{fault}, attempt {attempt + 1}: {mismatch}", flush=True)
                if attempt + 1 == ATTEMPTS:
                    return 1
    expect(pathlib.Path("/proc/self/mounts").read_text() == mounts, "something is still mounted")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))
