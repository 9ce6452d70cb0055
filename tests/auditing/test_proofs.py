"""A proof in an audit: the bracket of the figure, the evidence that it is, and audits that require one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from pytest_labelleak import (
    GaussianNoise,
    InconclusiveAudit,
    InvalidArgumentError,
    LabelLeak,
    Recovery,
    Sign,
    Truth,
    Update,
    assert_labels_not_recoverable,
    audit,
)
from pytest_labelleak.auditing.evidence.swaps import Proof
from pytest_labelleak.auditing.outcome import Bar, Decision, Outcome
from pytest_labelleak.auditing.questions.controlled import held_by_evidence
from pytest_labelleak.auditing.questions.question import Evidence
from pytest_labelleak.core.settings import Scope, Settings, activate
from pytest_labelleak.defences import NoiseLaw

CLASSES = 40
#: One pass over the gradient: enough where the proof is the matter.
CHEAP = "llg"
LABELS = np.arange(0, 24, 3)


def case(seed: int = 0) -> tuple[Update, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    features = np.abs(rng.standard_normal((LABELS.size, 12)))
    kernel = 0.1 * rng.standard_normal((12, CLASSES))
    logits = features @ kernel
    outputs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    errors = (outputs - np.eye(CLASSES)[LABELS]) / LABELS.size
    return Update.from_arrays(features.T @ errors, kernel=kernel), {"y": LABELS, "features": features}


@pytest.mark.slow
def test_the_figure_of_attacks_lies_below_the_bound_on_all() -> None:
    update, batch = case()
    for deviation in (0.1, 0.3, 1.0):
        result = audit(update, batch, defence=GaussianNoise(absolute=deviation), attacks=CHEAP)
        assert result.proof is not None
        assert 0.0 < result.figure < result.proof.bound < 1.0
        (text,) = [finding.text for finding in result.findings if finding.name == "proof"]
        expected = f"the advantage lies between {result.figure:.2f} (attacks) and {result.proof.shown} (no attack can"
        assert text.startswith(expected)
        assert result.to_record()["proof"]["bound"] == pytest.approx(result.proof.bound, abs=1e-6)


def test_a_bound_within_the_threshold_is_evidence() -> None:
    update, batch = case()
    result = assert_labels_not_recoverable(
        update, batch, attacks=CHEAP, defence=GaussianNoise(absolute=10.0), require="proof"
    )
    assert result.proof is not None
    assert f"no attack can exceed {result.proof.shown}" in result.message


@pytest.mark.slow
def test_a_pass_without_the_required_proof_is_inconclusive() -> None:
    update, batch = case()
    weak = GaussianNoise(absolute=2.0)
    held = assert_labels_not_recoverable(update, batch, attacks=CHEAP, defence=weak)
    assert held.proof is not None
    assert held.proof.bound > 0.1
    with pytest.raises(InconclusiveAudit, match=r"an attack that nobody knows may reach 0\.1\d > 0\.10"):
        assert_labels_not_recoverable(update, batch, attacks=CHEAP, defence=weak, require="proof")
    with pytest.raises(InconclusiveAudit, match="there is no proof: the features of the label positions are not known"):
        assert_labels_not_recoverable(update, LABELS, attacks=CHEAP, defence=weak, require="proof")
    assert audit(update, LABELS, attacks=CHEAP, defence=weak).proof is None
    with activate(Scope(settings=Settings(require="proof"))):
        assert audit(update, batch, attacks=CHEAP, defence=weak).outcome == "inconclusive"
        assert audit(update, batch, attacks=CHEAP, defence=weak, require=False).outcome == "held"


def test_a_leak_needs_no_proof() -> None:
    update, batch = case()
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(update, batch, attacks=CHEAP, defence=Sign(), require="proof")


@dataclass(frozen=True)
class Own:
    """Noise of a law that is stated by hand."""

    noise_law: Any
    name: str = "own"
    deviation: float = 10.0

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        return update.map(lambda array: array + rng.normal(0.0, self.deviation, array.shape), defence=self.name)


@pytest.mark.slow
def test_a_defence_of_ones_own_states_its_law() -> None:
    update, batch = case()
    proof = audit(update, batch, attacks=CHEAP, defence=Own(NoiseLaw(absolute=10.0))).proof
    assert proof is not None
    assert proof.within(0.1)
    for law, because in (
        (None, "'own' states no law of its noise"),
        (NoiseLaw(absolute=20.0), "less noise than the law"),
        (NoiseLaw(absolute={"bias": 1.0}), "does not mention the variable 'kernel'"),
    ):
        result = audit(update, batch, attacks=CHEAP, defence=Own(law), require="proof")
        assert because in result.proof.because
        assert result.outcome == "inconclusive"
        assert because in result.message
    with pytest.raises(InvalidArgumentError, match="noise_law of the defence 'own' is a float"):
        audit(update, batch, attacks=CHEAP, defence=Own(1.0))


@dataclass(frozen=True)
class Seeded:
    """Noise that every receiver can draw again, under the name of a law."""

    name: str = "seeded"
    noise_law: ClassVar[NoiseLaw] = NoiseLaw(absolute=10.0)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        return GaussianNoise(absolute=10.0)(update, rng=np.random.default_rng(7))


def test_a_law_does_not_vouch_for_noise_from_a_fixed_seed() -> None:
    update, batch = case()
    result = audit(update, batch, attacks=CHEAP, defence=Seeded(), require="proof")
    assert result.proof is not None
    assert result.proof.bound is None
    assert "two draws of the defence are the same" in result.proof.because
    assert result.outcome == "inconclusive"
    assert all(finding.name != "proof" for finding in result.findings)


def test_labels_replaced_at_random_are_a_law_too() -> None:
    update, batch = case()
    proof = audit(
        update, batch, attacks=CHEAP, defence=Own(NoiseLaw(kind="none", randomised=0.05)), require="proof"
    ).proof
    assert proof.bound == pytest.approx(0.05)


@pytest.mark.slow
def test_other_questions_have_no_bound() -> None:
    update, batch = case()
    strong = GaussianNoise(absolute=10.0)
    assert (
        "no bound is known"
        in audit(update, batch, attacks=CHEAP, defence=strong, samples=True, require="proof").proof.because
    )
    assert (
        "no bound is known"
        in audit(update, batch, attacks=CHEAP, defence=strong, counts=True, require="proof").proof.because
    )


def test_only_a_proof_can_be_required() -> None:
    update, batch = case()
    with pytest.raises(InvalidArgumentError, match="Expected 'proof'"):
        audit(update, batch, attacks=CHEAP, require="prof")


def decided(bound: float, **evidence: Any) -> Decision:
    held = Decision(outcome=Outcome.HELD, reason="so far")
    bar = Bar(limit=0.1, threshold=0.1)
    failed = Decision(outcome=Outcome.HELD, reason="attacks find nothing")
    evidence = {"protected": True, "proof": Proof(bound=bound), **evidence}
    return held_by_evidence(held, bar, Evidence(**evidence), failed, failure="they fail", presence=True)


def test_a_proof_stands_for_attacks_that_fail_undefended() -> None:
    decision = decided(0.1)
    assert decision.outcome == Outcome.HELD
    assert "no attack can exceed 0.10" in decision.reason
    assert "succeed without" not in decision.reason
    assert decided(0.11).outcome == Outcome.INCONCLUSIVE
    assert decided(0.01, protected=False).outcome == Outcome.INCONCLUSIVE


@dataclass(frozen=True)
class Recapturing:
    """An adapter of labels as models: the update of any labels follows from one case."""

    name: str = "recapturing"

    def capture(self, model: Any, batch: Any, **options: Any) -> Update:
        update, known = case()
        change = (np.eye(CLASSES)[known["y"]] - np.eye(CLASSES)[batch]) / LABELS.size
        kernel = update.kernel_gradient + known["features"].T @ change
        return dataclasses.replace(update, gradients={"kernel": kernel})

    def labels(self, model: Any, batch: Any, **options: Any) -> Truth:
        return Truth(labels=batch, classes=CLASSES)

    def relabelled(self, model: Any, batch: Any, labels: np.ndarray, **options: Any) -> np.ndarray:
        return labels


@dataclass(frozen=True)
class Plain:
    """The same adapter without the method."""

    name: str = "plain"
    capture = Recapturing.capture
    labels = Recapturing.labels


@dataclass(frozen=True)
class Naming:
    """An attack that names the labels of the update as it was, and nothing of the defended one."""

    name: str = "naming"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        labels = () if update.defences else tuple(LABELS.tolist())
        return Recovery(attack=self.name, status="recovered", labels=labels)  # type: ignore[arg-type]


@pytest.mark.slow
def test_models_are_captured_again_where_a_proof_is_required() -> None:
    strong = GaussianNoise(absolute=10.0)
    with activate(Scope(adapter=lambda model: Recapturing())):
        assert audit(object(), LABELS, defence=strong, attacks=Naming()).proof is None
        proved = audit(object(), LABELS, defence=strong, attacks=Naming(), require="proof")
    assert proved.outcome == "held"
    update, batch = case()
    exact = audit(update, batch, defence=strong, attacks=Naming()).proof
    assert proved.proof.confidence == 0.99
    assert exact.bound < proved.proof.bound < exact.bound + 0.06
    with activate(Scope(adapter=lambda model: Plain())):
        missing = audit(object(), LABELS, defence=strong, attacks=Naming(), require="proof")
    assert missing.outcome == "inconclusive"
    assert "'plain' cannot capture a batch with other labels" in missing.message
