#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The incident of 2019 from the stall to the proof that it is over: diagnose names the reader of memory.stat, the plan puts the reader
first, `remedy apply stop-reader --measure` ends the stalls, `compare` says so, and afterwards the reader goes on.

usage: remedy_proof_test.py STALLSCOPE    (as root, with two CPUs)
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

BINARY = ""
TARGET = "10.0.1.2"
NETNS = "stallscope-client"
STALL_CPU = 0
PROBE_CPU = 1
# Some 30 stalls before and none after: far beyond what the test of two rates needs.
SECONDS = 8
PERIOD = "250ms"
LENGTH = "50ms"
RULE = "memcg-stat-flush"
PATIENCE_SECONDS = 120


def run(*arguments):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def findings(bundle):
    """The rules that the plan of a bundle has options for."""
    return {finding["rule"] for finding in json.loads(run("remedy", "plan", str(bundle), "--json").stdout)["findings"]}


class Proof(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="stallscope-proof-")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.lab = subprocess.Popen([BINARY, "lab", "run", RULE, "--length", LENGTH, "--period", PERIOD, "--cpu", str(STALL_CPU), "--for", "1h"],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end_lab)
        line = self.lab.stdout.readline()
        self.assertTrue(line, "the lab did not come up")
        self.ready = json.loads(line)
        self.assertEqual(self.ready["type"], "ready")

    def end_lab(self):
        self.lab.send_signal(signal.SIGTERM)
        self.lab.communicate(timeout=PATIENCE_SECONDS)

    def test_the_first_option_ends_the_stalls_and_compare_proves_it(self):
        reader = self.ready["pid"]
        bundle = self.directory / "found.stall"
        found = run("diagnose", TARGET, "--netns", NETNS, "--probe-cpu", str(PROBE_CPU), "--for", f"{SECONDS}s", "--out", str(bundle))
        self.assertEqual(found.returncode, 1, found.stderr)

        plan = json.loads(run("remedy", "plan", str(bundle), "--json").stdout)
        finding = next((finding for finding in plan["findings"] if finding["rule"] == RULE), None)
        self.assertIsNotNone(finding, [finding["rule"] for finding in plan["findings"]])
        options = finding["options"]
        self.assertEqual([option["id"] for option in options[:2]], ["slow-reader", "stop-reader"])
        # The first that can be carried out is for this reader, and for no other.
        first = next(option for option in options if option["applicable"])
        self.assertEqual(first["id"], "stop-reader")
        self.assertTrue(any(re.search(rf"--pid {reader}\b", command) for command in first["commands"]), first["commands"])

        applied = run("remedy", "apply", "stop-reader", "--pid", str(reader), "--target", TARGET, "--netns", NETNS, "--cpu", str(PROBE_CPU),
                      "--measure", f"{SECONDS}s", "--directory", str(self.directory), "--stop-at", "10s", "--go")
        self.assertIn(applied.returncode, (0, 1), applied.stderr)
        kept = re.search(r"^Kept: (\S+), (\S+)$", applied.stdout, re.MULTILINE)
        self.assertIsNotNone(kept, applied.stdout + applied.stderr)
        before, after = kept.groups()

        comparison = run("compare", before, after, "--json")
        self.assertEqual(json.loads(comparison.stdout)["verdict"], "better", comparison.stdout)
        self.assertIn("better:", applied.stdout)
        self.assertIn(RULE, findings(before))
        self.assertNotIn(RULE, findings(after))
        # The other way round it is no proof but a complaint.
        back = run("compare", after, before, "--json")
        self.assertEqual(json.loads(back.stdout)["verdict"], "worse", back.stdout)

        state = pathlib.Path(f"/proc/{reader}/stat").read_text().rsplit(")", 1)[1].split()[0]
        self.assertNotEqual(state, "T", "the reader was left stopped")
        # It reads on: the lab tells of the next stall that began after all this.
        ended_ns = json.loads(run("report", after, "--json").stdout)["run"]["end_ns"]
        self.assertTrue(any(json.loads(line).get("start_ns", 0) > ended_ns for line in iter(self.lab.stdout.readline, "")),
                        "the reader did not go on")


if __name__ == "__main__":
    if os.geteuid() != 0 or os.cpu_count() < 2:
        print("needs root and two CPUs")
        sys.exit(77)
    BINARY = sys.argv.pop(1)
    unittest.main()
