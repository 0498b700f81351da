"""A minimal Debian 12 in a folder: the fresh machine that the README speaks of."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
HOST_VARIABLE = re.compile(r"PIP_\w+|https?_proxy|no_proxy", re.IGNORECASE)  # how this machine reaches its registries
HOST_APT = re.compile(r"Acquire::(https?|Check|Retries|ForceIPv)", re.IGNORECASE)


@dataclass(frozen=True)
class MinimalDebian:
    """A root file system made by debootstrap, with the checkout in /srv/lamina."""

    root: Path

    def run(self, command: str, *, timeout_s: int) -> subprocess.CompletedProcess[str]:
        """Run a shell *command* in the checkout; its mounts live in a namespace of their own and vanish with it."""
        folder = shlex.quote(str(self.root))
        mounts = [f"mount -t proc proc {folder}/proc", f"mount --bind /dev {folder}/dev"]
        for place in _local_mirrors():
            inside = shlex.quote(f"{self.root}{place}")
            mounts.append(f"mkdir -p {inside} && mount --bind -o ro {shlex.quote(place)} {inside}")
        inner = shlex.quote(f"cd /srv/lamina && {command}")
        script = " && ".join([*mounts, f"exec /usr/sbin/chroot {folder} /bin/sh -c {inner}"])
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if HOST_VARIABLE.fullmatch(name)}
        if CA_BUNDLE.exists():
            kept["PIP_CERT"] = "/root/ca-bundle.crt"
        return {**kept, "PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


@contextmanager
def minimal_debian(folder: Path) -> Iterator[MinimalDebian]:
    """Make one below *folder* and remove it at the end. Needs root and the network of `apt-get`."""
    root = folder / "debian"
    command = ["debootstrap", "--variant=minbase", "--include=make", "bookworm", str(root), *_mirror()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, f"debootstrap failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        _copy_settings(root)
        _copy_checkout(root / "srv/lamina")
        yield MinimalDebian(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _mirror() -> list[str]:
    """The first Debian mirror that this machine itself uses; none leaves the choice to debootstrap."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(file.read_text(errors="replace") for file in files if file.is_file())
    found = re.findall(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+/debian)/?(?:\s|$)", text, re.MULTILINE)
    return found[:1]


def _local_mirrors() -> list[str]:
    """Folders that this machine's pip is told to look into."""
    text = "\n".join(
        [*(os.environ.get(name, "") for name in os.environ if name.startswith("PIP_")), *_pip_settings().values()]
    )
    named = {place.rstrip("/") for place in re.findall(r"(?:file://|\s|^|=)(/[^\s/][^\s]*)", text)}
    # An index in a folder `simple` links to files beside it.
    places = {place.removesuffix("/simple") for place in named}
    return sorted(place for place in places if Path(place).is_dir())


def _pip_settings() -> dict[str, str]:
    """The text of each of pip's configuration files, by the place it gets in the new system."""
    home = Path.home()
    places = {
        Path("/etc/pip.conf"): "etc/pip.conf",
        home / ".pip/pip.conf": "root/.pip/pip.conf",
        home / ".config/pip/pip.conf": "root/.config/pip/pip.conf",
    }
    return {inside: place.read_text() for place, inside in places.items() if place.is_file()}


def _copy_settings(root: Path) -> None:
    """Give the new system this machine's way to its registries, and nothing else."""
    for inside, text in _pip_settings().items():
        (root / inside).parent.mkdir(parents=True, exist_ok=True)
        (root / inside).write_text(text)
    if CA_BUNDLE.exists():
        shutil.copyfile(CA_BUNDLE, root / "root/ca-bundle.crt")
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(f"/etc/{name}", root / "etc" / name)
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    kept = [line for line in dump.splitlines() if HOST_APT.match(line)]
    (root / "etc/apt/apt.conf.d/99host").write_text("\n".join(kept) + "\n")


def _copy_checkout(target: Path) -> None:
    """Copy what git would commit, as it lies here now."""
    command = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        source = CHECKOUT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
