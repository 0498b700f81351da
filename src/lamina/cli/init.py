"""`lamina init`: make a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina import wiring
from lamina.cli import exit_codes
from lamina.cli.arguments import Verbs, typed
from lamina.cli.text import framed
from lamina.errors import StorageUnsuitable
from lamina.model.quantities import format_size, parse_size

if TYPE_CHECKING:
    from lamina.cli.call import Call
    from lamina.model.operation import Operation

RECOVERY_ADVICE = (
    "RECOVERY KEY: opens this repository if the passphrase is lost.",
    "",
    "{key}",
    "",
    "Write it down or print it, and keep it away from this machine.",
    "Type it where a passphrase is asked for. It is not shown again",
    "(an owner can print it once more with `lamina key export`).",
)


def add_to(verbs: Verbs) -> None:
    parser = verbs.add(
        "init",
        summary="make a new repository",
        about="Checks the storage first, then asks for a passphrase twice and prints a recovery key once.",
        examples=(
            "lamina -r /backups/repository init",
            "lamina -r 's3://backups/lab?endpoint=https://s3.example.org' init",
            "lamina -r /backups/repository init --passphrase-file ~/.config/lamina/passphrase",
        ),
        run=run_init,
    )
    parser.add_argument(
        "--chunk-size", metavar="SIZE", type=typed(parse_size), default=None,
        help="cut images into chunks of SIZE unless a backup says otherwise: a power of two, 64KiB to 16MiB",
    )  # fmt: skip
    parser.add_argument("--label", metavar="TEXT", default="", help="a note on the first key slot")
    parser.add_argument("--no-probe", action="store_true", help="do not check the storage first")


def run_init(call: Call) -> int:
    from lamina.repository.birth import check_free
    from lamina.repository.repository import CreateOptions

    arguments = call.arguments
    if not call.settings.address:
        call.missing_address()
    chosen = {} if arguments.chunk_size is None else {"chunk_size": arguments.chunk_size}
    options = CreateOptions(label=arguments.label, **chosen)
    passphrase = call.passphrase(new=True)
    call.output.event("start", verb="init", repository=call.settings.address)
    with call.operation() as operation:
        storage = wiring.open_storage(call.settings, operation, create=True)
        check_free(storage)  # before the probe writes anything
        if not arguments.no_probe:
            _check_storage(call, operation)
        repository, recovery_key = wiring.create_repository(call.settings, storage, passphrase, options, operation)
        address, identity = storage.address, repository.id.hex()
        repository.close()
    document = {
        "repository": identity,
        "address": address,
        "chunk_size": options.chunk_size,
        "recovery_key": recovery_key,
    }
    lines = [
        f"made repository {identity[:8]} at {address} (chunks of {format_size(options.chunk_size)})",
        "",
        *framed([line.format(key=recovery_key) for line in RECOVERY_ADVICE]),
    ]
    call.output.report("init", document, lines)
    return exit_codes.DONE


def _check_storage(call: Call, operation: Operation) -> None:
    """Raise StorageUnsuitable unless the storage keeps every promise that a repository rests on."""
    from lamina.storage.probe import probe

    storage = wiring.open_bare_storage(call.settings, create=True)
    try:
        report = probe(storage, operation)
    finally:
        storage.close()
    failed = [f"{one.name}: {one.detail}" for one in report.checks if not one.ok]
    if not report.suitable:
        raise StorageUnsuitable(
            f"{storage.address} cannot hold a repository: {'; '.join(failed)}",
            hint="see all checks with `lamina storage probe`",
        )
    for text in failed:
        call.output.warning(f"{storage.address}: {text}")
