#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives the real binary with command lines that cannot work: it says what is wrong and what to do next, and exits with 2.

usage: bad_input_test.py STALLSCOPE
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

BINARY = ""


def run(*arguments, **options):
    return subprocess.run([BINARY, *arguments], capture_output=True, timeout=60, check=False, **options)


class BadInput(unittest.TestCase):
    def refused(self, *arguments, names, next_step):
        """The command fails, naming the object and the next step on standard error and nothing on standard output."""
        result = run(*arguments)
        error = result.stderr.decode()
        self.assertEqual(result.returncode, 2, error)
        self.assertEqual(result.stdout, b"")
        self.assertIn(names, error)
        self.assertIn(next_step, error)
        self.assertLessEqual(len(error.splitlines()), 2, error)
        self.assertNotIn("terminate called", error)
        return error

    def test_unknown_command(self):
        self.refused("docter", names="'docter'", next_step="Did you mean 'doctor'?")
        self.refused("frobnicate", names="'frobnicate'", next_step="stallscope --help")
        self.refused("", names="unknown command ''", next_step="stallscope --help")

    def test_unknown_command_is_shown_without_control_characters(self):
        error = self.refused("a\x1b[31mb\nc", names="a\\x1b[31mb\\x0ac", next_step="--help")
        self.assertNotIn("\x1b", error)

    def test_unknown_option(self):
        self.refused("doctor", "--jason", names="--jason", next_step="Did you mean '--json'?")
        self.refused("doctor", "-z", names="-z", next_step="stallscope doctor --help")
        self.refused("--frobnicate", names="--frobnicate", next_step="stallscope --help")

    def test_unexpected_or_missing_argument(self):
        self.refused("doctor", "extra", names="extra", next_step="stallscope doctor --help")
        self.refused("doctor", "--root", names="--root", next_step="stallscope doctor --help")

    def test_bad_option_value(self):
        self.refused("doctor", "--root", "/nonexistent", names="/nonexistent", next_step="--root needs a directory")
        self.refused("man", "nonsense", names="nonsense", next_step="stallscope --help")
        self.refused("man", "--directory", "/nonexistent", names="/nonexistent/", next_step="must exist")

    def test_bad_probe(self):
        self.refused("probe", names="no target", next_step="stallscope probe 10.0.1.2")
        self.refused("probe", "tcp://10.0.1.2", names="tcp://10.0.1.2", next_step="tcp://10.0.1.2:443")
        self.refused("probe", "https://web/", names="TLS", next_step="http://web:8080/health")
        self.refused("probe", "224.0.0.1", names="multicast", next_step="one host")
        self.refused("probe", "ff02::1", names="multicast", next_step="one host")
        self.refused("probe", "255.255.255.255", names="broadcast", next_step="one host")
        self.refused("probe", "127.0.0.1", "--interval", "1us", names="1,000,000 probes/s", next_step="--rate")
        self.refused("probe", "127.0.0.1", "--interval", "never", names="--interval", next_step="Give")
        self.refused("probe", "127.0.0.1", "--source-port", "9-1", names="9-1", next_step="40000-40063")
        self.refused("probe", "127.0.0.1", "--tcp", "70000", names="--tcp", next_step="stallscope probe --help")
        self.refused("probe", "--targets", "/nonexistent", names="/nonexistent", next_step="No such file")

    def test_bad_bisect(self):
        rung = "node=127.0.0.1 via node"
        self.refused("bisect", names="no path", next_step="stallscope bisect discover")
        self.refused("bisect", "/nonexistent", names="/nonexistent", next_step="No such file")
        self.refused("bisect", "--rung", "node=127.0.0.1", names="node=127.0.0.1", next_step="via overlay,node")
        self.refused("bisect", "--rung", rung, "--rung", rung, names="node", next_step="name of its own")
        self.refused("bisect", "--rung", "web=https://web via node", names="rung 'web'", next_step="http://web:8080/health")
        self.refused("bisect", "--rung", rung, "--late", "1us", names="--late", next_step="Give")
        self.refused("bisect", "discover", names="TARGET", next_step="stallscope bisect discover --help")
        self.refused("bisect", "discover", "https://web", names="TLS", next_step="http://web:8080/health")
        self.refused("respond", "224.0.0.1", names="multicast", next_step="one host")

    def test_no_command_prints_a_short_help(self):
        result = run()
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stdout, b"")
        self.assertIn(b"Usage: stallscope COMMAND", result.stderr)
        self.assertIn(b"doctor", result.stderr)

    def test_help_and_version_succeed_on_standard_output(self):
        for arguments in (["--help"], ["doctor", "--help"], ["--version"], ["man"]):
            result = run(*arguments)
            self.assertEqual(result.returncode, 0, arguments)
            self.assertEqual(result.stderr, b"", arguments)
            self.assertIn(b"stallscope", result.stdout)
        for line in run("--help").stdout.decode().splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_a_full_disk_is_an_error(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([BINARY, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"No space left on device", result.stderr)

    def test_a_reader_that_went_away_is_none(self):
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run([BINARY, "--help"], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(writer)
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stderr, b"")


class Doctor(unittest.TestCase):
    def test_a_host_of_which_nothing_is_known_is_described(self):
        with tempfile.TemporaryDirectory() as root:
            (pathlib.Path(root) / "proc/sys/kernel").mkdir(parents=True)
            (pathlib.Path(root) / "proc/sys/kernel/osrelease").write_text("4.19.0-26-amd64\n")
            result = run("doctor", "--root", root)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(result.stderr, b"")
        text = result.stdout.decode()
        self.assertIn("Linux 4.19.0-26-amd64", text)
        self.assertIn("! kernel BTF", text)
        self.assertIn("CONFIG_DEBUG_INFO_BTF", text)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_nonsense_in_every_file_does_no_harm(self):
        with tempfile.TemporaryDirectory() as root:
            for name in ("proc/self/status", "proc/self/mountinfo", "proc/kallsyms", "proc/config.gz", "proc/cpuinfo", "proc/cmdline",
                         "proc/sys/kernel/osrelease", "proc/sys/kernel/kptr_restrict", "sys/devices/system/cpu/online",
                         "sys/kernel/btf/vmlinux", "sys/kernel/security/lockdown"):
                file = pathlib.Path(root) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"\x9f\xeb\x00\x1b[2J\xff\n0-\n(((\n" * 50)
            result = run("doctor", "--root", root)
            json = run("doctor", "--json", "--root", root)
        self.assertEqual((result.returncode, result.stderr), (1, b""))
        self.assertNotIn(b"\x1b", result.stdout)
        self.assertEqual((json.returncode, json.stderr), (1, b""))

    def test_works_for_an_unprivileged_user(self):
        # The test may be run from a folder that other users cannot enter, so the binary is passed on by descriptor.
        nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        with open(BINARY, "rb") as binary:
            result = subprocess.run([f"/proc/self/fd/{binary.fileno()}", "doctor"], capture_output=True, timeout=60, check=False,
                                    pass_fds=[binary.fileno()], cwd="/", **nobody)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn(b"run as root", result.stdout)
        self.assertIn(b"! privilege to trace", result.stdout)


if __name__ == "__main__":
    BINARY = sys.argv.pop(1)
    unittest.main()
