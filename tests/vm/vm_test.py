#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stallscope on Debian 12's own kernels, on cgroup v2: what the doctor finds, the census, and the main job with its control.

    vm_test.py STALLSCOPE [--kernel SERIES]... [--keep FOLDER] [--update-golden]

STALLSCOPE is the static binary. Needs qemu and, for a kernel not yet in the cache, Debian's package registry. Exits with 77 and the
reason where that is missing.
"""
import argparse
import contextlib
import json
import pathlib
import re
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent / "lab" / "vm"), str(HERE.parent / "system")]
import kernel  # noqa: E402
import machine  # noqa: E402
from errors import VmError  # noqa: E402
from incident_test import CANNOT_RUN, EDGE_NS, Mismatch, expect, overlaps  # noqa: E402

# Where interrupts come back after a flush. 6.1 flushes in one piece inside an outer lock of the reader, which gives them back; 6.12 gives them
# back between CPUs (docs/kernels.md, "What reading memory.stat costs").
FLUSH_FUNCTION = {"6.1": "memory_stat_format", "6.12": "cgroup_rstat_flush_locked"}
# Where softirqs are left to ksoftirqd once it was woken (reverted in 6.5, commit d15121be7485).
SOFTIRQS_WAIT_FOR_THREAD = ("6.1",)
# The tracepoints of the rstat lock came in 6.10 (commit fc29e04ae1ad); before, fentry times the flush.
FLUSHES_BY_FENTRY = ("6.1",)
# An emulated CPU takes 3 to 5 us per zombie, so that a read holds interrupts off for 15 to 20 ms at least: three times the 5 ms from which a late
# reply counts as late. It also takes 3 ms to make one, which bounds their number.
INCIDENT_ZOMBIES = 4_000
CONTROL_ZOMBIES = 500
PERIOD = "400ms"
RECORDING = "3s"
# Of seven reads, some are at the edges and some find that the kernel's worker has flushed before them.
LEAST_STALLS = 3
# An emulated CPU stands still whenever the host runs something else instead. Before the end of a flush that lengthens truth and observation alike;
# between its end and the reader's next look at the clock, only the truth. So a truth above the median counts as the median, and half of that must
# have been seen.
SEEN_PART = 0.5
# See Disturbed.
ATTEMPTS = 3
# The start of a stretch with interrupts off is known between two signs of life, 1 ms apart on a CPU that is never stopped by its host.
TOO_LONG_NS = 10_000_000
VM_TIMEOUT_S = 240


class Disturbed(Mismatch):
    """Where a CPU was when interrupts came back is told by the first of them, which an emulator that its host does not run brings late: after the
    flush. And an emulated CPU may stand still within a flush that is short. A run with that proves nothing and is repeated; what is no accident
    happens in each."""


def load(folder, name):
    return json.loads((folder / name).read_text())


def lines_of(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def normal_doctor(text, release):
    """What changes with each update of a kernel, taken out: its name, and with it the line breaks of the first paragraph."""
    first, rest = text.split("\n\n", 1)
    expect(release in first, f"the doctor does not name the kernel {release}: {first}")
    return " ".join(first.split()).replace(release, "RELEASE") + "\n\n" + rest


def check_doctor(folder, running, update):
    golden = HERE / "golden" / f"doctor-{running.series}.txt"
    text = normal_doctor((folder / "doctor.txt").read_text(), running.release)
    if update:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    expect(text == golden.read_text(), f"the doctor says something else than {golden.name}:\n{text}\nIf that is right: --update-golden")
    expect((folder / "doctor.status").read_text() == "0\n", "the doctor does not call this kernel ready")


def check_gaps(report):
    """Whatever the tracer hooks is there or has something in its place."""
    missing = [gap["what"] for gap in report["gaps"] if "no such tracepoint" in gap["reason"]]
    expect(not missing, f"the tracepoints that the report misses are {missing}")


def check_flushes(folder, truths, expected_ns):
    """The flushes of the lab's reads were timed, by a hook that only kernels with fentry have."""
    with contextlib.closing(sqlite3.connect(folder / "incident.stall")) as bundle:
        flushes = bundle.execute("SELECT start_ns, end_ns FROM flush WHERE pid = ?", (truths[0]["pid"],)).fetchall()
    timed = [t for t in truths if any(start < t["end_ns"] and end > t["start_ns"] and end - start >= SEEN_PART * min(t["length_ns"], expected_ns)
                                      for start, end in flushes)]
    expect(len(timed) >= LEAST_STALLS, f"of {truths} only {timed} were timed as flushes: {flushes}")


def check_census(folder, name, zombies):
    kernel_says = {key: int(value) for key, value in (line.split() for line in (folder / f"{name}-cgroup.stat").read_text().splitlines())}
    total = 1 + kernel_says["nr_descendants"] + kernel_says["nr_dying_descendants"]
    for source, census in (("diagnose", load(folder, f"{name}.json")["census"]), ("census", load(folder, f"{name}-census.json"))):
        groups = census["memory_cgroups"]
        where = f"{name}, by {source}"
        expect(not groups["walk_approximate"], f"{where}: the walk is approximate")
        expect(groups["walked_dying"] == kernel_says["nr_dying_descendants"] >= zombies,
               f"{where}: walked {groups['walked_dying']} dying ones, the kernel counts {kernel_says['nr_dying_descendants']}, made were {zombies}")
        expect(groups["walked_live"] + groups["walked_dying"] == total == groups["kernel_total"],
               f"{where}: walked {groups['walked_live']} + {groups['walked_dying']} of {groups['kernel_total']}, the kernel counts {total}")
    pins = load(folder, f"{name}-census.json")["pinning_files"]
    expect(any(pin["path"].endswith("stallscope-lab-pins") and pin["memcg_count"] == zombies for pin in pins), f"{name}: pinning files {pins}")


def check_recording(folder, name):
    report = load(folder, f"{name}.json")
    expect(report["run"]["state"] == "finished", f"{name}: the recording is {report['run']['state']}: {(folder / f'{name}.log').read_text()[-500:]}")
    expect(not report["losses"], f"{name}: events were lost: {report['losses']}")
    status = int((folder / f"{name}.status").read_text())
    # Without a stall of its own the host may still have added one.
    expect(status == (1 if report["stalls"] or report["probes"]["lost"] else 0), f"{name}: exit status {status}")
    return report


def reads_of_lab(stall, pid):
    """The shares of a stall that blame the lab's reader of memory.stat."""
    return [share for share in stall["shares"] if share["occupant"] and share["occupant"]["pid"] == pid
            and share["occupant"]["file"].endswith("/memory.stat") and share["mode"] == "hard_irqs_off"]


def check_stall(truth, stalls, flush_function, expected_ns):
    where = f"true stall at {truth['start_ns']} of {truth['length_ns'] / 1e6:.1f} ms"
    found = [s for s in stalls if s["cpu"] == truth["cpu"] and overlaps(s, truth["start_ns"], truth["end_ns"])]
    # A host that takes the CPU away within the read, but not within the flush, adds shares with other stacks.
    shares = [share for stall in found for share in reads_of_lab(stall, truth["pid"]) if flush_function in (share["occupant"]["stack"] or [])]
    expect(found, f"{where} was not found")
    if sum(share["length_ns"] for share in shares) < SEEN_PART * expected_ns:
        raise Disturbed(f"{where}: not half of {expected_ns / 1e6:.1f} ms was seen in {flush_function}; what is there: {json.dumps(found)[:2000]}")
    for share in shares:
        holder = share["occupant"]
        expect(holder["comm"] == truth["comm"], f"{where}: comm {holder['comm']}")
        expect(holder["syscall"] and holder["syscall"]["name"] == "read", f"{where}: system call {holder['syscall']}")
        expect(holder["file"] == truth["file"], f"{where}: file {holder['file']}")
        expect(holder["cgroup"] == "/stallscope-lab/reader", f"{where}: cgroup {holder['cgroup']}")
    held_ns = sum(share["length_ns"] for share in shares)
    expect(held_ns <= truth["length_ns"] + TOO_LONG_NS, f"{where}: {held_ns / 1e6:.1f} ms seen")
    return held_ns


def check_incident(folder, series):
    report = check_recording(folder, "incident")
    check_gaps(report)
    run = report["run"]
    truths = [line for line in lines_of(folder, "incident-truth.jsonl") if line["type"] == "stall"]
    inside = [t for t in truths if t["start_ns"] > run["start_ns"] + EDGE_NS and t["end_ns"] < run["end_ns"] - EDGE_NS]
    by_reader = [t for t in inside if t["flushed_by"] == "reader"]
    expect(len(by_reader) >= LEAST_STALLS, f"only {len(by_reader)} whole stalls fell into the recording")
    median_ns = statistics.median(t["length_ns"] for t in by_reader)
    held_ns = sum(check_stall(t, report["stalls"], FLUSH_FUNCTION[series], min(t["length_ns"], median_ns)) for t in by_reader)
    if series in FLUSHES_BY_FENTRY:
        check_flushes(folder, by_reader, median_ns)
    for stall in report["stalls"]:
        expect(any(overlaps(stall, t["start_ns"], t["end_ns"]) for t in truths) or not reads_of_lab(stall, truths[0]["pid"]),
               f"the lab is blamed for a stall that it did not cause: {json.dumps(stall)[:600]}")
    finding = next((f for f in report["findings"] if f["rule"] == "memcg-stat-flush"), None)
    expect(finding, f"no finding memcg-stat-flush, but {[f['rule'] for f in report['findings']]}")
    expect(finding["explained_ns"] >= held_ns, f"memcg-stat-flush explains {finding['explained_ns']} ns, the reads held {held_ns} ns")
    return f"{len(by_reader)} stalls of {median_ns / 1e6:.0f} ms found"


def check_control(folder):
    report = check_recording(folder, "control")
    reader = lines_of(folder, "control-truth.jsonl")[0]["pid"]
    # Where the emulator stops a CPU for some milliseconds within a flush, of which there are some a second, it is that which takes long.
    if any(f["rule"] == "memcg-stat-flush" for f in report["findings"]):
        raise Disturbed(f"the healthy control is called memcg-stat-flush; what is there: {json.dumps(report['stalls'])[:2000]}")
    blamed = [stall for stall in report["stalls"] if reads_of_lab(stall, reader)]
    if blamed:
        raise Disturbed(f"the lab is blamed in the healthy control: {json.dumps(blamed)[:2000]}")
    # Emulated, a read of theirs may take longer than what is harmless; then the note has to say that instead.
    said = [note for note in report["notes"] if "zombie memory cgroups are present" in note]
    slow = any(read["worst_ns"] >= 5_000_000 for read in report["census"]["stat_reads"])
    expect(said and ("harmless" in said[0]) != slow, f"the note on zombies does not fit the reads: {report['notes']}")
    return f"control: {len(report['stalls'])} stalls, none by the lab"


def check_zombies(folder):
    """`lab zombies` on cgroup v2, where the kernel counts the dying ones itself and nobody else makes any."""
    *stages, end = lines_of(folder, "zombies.jsonl")
    told = (folder / "zombies.log").read_text()
    expect([stage["stage"] for stage in stages] == ["before", "created", "removed", "cleaned up"], f"the stages are {stages}: {told}")
    before, made, removed, cleaned = stages
    expect(made["visible"] - before["visible"] >= CONTROL_ZOMBIES, f"made were {made}, before {before}")
    expect(removed["dying"] - before["dying"] == CONTROL_ZOMBIES == end["stayed"], f"of {CONTROL_ZOMBIES} {removed['dying']} stayed: {end}")
    # A CPU keeps what it charged last in its stock, and with it that cgroup (memcg_stock_pcp, mm/memcontrol.c), until it charges another.
    expect(cleaned["visible"] == before["visible"] and cleaned["kernel_total"] <= before["kernel_total"] + machine.CPUS,
           f"left are {cleaned}, before were {before}")


def check_faults(folder, series):
    """A stall of each must have been found on its CPU. What it is blamed on an emulated CPU that stands still within it may spoil:
    that is for matrix.py, on a machine that has nothing else to do."""
    rows = lines_of(folder, "matrix.jsonl")
    told = (folder / "matrix.log").read_text()
    for fault in ("irq-off-section", "ksoftirqd-starved"):
        tried = [row for row in rows if row["fault"] == fault and not row["healthy"]]
        expect(tried, f"the matrix has no row of {fault}: {rows} {told}")
        if fault == "ksoftirqd-starved" and series not in SOFTIRQS_WAIT_FOR_THREAD:
            expect(all("this kernel lacks" in (row["unavailable"] or "") for row in tried), f"ksoftirqd cannot be starved on {series}: {tried}")
            continue
        expect(any(row["found"] >= 1 and row["cpu"] >= 1 for row in tried), f"no stall of {fault} was found: {tried} {told}")
    return "faults of this kernel found"


def check_kernel(running, stallscope, folder, update_golden):
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            return check_once(running, stallscope, folder, update_golden)
        except Disturbed as disturbed:
            if attempts_left == 0:
                raise
            print(f"{disturbed}\nAgain", file=sys.stderr)


def check_once(running, stallscope, folder, update_golden):
    command = ["./guest.sh", str(INCIDENT_ZOMBIES), str(CONTROL_ZOMBIES), PERIOD, RECORDING]
    outcome = machine.run(running, command, [HERE / "guest.sh", stallscope], folder, VM_TIMEOUT_S)
    expect(outcome.exit_status == 0, f"the script ended with status {outcome.exit_status}:\n{outcome.console[-2000:]}")
    check_doctor(folder, running, update_golden)
    found = check_incident(folder, running.series)
    quiet = check_control(folder)
    check_census(folder, "incident", INCIDENT_ZOMBIES)
    check_census(folder, "control", CONTROL_ZOMBIES)
    check_zombies(folder)
    return f"{found}; {quiet}; {check_faults(folder, running.series)}"


def check_time_out(running):
    try:
        with tempfile.TemporaryDirectory() as nowhere:
            machine.run(running, ["true"], [], nowhere, timeout_s=1)
    except VmError as error:
        expect(running.release in str(error) and "was killed" in str(error), f"the error of a machine that takes too long: {error}")
        return
    raise Mismatch("a machine ran for longer than it may")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stallscope", type=pathlib.Path)
    parser.add_argument("--kernel", action="append", choices=kernel.SERIES, help="of this series only (default: all)")
    parser.add_argument("--keep", type=pathlib.Path, help="keep what each machine left, in FOLDER/SERIES")
    parser.add_argument("--update-golden", action="store_true", help="take what the doctor says as right")
    options = parser.parse_args()
    try:
        kernels = [kernel.obtain(series) for series in options.kernel or kernel.SERIES]
    except VmError as error:
        print("cannot run: " + re.sub(r"\s+", " ", str(error)))
        return CANNOT_RUN
    if not shutil.which(machine.QEMU):
        print(f"cannot run: {machine.QEMU} is not installed")
        return CANNOT_RUN
    check_time_out(kernels[0])
    for running in kernels:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="stallscope-test-") as temporary:
            folder = options.keep / running.series if options.keep else pathlib.Path(temporary)
            summary = check_kernel(running, options.stallscope, folder, options.update_golden)
        print(f"Linux {running.release}: {summary} ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Mismatch, VmError) as problem:
        print(f"FAILED: {problem}")
        sys.exit(1)
