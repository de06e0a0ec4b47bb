# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernels: which there are, and a copy of one with the modules the lab needs, kept for the next time."""
import dataclasses
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

from errors import VmError

# The package of each series that depends on its newest kernel. The plain flavour: the cloud flavour lacks modules.
SERIES = {"6.1": "linux-image-amd64", "6.12": "linux-image-6.12-amd64"}
# What faults need; their dependencies come along. crc32c_generic: nf_tables asks for it by what it does (a "softdep").
MODULES = ("veth", "ipip", "sch_netem", "sch_ingress", "cls_bpf", "crc32c_generic", "nf_tables", "ip_tables", "iptable_raw")
# Where in the package these and all they depend on lie: reading 100 MB of other modules takes longer than booting.
MODULE_PLACES = re.compile(r"/kernel/(net|lib|crypto|drivers/net/[^/]*$)")


@dataclasses.dataclass(frozen=True)
class Kernel:
    series: str
    release: str
    image: pathlib.Path
    # Not compressed, in the order of loading.
    modules: tuple


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base, "stallscope", "vm")


def obtain(series):
    """The newest kernel of a series that the package sources offer; without them the one that was used last."""
    if series not in SERIES:
        raise VmError("boot", f"Linux {series}", "no such series is known", f"Known are: {', '.join(SERIES)}.")
    try:
        package, version = newest(series)
        folder = cache_folder() / folder_name(series, package, version)
        if not folder.is_dir():
            download(package, version, folder)
            forget_others(series, folder)
    except VmError as error:
        folder = last_used(series)
        if not folder:
            raise
        print(f"{error}\nUsing {folder.name}, downloaded earlier.", file=sys.stderr)
    names = (folder / "modules.order").read_text().split()
    return Kernel(series, (folder / "release").read_text(), folder / "vmlinuz", tuple(folder / name for name in names))


def newest(series):
    """The package that holds the kernel itself, and its version."""
    meta = SERIES[series]
    shown = call(["apt-cache", "show", "--no-all-versions", meta])
    depends = re.search(r"^Depends: (linux-image-\S+) \(= (\S+)\)", shown.stdout, re.MULTILINE)
    if not depends:
        raise VmError("find", f"the Debian package {meta}", shown.stderr.strip() or "it depends on no kernel",
                      "Run apt-get update, on Debian 12 with its security updates.")
    return depends.groups()


def folder_name(series, package, version):
    """Changes with everything that decides the content."""
    content = hashlib.sha256(repr((MODULES, MODULE_PLACES.pattern)).encode()).hexdigest()[:8]
    return f"{series}_{package}_{version}_{content}"


def last_used(series):
    folders = sorted(cache_folder().glob(f"{series}_*"), key=lambda folder: folder.stat().st_mtime)
    return folders[-1] if folders else None


def forget_others(series, kept):
    for folder in cache_folder().glob(f"{series}_*"):
        if folder != kept:
            shutil.rmtree(folder)


def download(package, version, folder):
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its final place and renamed when complete: what is in the cache is whole, also with two runs at a time.
    with tempfile.TemporaryDirectory(prefix="new-", dir=folder.parent) as temporary:
        work = pathlib.Path(temporary)
        print(f"Downloading {package} {version}...", file=sys.stderr)
        got = call(["apt-get", "download", f"{package}={version}"], cwd=work)
        archives = list(work.glob("*.deb"))
        if got.returncode != 0 or len(archives) != 1:
            raise VmError("download", f"{package} {version}", got.stderr.strip(), "Run apt-get update; this needs Debian's package registry.")
        complete = work / "complete"
        unpack(archives[0], complete)
        (complete / "release").write_text(package.removeprefix("linux-image-"))
        try:
            complete.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def unpack(archive, folder):
    """Takes the kernel, and the modules with their dependencies, out of the package."""
    folder.mkdir()
    modules = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                name = pathlib.PurePath(member.name).name
                if member.isfile() and name.startswith("vmlinuz-"):
                    (folder / "vmlinuz").write_bytes(tar.extractfile(member).read())
                elif member.isfile() and MODULE_PLACES.search(member.name):
                    modules[name.split(".")[0].replace("-", "_")] = (name, tar.extractfile(member).read())
    if process.returncode != 0 or not (folder / "vmlinuz").is_file():
        raise VmError("unpack", archive, "it is damaged or holds no kernel", "Run this again to download it anew.")
    order = []
    for name in MODULES:
        add_module(name, modules, order, folder)
    (folder / "modules.order").write_text("\n".join(order))


def add_module(name, modules, order, folder):
    if name not in modules:
        raise VmError("unpack", f"the module {name}", "the kernel package has none of that name where it is looked for",
                      "See MODULE_PLACES in lab/vm/kernel.py.")
    file_name, content = modules[name]
    if file_name.endswith(".xz"):
        content = lzma.decompress(content)
    elif not file_name.endswith(".ko"):
        raise VmError("unpack", f"the module {file_name}", "it is compressed in a way that is not known here", "See add_module in lab/vm/kernel.py.")
    for dependency in re.search(rb"\0depends=([^\0]*)", content)[1].decode().split(","):
        if dependency:
            add_module(dependency, modules, order, folder)
    if f"{name}.ko" not in order:
        (folder / f"{name}.ko").write_bytes(content)
        order.append(f"{name}.ko")


def call(command, **options):
    try:
        # Their messages are matched and shown.
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}, **options)
    except FileNotFoundError:
        raise VmError("run", command[0], "it is not installed", "Kernels come from Debian's package registry: run this on Debian.") from None
