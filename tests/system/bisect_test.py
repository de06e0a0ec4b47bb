#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A path of NAT, a VXLAN overlay, an application and a node, each made slow in turn: bisect has to name that one and clear the rest.

    bisect_test.py STALLSCOPE [CASE...]

Needs root, two CPUs, iproute2 and iptables. Exits with 77 and the reason where that is missing.
"""
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

CANNOT_RUN = 77
CLIENT, NODE, POD = "stallscope-client", "stallscope-node", "stallscope-pod"
PATH = """
rungs:
  - {name: service, probe: 'http://10.0.1.2:30080/', via: [nat, overlay, application, transport, node]}
  - {name: pod by HTTP, probe: 'http://10.9.0.2:8080/', via: [overlay, application, transport, node]}
  - {name: pod by TCP, probe: 'tcp://10.9.0.2:8080', via: [overlay, transport, node]}
  - {name: pod by ICMP, probe: 'icmp://10.9.0.2', via: [overlay, node]}
  - {name: node by TCP, probe: 'tcp://10.0.1.2:9', via: [transport, node]}
  - {name: node by ICMP, probe: 'icmp://10.0.1.2', via: [node]}
"""
# Without the application, which has to wait for its turn on a busy machine, and truly is late then.
PATH_WITHOUT_APPLICATION = "".join(line for line in PATH.splitlines(keepends=True) if "http" not in line)
STALL_S = 0.06
PAUSE_S = 0.6


class CannotRun(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def run(command):
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"{command}: {done.stderr.strip()}")
    return done.stdout


RESPONSE = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def serve():
    """The application: one thread. After SIGUSR1 it stands still now and then, as one that collects garbage does."""
    # On a busy machine it would have to wait for its turn, and truly be a second cause. Where the prober is not: what holds that up
    # must not hold this up.
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    os.sched_setaffinity(0, {0})
    slow = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: slow.set())
    signal.signal(signal.SIGUSR2, lambda *_: slow.clear())
    next_stall = 0.0
    with socket.create_server(("0.0.0.0", 8080), backlog=256) as listener:
        listener.settimeout(0.05)
        print("ready", flush=True)
        while True:
            try:
                client, _ = listener.accept()
                with client:
                    client.settimeout(1)
                    client.recv(4096)
                    client.sendall(RESPONSE)
            except OSError:
                # Nobody asked, or who did is gone.
                pass
            if slow.is_set() and time.monotonic() > next_stall:
                time.sleep(STALL_S)
                next_stall = time.monotonic() + PAUSE_S


class Overlay:
    """The lab's topology, with a tunnel between node and pod and a NodePort on the node. Removed at the end."""

    def __init__(self, stallscope, kind):
        self.stallscope = stallscope
        self.kind = kind
        self.server = None

    def __enter__(self):
        subprocess.run([self.stallscope, "lab", "up", "--receive-cpu", "0", "--overlay", self.kind], check=True)
        try:
            self.server = subprocess.Popen(["ip", "netns", "exec", POD, sys.executable, __file__, "--serve"], stdout=subprocess.PIPE,
                                           text=True)
            expect(self.server.stdout.readline() == "ready\n", "the server does not start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        subprocess.run([self.stallscope, "lab", "down"], check=True)


class Repeated:
    """Calls begin() and end(), a stall apart, until it is left."""

    def __init__(self, begin, end):
        self.begin, self.end = begin, end
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.over.wait(PAUSE_S):
            self.begin()
            time.sleep(STALL_S)
            self.end()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class SlowApplication:
    def __init__(self, overlay):
        self.pid = overlay.server.pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGUSR1)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGUSR2)


class SlowTunnel(Repeated):
    """A shaper that lets next to nothing of the tunnel through for a while: packets wait, and no CPU is held. A VXLAN has it on its
    own device; what BPF wraps passes that by and is shaped where it leaves, together with nothing else."""

    def __init__(self, overlay):
        self.device = "tun0" if overlay.kind == "vxlan" else "n1"
        tbf = ["tc", "-n", NODE, "qdisc", "replace", "dev", self.device, "root", "tbf"]
        # A burst is what passes at first: some packets of the probes, but any of them must fit.
        self.commands = {"shut": tbf + ["rate", "8kbit", "burst", "300", "latency", "10s"],
                         "open": tbf + ["rate", "1gbit", "burst", "1mb", "latency", "100ms"]}
        super().__init__(lambda: self.set("shut"), lambda: self.set("open"))

    def set(self, state):
        subprocess.run(self.commands[state], check=True)

    def __enter__(self):
        self.set("open")
        super().__enter__()

    def __exit__(self, *_):
        super().__exit__()
        run(f"tc -n {NODE} qdisc delete dev {self.device} root")


class SlowNatRules:
    """New connections to the NodePort ask a program (NFQUEUE), which stands still now and then: those to the pod itself do not. Only
    the first packet, as with rules of the table nat: a request held up later would hold the one-threaded server, too."""

    RULE = "PREROUTING -p tcp -m tcp --dport 30080 --syn -j NFQUEUE --queue-num 0"

    def __init__(self, _overlay):
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(["ip", "netns", "exec", NODE, sys.executable, __file__, "--verdicts"], stdout=subprocess.PIPE,
                                        text=True)
        if self.process.stdout.readline() != "ready\n":
            raise CannotRun("this kernel has no NFQUEUE")
        run(f"ip netns exec {NODE} iptables -t mangle -A {self.RULE}")

    def __exit__(self, *_):
        run(f"ip netns exec {NODE} iptables -t mangle -D {self.RULE}")
        self.process.kill()
        self.process.communicate()


def give_verdicts():
    """Accepts what is queued (include/uapi/linux/netfilter/nfnetlink_queue.h), and stands still now and then."""
    packet, verdict, config = 0x300, 0x301, 0x302
    attribute_packet, attribute_verdict, attribute_command, attribute_parameters = 1, 2, 1, 2
    bind, copy_meta, accept = 1, 1, 1
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
    netlink.bind((0, 0))

    def send(kind, attribute, content):
        body = struct.pack("=BBH", 0, 0, 0) + struct.pack("=HH", 4 + len(content), attribute) + content
        body += bytes(-len(body) % 4)
        netlink.send(struct.pack("=IHHII", 16 + len(body), kind, 1, 0, 0) + body)

    send(config, attribute_command, struct.pack(">BBH", bind, 0, 0))
    send(config, attribute_parameters, struct.pack(">IB", 0, copy_meta))
    print("ready", flush=True)
    next_stall = time.monotonic() + PAUSE_S
    while True:
        message = netlink.recv(65536)
        if time.monotonic() > next_stall:
            time.sleep(STALL_S)
            next_stall = time.monotonic() + PAUSE_S
        length, kind = struct.unpack_from("=IH", message)
        at = 20
        while kind == packet and at < length:
            size, attribute = struct.unpack_from("=HH", message, at)
            if attribute == attribute_packet:
                send(verdict, attribute_verdict, struct.pack(">I", accept) + message[at + 4:at + 8])
            at += (size + 3) & ~3


class StalledCpu:
    def __init__(self, overlay):
        self.stallscope = overlay.stallscope
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen([self.stallscope, "lab", "run", "irq-off-section", "--cpu", "0", "--length", "60ms", "--period",
                                         "600ms", "--for", "2m"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if not self.process.stdout.readline():
            raise CannotRun(self.process.communicate()[1])

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()


class HeldSender:
    """A task of higher priority than the prober's takes the prober's CPU now and then."""

    def __init__(self, _overlay):
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, __file__, "--hog"])

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def hog():
    os.sched_setaffinity(0, {1})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    while True:
        time.sleep(PAUSE_S)
        end = time.monotonic() + STALL_S
        while time.monotonic() < end:
            pass


def bisect(stallscope, path, duration, *options, environment=None):
    done = subprocess.run([stallscope, "bisect", path, "--netns", CLIENT, "--interval", "10ms", "--for", duration, "--json", *options],
                          capture_output=True, text=True, check=False, env=environment)
    expect(done.returncode in (0, 1), f"bisect failed: {done.stderr}")
    return done.returncode, json.loads(done.stdout)


CASES = {"nat": (SlowNatRules, ["nat"]), "application": (SlowApplication, ["application"]), "overlay": (SlowTunnel, ["overlay"]),
         "node": (StalledCpu, ["node"])}


def check_fault(overlay, path, name):
    fault, suspects = CASES[name]
    with fault(overlay):
        status, report = bisect(overlay.stallscope, path, "60s")
    summary = json.dumps({**report, "causes": [{**c, "stalls": len(c["stalls"])} for c in report["causes"]]}, indent=1)
    expect(status == 1 and report["outcome"] == "found", f"{name}: {summary}")
    expect(report["causes"][0]["suspects"] == suspects, f"{name}: {summary}")
    # What came after the decision is in no number, or rates would be too high.
    for rung, tested in zip(report["rungs"], zip(*(cause["rungs"] for cause in report["causes"]))):
        hits = sum(of_cause["hits"] for of_cause in tested)
        expect(rung["stalls"] == hits, f"{name}: {rung['name']} has {rung['stalls']} stalls and {hits} hits")
    cleared = {e["layer"] for e in report["causes"][0]["exonerated"]}
    expect(cleared == {"nat", "overlay", "application", "transport", "node", "sender"} - set(suspects), f"{name}: {cleared}")
    print(f"{name}: {report['stall_count']} stalls in {report['observed_ns'] / 1e9:.0f} s")


# The arguments are: -- HOST COMMAND. As sshd does, a shell runs the command, here in the node's namespace and
# on a CPU that is not held: a prober that cannot send is no witness. The connection to "brittle" breaks while it probes.
BREAKS_AFTER_S = 6
SSH = f"""#!/bin/sh
[ $# = 3 ] && [ "$1" = -- ] || exit 255
echo "$3" >> "${{0%/*}}/commands"
case "$2,$3" in
  node7,*) ;;
  brittle,*" probe "*) exec timeout -s KILL {BREAKS_AFTER_S} ip netns exec {NODE} taskset -c 1 sh -c "$3" ;;
  brittle,*) ;;
  *) echo "ssh: cannot resolve $2" >&2; exit 255 ;;
esac
exec ip netns exec {NODE} taskset -c 1 sh -c "$3"
"""


class StampsBehindRps:
    """The lab steers packets to one CPU by RPS; by default the kernel times them before they wait for it (docs/known-limits.md)."""

    SETTING = pathlib.Path("/proc/sys/net/core/netdev_tstamp_prequeue")

    def __enter__(self):
        self.before = self.SETTING.read_text()
        self.SETTING.write_text("0")

    def __exit__(self, *_):
        self.SETTING.write_text(self.before)


BACK = "back=icmp://10.0.1.1 from ssh:{} via node"


def with_ssh(path):
    """An environment in which ssh is ours, and has been given no command yet."""
    (path.parent / "commands").write_text("")
    ssh = path.parent / "ssh"
    ssh.write_text(SSH)
    ssh.chmod(0o700)
    return {**os.environ, "PATH": f"{path.parent}:{os.environ['PATH']}"}


def check_broken(overlay, path):
    """The far prober's connection breaks: the others go on, and the report says so."""
    with SlowApplication(overlay):
        status, report = bisect(overlay.stallscope, path, "60s", "--rung", BACK.format("brittle"), "--node-copy", environment=with_ssh(path))
    expect(status == 1 and report["outcome"] == "found" and report["causes"][0]["suspects"] == ["application"], f"broken: {report}")
    if report["observed_ns"] > BREAKS_AFTER_S * 1e9:
        expect(any(gap["what"].startswith("rung back after") and "brittle" in gap["reason"] for gap in report["gaps"]), f"broken: {report['gaps']}")
    print(f"broken: found after {report['observed_ns'] / 1e9:.0f} s, {len(report['gaps'])} gaps")


def check_reversed(overlay, path):
    """The node probes back, through ssh: it is late in the stalls of its own CPU, and not in those of the application."""
    environment = with_ssh(path)
    refused = subprocess.run([overlay.stallscope, "bisect", path, "--netns", CLIENT, "--rung", BACK.format("node8")], capture_output=True,
                             text=True, check=False, env=environment)
    expect(refused.returncode == 2 and "cannot resolve node8" in refused.stderr, f"{refused}")
    before = set(pathlib.Path("/tmp").glob("stallscope-*"))
    for name, decision, rungs in (("node", "hit", PATH_WITHOUT_APPLICATION), ("application", "clean", PATH)):
        path.write_text(rungs)
        fault, suspects = CASES[name]
        with StampsBehindRps(), fault(overlay):
            status, report = bisect(overlay.stallscope, path, "60s", "--rung", BACK.format("node7"), "--node-copy", environment=environment)
        expect(status == 1 and report["outcome"] == "found" and report["causes"][0]["suspects"] == suspects, f"{name}, reversed: {report}")
        rung = next(rung for rung in report["causes"][0]["rungs"] if rung["rung"] == "back")
        expect(rung["decision"] == decision, f"{name}: the other direction is {rung}")
        print(f"reversed, {name}: late in {rung['hits']} of {rung['exposed']} stalls")
    left = set(pathlib.Path("/tmp").glob("stallscope-*")) - before
    expect(not left, f"left on the node: {left}")


def check_copied_once(overlay, path):
    """Two rungs from one host take one copy of the program there."""
    _, report = bisect(overlay.stallscope, path, "5s", "--rung", BACK.format("node7"), "--rung", "again=icmp://10.0.1.1 from ssh:node7 via node",
                       "--node-copy", environment=with_ssh(path))
    expect({"back", "again"} <= {rung["name"] for rung in report["rungs"]}, f"copied once: {report['rungs']}")
    commands = (path.parent / "commands").read_text().splitlines()
    count = {what: sum(what in command for command in commands) for what in ("cat >", " probe ", "rm -f ")}
    expect(count == {"cat >": 1, " probe ": 2, "rm -f ": 1}, f"copied once: {count}")
    print(f"copied once: {count}")


def check_sender(overlay, path):
    path.write_text(PATH_WITHOUT_APPLICATION)
    with HeldSender(overlay):
        status, report = bisect(overlay.stallscope, path, "10s", "--probe-cpu", "1")
    expect(status == 1 and report["outcome"] == "sender", f"sender: {report}")
    print(f"sender: the prober stood still {report['own_stalls']['count']} times")


def check_healthy(overlay, path):
    _, report = bisect(overlay.stallscope, path, "15s")
    expect(report["outcome"] != "found", f"blames {report['causes']}")
    print(f"healthy: {report['outcome']}, {report['stall_count']} stalls in {report['observed_ns'] / 1e9:.0f} s")


def check_discover(overlay):
    done = subprocess.run(["ip", "netns", "exec", NODE, overlay.stallscope, "bisect", "discover", "--http", "10.0.1.2:30080"],
                          capture_output=True, text=True, check=True)
    for part in ("http://10.0.1.2:30080", "tcp://10.9.0.2:8080", "icmp://10.9.0.2", "'overlay'", "icmp://10.0.2.2"):
        expect(part in done.stdout, f"{part} is missing in:\n{done.stdout}")
    print("discover: found the pod, the tunnel and the node")


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "--serve":
        return serve()
    if sys.argv[1] == "--hog":
        return hog()
    if sys.argv[1] == "--verdicts":
        return give_verdicts()
    if os.geteuid() != 0 or len(os.sched_getaffinity(0)) < 2:
        print("needs root and two CPUs")
        return CANNOT_RUN
    checks = {"healthy": check_healthy, "broken": check_broken, "reversed": check_reversed, "copied once": check_copied_once, "sender": check_sender,
              "discover": lambda overlay, _: check_discover(overlay)}
    checks.update({name: lambda overlay, path, name=name: check_fault(overlay, path, name) for name in CASES})
    # Of an IPIP that BPF makes, discovery knows nothing; the rungs that cross it are the same.
    over_ipip = {"healthy over IPIP": check_healthy, "overlay over IPIP": checks["overlay"]}
    wanted = sys.argv[2:] or [*checks, *over_ipip]
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "path.yaml"
        try:
            for kind, of_kind in (("vxlan", checks), ("ipip", over_ipip)):
                names = [name for name in wanted if name in of_kind]
                if not names:
                    continue
                with Overlay(os.path.abspath(sys.argv[1]), kind) as overlay:
                    for name in names:
                        path.write_text(PATH)
                        of_kind[name](overlay, path)
        except CannotRun as reason:
            print(reason)
            return CANNOT_RUN
    return 0


if __name__ == "__main__":
    sys.exit(main())
