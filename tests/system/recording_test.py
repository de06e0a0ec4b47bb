#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a recording that is interrupted, killed, refused, or runs out of room: the bundle and the exit status.

usage: recording_test.py STALLSCOPE    (as root)
"""
import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

BINARY = ""
NOBODY = 65534
# How long a condition may take on a loaded machine.
PATIENCE_SECONDS = 60


def run(*arguments, **options):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, **options)


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {PATIENCE_SECONDS} s")


def committed_probes(bundle):
    try:
        with contextlib.closing(sqlite3.connect(f"file:{bundle}?mode=ro", uri=True)) as database:
            return database.execute("SELECT count(*) FROM probe").fetchone()[0]
    except sqlite3.Error:
        return 0


class Recording(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="stallscope-test-")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.bundle = self.directory / "run.stall"

    def start(self, *arguments):
        """A recording of loopback that has committed some probes already."""
        process = subprocess.Popen([BINARY, "diagnose", "127.0.0.1", "--out", str(self.bundle), "--no-read-cost", *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        wait_until(lambda: committed_probes(self.bundle) > 20 or process.poll() is not None, "the first commit")
        self.assertIsNone(process.poll(), "the recording ended by itself")
        return process

    def report(self):
        result = run("report", str(self.bundle), "--json")
        self.assertIn(result.returncode, (0, 1), result.stderr)
        return json.loads(result.stdout)

    def refused(self, *arguments, names, next_step, **options):
        result = run(*arguments, cwd=self.directory, **options)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(names, result.stderr)
        self.assertIn(next_step, result.stderr)
        return result

    def nothing_left(self):
        self.assertEqual(list(self.directory.glob("*")), [], "a refused recording left something behind")

    def test_interrupt_ends_early_and_reports(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number):
                process = self.start("--for", "10m")
                process.send_signal(number)
                output, error = process.communicate(timeout=PATIENCE_SECONDS)
                self.assertIn(process.returncode, (0, 1), error)
                self.assertIn("Probed 127.0.0.1:", output)
                report = self.report()
                self.assertEqual(report["run"]["state"], "interrupted")
                self.assertGreater(report["probes"]["sent"], 20)
                self.bundle.unlink()

    def test_kill_leaves_a_bundle_that_opens(self):
        process = self.start("--for", "10m")
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)
        report = self.report()
        self.assertEqual(report["run"]["state"], "recording")
        self.assertGreater(report["probes"]["sent"], 20)
        self.assertIn("ended from outside", run("report", str(self.bundle)).stdout)

    def test_a_full_disk_is_said_and_what_was_recorded_is_kept(self):
        small = self.directory / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", str(small)], check=True))
        self.bundle = small / "run.stall"
        result = run("diagnose", "127.0.0.1", "--interval", "100us", "--for", "30s", "--out", str(self.bundle), "--no-read-cost")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(str(self.bundle), result.stderr)
        self.assertIn("no space left", result.stderr)
        self.assertIn("Probed 127.0.0.1:", result.stdout)
        self.assertGreater(self.report()["probes"]["sent"], 0)

    def test_lost_events_are_counted_and_shown(self):
        # One page holds a single wait: of the packets of 10,000 probes/s most find it full.
        result = run("diagnose", "127.0.0.1", "--interval", "100us", "--for", "3s", "--buffer", "4", "--no-read-cost", "--out",
                     str(self.bundle))
        self.assertIn(result.returncode, (0, 1), result.stderr)
        losses = self.report()["losses"]
        self.assertTrue(any("ring buffer" in loss["where"] and loss["count"] > 0 for loss in losses), losses)
        self.assertIn("ring buffer", result.stdout)

    def test_passive_recording_sends_nothing(self):
        result = run("diagnose", "--for", "2s", "--no-read-cost", "--out", str(self.bundle))
        self.assertIn(result.returncode, (0, 1), result.stderr)
        report = self.report()
        self.assertEqual(report["run"]["target"], "")
        self.assertTrue(report["run"]["traced"])
        # What other tests let go of may still be dying here, pinned by nothing that has a name.
        self.assertEqual([gap for gap in report["gaps"] if not gap["what"].startswith("what pins")], [])

    def test_every_probe_of_loopback_is_seen_by_the_kernel_that_receives(self):
        result = run("diagnose", "127.0.0.1", "--for", "2s", "--no-read-cost", "--out", str(self.bundle))
        self.assertIn(result.returncode, (0, 1), result.stderr)
        with contextlib.closing(sqlite3.connect(self.bundle)) as database:
            rows = database.execute("""SELECT probe.sequence, sent_ns, probe.received_ns,
                                              sum(leg = 'request'), sum(leg = 'reply'), min(enqueued_ns), max(packet.received_ns)
                                         FROM probe LEFT JOIN packet USING (sequence) GROUP BY probe.sequence""").fetchall()
        self.assertGreaterEqual(len(rows), 199)
        for sequence, sent_ns, received_ns, requests, replies, enqueued_ns, last_ns in rows:
            self.assertEqual((requests, replies), (1, 1), f"probe {sequence}")
            self.assertLessEqual(sent_ns, enqueued_ns, f"probe {sequence}: queued before it was sent")
            self.assertLess(enqueued_ns, last_ns)

    def test_bad_targets(self):
        self.refused("diagnose", "no-such-host.invalid", names="no-such-host.invalid", next_step="\n  ")
        self.refused("diagnose", "255.255.255.255", names="255.255.255.255", next_step="\n  ")
        self.refused("diagnose", "10.0.1.2", "--netns", "no-such-namespace", names="no-such-namespace", next_step="\n  ")
        self.nothing_left()

    def test_no_route(self):
        name = f"stallscope-test-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.addCleanup(lambda: subprocess.run(["ip", "netns", "del", name], check=True))
        self.refused("diagnose", "10.99.0.1", "--netns", name, names="10.99.0.1", next_step="\n  ")
        self.nothing_left()

    def test_bad_values(self):
        for option, value in (("--for", "0"), ("--for", "8760h"), ("--for", "soon"), ("--interval", "1us"), ("--threshold", "-1ms"),
                              ("--buffer", "0"), ("--probe-cpu", "-3")):
            with self.subTest(option=option, value=value):
                self.refused("diagnose", "127.0.0.1", option, value, names=option, next_step="\n  ")
        self.refused("diagnose", "127.0.0.1", "--probe-cpu", "4000", names="4000", next_step="\n  ")
        self.nothing_left()

    def test_without_privileges(self):
        os.chmod(self.directory, 0o777)
        self.refused("diagnose", names="the tracer", next_step="root", user=NOBODY)
        self.refused("diagnose", "127.0.0.1", names="an ICMP socket", next_step="root", user=NOBODY)
        self.nothing_left()

    def test_existing_bundle_is_not_overwritten(self):
        self.bundle.write_text("precious")
        self.refused("diagnose", "127.0.0.1", "--out", str(self.bundle), names=str(self.bundle), next_step="--out")
        self.assertEqual(self.bundle.read_text(), "precious")

    def test_bad_bundles(self):
        self.refused("report", "missing.stall", names="missing.stall", next_step="\n  ")
        self.bundle.write_text("not a database " * 100)
        self.refused("report", str(self.bundle), names=str(self.bundle), next_step="\n  ")
        self.bundle.unlink()
        run("diagnose", "127.0.0.1", "--for", "1s", "--no-read-cost", "--out", str(self.bundle))
        whole = self.bundle.read_bytes()
        self.bundle.write_bytes(whole[:len(whole) // 2])
        self.refused("report", str(self.bundle), names=str(self.bundle), next_step="\n  ")
        self.bundle.write_bytes(whole)
        with contextlib.closing(sqlite3.connect(self.bundle)) as database:
            database.execute("PRAGMA user_version = 99")
        self.refused("report", str(self.bundle), names="version", next_step="\n  ")
        with contextlib.closing(sqlite3.connect(self.bundle)) as database:
            database.execute("PRAGMA application_id = 1")
        self.refused("report", str(self.bundle), names=str(self.bundle), next_step="\n  ")

    def test_unknown_fault(self):
        self.refused("lab", "run", "no-such-fault", names="no-such-fault", next_step="memcg-stat-flush")


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv.pop(1))
    if os.geteuid() != 0:
        print("cannot run: needs root")
        sys.exit(77)
    unittest.main()
