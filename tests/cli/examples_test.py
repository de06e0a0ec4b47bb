#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The recorded incident that ships with stallscope: this version reads it and comes to its verdict.

usage: examples_test.py STALLSCOPE EXAMPLES
"""

import json
import pathlib
import subprocess
import sys
import unittest

BINARY = ""
EXAMPLES = pathlib.Path()
LARGEST_BYTES = 2_000_000


class Examples(unittest.TestCase):
    def test_the_recorded_incident_is_explained(self):
        bundle = EXAMPLES / "memcg-stat-flush.stall"
        self.assertLess(bundle.stat().st_size, LARGEST_BYTES)
        result = subprocess.run([BINARY, "report", str(bundle), "--json"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 1, result.stderr)
        report = json.loads(result.stdout)
        self.assertGreater(len(report["stalls"]), 1)
        finding = report["findings"][0]
        self.assertEqual(finding["rule"], "memcg-stat-flush")
        self.assertGreater(finding["explained_ns"], 0.9 * report["stalled_ns"])


if __name__ == "__main__":
    EXAMPLES = pathlib.Path(sys.argv.pop())
    BINARY = sys.argv.pop()
    unittest.main()
