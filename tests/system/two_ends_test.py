#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Both ends of a probe recorded apart and put together, against the lab's ground truth. Both ends are this machine, so that their
clocks are known to be the same: what the join finds out about them can be checked.

    two_ends_test.py STALLSCOPE

Needs root, two CPUs and a kernel that the doctor calls ready. Exits with 77 and the reason where that is missing.
"""
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile

CANNOT_RUN = 77
TARGET = "10.0.1.2"
EDGE_NS = 300_000_000
# src/shape/lateness.h
LATE_NS = 5_000_000
ECHO_ID = 4711


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


class Lab:
    def __init__(self, stallscope):
        self.process = subprocess.Popen([stallscope, "lab", "run", "irq-off-section", "--cpu", "0", "--length", "50ms", "--period",
                                         "700ms", "--for", "5m"], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        expect(line and json.loads(line)["type"] == "ready", f"the lab does not start: {line}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=120)
        return [json.loads(line) for line in rest.splitlines() if json.loads(line)["type"] == "stall"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


def probe(stallscope, directory, *arguments, environment=None):
    done = subprocess.run([stallscope, "diagnose", TARGET, "--netns", "stallscope-client", "--probe-cpu", "1", "--for", "6s",
                           "--out", "client.stall", *arguments], capture_output=True, text=True, timeout=300, cwd=directory,
                          env=environment)
    expect(done.returncode in (0, 1), f"diagnose failed ({done.returncode}): {done.stderr}")
    return done


def probes_of(path):
    with sqlite3.connect(path) as bundle:
        return bundle.execute("SELECT count(*) FROM probe").fetchone()[0]


def unseen_by_this_kernel(path):
    """Probes whose request the tracer of the other end, which is this kernel's, too, did not see either (docs/known-limits.md)."""
    with sqlite3.connect(path) as bundle:
        return bundle.execute("SELECT count(*) FROM probe WHERE sequence NOT IN (SELECT sequence FROM packet WHERE leg = 'request')").fetchone()[0]


def check_report(report, messages, truths, bundle):
    """The stalls are the node's, the probes the other end's, and the clocks one and the same."""
    said = re.search(r"the node saw ([\d,]+) of ([\d,]+) probes; its clock is known to ([\d.]+) (ns|us|ms) \(([+-][\d.]+) ppm\)", messages)
    expect(said, f"no line about the two ends: {messages}")
    seen, sent = (int(said[i].replace(",", "")) for i in (1, 2))
    visible = sent - unseen_by_this_kernel(bundle)
    expect(sent > 0.8 * probes_of(bundle) and visible > 0.9 * sent and seen >= 0.99 * visible, f"{said[0]}, {visible} visible")
    uncertainty_ns = float(said[3]) * {"ns": 1, "us": 1e3, "ms": 1e6}[said[4]]
    expect(uncertainty_ns < 500_000 and abs(float(said[5])) < 50, said[0])
    ends = report["two_ends"]
    expect((ends["seen"], ends["probes"]) == (seen, sent) and ends["clock_uncertainty_ns"] < 500_000, f"{ends}, but {said[0]}")
    run = report["run"]
    expect(run["target"] == TARGET and report["probes"]["sent"] == sent, f"{run}, {report['probes']}")
    expect(run["state"] == "finished", f"the node was stopped after the prober had ended, and is called {run['state']}")
    inside = [t for t in truths if t["start_ns"] > run["start_ns"] + EDGE_NS and t["end_ns"] < run["end_ns"] - EDGE_NS]
    with sqlite3.connect(bundle) as client:
        first_ns, last_ns = client.execute("SELECT min(sent_ns), max(sent_ns) FROM probe").fetchone()
        sent_late = [intended for intended, in client.execute("SELECT intended_ns FROM probe WHERE sent_ns - intended_ns > ?", (LATE_NS,))]
    # A prober that was held up itself held no packet in the queue: another CPU waits as well where it has to tell the held one something.
    probed = [t for t in inside if first_ns < t["start_ns"] and t["end_ns"] < last_ns
              and not any(t["start_ns"] < intended < t["end_ns"] for intended in sent_late)]
    expect(len(probed) >= 3, f"only {len(probed)} whole stalls fell into the recording while the prober could send")
    for truth in probed:
        found = [s for s in report["stalls"] if s["start_ns"] < truth["end_ns"] and s["end_ns"] > truth["start_ns"]]
        expect(found, f"the stall at {truth['start_ns']} was not found")
        stall = max(found, key=lambda s: s["length_ns"])
        held = stall["held"]
        # Every 10 ms, less the first and the last: had the clocks been joined wrongly, others would have been held.
        expect(held and held["count"] >= 3, f"no probe is joined to the stall at {truth['start_ns']}: {stall}")
    rules = [finding["rule"] for finding in report["findings"]]
    expect("irq-off-section" in rules, f"{rules}")
    return f"{len(probed)} stalls, {said[0]}"


class NodeRecorder:
    """Waits for the probes of the other end until the block is left; `kind` says which kind they are of."""

    def __init__(self, stallscope, directory, *kind):
        self.process = subprocess.Popen([stallscope, "diagnose", "--echo-id", str(ECHO_ID), *kind, "--for", "60s", "--out", "node.stall"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=directory)
        self.kind = kind

    def __enter__(self):
        announced = self.process.stderr.readline()
        expect(" ".join([str(ECHO_ID), *self.kind]) in announced, f"the node does not say that it records: {announced}")
        return self

    def __exit__(self, failure, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=120)
        expect(failure or self.process.returncode in (0, 1), f"the node's recorder failed: {self.process.returncode}")


def check_by_hand(stallscope, directory, *tcp):
    with NodeRecorder(stallscope, directory, *tcp), Lab(stallscope) as lab:
        probe(stallscope, directory, "--echo-id", str(ECHO_ID), *tcp)
        truths = lab.stop()
    for command in ("diagnose", "report"):
        done = subprocess.run([stallscope, command, "client.stall", "node.stall", "--json"], capture_output=True, text=True, cwd=directory)
        expect(done.returncode == 1, f"{command}: {done.returncode}, {done.stderr}")
    swapped = subprocess.run([stallscope, "report", "node.stall", "client.stall"], capture_output=True, text=True, cwd=directory)
    expect(swapped.returncode == 2 and "comes first" in swapped.stderr, f"{swapped}")
    return check_report(json.loads(done.stdout), done.stderr, truths, pathlib.Path(directory, "client.stall"))


def check_by_hand_with_syns(stallscope, directory):
    """To a closed port: the resets are followed as SYN-ACKs are."""
    return check_by_hand(stallscope, directory, "--tcp", "7")


def check_other_kinds_of_probes(stallscope, directory):
    """A node that looks for SYNs does not take echoes with the same number for them."""
    with NodeRecorder(stallscope, directory, "--tcp", "7"), Lab(stallscope):
        probe(stallscope, directory, "--echo-id", str(ECHO_ID))
    done = subprocess.run([stallscope, "report", "client.stall", "node.stall"], capture_output=True, text=True, cwd=directory)
    expect(done.returncode == 2 and "--tcp PORT" in done.stderr, f"{done}")
    nobody = subprocess.run([stallscope, "diagnose", "--tcp", "7"], capture_output=True, text=True, cwd=directory)
    expect(nobody.returncode == 2 and "--echo-id" in nobody.stderr, f"{nobody}")
    return done.stderr.strip()


# The arguments are: -- HOST COMMAND. As sshd does, a shell runs the command.
SSH = """#!/bin/sh
[ "$1" = -- ] && [ "$2" = node7 ] && [ $# = 3 ] || { echo "ssh: cannot resolve $2" >&2; exit 255; }
exec sh -c "$3"
"""


def check_through_ssh(stallscope, directory):
    ssh = pathlib.Path(directory, "ssh")
    ssh.write_text(SSH)
    ssh.chmod(0o700)
    environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
    unknown = subprocess.run([stallscope, "diagnose", TARGET, "--for", "1s", "--node", "ssh:node8"], capture_output=True, text=True,
                             cwd=directory, env=environment)
    expect(unknown.returncode == 2 and "cannot resolve node8" in unknown.stderr, f"{unknown}")
    before = set(pathlib.Path("/tmp").glob("stallscope-*"))
    with Lab(stallscope) as lab:
        done = probe(stallscope, directory, "--json", "--node", "ssh:node7", "--node-copy", environment=environment)
        truths = lab.stop()
    left = set(pathlib.Path("/tmp").glob("stallscope-*")) - before - {pathlib.Path(directory)}
    expect(not left, f"left on the node: {left}")
    node_bundle = pathlib.Path(directory, "client.node.stall")
    expect(node_bundle.exists() and not stat.S_IMODE(node_bundle.stat().st_mode) & 0o007, "the node's bundle is not here, or for all to read")
    return check_report(json.loads(done.stdout), done.stderr, truths, pathlib.Path(directory, "client.stall"))


class SshServer:
    """A real one, on loopback, for root's files in a directory of our own, which only it sees there."""

    def __init__(self, directory):
        self.home = pathlib.Path(directory, "home")
        keys = self.home / ".ssh"
        keys.mkdir(parents=True)
        for path in (self.home, keys):
            path.chmod(0o700)
        self.identity = pathlib.Path(directory, "identity")
        host_key = pathlib.Path(directory, "host_key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.identity], check=True)
        subprocess.run(["dropbearkey", "-t", "ed25519", "-f", host_key], check=True, capture_output=True)
        (keys / "authorized_keys").write_text(self.identity.with_suffix(".pub").read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        serve = 'mount --bind "$1" "$2" && exec dropbear -F -E -s -p "127.0.0.1:$3" -r "$4" -P "$5"'
        self.process = subprocess.Popen(["unshare", "--mount", "sh", "-c", serve, "sh", self.home, pwd.getpwuid(0).pw_dir, str(self.port),
                                         host_key, pathlib.Path(directory, "pid")], stderr=subprocess.PIPE, text=True)
        self.client = pathlib.Path(directory, "ssh")
        self.client.write_text(f"""#!/bin/sh
exec {shutil.which("ssh")} -F none -p {self.port} -i {self.identity} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no \
  -o UserKnownHostsFile={directory}/known -o LogLevel=ERROR "$@"
""")
        self.client.chmod(0o700)

    def __enter__(self):
        # It says so when it listens.
        line = self.process.stderr.readline()
        while line and "Not backgrounding" not in line:
            line = self.process.stderr.readline()
        expect(line, "the ssh server does not start")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=60)


def check_through_a_real_ssh(stallscope, directory):
    with SshServer(directory) as server, Lab(stallscope) as lab:
        environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
        done = probe(stallscope, directory, "--json", "--tcp", "7", "--node", "ssh:127.0.0.1", "--node-copy", environment=environment)
        truths = lab.stop()
        left = [path.name for path in server.home.iterdir() if path.name != ".ssh"]
    expect(not left, f"left on the node: {left}")
    return check_report(json.loads(done.stdout), done.stderr, truths, pathlib.Path(directory, "client.stall"))


def main():
    stallscope = os.path.abspath(sys.argv[1])
    if os.geteuid() != 0 or os.cpu_count() < 2:
        print("cannot run: needs root and two CPUs")
        return CANNOT_RUN
    if subprocess.run([stallscope, "doctor"], capture_output=True).returncode == 2:
        print("cannot run: the doctor finds this kernel not observable")
        return CANNOT_RUN
    for check in (check_by_hand, check_by_hand_with_syns, check_other_kinds_of_probes, check_through_ssh, check_through_a_real_ssh):
        with tempfile.TemporaryDirectory(prefix="stallscope-test-") as directory:
            print(f"{check.__name__}: {check(stallscope, directory)}", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
