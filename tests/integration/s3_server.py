"""A real S3 server (SeaweedFS) on free ports of the loopback interface, for any test.

`s3_server` in conftest.py runs one for the whole session; `S3Server.new_bucket` gives each test its own place.
"""

from __future__ import annotations

import itertools
import json
import os
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


class S3Server:
    """The running server: where it listens, and how to get a bucket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buckets = itertools.count()
        ports = _free_ports(8)
        self._filer = f"http://127.0.0.1:{ports[4]}"
        self.port = ports[6]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process = self._start(ports)

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

    def _start(self, ports: list[int]) -> subprocess.Popen[bytes]:
        self._ports = ports
        data, config, log = self._folder / "data", self._folder / "s3.json", self._folder / "log"
        data.mkdir()
        config.write_text(json.dumps({"identities": _identities()}))
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(data, config, ports),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while not _answers(f"{self.endpoint}/status"):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        return process


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
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
