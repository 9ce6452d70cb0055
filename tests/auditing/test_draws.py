"""Drawing a random defence: streams, the number of draws, and the evidence that a trial collects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_labelleak import Recovery, Truth, Update
from pytest_labelleak.auditing.draws import DrawRules, Trial
from pytest_labelleak.auditing.evidence.belonging import Match
from pytest_labelleak.auditing.evidence.sequential import Decision as Side
from pytest_labelleak.auditing.outcome import Bar
from pytest_labelleak.auditing.portfolio import Clock
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.testing import make_update

CLASSES = 20


@dataclass(frozen=True)
class Saying:
    """An attack that answers by a function of the update's first entry, and remembers those of defended updates."""

    name: str
    answer: Callable[[float], tuple[int, ...]]
    seen: list[float] = field(default_factory=list, compare=False)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        entry = float(update.kernel_gradient[0, 0])
        if update.defences:
            self.seen.append(entry)
        return Recovery(attack=self.name, status="recovered", labels=self.answer(entry))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Replace:
    """A defence that shares noise instead of the gradient."""

    name: str = "replace"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        return update.map(lambda array: rng.standard_normal(array.shape), defence=self.name)


@dataclass(frozen=True)
class Mark:
    """A defence that changes nothing but the record of defences."""

    name: str = "mark"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        return update.map(lambda array: array, defence=self.name)


def constant(*labels: int, name: str = "constant") -> Saying:
    return Saying(name, lambda entry: labels)


def trial(members: Any, defence: Any, *, batches: int = 1, labels: tuple[int, ...] = (3, 7), **rules: Any) -> Trial:
    made = Trial(
        Labels(),
        members,
        defence,
        Bar(limit=0.1, threshold=0.1),
        seed=0,
        thrifty=False,
        clock=Clock(),
        rules=DrawRules(**rules),
    )
    for _ in range(batches):
        update = Update.from_arrays(np.ones((2, CLASSES)))
        made.add(update, Truth(labels=np.array(labels), classes=CLASSES))
    return made


def test_a_random_defence_is_drawn_until_the_bounds_decide() -> None:
    # In half of the draws the labels are named: one draw may show nothing, the mean is far above the limit.
    half = Saying("half", lambda entry: (3, 7) if entry > 0 else ())
    (verdict,), _, evidence, draws = trial([half], Replace()).verdicts()
    assert evidence.standing is not None
    assert evidence.standing.draws == draws > 8
    assert verdict.figure is not None
    assert 0.3 < verdict.figure < 0.7
    _, _, evidence, draws = trial([constant()], Replace()).verdicts()
    assert evidence.standing is not None
    assert evidence.standing.decision is Side.WITHIN
    assert evidence.standing.draws == draws > 8


def test_a_defence_without_randomness_is_drawn_once() -> None:
    attack = constant()
    _, _, evidence, draws = trial([attack], Mark()).verdicts()
    assert (evidence.standing, draws, len(attack.seen)) == (None, 1, 1)


def test_the_number_of_draws_is_limited() -> None:
    _, _, evidence, draws = trial([constant()], Replace(), most_draws=3).verdicts()
    assert draws == 3
    assert evidence.standing is not None
    assert evidence.standing.decision is Side.OPEN


def test_every_draw_of_every_batch_has_a_stream_of_its_own_and_the_same_again() -> None:
    first, again = constant(), constant()
    for attack in (first, again):
        trial([attack], Replace(), batches=3, most_draws=4).verdicts()
    assert len(first.seen) == 12
    assert len(set(first.seen)) == 12
    assert first.seen == again.seen


def test_only_a_defence_protects_and_only_then_is_there_a_control() -> None:
    for defence, protected in ((None, False), (Mark(), True)):
        _, controls, evidence, _ = trial([constant()], defence).verdicts()
        assert evidence.protected is protected
        assert (evidence.control is not None) is protected
        assert len(controls) == protected


def test_luck_is_judged_for_all_attacks_together() -> None:
    # Twenty attacks that know nothing, each with another class: one of them is right whatever the label is.
    members = [constant(label, name=f"a{label:02}") for label in range(CLASSES)]
    _, _, evidence, _ = trial(members, None, labels=(5,)).verdicts()
    assert evidence.luck["a05"] > 0.9
    _, _, evidence, _ = trial(members[:6], None, labels=(5,)).verdicts()
    assert 0.2 < evidence.luck["a05"] < 0.7
    # Two tests of luck were made, and the better one counts at half of the level: 1/190 becomes 2/190.
    _, _, evidence, _ = trial([constant(3, 7)], None).verdicts()
    assert 0.008 < evidence.luck["constant"] < 0.011


def test_luck_is_compared_with_the_part_of_the_level_that_belongs_to_the_look() -> None:
    exact = constant(3, 7)
    for defence, most, level in ((None, 4, 0.01), (Mark(), 4, 0.01), (Replace(), 1, 0.005), (Replace(), 4, 0.01 / 12)):
        _, _, evidence, _ = trial([exact], defence, most_draws=most).verdicts()
        assert evidence.level == level


def test_draws_go_on_while_a_leak_may_be_luck() -> None:
    # A claim of both labels of twenty classes has the probability 1/190 by luck, however often it is repeated: below
    # the level, and above the part of it that is left for the third look, after four draws. Four labels have 1/4845.
    _, _, _, draws = trial([constant(3, 7)], Replace(), most_draws=32).verdicts()
    assert draws > 4
    _, _, _, draws = trial([constant(3, 7, 8, 9)], Replace(), labels=(3, 7, 8, 9), most_draws=32).verdicts()
    assert draws == 4


def test_the_looks_are_at_what_was_shared_and_belonging_at_what_was_not() -> None:
    case = make_update(positions=8, features=32, classes=60, seed=3)
    made = trial([constant()], Replace(), batches=0, most_draws=2)
    made.add(case.update, Truth(labels=case.labels, classes=60))
    _, _, evidence, _ = made.verdicts()
    assert evidence.look is not None
    seen, together = evidence.look()
    assert seen is not None
    assert together is not None
    assert not seen.visible
    assert together.match is Match.BELONGS
    assert seen.draws == 2

    made = trial([constant()], Mark(), batches=0)
    made.add(case.update, Truth(labels=case.labels, classes=60))
    look = made.verdicts()[2].look
    assert look is not None
    seen, _ = look()
    assert seen is not None
    assert seen.visible


def test_an_update_that_does_not_belong_to_the_labels_is_noticed() -> None:
    case, other = (make_update(positions=8, features=32, classes=60, seed=seed) for seed in (3, 4))
    made = trial([constant()], Replace(), batches=0, most_draws=1)
    made.add(case.update, Truth(labels=other.labels, classes=60))
    look = made.verdicts()[2].look
    assert look is not None
    _, together = look()
    assert together is not None
    assert together.match is Match.UNSEEN


def test_one_draw_that_could_not_be_decided_decides_nothing() -> None:
    class Tiring:
        """An attack that finds nothing in two draws, and cannot tell in the third."""

        name = "tiring"
        calls = 0

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            self.calls += bool(update.defences)
            if self.calls > 2:
                return Recovery.inconclusive(self.name, "it cannot tell")
            return Recovery(attack=self.name, status="recovered")  # type: ignore[arg-type]

    (verdict,), _, _, draws = trial([Tiring()], Replace()).verdicts()
    assert (verdict.status, draws) == ("inconclusive", 3)
