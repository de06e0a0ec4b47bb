#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Remedies on the running kernel: what is refused, what a killed run leaves, and that letting go in steps frees what a file pins.

usage: remedy_test.py STALLSCOPE    (as root)
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BINARY = ""
ZOMBIES = 400
PATIENCE_SECONDS = 60
NOBODY = 65534
EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "memcg-stat-flush.stall"


def run(*arguments, **options):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=120, check=False, **options)


def memory_hierarchy():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup" and "memory" in options.split(","):
            return pathlib.Path(mount.split()[4])
    return None


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {PATIENCE_SECONDS} s")


def pinned_by(path):
    census = json.loads(run("census", "--json").stdout)
    return sum(file["memcg_count"] for file in census["pinning_files"] if file["path"] == str(path))


class Remedy(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="stallscope-remedy-", dir="/dev/shm")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def make_zombies(self):
        """Zombies that pages of one file pin, and the file."""
        hierarchy = memory_hierarchy()
        if hierarchy is None:
            self.skipTest("the memory controller is not on cgroup v1; the VM tests cover v2")
        parent = hierarchy / f"stallscope-remedy-{os.getpid()}"
        parent.mkdir()
        file = self.directory / "pins"

        def remove():
            file.unlink(missing_ok=True)
            wait_until(lambda: pinned_by(file) == 0, "the release of the zombies")
            parent.rmdir()

        self.addCleanup(remove)
        child = os.fork()
        if child == 0:
            fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            for i in range(ZOMBIES):
                (parent / str(i)).mkdir()
                (parent / str(i) / "cgroup.procs").write_text("0")
                os.pwrite(fd, bytes(4096), i * 4096)
                (parent / "cgroup.procs").write_text("0")
                (parent / str(i)).rmdir()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        self.assertEqual(status, 0, "zombies could not be made")
        return file

    def refused(self, *arguments, because):
        result = run("remedy", "apply", *arguments)
        self.assertEqual(result.returncode, 2, result.stdout)
        self.assertIn(because, result.stderr)
        self.assertIn("\n  ", result.stderr, "no next step")

    def test_refuses_what_is_not_named(self):
        self.refused("punch-file", "--go", because="no file is named")
        self.refused("reclaim", "--go", because="no cgroup is named")
        self.refused("stop-reader", "--go", because="no process is named")
        self.refused("drop-caches", "--go", because="stalls packets itself")
        self.refused("no-such-thing", because="not known")

    def test_census_lists_each_zombie_by_its_former_path(self):
        file = self.make_zombies()
        wait_until(lambda: pinned_by(file) >= ZOMBIES - 31, "pages on the lists")
        census = json.loads(run("census", "--json", "--each").stdout)
        mine = [memcg for memcg in census["memcgs"] if f"/stallscope-remedy-{os.getpid()}/" in memcg["path"]]
        self.assertEqual(len(mine), ZOMBIES)
        self.assertEqual({memcg["path"].rsplit("/", 1)[1] for memcg in mine}, {str(i) for i in range(ZOMBIES)})
        self.assertFalse(any(memcg["live"] for memcg in mine))
        self.assertTrue(all(memcg["references"] >= 1 for memcg in mine))
        lines = run("census", "--csv").stdout.splitlines()
        self.assertEqual(sum(1 for line in lines if line.startswith(f"/stallscope-remedy-{os.getpid()}/")), ZOMBIES)

    def test_dry_run_changes_nothing_and_steps_free_everything(self):
        file = self.make_zombies()
        blocks = file.stat().st_blocks
        dry = run("remedy", "apply", "punch-file", "--file", str(file))
        self.assertEqual(dry.returncode, 0, dry.stderr)
        self.assertIn("nothing is without --go", dry.stdout)
        self.assertEqual(file.stat().st_blocks, blocks)
        # How long packets wait on a loaded machine is no part of this test.
        done = run("remedy", "apply", "punch-file", "--file", str(file), "--go", "--stop-at", "10s")
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertIn("Done:", done.stdout)
        self.assertEqual(file.stat().st_blocks, 0)
        wait_until(lambda: pinned_by(file) == 0, "the release of the zombies")

    def test_killed_in_the_middle_is_said_and_continued(self):
        file = self.make_zombies()
        whole = file.stat().st_blocks
        process = subprocess.Popen([BINARY, "remedy", "apply", "punch-file", "--file", str(file), "--go", "--stop-at", "10s"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: file.stat().st_blocks < whole or process.poll() is not None, "the first step")
        # In the middle it stays, however long the second one takes to begin.
        process.send_signal(signal.SIGSTOP)
        second = run("remedy", "apply", "punch-file", "--file", str(file), "--go")
        self.assertEqual(second.returncode, 2, "two at once")
        self.assertIn("another remedy is at work", second.stderr)
        process.kill()
        process.communicate()
        left = file.stat().st_blocks
        self.assertTrue(0 < left < whole, f"{left} of {whole} blocks are left")
        again = run("remedy", "apply", "punch-file", "--file", str(file), "--go", "--stop-at", "10s")
        self.assertIn("was killed in the middle", again.stderr)
        self.assertIn("Done:", again.stdout)
        self.assertEqual(file.stat().st_blocks, 0)

    def test_a_reader_stands_still_and_goes_on(self):
        reader = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(reader.wait)
        self.addCleanup(reader.kill)

        def state():
            return pathlib.Path(f"/proc/{reader.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

        process = subprocess.Popen([BINARY, "remedy", "apply", "stop-reader", "--pid", str(reader.pid), "--for", "10m", "--go", "--stop-at", "10s"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: state() == "T" or process.poll() is not None, "the stop")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
        self.assertNotEqual(state(), "T", "it was left stopped")

    def unprivileged(self, *arguments):
        """As a user who may do nothing; the binary may lie where that user cannot go."""
        self.directory.chmod(0o777)
        copy = self.directory / "stallscope"
        if not copy.exists():
            shutil.copy(BINARY, copy)
            copy.chmod(0o755)
        return subprocess.run([copy, *arguments], capture_output=True, text=True, timeout=120, check=False, user=NOBODY, group=NOBODY,
                              extra_groups=[], cwd=self.directory)

    def test_census_without_privileges_shows_what_it_can_and_names_the_rest(self):
        seen = json.loads(self.unprivileged("census", "--json").stdout)
        groups = seen["memory_cgroups"]
        self.assertIsInstance(groups["kernel_total"], int)
        self.assertIsInstance(groups["visible"], int)
        self.assertTrue(any(row["name"] == "Slab" for row in seen["memory"]))
        self.assertGreater(seen["caches"]["dentries"], 0)
        # Unknown is null, not zero, and each gap says why and what that means.
        self.assertIsNone(groups["walked_dying"])
        self.assertIsNone(groups["ids_in_use"])
        gaps = {gap["what"]: gap for gap in seen["gaps"]}
        self.assertIn("CAP_BPF", gaps["walk of the memory cgroups"]["reason"])
        self.assertIn("/proc/slabinfo", gaps["slab caches"]["reason"])
        self.assertTrue(all(gap["consequence"] for gap in seen["gaps"]))
        everything = self.unprivileged("census", "--each", "--cost")
        self.assertEqual((everything.returncode, everything.stderr), (0, ""))
        self.assertIn("One read of memory.stat", everything.stdout)
        self.assertNotIn("by their former paths", everything.stdout, "a heading above nothing")

    def test_a_plan_needs_no_privileges_and_what_does_says_so(self):
        bundle = self.directory / "example.stall"
        shutil.copy(EXAMPLE, bundle)
        bundle.chmod(0o644)
        plan = self.unprivileged("remedy", "plan", str(bundle))
        self.assertEqual(plan.stdout, run("remedy", "plan", str(bundle)).stdout)
        self.assertEqual(plan.returncode, 1, plan.stderr)
        live = self.unprivileged("remedy", "plan", "--live", "--for", "1s")
        self.assertEqual(live.returncode, 2)
        self.assertIn("as root", live.stderr)
        self.assertIn("remedy plan FILE.stall", live.stderr)
        file = self.directory / "mine"
        file.write_bytes(bytes(4096))
        os.chown(file, NOBODY, NOBODY)
        dry = self.unprivileged("remedy", "apply", "punch-file", "--file", str(file))
        self.assertEqual(dry.returncode, 0, dry.stderr)
        self.assertIn("This would be done", dry.stdout)
        done = self.unprivileged("remedy", "apply", "punch-file", "--file", str(file), "--go")
        self.assertEqual(done.returncode, 2)
        self.assertIn("sudo", done.stderr)
        self.assertGreater(file.stat().st_blocks, 0, "it was done all the same")

    def test_the_plan_of_the_example_begins_with_the_reader(self):
        result = run("remedy", "plan", str(EXAMPLE), "--json")
        self.assertEqual(result.returncode, 1, result.stderr)
        options = json.loads(result.stdout)["findings"][0]["options"]
        self.assertEqual([option["id"] for option in options[:2]], ["slow-reader", "stop-reader"])
        self.assertEqual(options[-1]["id"], "drop-caches")

    def test_a_bundle_is_the_same_as_itself(self):
        result = run("compare", str(EXAMPLE), str(EXAMPLE), "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["verdict"], "same")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root")
        sys.exit(77)
    BINARY = sys.argv.pop(1)
    unittest.main()
