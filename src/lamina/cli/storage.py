"""`lamina storage`: look at the place under a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.text import table

if TYPE_CHECKING:
    from lamina.cli.call import Call


def add_to(verbs: Verbs) -> None:
    group = verbs.add("storage", summary="check the storage under a repository", examples=("lamina storage probe",))
    below = Verbs(group, title="verbs", dest="verb")
    below.add(
        "probe",
        summary="check that a storage keeps its promises, and how fast it is",
        about="Needs no passphrase and no repository; what it stores, it removes again. Exit code 1 if it will not do.",
        examples=("lamina -r s3://backups/lab storage probe",),
        run=run_probe,
        verb="storage probe",
    )


def run_probe(call: Call) -> int:
    from lamina.cli.documents import probe_document
    from lamina.storage.probe import probe

    if not call.settings.address:
        call.missing_address()
    with call.operation() as operation:
        storage = wiring.open_bare_storage(call.settings)
        try:
            report = probe(storage, operation)
        finally:
            storage.close()
    rows = [[one.name, _verdict(ok=one.ok, required=one.required), one.detail] for one in report.checks]
    verdict = "this storage can hold a repository" if report.suitable else "this storage cannot hold a repository"
    call.output.report("storage probe", probe_document(report), [*table(["CHECK", "", "DETAIL"], rows), verdict])
    return exit_codes.DONE if report.suitable else exit_codes.FAILED


def _verdict(*, ok: bool, required: bool) -> str:
    return "ok" if ok else "FAILED" if required else "warning"
