#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what the compiler cannot: that rooms include only what they may, and that the tree stays readable and portable.

usage: layering_check.py ROOT         check the tree
       layering_check.py --self-test  prove that each rule can fail
"""

import pathlib
import re
import sys
import tempfile

# What each room may include besides itself. A name ending in ".h" allows that header only.
ALLOWED = {
    "base": [],
    "shape": ["base"],
    "rss": ["base", "shape/statistics.h"],
    "host": ["base", "rss"],
    "bpf": ["base", "host"],
    "evidence": ["base"],
    "probe": ["base", "host", "bpf", "evidence/records.h", "evidence/syn_mark.h"],
    "trace": ["base", "host", "bpf", "evidence/records.h", "evidence/syscalls.h", "evidence/syn_mark.h"],
    "census": ["base", "host", "bpf", "evidence/records.h", "evidence/containers.h"],
    "bisect": ["base"],
    "capture": ["base", "shape", "evidence"],
    "join": ["base", "evidence"],
    "diagnose": ["base", "evidence", "shape"],
    "remedy": ["base", "evidence", "shape/statistics.h", "diagnose"],
    "report": ["base", "evidence", "shape", "rss", "diagnose"],
    "lab": ["base", "host", "bpf"],
    "cli": ["base", "shape", "rss", "host", "bpf", "evidence", "probe", "trace", "census", "bisect", "join", "capture", "diagnose", "remedy", "report", "lab"],
}
CODE_FOLDERS = ("src", "lab", "tests", "bench", "fuzz")
CODE_SUFFIXES = (".h", ".c", ".cpp", ".py", ".sh")
TEXT_SUFFIXES = CODE_SUFFIXES + (".txt", ".cmake", ".md", ".json")
LONGEST_FILE_LINES = 500
# Files that may be longer, each with its reason.
LONG_FILES = {}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<][^">]+)[">]')
# libbpf has a folder of the same name as a room, and is included as a library is.
LIBBPF = "<bpf/"
# Folders that exist on one developer's machine only. Put together here so that this file does not match.
MACHINE_PATH = re.compile(r"(?<![\w./])/(?:" + "|".join(("wo" + "rk", "ho" + "me", "ro" + "ot", "Us" + "ers", "tmp/" + "wt")) + r")(?![\w-])")


def room_of(path):
    """The room a file belongs to, or None outside of all rooms."""
    if path.parts[0] == "lab":
        return "lab"
    if path.parts[0] == "src" and len(path.parts) > 2:
        return path.parts[1]
    return None


def may_include(room, included):
    if included.split("/")[0] == room:
        return True
    return any(included == name if name.endswith(".h") else included.startswith(name + "/") for name in ALLOWED[room])


def check_includes(path, lines):
    room = room_of(path)
    if room is not None and room not in ALLOWED:
        yield 1, f"room '{room}' is not known: say in tests/layering_check.py what it may include"
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        if match.group(1).startswith(LIBBPF):
            continue
        included = match.group(1)[1:]
        if included.split("/")[-1] == "vmlinux.h":
            yield number, "includes vmlinux.h, which differs from machine to machine: use bpf/kernel_types.h"
        if ".." in included.split("/"):
            yield number, f"includes {included}: name headers from src/, without '..'"
        if room is not None and included.split("/")[0] in ALLOWED and not may_include(room, included):
            allowed = ", ".join(ALLOWED[room]) or "nothing"
            yield number, f"room '{room}' must not include {included}: it may include {allowed}"


def check_size(path, lines):
    limit = LONG_FILES.get(str(path), LONGEST_FILE_LINES)
    if len(lines) > limit:
        yield limit + 1, f"{len(lines)} lines: split it by concept, a file has {limit} at most"


def check_machine_paths(_path, lines):
    for number, line in enumerate(lines, 1):
        match = MACHINE_PATH.search(line)
        if match:
            yield number, f"'{match.group(0)}' is a path of one machine"


def text_files(root):
    for folder in CODE_FOLDERS + ("cmake", "docs", "examples"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix in TEXT_SUFFIXES:
                yield path
    for path in sorted(root.glob("*")):
        if path.is_file() and path.suffix in TEXT_SUFFIXES:
            yield path


def check_tree(root):
    """Every violation as (path, line, message)."""
    for file in text_files(root):
        path = file.relative_to(root)
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        checks = [check_machine_paths]
        if path.parts[0] in CODE_FOLDERS and path.suffix in CODE_SUFFIXES:
            checks += [check_includes, check_size]
        for check in checks:
            for number, message in check(path, lines):
                yield path, number, message


def self_test():
    """Each rule fires on a tree made to break it, and a clean tree is quiet."""
    bad = {
        "src/base/a.cpp": ('#include "host/kernel.h"\n', "room 'base' must not include host/kernel.h"),
        "src/host/a.cpp": ('\n# include <evidence/records.h>\n', "it may include base, rss"),
        "src/trace/a.cpp": ('#include "census/walk.h"\n', "must not include census/walk.h"),
        "src/probe/a.cpp": ('#include "evidence/bundle.h"\n', "must not include evidence/bundle.h"),
        "src/diagnose/a.h": ('#include "bpf/loader.h"\n', "may include base, evidence, shape"),
        "src/report/a.cpp": ('#include "cli/commands.h"\n', "must not include cli/commands.h"),
        "src/report/b.cpp": ('#include "../cli/commands.h"\n', "without '..'"),
        "src/shape/a.cpp": ('#include "evidence/records.h"\n', "it may include base"),
        "src/rss/a.h": ('#include "shape/shape.h"\n', "it may include base, shape/statistics.h"),
        "src/census/a.bpf.c": ('#include "vmlinux.h"\n', "vmlinux.h"),
        "src/newroom/a.h": ("int a;\n", "room 'newroom' is not known"),
        "lab/faults/a.cpp": ('#include "trace/tracer.h"\n', "room 'lab' must not include trace/tracer.h"),
        "lab/b.cpp": ('#include "evidence/records.h"\n', "it may include base, host, bpf"),
        "tests/long.py": ("pass\n" * (LONGEST_FILE_LINES + 1), "split it"),
        "docs/a.md": ("see " + "/wo" + "rk/notes\n", "path of one machine"),
    }
    good = {
        "src/probe/good.cpp": '#include "base/result.h"\n#include "evidence/records.h"\n#include "probe/icmp.h"\n#include <bpf/libbpf.h>\n',
        "src/base/good.cpp": "#include <base64.h>\n#include <bpf/bpf.h>\n",
        "src/cli/good.cpp": '#include "trace/tracer.h"\n#include "lab/lab.h"\n',
        "lab/faults/a/good.cpp": '#include "lab/culprit.h"\n#include "bpf/skeleton.h"\n#include "a.skel.h"\n',
        "tests/good.cpp": '#include "trace/tracer.h"\n',
        "docs/good.md": "/proc/1/root/etc, /sys/fs/cgroup, src/work/x, /workload\n",
        "tests/just.py": "pass\n" * LONGEST_FILE_LINES,
    }
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in list(good.items()) + [(name, text) for name, (text, _) in bad.items()]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        found = {}
        for path, _, message in check_tree(root):
            found.setdefault(str(path), []).append(message)
    for name, (_, expected) in bad.items():
        if not any(expected in message for message in found.get(name, [])):
            failures.append(f"{name}: expected '{expected}', found {found.get(name, 'nothing')}")
    for name in good:
        if name in found:
            failures.append(f"{name}: expected nothing, found {found[name]}")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "--self-test":
        return self_test()
    root = pathlib.Path(sys.argv[1])
    if not (root / "src").is_dir():
        print(f"layering_check: {root} has no folder src", file=sys.stderr)
        return 2
    violations = list(check_tree(root))
    for path, number, message in violations:
        print(f"{path}:{number}: {message}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
