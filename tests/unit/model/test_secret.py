"""Secrets keep themselves to themselves."""

from __future__ import annotations

import copy
import pickle

import pytest

from lamina.model.secret import Secret


def test_a_secret_is_never_shown():
    secret = Secret(b"swordfish")
    assert "swordfish" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == b"swordfish"


@pytest.mark.parametrize("leave", [pickle.dumps, copy.deepcopy])
def test_a_secret_does_not_leave_the_process(leave):
    with pytest.raises(TypeError):
        leave(Secret(b"swordfish"))
