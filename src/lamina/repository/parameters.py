"""What all writers of a repository share: the newest format and epoch records, or what is left if they are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from lamina.crypto.envelope import ALGORITHM
from lamina.crypto.keys import KeyBundle
from lamina.errors import Damaged, ObjectMissing, RecordForged
from lamina.repository.birth import MIB, first_format
from lamina.repository.control import ControlRecords, record_number
from lamina.repository.format import Kind
from lamina.repository.object_names import EPOCHS, FORMATS, numbered
from lamina.repository.records import EpochRecord, FormatRecord, to_us
from lamina.storage.storage import Storage

_CHUNK_SIZE = MIB  # the default of `lamina init`

Record = TypeVar("Record", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What counts now; *damaged*: names of newer records of which nobody knows what they said."""

    format: FormatRecord
    epoch: EpochRecord
    damaged: tuple[str, ...] = ()


def read_parameters(storage: Storage, control: ControlRecords) -> Parameters:
    """The newest records; where they are damaged or gone, older ones, or what every repository begins with.

    Raises: FormatUnknown, StorageError.
    """
    formats, bad_formats = _newest(storage, control, FORMATS, Kind.FORMAT, FormatRecord)
    epochs, bad_epochs = _newest(storage, control, EPOCHS, Kind.EPOCH, EpochRecord)
    return Parameters(
        formats or first_format(0, _CHUNK_SIZE),
        epochs or EpochRecord(0, ALGORITHM, b""),
        (*bad_formats, *bad_epochs),
    )


def renew_parameters(storage: Storage, control: ControlRecords, owner: KeyBundle, now: datetime) -> Iterator[str]:
    """Put a new record behind each that is damaged or gone, and name it. Raises: StorageError, NotPermitted, ObjectExists."""
    found = read_parameters(storage, control)
    if any(name.startswith(FORMATS) for name in found.damaged):
        name, number = _next(storage, FORMATS)
        control.write(Kind.FORMAT, name, msgspec.structs.replace(found.format, number=number, created=to_us(now)))
        yield name
    if any(name.startswith(EPOCHS) for name in found.damaged):
        name, number = _next(storage, EPOCHS)
        control.write(Kind.EPOCH, name, EpochRecord(number, ALGORITHM, owner.envelope_key(number).public))
        yield name


def _newest(
    storage: Storage, control: ControlRecords, prefix: str, kind: Kind, record: type[Record]
) -> tuple[Record | None, list[str]]:
    """The owner's newest record of a series that can be read, and the names of damaged ones in front of it."""
    damaged: list[str] = []
    for name in sorted(_names(storage, prefix), reverse=True):
        try:
            return control.read(name, kind, record).structure, damaged
        except (RecordForged, ObjectMissing):
            continue
        except Damaged:
            damaged.append(name)
    return None, [*damaged, f"{prefix}…"]


def _next(storage: Storage, prefix: str) -> tuple[str, int]:
    number = max((record_number(name) or 0 for name in _names(storage, prefix)), default=0) + 1
    return numbered(prefix, number), number


def _names(storage: Storage, prefix: str) -> list[str]:
    folder = prefix.rpartition("/")[0] + "/"
    names = [found.name for found in storage.objects(folder)]
    return [name for name in names if name.startswith(prefix) and record_number(name) is not None]
