from __future__ import annotations

from collections.abc import Iterator

import pytest

from lamina import errors
from lamina.cli.exit_codes import EXIT_CODES, MEANINGS, exit_code

EXPECTED = {
    errors.UsageError: 2,
    errors.PruneRefused: 6,
    errors.RepositoryMissing: 10,
    errors.WrongPassphrase: 12,
    errors.Stopped: 130,
}


def _tree(top: type[errors.LaminaError]) -> Iterator[type[errors.LaminaError]]:
    yield top
    for below in top.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below)


@pytest.mark.parametrize("kind", list(_tree(errors.LaminaError)))
def test_every_error_has_the_exit_code_it_is_known_for(kind: type[errors.LaminaError]):
    assert exit_code(kind("message")) == EXPECTED.get(kind, 1)


def test_every_code_is_explained():
    assert set(EXIT_CODES.values()) <= set(MEANINGS)


def test_the_drawing_shows_the_whole_tree():
    drawn = errors.__doc__ or ""
    assert all(kind.__name__ in drawn for kind in _tree(errors.LaminaError))
