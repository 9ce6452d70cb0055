"""Questions that need the settings of the running audit, made where arguments of a call become a question."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...core.sensitive import private_terms
from ...core.settings import Settings, active_scope
from .question import Question

__all__ = ["asking_for_words"]


def asking_for_words(
    vocabulary: Any, *, lexicon: Iterable[str] | None, sensitive: Any, counts: bool = False
) -> Callable[[Settings], Question]:
    """Return the question about words, to be made from the settings of the audit.

    The scope of the running test learns at once that it deals in words, and which terms are sensitive: the source of a
    test, in a traceback, may hold them, and the rest can fail.

    Parameters
    ----------
    vocabulary : Vocabulary or path
        The text of each token.
    lexicon : iterable of str or None
        Words that an attacker would try.
    sensitive : object
        Sensitive terms as the caller gave them.
    counts : bool, default False
        As for `Labels`.

    Returns
    -------
    callable
        From settings to the question.
    """
    scope = active_scope()
    scope.deals_in_words = True
    scope.private_terms += private_terms(sensitive)

    def ask(settings: Settings) -> Question:
        # Imported on use: the question about labels needs nothing of speech.
        from .words import Words

        if settings.sensitive is not None:
            scope.private_terms.append(settings.sensitive)
        return Words.of(vocabulary, lexicon=lexicon, sensitive=settings.sensitive, counts=counts)

    return ask
