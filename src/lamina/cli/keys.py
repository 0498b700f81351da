"""`lamina key`: who can open the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs
from lamina.cli.text import format_time, framed, table

if TYPE_CHECKING:
    from lamina.cli.call import Call

ROLES = ("owner", "writer", "steward")
EXPORT_ADVICE = (
    "RECOVERY KEY of repository {repository}",
    "",
    "{key}",
    "",
    "It opens everything in this repository, without a passphrase.",
    "Print this, and keep it where only you can get at it.",
)


def add_to(verbs: Verbs) -> None:
    group = verbs.add("key", summary="list, add, remove and export keys", examples=("lamina key list",))
    below = Verbs(group, title="verbs", dest="verb")
    below.add("list", summary="list the keys that open the repository", run=run_list, verb="key list",
              examples=("lamina key list",))  # fmt: skip
    add = below.add(
        "add",
        summary="add a key with a passphrase of its own",
        about="An owner may do everything; a writer backs up and cannot restore; a steward thins out and sees no names.",
        examples=("lamina key add --role writer --label web01 --new-passphrase-file web01.passphrase",),
        run=run_add,
        verb="key add",
    )
    add.add_argument("--role", choices=ROLES, required=True, help="what the key may do")
    add.add_argument("--label", metavar="TEXT", default="", help="a note, such as the machine that uses the key")
    remove = below.add(
        "remove",
        summary="remove a key",
        about="Who copied the key keeps what it knows: take its access to the storage away too.",
        examples=("lamina key list", "lamina key remove 9c41"),
        run=run_remove,
        verb="key remove",
    )
    remove.add_argument("slot", metavar="KEY", help="the id of the key, or the beginning of it")
    change = below.add(
        "passphrase",
        summary="change the passphrase of the key in use",
        examples=("lamina key passphrase", "lamina key passphrase --new-passphrase-file new.passphrase"),
        run=run_passphrase,
        verb="key passphrase",
    )
    for parser in (add, change):
        parser.add_argument("--new-passphrase-file", metavar="FILE", help="read the new passphrase from FILE")
    below.add("export", summary="print the recovery key again, to be put on paper", run=run_export, verb="key export",
              examples=("lamina key export | lpr",))  # fmt: skip


def run_list(call: Call) -> int:
    from lamina.cli.documents import key_document

    with call.repository() as (repository, _):
        slots = repository.keys()
    for slot in slots:
        call.output.event("key", **key_document(slot))
    rows = [
        [slot.id[:16], slot.role.value, slot.label, format_time(slot.created), "in use" if slot.current else ""]
        for slot in slots
    ]
    call.output.report("key list", {"count": len(slots)}, table(["KEY", "ROLE", "LABEL", "MADE", ""], rows))
    return exit_codes.DONE


def run_add(call: Call) -> int:
    from lamina.cli.documents import key_document
    from lamina.model.snapshots import Role

    arguments = call.arguments
    with call.repository() as (repository, _):
        passphrase = call.new_passphrase(arguments.new_passphrase_file)
        slot = repository.add_key(Role(arguments.role), passphrase, label=arguments.label)
    call.output.report("key add", key_document(slot), [f"added {slot.role.value} key {slot.id}"])
    return exit_codes.DONE


def run_remove(call: Call) -> int:
    with call.repository() as (repository, _):
        repository.remove_key(call.arguments.slot)
    call.output.report("key remove", {"key": call.arguments.slot}, [f"removed key {call.arguments.slot}"])
    call.output.note("who knew this key may have copied it: take its access to the storage away too")
    return exit_codes.DONE


def run_passphrase(call: Call) -> int:
    from lamina.cli.documents import key_document

    with call.repository() as (repository, _):
        slot = repository.change_passphrase(call.new_passphrase(call.arguments.new_passphrase_file))
    call.output.report("key passphrase", key_document(slot), [f"the passphrase is changed; the key is now {slot.id}"])
    return exit_codes.DONE


def run_export(call: Call) -> int:
    with call.repository() as (repository, _):
        key, identity = repository.export_key(), repository.id.hex()
    lines = framed([line.format(key=key, repository=identity) for line in EXPORT_ADVICE])
    call.output.report("key export", {"repository": identity, "recovery_key": key}, lines)
    return exit_codes.DONE
