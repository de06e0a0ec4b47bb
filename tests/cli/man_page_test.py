#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Renders the man pages that the build wrote: without a warning, and with every option of every command in them.

usage: man_page_test.py STALLSCOPE MAN_DIRECTORY
"""

import pathlib
import re
import shutil
import subprocess
import sys
import unittest

BINARY = ""
PAGES = pathlib.Path()


def help_of(*command):
    return subprocess.run([BINARY, *command, "--help"], capture_output=True, timeout=60, check=True).stdout.decode()


def listed(text, heading, pattern):
    """The first words under a heading of the help."""
    section = re.search(rf"^{heading}:\n((?:  .*\n)+)", text, re.MULTILINE)
    return re.findall(pattern, section.group(1), re.MULTILINE) if section else []


def commands_of(*command):
    return listed(help_of(*command), "Subcommands", r"^  (\S+)")


def options_of(*command):
    options = []
    for names in listed(help_of(*command), "Options", r"^  (-\S+)"):
        options += names.split(",")
    return options


def render(page):
    result = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-P-cbou", "-rLL=200n", str(page)], capture_output=True, timeout=60, check=False)
    return result.stdout.decode(), result.stderr.decode()


class ManPages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if shutil.which("groff") is None:
            raise RuntimeError("groff is missing: apt-get install groff-base")

    def test_every_command_has_a_page_without_warnings(self):
        pages = ["stallscope.1"] + [f"stallscope-{name}.1" for name in commands_of()]
        self.assertEqual(sorted(pages), sorted(path.name for path in PAGES.iterdir()))
        for page in pages:
            text, warnings = render(PAGES / page)
            self.assertEqual(warnings, "", page)
            for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "FILES", "SEE ALSO"):
                self.assertRegex(text, rf"(?m)^{section}$", page)

    def test_every_option_is_in_the_page_of_its_command(self):
        for command in commands_of():
            text, _ = render(PAGES / f"stallscope-{command}.1")
            nested = [(command,)] + [(command, name) for name in commands_of(command)]
            nested += [words + (name,) for words in nested[1:] for name in commands_of(*words)]
            for words in nested:
                options = options_of(*words)
                self.assertIn("--help", options, words)
                for option in options:
                    self.assertRegex(text, rf"(?m)^\s+(-\w, )*{re.escape(option)}\b", words)

    def test_examples_can_be_copied(self):
        # A hyphen or quote that roff replaced by a typographic one would not work in a shell.
        for page in PAGES.iterdir():
            text, _ = render(page)
            self.assertNotRegex(text, "[\u2010\u2212\u2018\u2019\u02dc\u02c6]", page.name)


if __name__ == "__main__":
    PAGES = pathlib.Path(sys.argv.pop(2))
    BINARY = sys.argv.pop(1)
    unittest.main()
