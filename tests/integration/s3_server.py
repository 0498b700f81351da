"""A real S3 server (SeaweedFS) on free ports of the loopback interface, for any test.

`s3_server` in tests/conftest.py runs one for the whole session; `S3Server.new_bucket` gives each test its own place.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

KEY, SECRET = "lamina-test", "lamina-test-secret"
READ_ONLY_KEY, READ_ONLY_SECRET = "lamina-read-only", "lamina-read-only-secret"
TENANT_KEY, TENANT_SECRET = "lamina-tenant", "lamina-tenant-secret"
_START_S = 60
_STARTS = 4  # somebody else may take a port between our look and the server's start
_PORTS = range(10_000, 32_000)  # below those the kernel gives to whoever connects


class S3Server:
    """The running server: where it listens, and how to get a bucket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buckets = itertools.count()
        self._process = self._start()

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment must hold to be let in."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    @property
    def read_only_environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": READ_ONLY_KEY, "AWS_SECRET_ACCESS_KEY": READ_ONLY_SECRET}

    @property
    def tenant_environment(self) -> dict[str, str]:
        """Who may use buckets and not make them."""
        return {"AWS_ACCESS_KEY_ID": TENANT_KEY, "AWS_SECRET_ACCESS_KEY": TENANT_SECRET}

    def new_bucket(self) -> str:
        """Make an empty bucket; returns its name."""
        name = f"bucket-{next(self._buckets)}"
        request = urllib.request.Request(f"{self._filer}/buckets/{name}/", method="POST")
        with urllib.request.urlopen(request, timeout=10):
            return name

    def put_raw(self, bucket: str, key: str, content: bytes) -> None:
        """Put an object behind the back of our own code."""
        url = f"{self._filer}/buckets/{bucket}/{urllib.parse.quote(key)}"
        with urllib.request.urlopen(urllib.request.Request(url, data=content, method="PUT"), timeout=10):
            return

    def delete_raw(self, path: str) -> None:
        """Take the object at /BUCKET/KEY away, if it is there."""
        request = urllib.request.Request(f"{self._filer}/buckets{urllib.parse.quote(path)}", method="DELETE")
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=10):
            return

    def address(self, bucket: str, prefix: str = "lamina/tests", endpoint: str = "") -> str:
        """The address of a storage in a bucket."""
        return f"s3://{bucket}/{prefix}?endpoint={endpoint or self.endpoint}"

    def stop(self) -> None:
        """Kill it: a polite end takes it 17 seconds."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for path in Path("/tmp").glob("seaweedfs-*.sock"):
            if int(path.stem.rpartition("-")[2] or 0) in self._ports:
                path.unlink(missing_ok=True)

    def _start(self) -> subprocess.Popen[bytes]:
        said = ""
        for number in range(_STARTS):
            self._ports = _free_ports(8)
            self._filer = f"http://127.0.0.1:{self._ports[4]}"
            self.port = self._ports[6]
            self.endpoint = f"http://127.0.0.1:{self.port}"
            folder = self._folder / f"start-{number}"
            process = self._try_to_start(folder)
            if process is not None:
                return process
            said = (folder / "log").read_text()[-3000:]
        raise RuntimeError(f"SeaweedFS did not start:\n{said}")

    def _try_to_start(self, folder: Path) -> subprocess.Popen[bytes] | None:
        """The running server, or None if it ended or did not answer."""
        data, config, log = folder / "data", folder / "s3.json", folder / "log"
        data.mkdir(parents=True)
        config.write_text(json.dumps({"identities": _identities()}))
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(data, config, self._ports),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(f"{self.endpoint}/status") and process.poll() is None:
                return process
            time.sleep(0.1)
        process.kill()
        process.wait()
        return None


def find_weed() -> str | None:
    """The server's program, beside this Python or on the path."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def _command(data: Path, config: Path, ports: list[int]) -> list[str]:
    master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3, s3_grpc = ports
    options = f"""
        -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir={data} -s3.config={config} -filer -s3 -s3.port.iceberg=0 -s3.port.lance=0
        -master.port={master} -master.port.grpc={master_grpc} -volume.port={volume} -volume.port.grpc={volume_grpc}
        -filer.port={filer} -filer.port.grpc={filer_grpc} -s3.port={s3} -s3.port.grpc={s3_grpc}
        -master.volumeSizeLimitMB=64 -volume.max=500 -volume.minFreeSpace=1 -volume.preStopSeconds=0
        -master.telemetry=false -master.electionTimeout=1s -master.heartbeatInterval=200ms
    """
    return [find_weed() or "weed", "-logtostderr=true", "server", *options.split()]


def _identities() -> list[dict[str, object]]:
    def identity(name: str, key: str, secret: str, actions: list[str]) -> dict[str, object]:
        return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}

    return [
        identity("admin", KEY, SECRET, ["Admin", "Read", "Write", "List", "Tagging"]),
        identity("tenant", TENANT_KEY, TENANT_SECRET, ["Read", "Write", "List"]),
        identity("reader", READ_ONLY_KEY, READ_ONLY_SECRET, ["Read", "List"]),
    ]


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, k=len(_PORTS)):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
