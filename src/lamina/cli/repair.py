"""`lamina repair`: mend what can be mended of a damaged repository."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from lamina import __version__, wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.second import add_second_options, opened_second
from lamina.cli.text import table
from lamina.errors import UsageError
from lamina.model.quantities import format_duration, format_size
from lamina.settings_file import COMPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamina.cli.call import Call
    from lamina.cli.documents import Document
    from lamina.engine.repair import LostContent, RepairPlan, RepairReport

FLAWS_SHOWN = 20  # of one snapshot


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "repair",
        summary="mend what can be mended of a damaged repository, and delete nothing",
        about=(
            "Makes the index again from the packs, saves what is whole in damaged packs, takes what is lost from a second"
            " repository or from the source, and makes new snapshots, tagged `repaired`, of what is left of those that"
            " lost something. Needs an owner's key. Exit code 3 if something stays lost."
        ),
        examples=(
            "lamina repair --dry-run",
            "lamina repair --from /mnt/offsite --from-passphrase-file offsite.txt",
            "lamina repair --source /",
            "lamina repair --index-only",
        ),
        run=run_repair,
    )
    add_second_options(
        parser,
        "from",
        "take what is lost from copies in another repository, or from a mirror of this one",
        required=False,
    )
    add = parser.add_argument
    add(
        "--source",
        metavar="DIR",
        help="take what is lost from the files and images below DIR, the root of the snapshots",
    )
    add("--index-only", action="store_true", help="mend only the index, and read only the ends of packs")
    add(
        "--lamina-json", action="store_true",
        help="first make lamina.json again, if it is missing; give the recovery key as the passphrase",
    )  # fmt: skip
    add("--no-rewrite", action="store_true", help="make no new snapshots of what is left")
    add("--compression", choices=COMPRESSIONS, default=None, help="how hard to compress what is stored anew")
    add("-n", "--dry-run", action="store_true", help="say what is broken, what each step would do and what stays lost")


def run_repair(call: Call) -> int:
    from lamina.engine.repair import Helpers, RepairOptions, plan_repair, repair

    arguments = call.arguments
    if arguments.lamina_json:
        _recreate_root(call)
    with call.repository() as (repository, operation), ExitStack() as stack:
        call.output.event("start", verb="repair")
        second = stack.enter_context(opened_second(call, "from", operation)) if arguments.second else None
        options = RepairOptions(
            index_only=arguments.index_only,
            rewrite=not arguments.no_rewrite,
            compression=call.settings.compression,
            process=wiring.this_process(),
            program=f"lamina {__version__}",
        )
        plan = plan_repair(repository, Helpers(second, arguments.source), options, operation)
        stack.callback(plan.survey.close)
        for one in plan.broken:
            call.output.warning(one.what if one.what.startswith(one.object) else f"{one.object}: {one.what}")
        if arguments.dry_run:
            call.output.report("repair", repair_document(plan, None), [*_steps(plan), *_lost(plan.lost)])
            return exit_codes.PARTIAL if plan.lost else exit_codes.DONE
        report = repair(repository, plan, options, operation)
    for one in report.failed:
        call.output.warning(f"{one.object}: {one.what}")
    call.output.report("repair", repair_document(plan, report), [*_done(report), *_lost(report.lost)])
    return exit_codes.PARTIAL if report.lost or report.failed else exit_codes.DONE


def _recreate_root(call: Call) -> None:
    """Make lamina.json again: without it there is nothing to be opened."""
    from contextlib import closing

    from lamina.repository.rebirth import recreate_birth

    if call.arguments.dry_run:
        raise UsageError("--lamina-json writes at once", hint="leave --dry-run out; run it again with it afterwards")
    key = call.passphrase()
    with call.operation() as operation, closing(wiring.open_storage(call.settings, operation)) as storage:
        repository = recreate_birth(storage, key)
    call.output.note(f"wrote lamina.json of repository {repository.hex()}")


def _steps(plan: RepairPlan) -> list[str]:
    """What would be done, a line a step."""
    if plan.is_empty:
        return ["there is nothing to be done"]
    lines = [f"would write a new record in place of {name}" for name in plan.renew]
    lines += [f"would put back {name}, as the mirror has it" for name in (*plan.mirror.records, *plan.mirror.packs)]
    if not plan.is_index_whole:
        lines.append("would write an index manifest in place of what cannot be read of the index")
    if plan.adopt:
        lines.append(f"would add {_count(len(plan.adopt), 'pack')} to the index")
    if plan.rescue:
        lines.append(f"would copy {_count(len(plan.rescue), 'whole chunk')} out of damaged packs")
    lines += [f"would copy what {name} held from the mirror" for name in plan.mirror.replaced]
    if plan.found:
        lines.append(f"would store {_count(len(plan.found), 'lost chunk')} anew, found elsewhere")
    for one in plan.copies:
        paths = ", ".join(path or "/" for path in (*one.directories, *one.streams)[:FLAWS_SHOWN])
        lines.append(f"would bring across from the copy of {one.snapshot.short_id}: {paths}")
    lines += [f"would make a new snapshot of what is left of {one.snapshot.short_id}" for one in plan.lost]
    return lines


def _done(report: RepairReport) -> list[str]:
    lines = [f"wrote {name}" for name in report.renewed]
    lines += [f"put back {name}" for name in report.fetched]
    if report.adopted:
        lines.append(f"added {_count(report.adopted, 'pack')} to the index")
    if report.put:
        lines.append(f"stored {_count(report.put, 'chunk')} anew")
    lines += [
        f"made snapshot {one.repaired.hex()[:8]} of what is left of {one.snapshot.short_id}"
        for one in report.lost
        if one.repaired is not None
    ]
    seconds = format_duration(report.duration.total_seconds())
    if report.lost or report.failed:
        return [*lines, f"repaired what could be repaired, in {seconds}"]
    if report.broken and not lines:
        return ["nothing that snapshots need is damaged; see the warnings for what is"]
    return [*lines, f"nothing is lost; done in {seconds}"] if lines else ["there was nothing to be done"]


def _lost(lost: Iterable[LostContent]) -> list[str]:
    rows = []
    for one in lost:
        name = one.snapshot.name or ""
        rows += [[one.snapshot.short_id, name, flaw.path or "/", flaw.reason] for flaw in one.flaws[:FLAWS_SHOWN]]
        more = one.entries - FLAWS_SHOWN
        if more > 0:
            rows.append([one.snapshot.short_id, name, "…", f"and {_count(more, 'more entry', 'more entries')}"])
        rows.append([one.snapshot.short_id, name, "", f"{format_size(one.bytes)} in all"])
    return ["", *table(["ID", "NAME", "LOST", "HOW MUCH"], rows)] if rows else []


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def repair_document(plan: RepairPlan, report: RepairReport | None) -> Document:
    """*report* is None for a dry run."""
    document: Document = {
        "dry_run": report is None,
        "broken": [{"object": one.object, "what": one.what} for one in plan.broken],
        "planned": {
            "renew": list(plan.renew),
            "fetch": [*plan.mirror.records, *plan.mirror.packs],
            "index": not plan.is_index_whole or bool(plan.adopt),
            "adopt": [pack.hex() for pack in plan.adopt],
            "rescue": [blob.header.id.hex() for blob in plan.rescue],
            "replace": list(plan.mirror.replaced),
            "found": [one.chunk.hex() for one in plan.found],
            "copies": [
                {
                    "snapshot": one.snapshot.id.hex(),
                    "copy": one.copy.id.hex(),
                    "paths": [*one.directories, *one.streams],
                }
                for one in plan.copies
            ],
        },
        "lost": _lost_documents(plan.lost if report is None else report.lost),
    }
    if report is not None:
        document |= {
            "renewed": list(report.renewed),
            "fetched": list(report.fetched),
            "adopted": report.adopted,
            "put": report.put,
            "failed": [{"object": one.object, "what": one.what} for one in report.failed],
            "duration_s": round(report.duration.total_seconds(), 3),
        }
    return document


def _lost_documents(lost: Iterable[LostContent]) -> list[Document]:
    return [
        {
            "snapshot": one.snapshot.id.hex(),
            "repaired": one.repaired.hex() if one.repaired is not None else None,
            "entries": one.entries,
            "bytes": one.bytes,
            "flaws": [{"path": flaw.path, "reason": flaw.reason} for flaw in one.flaws],
        }
        for one in lost
    ]
