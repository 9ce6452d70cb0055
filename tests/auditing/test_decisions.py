"""The evidence that a leak and a pass need: each piece that is missing alone makes an audit inconclusive."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pytest_labelleak import Recovery, Truth, Verdict
from pytest_labelleak.attacks import RLG, Disaggregate
from pytest_labelleak.auditing.evidence.belonging import Belonging, Match
from pytest_labelleak.auditing.evidence.hindsight import Visibility
from pytest_labelleak.auditing.evidence.sequential import Decision as Side
from pytest_labelleak.auditing.evidence.sequential import Standing
from pytest_labelleak.auditing.outcome import Bar, Decision, Outcome, compare, within_bound
from pytest_labelleak.auditing.questions.controlled import confirmed, luck_of, stopped_by_defence
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.questions.pooling import pool
from pytest_labelleak.auditing.questions.question import Evidence, Question
from pytest_labelleak.auditing.questions.samples import Samples
from pytest_labelleak.auditing.questions.transcripts import Transcripts
from pytest_labelleak.auditing.statistic import mean_of_claims
from pytest_labelleak.core.recovery import Certificate, Status

BAR = Bar(limit=0.1, threshold=0.1)


def verdict(
    figure: float, status: str = "recovered", *, attack: str = "rlg", of: Question | None = None, **stats: Any
) -> Verdict:
    question = Labels() if of is None else of
    made = status == "recovered"
    return Verdict(
        attack=attack,
        status=Status(status),
        reason="" if made else "why",
        figure=figure if made else None,
        declared=question.declared,
        stats={question.figure_statistic: figure if made else question.declared[question.figure_statistic].absent}
        | stats,
    )


LEAK, NOTHING = verdict(1.0), verdict(0.0)

WITHIN = Standing(decision=Side.WITHIN, attack="rlg", mean=0.0, lower=-0.1, upper=0.06, draws=64, further=0)
SEEN = Visibility(
    advantage=0.3,
    statistic="sum",
    side="low",
    figures={},
    chance=0.25,
    critical=0.5,
    p_value=0.4,
    level=0.01,
    batches=1,
    draws=64,
    left_out=0,
)
TOGETHER = Belonging(
    match=Match.BELONGS,
    mistake=None,
    given=dataclasses.replace(SEEN, advantage=1.0, p_value=0.0005),
    corrected=None,
    sign_known=True,
    row_sums=0.0,
    column_sums=1.0,
)


def evidence(**pieces: Any) -> Evidence:
    """Return evidence that lacks nothing, but for the pieces that are given."""
    seen, together = pieces.pop("seen", SEEN), pieces.pop("together", TOGETHER)
    whole = {
        "members": (RLG(),),
        "control": (LEAK,),
        "protected": True,
        "certified": {"rlg"},
        "standing": WITHIN,
        "look": lambda: (seen, together),
    }
    return Evidence(**(whole | pieces))


def decided(verdicts: Sequence[Verdict] = (NOTHING,), bar: Bar = BAR, **pieces: Any) -> Decision:
    return Labels().decide(verdicts, bar, evidence(**pieces))


def test_a_pass_names_its_evidence() -> None:
    decision = decided()
    assert decision.outcome == "held"
    for piece in ("upper bound over 64 draws", "not visible in hindsight", "succeed without the defence"):
        assert piece in decision.reason


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ({"protected": False, "control": None}, "nothing protects this update, and an undefended update never holds"),
        ({"control": (NOTHING,)}, "the positive control failed"),
        ({"control": (LEAK,), "control_luck": {"rlg": 0.2}}, "the positive control failed"),
        ({"standing": dataclasses.replace(WITHIN, decision=Side.OPEN, upper=0.3)}, "is 0.30 > 0.10"),
        ({"standing": dataclasses.replace(WITHIN, decision=Side.ABOVE, upper=0.3)}, "use a stronger defence"),
        (
            {"standing": dataclasses.replace(WITHIN, decision=Side.OPEN, upper=0.3), "spent": True},
            "the time budget is spent",
        ),
        (
            {"seen": dataclasses.replace(SEEN, advantage=0.9, p_value=0.0005)},
            "the labels are visible in this update",
        ),
        ({"seen": dataclasses.replace(SEEN, critical=1.0)}, "cannot tell visible labels from chance"),
        ({"undone": lambda: True}, "whoever knows the defence can turn it around"),
        ({"together": dataclasses.replace(TOGETHER, match=Match.UNSEEN, given=SEEN)}, "do not belong together"),
    ],
)
def test_each_missing_piece_alone_is_no_pass(pieces: dict[str, Any], why: str) -> None:
    decision = decided(**pieces)
    assert decision.outcome == "inconclusive"
    assert why in decision.reason


def test_labels_that_are_visible_by_little_more_than_chance_are_tolerated() -> None:
    seen = dataclasses.replace(SEEN, advantage=0.34, p_value=0.0005)
    assert seen.visible
    assert decided(seen=seen).outcome == "held"


def test_labels_that_luck_shows_as_well_are_not_visible() -> None:
    seen = dataclasses.replace(SEEN, advantage=0.45, p_value=0.05)
    assert seen.excess > BAR.threshold
    assert decided(seen=seen).outcome == "held"


def test_no_evidence_turns_a_leak_into_a_pass() -> None:
    assert decided([LEAK]).outcome == "leaked"
    assert decided([LEAK, NOTHING], control=(NOTHING,), protected=False).outcome == "leaked"


def test_an_accepted_leak_needs_no_evidence() -> None:
    bar = Bar(limit=0.6, threshold=0.1)
    assert decided([verdict(0.5)], bar, protected=False, control=None).outcome == "held"
    assert decided([verdict(0.7)], bar, protected=False, control=None).outcome == "leaked"
    tolerant = Bar(limit=1.0, threshold=1.0)
    assert decided([LEAK], tolerant, protected=False, control=None).outcome == "held"


def test_the_positive_control_is_compared_with_the_threshold_and_not_with_a_baseline() -> None:
    control = (verdict(0.08),)
    stricter = Bar(limit=0.05, threshold=0.1)
    assert "positive control failed" in decided(bar=stricter, control=control).reason
    assert decided(bar=stricter, control=(verdict(0.2),)).outcome == "held"
    assert stricter.of_control.limit == 0.1


def test_luck_is_neither_a_leak_nor_a_pass() -> None:
    decision = decided([LEAK], luck={"rlg": 0.2}, certified=())
    assert decision.outcome == "inconclusive"
    assert "claims that are independent of the labels do as well with probability 0.2" in decision.reason
    assert decided([LEAK], luck={"rlg": 0.01}, certified=()).outcome == "leaked"
    assert decided([LEAK], luck={"rlg": 0.009}, certified=(), level=0.008).outcome == "inconclusive"
    # Another attack's leak stands, whatever luck the stronger one had.
    other = verdict(0.5, attack="llg")
    decision = decided([LEAK, other], luck={"rlg": 0.2, "llg": 0.001}, certified=())
    assert decision.message == "leaked: advantage 0.50 > 0.10 (llg)"
    # Luck within the limit is nothing.
    assert decided([verdict(0.1)], luck={"rlg": 1.0}, certified=()).outcome == "held"


def test_only_proofs_beyond_the_limit_by_attacks_that_prove_need_no_test_of_luck() -> None:
    def lucky(certified: float | None, attacks: set[str]) -> bool:
        claim = verdict(1.0, certified=certified)
        return luck_of(claim, {"rlg": 1.0}, level=0.01, certified=attacks, limit=0.1) is not None

    assert not lucky(0.5, {"rlg"})
    assert lucky(0.5, set())
    assert lucky(0.1, {"rlg"})
    assert lucky(None, {"rlg"})


@pytest.mark.parametrize("figure", ["advantage", "counts_advantage", "shares_advantage"])
def test_every_figure_beyond_the_limit_can_be_luck(figure: str) -> None:
    claim = verdict(0.8, **({"advantage": 0.05} | {figure: 0.8}))
    decision = Labels(counts=True).decide([claim], BAR, evidence(luck={"rlg": 0.005}, certified=()))
    assert decision.message == f"leaked: {figure.replace('_', ' ')} 0.80 > 0.10 (rlg)"
    decision = Labels(counts=True).decide([claim], BAR, evidence(luck={"rlg": 0.5}, certified=()))
    assert decision.outcome == "inconclusive"
    assert "independent of the labels do as well with probability 0.5" in decision.reason


TRUTH = Truth(labels=np.array([3, 3, 7, 11]), classes=20)


def proved(*labels: int, absent: Sequence[int] = (), positions: int | None = 4) -> float | None:
    """Return the advantage of the certificates in a claim of the labels and of one class that is absent."""
    proofs = [Certificate(label=label, present=True, margin=20.0) for label in labels]
    proofs += [Certificate(label=label, present=False, margin=20.0) for label in absent]
    claim = Recovery(
        attack="rlg",
        status=Status.RECOVERED,
        labels=(3, 5, 7, 11),
        positions=positions,
        certificates=tuple(proofs),
    )
    found: float | None = Labels().score(claim, TRUTH).stats["certified"]
    return found


def test_certificates_count_where_all_are_true_and_rounding_explains_the_noise() -> None:
    assert proved(3, 7, 11) == 1.0
    assert proved(3) == pytest.approx(1 / 3)
    assert proved() is None
    # A class that is proved present and is no label: the labels are those of another batch.
    assert proved(3, 5, 7, 11) is None
    # Without a number of positions, noise hides the rank, and margins are no proofs.
    assert proved(3, 7, 11, positions=None) is None
    # A proof of absence names no label.
    assert proved(3, absent=[7, 11]) == pytest.approx(1 / 3)


def test_a_defence_stopped_attacks_only_if_every_one_of_them_failed() -> None:
    question = Samples()
    gone, some = verdict(0.0, "not applicable", of=question), verdict(0.9, of=question)
    leaked = Decision(outcome=Outcome.LEAKED, reason="of that")
    undecided = Decision(outcome=Outcome.INCONCLUSIVE, reason="of this")

    def stopped(able: Sequence[Verdict], before: Decision | None) -> Decision:
        return stopped_by_defence(undecided, before, able, BAR, stopped="stopped")

    assert stopped([gone, gone], leaked).message == "held: stopped"
    for able, before in (([gone, some], leaked), ([], leaked), ([gone], None)):
        assert stopped(able, before) is undecided
    control = Decision(outcome=Outcome.INCONCLUSIVE, reason="nothing came apart")
    assert confirmed(stopped([gone], control), control, failure="so").outcome == "inconclusive"


@pytest.mark.parametrize(("question", "members"), [(Samples(), (Disaggregate(),)), (Transcripts(), ())])
def test_samples_and_transcripts_need_a_control_and_a_defence_as_well(question: Question, members: Any) -> None:
    attack = "disaggregate"
    found, none = (verdict(share, attack=attack, of=question) for share in (1.0, 0.0))
    gone = verdict(0.0, "not applicable", attack=attack, of=question)

    def outcome(claim: Verdict, control: Verdict | None, **pieces: Any) -> str:
        whole = evidence(members=members, control=None if control is None else (control,), look=None, **pieces)
        return str(question.decide([claim], BAR, whole).outcome)

    assert outcome(none, found) == "held"
    assert outcome(gone, found) == "held"
    assert outcome(none, none) == "inconclusive"
    assert outcome(gone, none) == "inconclusive"
    assert outcome(gone, gone) == "inconclusive"
    assert outcome(none, None, protected=False) == "inconclusive"
    assert outcome(found, found) == "leaked"
    assert outcome(none, found, standing=dataclasses.replace(WITHIN, decision=Side.OPEN)) == "inconclusive"


def test_the_figure_for_samples_is_the_share_isolated() -> None:
    claim = Recovery(
        attack="a", status=Status.RECOVERED, labels=(3, 7, 11), isolated=1, sample_labels=(3,), positions=4
    )
    scored = Samples().score(claim, TRUTH)
    assert (scored.figure, scored.stats["advantage"]) == (0.25, 1.0)


def test_a_sample_too_many_is_as_wrong_as_one_too_few() -> None:
    def share(*labels: int) -> float | None:
        claim = Recovery(attack="a", status=Status.RECOVERED, isolated=len(labels), sample_labels=labels)
        return Samples().score(claim, TRUTH).figure

    assert share(3, 3, 7, 11) == 1.0
    assert share(3, 3, 7) == 0.75
    assert share(3, 3, 7, 11, 3) == 0.8


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ([verdict(0.1)], "held"),
        ([verdict(0.11)], "leaked"),
        ([verdict(0.9), verdict(0.0, "inconclusive", attack="b")], "leaked"),
        ([verdict(0.0), verdict(0.0, "inconclusive", attack="b")], "inconclusive"),
        ([verdict(0.0), verdict(0.0, "not applicable", attack="b")], "held"),
        ([verdict(0.0, "not applicable", attack="b")], "inconclusive"),
        ([verdict(0.0), verdict(0.0, "not run", attack="b")], "held"),
        ([verdict(0.0, "not run", attack="b")], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_the_comparison_by_figures_alone(verdicts: list[Verdict], outcome: str) -> None:
    decision = compare(verdicts, BAR, name=lambda verdict: "advantage", low=-1.0)
    assert decision.outcome == outcome


def test_an_attack_that_was_left_out_needs_no_bound_and_gives_no_reason() -> None:
    held, left_out = dataclasses.replace(NOTHING, upper_bound=0.05), verdict(0.0, "not run", attack="b")
    bar = Bar(limit=0.1, threshold=0.1, confidence=0.95)
    assert compare([held, left_out], bar, name=lambda verdict: "advantage", low=-1.0).outcome == "held"
    assert "b because" not in compare([left_out], BAR, name=lambda verdict: "advantage", low=-1.0).message


def test_the_bound_of_every_attack_has_to_be_within_the_threshold() -> None:
    def bounded(*bounds: float | None, limit: float = 0.1) -> str:
        verdicts = [
            dataclasses.replace(verdict(0.1 - place / 10, attack=f"a{place}"), upper_bound=bound, series=((0.0,),))
            for place, bound in enumerate(bounds)
        ]
        bar = Bar(limit=limit, threshold=0.1, confidence=0.95)
        return str(within_bound("so far", verdicts, bar, low=-1.0).outcome)

    assert bounded(0.1, 0.05) == "held"
    assert bounded(0.05, 0.3) == "inconclusive"
    assert bounded(0.05, None) == "inconclusive"
    assert bounded(0.05, 0.3, limit=0.05) == "inconclusive"
    assert bounded(0.3, limit=0.5) == "held"


def test_one_batch_that_could_not_be_decided_makes_the_attack_inconclusive() -> None:
    pooled = pool(Labels(), [LEAK, verdict(0.0, "inconclusive"), verdict(0.0, "not applicable")])
    assert pooled.status == "inconclusive"
    assert "in 1 of 3 batches" in pooled.message
    assert pool(Labels(), [LEAK, verdict(0.0, "not applicable")]).figure == 0.5


def test_a_batch_without_a_claim_counts_for_the_defender() -> None:
    assert mean_of_claims([1.0, None, None, 1.0]) == 0.5
    assert mean_of_claims([None, None]) is None


def test_the_number_of_positions_is_not_that_of_distinct_labels() -> None:
    def exact(positions: int) -> float:
        claim = Recovery(attack="a", status=Status.RECOVERED, labels=(3,), positions=positions)
        found: float = Labels().score(claim, TRUTH).stats["positions_exact"]
        return found

    assert (exact(4), exact(3)) == (1.0, 0.0)


def test_the_false_positive_rate_is_subtracted() -> None:
    claim = Recovery(attack="a", status=Status.RECOVERED, labels=tuple(range(20)))
    assert Labels().score(claim, TRUTH).figure == 0.0


def test_counts_are_corrected_for_chance_and_compared_where_asked_for() -> None:
    truth = Truth(labels=np.array([0] * 8 + [1, 2, 3]), classes=20)
    claim = Recovery(attack="a", status=Status.RECOVERED, labels=(0,), counts={0: 11}, positions=11)
    assert Labels().score(claim, truth).figure == 0.25
    assert Labels(counts=True).score(claim, truth).figure == pytest.approx((8 / 11 - 0.2) / 0.8)


def test_attacks_are_left_out_only_where_no_figure_or_finding_can_rise() -> None:
    read = {"advantage": 1.0, "positions_exact": 1.0, "counts_exact": 1.0}
    apart = {"isolated": 1.0, "features_exposed": 1.0, "positions_exact": 1.0}

    def settled(question: Question, stats: dict[str, float], limit: float = 0.1) -> bool:
        return question.settled([[verdict(1.0, of=question, **stats)]], limit) is not None

    for question, stats in ((Labels(), {"advantage": 1.0, "positions_exact": 1.0}), (Labels(counts=True), read)):
        assert settled(question, stats)
        assert not settled(question, stats, limit=1.0)
        for name in stats:
            assert not settled(question, stats | {name: 0.5})
    assert settled(Samples(), apart)
    assert not settled(Samples(), apart, limit=1.0)
    for name in apart:
        assert not settled(Samples(), apart | {name: 0.5})
    assert not settled(Samples(), {"advantage": 1.0, "positions_exact": 1.0, "isolated": 0.5})
    assert not settled(Transcripts(), {"rebuilt": 1.0})
