"""The whole program on a real S3 server: as it should be, with rights too few, and while the server misbehaves."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.end_to_end.lamina_cli import PASSPHRASE, TIMEOUT_S, Person, events
from tests.integration import s3_policy
from tests.integration.fault_proxy import QUOTED, FaultProxy, Mischief

pytestmark = pytest.mark.integration

MIB = 1 << 20
HURRY = Path(__file__).with_name("lamina_in_a_hurry.py")
_NO_SUCH_PORT = 9  # discard: nobody listens there


class Hasty(Person):
    """Somebody for whom waiting between tries takes no time."""

    def run(self, *words, data=None):
        return subprocess.run(
            [sys.executable, HURRY, *map(str, words)],
            cwd=self.directory,
            env=self.environment(),
            input=data,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture
def proxy(s3_server):
    with closing(FaultProxy(s3_server.port)) as proxy:
        yield proxy


@pytest.fixture
def tenant(s3_server, s3_bucket, proxy, tmp_path):
    """Somebody with a repository in a bucket, behind the proxy; in the end everything in it is all right."""
    address = s3_server.address(s3_bucket, endpoint=proxy.endpoint)
    person = Hasty(tmp_path, variables={"LAMINA_REPOSITORY": address, **s3_server.tenant_environment})
    person.do("init", "--no-probe")
    person.write("a.img", random.Random(1).randbytes(3 * MIB))
    proxy.requests.clear()
    yield person
    proxy.rule = lambda _line: Mischief.PASS
    proxy.plan.clear()
    person.variables |= s3_server.environment
    assert person.report("verify")["problems"] == []


def test_init_probes_and_everything_comes_back(s3_server, s3_bucket, tmp_path):
    person = Person(tmp_path, variables={"LAMINA_REPOSITORY": s3_server.address(s3_bucket), **s3_server.environment})
    assert "create-if-absent" in person.do("storage", "probe")
    person.do("init")
    content = random.Random(2).randbytes(5 * MIB + 3)
    person.write("a.img", content)
    assert person.report("backup", "a.img")["new_bytes"] > 0
    assert person.report("backup", "a.img")["new_bytes"] == 0
    assert person.do("snapshots").count("a.img") == 2
    assert person.report("verify")["problems"] == []
    person.do("restore", "latest", "b.img")
    assert (tmp_path / "b.img").read_bytes() == content
    assert person.run("restore", "latest~1", "-").stdout == content


def test_a_writer_who_may_not_delete_backs_up_and_cannot_restore(s3_server, s3_bucket, tenant, proxy):
    s3_policy.forbid_delete(s3_server, s3_bucket)
    (tenant.directory / "writer").write_text("the writer's own passphrase")
    tenant.do("key", "add", "--role", "writer", "--new-passphrase-file", "writer")
    tenant.passphrase = "the writer's own passphrase"
    tenant.do("backup", "a.img")
    assert tenant.report("backup", "a.img")["new_bytes"] == 0
    assert not [line for line in proxy.requests if line.startswith("DELETE")]
    done = tenant.run("restore", "latest", "b.img")
    assert done.returncode == 1
    assert b"writer key" in done.stderr
    tenant.passphrase = PASSPHRASE
    tenant.do("restore", "latest", "b.img")
    assert (tenant.directory / "b.img").read_bytes() == (tenant.directory / "a.img").read_bytes()


def test_a_probe_of_a_storage_that_forbids_deletion_says_what_is_missing(s3_server, s3_bucket, tenant):
    s3_policy.forbid_delete(s3_server, s3_bucket)
    done = Person.run(tenant, "storage", "probe", "--json")  # tries each thing once, and so needs its patience
    assert done.returncode == 0, "a backup can do without"
    checks = {check["name"]: check for check in events(done.stdout)[-1]["checks"]}
    assert not checks["deletion"]["ok"]
    assert "not allowed with these credentials" in checks["deletion"]["detail"]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["snapshots"], ["backup", "a.img"], ["init"], ["storage", "probe"]], ids=" ".join)
def test_a_missing_bucket_is_named(s3_server, tenant, words):
    address = tenant.variables["LAMINA_REPOSITORY"]
    tenant.variables["LAMINA_REPOSITORY"] = s3_server.address("no-such-bucket")
    done = tenant.run(*words)
    tenant.variables["LAMINA_REPOSITORY"] = address
    assert done.returncode == 1, done.stderr
    assert b"no-such-bucket" in done.stderr
    assert b"hint:" in done.stderr


def test_wrong_credentials_are_refused_and_never_shown(tenant, s3_server):
    secrets = {"AWS_SECRET_ACCESS_KEY": "hunter2-secret", "AWS_SESSION_TOKEN": "hunter2-token"}
    tenant.variables |= secrets
    for words in (["init"], ["snapshots"], ["backup", "a.img"], ["storage", "probe"]):
        done = tenant.run(*words, "-v", "--log-file", "log")
        assert done.returncode == 1
        assert b"403" in done.stderr
        said = done.stdout + done.stderr + (tenant.directory / "log").read_bytes()
        assert b"hunter2" not in said
        assert PASSPHRASE.encode() not in said
    del tenant.variables["AWS_SESSION_TOKEN"]


def test_what_a_refusing_server_quotes_is_never_shown(tenant, proxy):
    proxy.plan.append(Mischief.FAIL_403)
    done = tenant.run("snapshots", "-v", "--log-file", "log")
    assert done.returncode == 1
    assert QUOTED.encode() not in done.stdout + done.stderr + (tenant.directory / "log").read_bytes()


def test_an_endpoint_where_nobody_listens_is_said_after_a_few_tries(tenant, s3_server):
    address = tenant.variables["LAMINA_REPOSITORY"]
    tenant.variables["LAMINA_REPOSITORY"] = s3_server.address("bucket", endpoint=f"http://127.0.0.1:{_NO_SUCH_PORT}")
    done = tenant.run("snapshots")
    tenant.variables["LAMINA_REPOSITORY"] = address
    assert done.returncode == 1
    assert b"no connection" in done.stderr
    assert b"check the endpoint and the network" in done.stderr


def test_a_server_that_ignores_the_conditions_of_a_put_is_refused_at_init(s3_server, s3_bucket, proxy, tmp_path):
    """As `rclone serve s3` does; that one also answers some of many puts at once with 500, so it is played here."""

    def forget_what_is_there(line: str) -> Mischief:
        verb, target, _ = line.split()
        if verb == "PUT" and not target.endswith("/race"):
            s3_server.delete_raw(unquote(target))
        return Mischief.PASS

    proxy.rule = forget_what_is_there
    address = s3_server.address(s3_bucket, endpoint=proxy.endpoint)
    person = Person(tmp_path, variables={"LAMINA_REPOSITORY": address, **s3_server.environment})
    done = person.run("init")
    assert done.returncode == 1
    assert b"cannot hold a repository" in done.stderr
    assert b"create-if-absent" in done.stderr
    assert b"RECOVERY KEY" not in done.stdout
    assert person.run("storage", "probe").returncode == 1
    assert person.run("snapshots").returncode == 10, "nothing was made"


_QUICK = [Mischief.FAIL_500, Mischief.FAIL_503, Mischief.REFUSE, Mischief.CUT, Mischief.DROP_REPLY]


@pytest.mark.parametrize("mischief", _QUICK, ids=lambda one: one.name)
def test_a_backup_and_a_restore_survive_a_server_that_misbehaves_at_every_kind_of_request(tenant, proxy, mischief):
    """The first request of each kind for each place in the storage goes wrong."""
    met: set[str] = set()
    proxy.rule = once_each_kind(met, mischief)
    tenant.do("backup", "a.img", "--verify", "none")
    assert len(met) > 10
    met.clear()
    tenant.do("restore", "latest", "b.img")
    assert (tenant.directory / "b.img").read_bytes() == (tenant.directory / "a.img").read_bytes()


@pytest.mark.parametrize("mischief", [Mischief.STALL, Mischief.LATE_REPLY], ids=lambda one: one.name)
def test_a_backup_survives_a_server_that_goes_silent_at_every_kind_of_write(tenant, proxy, mischief):
    met: set[str] = set()
    once = once_each_kind(met, mischief)
    proxy.rule = lambda line: once(line) if line.startswith("PUT") else Mischief.PASS
    tenant.do("backup", "a.img", "--verify", "none")
    assert met == {"PUT data", "PUT meta", "PUT index", "PUT sessions", "PUT snapshots"}


def once_each_kind(met: set[str], mischief: Mischief) -> Callable[[str], Mischief]:
    """A rule by which the first request of each kind meets *mischief*."""

    def rule(line: str) -> Mischief:
        verb, target, _ = line.split()
        path, _, query = target.partition("?")
        place = unquote(query.partition("prefix=")[2]) if query else path.removeprefix("/")
        kind = f"{verb} {(place if query else place.partition('/')[2]).split('/')[2]}"
        if kind in met:
            return Mischief.PASS
        met.add(kind)
        return mischief

    return rule


def several_packs(tenant):
    tenant.write("a.img", random.Random(1).randbytes(48 * MIB))


def test_a_short_outage_in_the_middle_of_a_backup_passes(tenant, proxy):
    seen: list[str] = []

    def away_for_a_while(line: str) -> Mischief:
        if seen or (line.startswith("PUT") and "/data/" in line):
            seen.append(line)
        return Mischief.REFUSE if 1 < len(seen) < 10 else Mischief.PASS

    several_packs(tenant)
    proxy.rule = away_for_a_while
    done = tenant.run("backup", "a.img", "--verify", "none")
    assert done.returncode == 0, done.stderr
    assert b"try 2 of 12" in done.stderr
    assert len(seen) > 10


def test_a_server_that_is_gone_for_good_fails_the_backup_and_the_next_run_succeeds(tenant, proxy):
    gone = threading.Event()
    stored: list[str] = []

    def gone_after_a_pack(line: str) -> Mischief:
        if line.startswith("PUT") and "/data/" in line and line not in stored:
            stored.append(line)
            if len(stored) == 2:
                gone.set()
        if gone.is_set() and line not in stored[:1]:
            return Mischief.REFUSE
        return Mischief.PASS

    several_packs(tenant)
    proxy.rule = gone_after_a_pack
    done = tenant.run("backup", "a.img", "--json")
    assert done.returncode == 1
    last = events(done.stdout)[-1]
    assert last["error"] == "StorageUnavailable"
    assert "no answer" in last["message"] or "connection" in last["message"]
    assert last["hint"]
    assert b"Traceback" not in done.stderr

    proxy.rule = lambda _line: Mischief.PASS
    tenant.do("backup", "a.img", "--verify", "none")


def test_after_a_server_failed_a_backup_with_its_delta_published_nothing_is_sent_twice(tenant, proxy):
    """Every pack goes through; the snapshot itself is refused for good."""
    proxy.rule = lambda line: Mischief.FAIL_500 if "/snapshots/" in line and line.startswith("PUT") else Mischief.PASS
    assert tenant.run("backup", "a.img").returncode == 1
    proxy.rule = lambda _line: Mischief.PASS
    report = tenant.report("backup", "a.img")
    assert report["new_bytes"] == 0


@pytest.mark.parametrize("mischief", [Mischief.FAIL_503, Mischief.STALL], ids=lambda one: one.name)
@pytest.mark.parametrize("pressed", [1, 2], ids=["once", "twice"])
def test_ctrl_c_while_the_server_is_away_ends_the_backup(tenant, proxy, mischief, pressed):
    """With the program's own waits and time-outs: to be waited for, they would take the whole test's time."""
    away = threading.Event()

    def away_from_the_first_pack_on(line: str) -> Mischief:
        if line.startswith("PUT") and "/data/" in line:
            away.set()
        return mischief if away.is_set() else Mischief.PASS

    proxy.rule = away_from_the_first_pack_on
    with tenant.start("backup", "a.img", "--json") as process:
        assert away.wait(TIMEOUT_S)
        for _ in range(pressed):
            process.send_signal(signal.SIGINT)
        try:
            output, said = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 130, said
    assert events(output)[-1]["error"] == "Stopped"
    assert b"Traceback" not in said


def test_ctrl_c_while_nothing_answers_at_all_ends_the_call(tenant, proxy):
    away = threading.Event()

    def silent(_line: str) -> Mischief:
        away.set()
        return Mischief.STALL

    proxy.rule = silent
    with tenant.start("snapshots", "--json") as process:
        assert away.wait(TIMEOUT_S)
        process.send_signal(signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert events(output)[-1]["error"] == "Stopped"


def test_an_unchanged_backup_costs_few_requests(tenant, proxy):
    """Each costs money and a round trip; this many are made today, see that it gets fewer, not more."""
    tenant.do("backup", "a.img")
    proxy.requests.clear()
    tenant.do("backup", "a.img", "--verify", "none")
    assert len(proxy.requests) <= 34, proxy.requests
