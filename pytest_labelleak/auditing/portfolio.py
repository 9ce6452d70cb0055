"""Running a portfolio of attacks over the batches of an audit, no further than its outcome needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .. import attacks as attacks_
from ..attacks.gradient.reading import Reading
from ..core.recovery import Recovery, Status
from ..core.truth import Truth
from ..core.update import Update
from .pooling import mean_figure, pool
from .questions.words import terms_missed
from .scoring.labels import Scorer, SequenceScorer, score, score_transcripts
from .verdict import Verdict

__all__ = ["PortfolioRun", "Rule", "everything_read", "threshold_passed"]

#: Bytes of earlier updates that are kept for attacks that may still have to see them.
_MOST_KEPT = 2**28


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """When further attacks can be left out.

    Attributes
    ----------
    holds : callable
        From the columns so far (for each attack that ran, its verdicts by batch) to whether nothing that
        others find could change what is decided or reported.
    because : str
        The reason, for the verdicts of attacks that are left out.
    """

    holds: Callable[[Sequence[Sequence[Verdict]]], bool]
    because: str


def everything_read(limit: float, *, counts: bool, samples: bool = False) -> Rule:
    """Return the rule for what was shared: every figure of the audit is the worst there can be.

    Some attack named the exact set in every batch, so no maximum can rise and a leak stays a leak; some attack
    read every number of label positions; and, where counts are asked for, some attack every multiset.
    Where samples are asked for, the share of them that was isolated takes the place of the set, and their features
    have to be out as well; where they are not, they are a finding of attacks that run anyway and keep none from
    being left out. From the exact set of tokens every word said and every sensitive term can be formed, so that words
    need nothing of their own. A figure that audits report in future as a maximum over attacks has to be added here.

    Parameters
    ----------
    limit : float
        Tolerated advantage. Where everything is tolerated, an attack that cannot decide still matters.
    counts : bool
        Whether counts are scored.
    samples : bool, default False
        Whether isolated samples decide.

    Returns
    -------
    Rule
        To pass to `PortfolioRun`.
    """
    decisive = ("samples_isolated", "features_exposed") if samples else ("advantage",)

    def holds(columns: Sequence[Sequence[Verdict]]) -> bool:
        figures = [*decisive, "positions_exact", *(["counts_exact"] if counts else [])]
        return limit + 1e-9 < 1.0 and all(
            any(all(v.status == Status.RECOVERED and getattr(v, figure) == 1.0 for v in column) for column in columns)
            for figure in figures
        )

    read = "labels, their number and their counts" if counts else "labels and their number"
    if samples:
        return Rule(holds=holds, because="other attacks isolated all samples with their features in every batch")
    return Rule(holds=holds, because=f"other attacks read the {read} exactly in every batch")


def threshold_passed(threshold: float, *, samples: bool = False) -> Rule:
    """Return the rule for a positive control: some attack succeeds, and nothing else is asked of it.

    Parameters
    ----------
    threshold : float
        What the mean over the batches must be above.
    samples : bool, default False
        Whether isolated samples decide.

    Returns
    -------
    Rule
        To pass to `PortfolioRun`. Where sensitive terms were said, each must be exposed as well, by whichever attack.
    """

    def holds(columns: Sequence[Sequence[Verdict]]) -> bool:
        if terms_missed([verdict for column in columns for verdict in column]):
            return False
        for column in columns:
            statuses = {verdict.status for verdict in column}
            decided = Status.INCONCLUSIVE not in statuses and Status.RECOVERED in statuses
            if decided and mean_figure(column, samples=samples) > threshold + 1e-9:
                return True
        return False

    return Rule(holds=holds, because="another attack succeeds without the defence")


class PortfolioRun:
    """Runs attacks on one batch after another, cheapest first.

    At any time, the first so many attacks have run on all batches so far, and the others on none: no verdict
    ever has a gap. While the rule does not hold, the next attack is run on all batches so far, for which
    their updates are kept. If they grow beyond a bound, nothing is left out from then on, and none is kept.
    So the outcome is that of a full run whatever comes, and at most two large updates are alive at a time.

    Parameters
    ----------
    members : sequence of attack
        In the order to run them.
    seed : int
        Of the audit.
    counts : bool
        Whether counts are scored.
    samples : bool, default False
        Whether isolated samples decide.
    words : Scorer, optional
        Where words are asked for: scores a set of tokens.
    transcripts : SequenceScorer, optional
        Where transcripts are asked for: scores their order.
    rule : Rule, optional
        When to leave the rest out; by default never.
    """

    def __init__(
        self,
        members: Sequence[attacks_.Attack],
        *,
        seed: int,
        counts: bool,
        samples: bool = False,
        words: Scorer | None = None,
        transcripts: SequenceScorer | None = None,
        rule: Rule | None = None,
    ) -> None:
        self._members = tuple(members)
        self._seed = seed
        self._counts = counts
        self._samples = samples
        self._words = words
        self._transcripts = transcripts
        self._rule = rule
        self._columns: list[list[Verdict]] = []
        self._kept: list[tuple[int, Reading | None, Truth]] = []
        self._batches = 0
        if rule is None:
            self._columns = [[] for _ in self._members]

    def _is_complete(self) -> bool:
        return len(self._columns) == len(self._members)

    def add(self, update: Update | None, truth: Truth) -> None:
        """Attack the update of the next batch.

        Parameters
        ----------
        update : Update or None
            What was shared; None for an empty batch.
        truth : Truth
            Its labels.
        """
        if (
            self._kept
            and sum(_size(reading.update) for _, reading, _ in self._kept if reading is not None) > _MOST_KEPT
        ):
            while not self._is_complete():
                self._run_next()
            self._kept.clear()
        batch = (self._batches, None if update is None else Reading(update), truth)
        self._batches += 1
        for member, column in zip(self._members, self._columns, strict=False):
            column.append(self._verdict(member, *batch))
        if self._is_complete() or self._rule is None:
            return
        self._kept.append(batch)
        while not self._is_complete() and not self._rule.holds(self._columns):
            self._run_next()
        if self._is_complete():
            self._kept.clear()
        elif update is not None:
            # What attacks computed on the way can be larger than the update, and can be computed again.
            self._kept[-1] = (batch[0], Reading(update), truth)

    def verdicts(self, *, confidence: float | None = None) -> tuple[Verdict, ...]:
        """Return one verdict per attack, pooled over the batches; "not run" for those left out.

        Parameters
        ----------
        confidence : float, optional
            Coverage of the upper bounds.

        Returns
        -------
        tuple of Verdict
            In the order of the attacks. Empty without a batch.
        """
        if not self._batches:
            return ()
        because = "" if self._rule is None else f"not run, because {self._rule.because}"
        return (
            *(pool(column, confidence=confidence, samples=self._samples) for column in self._columns),
            *(
                Verdict(attack=member.name, status=Status.NOT_RUN, message=because, batches=self._batches)
                for member in self._members[len(self._columns) :]
            ),
        )

    def _run_next(self) -> None:
        member = self._members[len(self._columns)]
        self._columns.append([self._verdict(member, *batch) for batch in self._kept])

    def _verdict(self, member: attacks_.Attack, index: int, reading: Reading | None, truth: Truth) -> Verdict:
        if reading is None:
            recovery = Recovery.inconclusive(member.name, "the batch is empty")
        else:
            recovery = attacks_.run(member, reading, seed=self._seed, batch=index)
        if self._transcripts is not None:
            return score_transcripts(recovery, truth, self._transcripts)
        return score(recovery, truth, counts=self._counts, samples=self._samples, words=self._words)


def _size(update: Update) -> int:
    head = update.head
    values = (head.kernel_value, head.bias_value, head.kernel_penalty, head.bias_penalty)
    return sum(array.nbytes for array in (*update.gradients.values(), *values) if array is not None)
