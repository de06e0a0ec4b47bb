#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every fault of the lab and its control against its diagnosis on Debian 12's own kernels: `stallscope lab matrix` in a virtual machine each.

    matrix.py STALLSCOPE [--kernel SERIES]... [--keep FOLDER] [-- MATRIX_OPTION...]

STALLSCOPE is the static binary. What follows `--` goes to `lab matrix`. An emulated CPU stands still whenever its host runs something else, so
lengths may be off; what is blamed may not. Exit status: 0 all right, 1 something was wrong, 77 cannot run here.
"""
import argparse
import pathlib
import re
import shlex
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent / "lab" / "vm"), str(HERE.parent / "system")]
import kernel  # noqa: E402
import machine  # noqa: E402
from errors import VmError  # noqa: E402
from incident_test import CANNOT_RUN  # noqa: E402

# Making the zombies for 100 ms takes minutes there.
DEFAULT_OPTIONS = ["--lengths", "20ms,60ms", "--stalls", "3"]
VM_TIMEOUT_S = 3600


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stallscope", type=pathlib.Path)
    parser.add_argument("--kernel", action="append", choices=kernel.SERIES, help="of this series only (default: all)")
    parser.add_argument("--keep", type=pathlib.Path, help="keep what each machine left, in FOLDER/SERIES")
    # Not argparse's own `--`: it takes what stands behind an option for too much.
    own = sys.argv[1:sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    matrix_options = sys.argv[len(own) + 2:] or DEFAULT_OPTIONS
    options = parser.parse_args(own)
    try:
        kernels = [kernel.obtain(series) for series in options.kernel or kernel.SERIES]
    except VmError as error:
        print("cannot run: " + re.sub(r"\s+", " ", str(error)))
        return CANNOT_RUN
    if not shutil.which(machine.QEMU):
        print(f"cannot run: {machine.QEMU} is not installed")
        return CANNOT_RUN
    matrix = shlex.join(["./stallscope", "lab", "matrix", *matrix_options])
    # Nothing goes to the console meanwhile: each byte would stop the virtual CPU for a while.
    command = ["sh", "-c", f"status=0; {matrix} >\"$OUT/matrix.txt\" 2>\"$OUT/matrix.log\" || status=$?; echo $status >\"$OUT/status\""]
    worst = 0
    for running in kernels:
        with tempfile.TemporaryDirectory(prefix="stallscope-test-") as temporary:
            folder = options.keep / running.series if options.keep else pathlib.Path(temporary)
            machine.run(running, command, [options.stallscope], folder, VM_TIMEOUT_S)
            status = int((folder / "status").read_text())
            print(f"Linux {running.release}:\n{(folder / 'matrix.txt').read_text()}", flush=True)
            if status > 1:
                print((folder / "matrix.log").read_text(), file=sys.stderr)
            worst = max(worst, status)
    return worst


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VmError as problem:
        print(f"FAILED: {problem}")
        sys.exit(1)
