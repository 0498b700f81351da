"""The one table from what happened to the exit code."""

from __future__ import annotations

from lamina import errors

DONE = 0
FAILED = 1
USAGE = 2
PARTIAL = 3
DISTRUSTED = 4
DIFFERENT = 5
REFUSED = 6
NO_REPOSITORY = 10
WRONG_PASSPHRASE = 12
STOPPED = 130

# 3, 10, 12 and 130 mean what they mean in restic, so that scripts move over.
MEANINGS = {
    DONE: "done",
    FAILED: "failed, or `verify` found damage; what was stored is used by the next run",
    USAGE: "what was asked for makes no sense; nothing was done",
    PARTIAL: "done, but part of the source could not be read (now, or when the snapshot was made), or not all is restored",
    DISTRUSTED: "done, but the snapshot differs from its source; it is marked distrusted",
    DIFFERENT: "done, and `diff --exit-code` found a difference, or `verify --source` one that says nothing of trust",
    REFUSED: "`prune` found something that is not as it must be; nothing was deleted",
    NO_REPOSITORY: "there is no repository at this address",
    WRONG_PASSPHRASE: "wrong passphrase",
    STOPPED: "stopped by Ctrl-C or SIGTERM; what was stored is used by the next run",
}

# Every error has the code of the nearest class above it in the tree.
EXIT_CODES: dict[type[errors.LaminaError], int] = {
    errors.LaminaError: FAILED,
    errors.UsageError: USAGE,
    errors.RepositoryMissing: NO_REPOSITORY,
    errors.PruneRefused: REFUSED,
    errors.WrongPassphrase: WRONG_PASSPHRASE,
    errors.Stopped: STOPPED,
}


def exit_code(error: errors.LaminaError | type[errors.LaminaError]) -> int:
    """The exit code for an error (or its class)."""
    kind = error if isinstance(error, type) else type(error)
    return next(EXIT_CODES[one] for one in kind.__mro__ if one in EXIT_CODES)
