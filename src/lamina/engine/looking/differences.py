"""What tells two versions of one entry apart. Pure."""

from __future__ import annotations

from lamina.model.entries import Entry, EntryState, EntryType

CONTENT, TYPE = "content", "type"


def essence(entry: Entry) -> Entry:
    """The entry without what changes when nobody changed it: inode, number of names, the times the file system keeps itself."""
    metadata = entry.metadata._replace(ctime_ns=0, inode=0, links=1, device=0, birth_ns=None)
    state = EntryState.WHOLE if entry.state is EntryState.FRESH else entry.state
    return entry._replace(metadata=metadata, state=state)


def changed_fields(before: Entry, after: Entry) -> tuple[str, ...]:
    """What of an entry differs besides its content: names of fields, as people know them.

    >>> from lamina.model.entries import Metadata
    >>> old = Entry(b"a", EntryType.FILE, Metadata(mode=0o644, mtime_ns=1, ctime_ns=1))
    >>> changed_fields(old, old._replace(metadata=Metadata(mode=0o600, mtime_ns=1, ctime_ns=2)))
    ('mode',)
    """
    one, other = essence(before), essence(after)
    if EntryType.UNKNOWN in {
        one.type,
        other.type,
    }:  # one of them could not be looked at, which says nothing of the other
        return ("state",) if one.state is not other.state else ()
    if one.type is not other.type:
        return (TYPE,)
    pairs = {
        "mode": (one.metadata.mode, other.metadata.mode),
        "owner": (one.metadata.uid, other.metadata.uid),
        "group": (one.metadata.gid, other.metadata.gid),
        "mtime": (one.metadata.mtime_ns, other.metadata.mtime_ns),
        "flags": (one.metadata.flags, other.metadata.flags),
        "xattrs": (one.metadata.xattrs, other.metadata.xattrs),
        "target": (one.target, other.target),
        "device": (one.special, other.special),
        "state": (one.state, other.state),
    }
    return tuple(name for name, (old, new) in pairs.items() if old != new)


def may_differ(before: Entry, after: Entry) -> bool:
    """Whether the content of the two (or what is below them) is not certainly equal by what their entries say.

    What could not be read is not taken for a difference: `changed_fields` names the state.
    """
    if is_unknown(before) or is_unknown(after):
        return False
    return (before.content, before.child) != (after.content, after.child)


def is_unknown(entry: Entry) -> bool:
    """Whether it could not be read, and nothing older is known of what it holds."""
    return entry.state is EntryState.UNREAD and entry.content is None and entry.child is None
