"""Attack: from an Update alone to a Recovery."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from ..core.recovery import Recovery
from ..core.update import Update

__all__ = ["COSTS", "Attack"]

#: Cost classes, cheapest first: one pass over the gradient; its subspace; a search over many candidates.
COSTS = ("pass", "subspace", "search")


@runtime_checkable
class Attack(Protocol):
    """Reads labels from an update.

    An attack sees the update alone, as any receiver does: the gradients, the architecture, possibly the
    weights. Labels, batch size and rank are the truth, and no attack is told them. An attack takes its random choices
    from `rng` alone, leaves the update unchanged, and commits to an answer by itself.

    ``pytest_labelleak.testing.check_attack`` checks these rules. The smallest examples are in `attacks/rules`.

    If a precondition fails, the attack raises `NotApplicable` from wherever the failure shows, or returns
    `Recovery.not_applicable`. `registry.ask` turns the exception into such a recovery; no other place catches it for
    good.

    Optional attributes tell more about an attack:

    ================= ======================= ================================================================
    attribute         value                   meaning
    ================= ======================= ================================================================
    ``cost``          one of `COSTS`          Order of ``attacks="auto"``; an attack without a cost runs last.
    ``reads``         "kernel", "bias"        The head's gradients that it looks at, as a tuple; default both.
                                              `Recovery.variables` names other variables that it read.
    ``reads_tied``    bool                    It can read a head that is tied to the input embedding; other
                                              attacks are not asked about such an update.
    ``reads_sigmoid`` bool                    It can read a head of independent sigmoid outputs, too.
    ``isolates``      bool                    It separates samples (`Recovery.isolated`), so that an assertion
                                              on samples counts its refusals.
    ``counts``        bool                    It claims counts or shares of the classes, so that an assertion on
                                              label counts counts its refusals.
    ``certifies``     bool                    Its certificates are proofs where it claims the number of label
                                              positions, so that classes which they prove are no luck.
    ``rules``         frozen dataclass        Its deciding numbers, one field each, possibly nested. The
                                              field's metadata hold the number's plateau, as measured by
                                              ``benchmarks/bench_rules.py``.
    ``read``          method                  ``read(reading, *, rng)`` is called in place of ``__call__``,
                                              with a `Reading` that shares intermediate results.
    ``prepared``      method                  ``prepared(update, *, rng)`` returns an attack of the same name
                                              that holds everything that can be learned without the update's
                                              own entries. It is asked about further updates of the same head
                                              and defence, such as the draws of a random defence, and about
                                              `update` itself, where it gives the attack's own answer. A
                                              refusal that holds for all of them is raised as `NotApplicable`.
    ``serves``        method                  Of a prepared attack: ``serves(update)`` tells whether the same
                                              would be learned for an update of another batch, which then needs
                                              no preparation of its own.
    ================= ======================= ================================================================
    """

    @property
    def name(self) -> str:
        """Unique name, used in options and reports."""

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Attack `update`.

        Parameters
        ----------
        update : Update
            The update that was shared.
        rng : numpy.random.Generator
            Source of every random choice.

        Returns
        -------
        Recovery
            The claim; "not applicable" with the reason where a precondition fails.

        Raises
        ------
        NotApplicable
            Where a precondition fails, in place of such a recovery.
        """
