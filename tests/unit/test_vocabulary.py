# SPDX-License-Identifier: MIT
"""Every word that a body may say is explained."""

from __future__ import annotations

from kpmagic.cell import body, vocabulary


def test_each_word_of_a_body_is_explained_once() -> None:
    assert sorted(word.name for word in vocabulary.WORDS) == sorted(
        {*body.STATEMENTS, *body.VALUES}
    )


def test_each_is_written_with_its_own_name() -> None:
    assert all(word.usage.startswith(f"{word.name}(") for word in vocabulary.WORDS)
