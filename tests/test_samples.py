"""Samples taken apart: scored, decided and reported, without anything of them in any output."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import jsonschema
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
    Verdict,
    assert_labels_not_recoverable,
    assert_samples_not_isolated,
    attack,
    audit,
)
from pytest_labelleak.auditing.outcome import Bar
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.questions.pooling import pool as pool_for
from pytest_labelleak.auditing.questions.question import Evidence
from pytest_labelleak.auditing.questions.samples import Samples
from pytest_labelleak.auditing.scoring.samples import matched_errors
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.core.settings import Scope, activate
from pytest_labelleak.plugin.report import html as html_
from pytest_labelleak.plugin.report import json_report, markdown, terminal
from pytest_labelleak.plugin.report import rows as report_
from pytest_labelleak.testing import make_head_update, make_update

CASE = make_head_update(positions=24, features=64, classes=60, seed=1, confidence=0.5)
TRUTH = {"y": CASE.labels, "features": CASE.features}
STRONG = GaussianNoise(relative=100.0)


def score(recovery: Recovery, truth: Truth) -> Verdict:
    return Samples().score(recovery, truth)


def pool(verdicts: list[Verdict]) -> Verdict:
    return pool_for(Samples(), verdicts)


def claim(*labels: int, features: Any = None, **changes: Any) -> Recovery:
    return Recovery(
        **{
            "attack": "a",
            "status": "recovered",
            "labels": tuple(sorted(set(labels))),
            "isolated": len(labels),
            "sample_labels": labels,
            "features": features,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("found", "share"),
    [
        ((3, 3, 7, 11), 1.0),
        ((3, 7), 0.5),
        ((7, 7, 7, 7), 0.25),
        ((1, 2), 0.0),
        ((), 0.0),
        ((3, 3, 7, 11, 12, 12, 12, 12), 0.5),  # as many too many as there are
    ],
)
def test_the_share_of_isolated_counts_right_labels_with_multiplicity(found: tuple[int, ...], share: float) -> None:
    truth = Truth(labels=np.array([3, 3, 7, 11]), classes=20)
    verdict = score(claim(*found), truth)
    assert verdict.isolated == share
    assert verdict.features_exposed is verdict.feature_error is None
    with_features = score(claim(*found, features=np.ones((len(found), 2))), truth)
    assert (with_features.isolated, with_features.features_exposed) == (share, share)


def test_an_attack_that_isolates_nothing_has_no_figure_and_a_batch_without_a_claim_counts_0() -> None:
    truth = Truth(labels=np.array([3, 3, 7, 11]), classes=20, features=np.eye(4, 2))
    silent = score(Recovery(attack="a", status="recovered", labels=(3,)), truth)
    not_applicable = score(Recovery.not_applicable("a", "why"), truth)
    assert silent.isolated is not_applicable.isolated is None
    assert pool([silent, not_applicable]).isolated is None
    all_right = score(claim(3, 3, 7, 11, features=np.eye(4, 2) * 1.5), truth)
    several = pool([all_right, not_applicable, silent, score(claim(3, 7), truth)])
    assert (several.isolated, several.features_exposed) == (0.375, 0.25)
    # Only batches that have one count: an error of 0 would be the best there is, not the worst.
    assert several.feature_error == all_right.feature_error is not None


def test_features_are_matched_within_their_label_and_wrong_labels_expose_none() -> None:
    features = np.array([[1.0, 0.0], [0.0, 4.0], [0.0, 10.0]])
    truth = Truth(labels=np.array([5, 5, 6]), classes=9, features=features)
    # In the other order, off by 10 % and 25 %; the third has a label that is not there.
    found = np.array([[0.0, 5.0], [1.1, 0.0], [0.0, 10.0]])
    verdict = score(claim(5, 5, 7, features=found), truth)
    assert (verdict.isolated, verdict.features_exposed) == (2 / 3, 2 / 3)
    assert verdict.feature_error == pytest.approx((0.1 + 0.25) / 2)
    broken = found.copy()
    broken[0] = np.nan
    verdict = score(claim(5, 5, 7, features=broken), truth)
    assert (verdict.isolated, verdict.features_exposed) == (2 / 3, 1 / 3)
    assert verdict.feature_error == pytest.approx(0.1)


def test_matching_agrees_with_the_best_assignment_and_stays_finite() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 30)
    features = rng.normal(size=(30, 8))
    order = rng.permutation(30)
    found = features[order] + 1e-3 * rng.normal(size=(30, 8))
    exact = np.linalg.norm(found - features[order], axis=1) / np.linalg.norm(features[order], axis=1)
    assert np.sort(matched_errors(labels[order], found, labels, features)) == pytest.approx(np.sort(exact))
    far = matched_errors(np.array([1, 1]), np.full((2, 2), 1e308), np.array([1, 1]), np.zeros((2, 2)))
    assert np.isfinite(far).all()
    assert np.isfinite(np.median(far))


@pytest.mark.parametrize(
    ("recovery", "why"),
    [
        (claim(3, isolated=2), "labels another number of samples than it isolated"),
        (claim(3, features=np.ones((2, 2))), "features that are no table of its isolated samples"),
        (claim(3, features=np.ones((1, 3))), "gives 3 features for each sample, and the truth 2"),
        (claim(20), "named a class that does not exist"),
        (claim(-1, labels=()), "named a class that does not exist"),
    ],
)
def test_claims_that_do_not_fit_together_are_refused(recovery: Recovery, why: str) -> None:
    truth = Truth(labels=np.array([3]), classes=20, features=np.ones((1, 2)))
    with pytest.raises(InvalidArgumentError, match=why):
        score(recovery, truth)


@pytest.mark.parametrize(
    ("features", "why"),
    [
        (np.ones((2, 4)), r"features have shape \(2, 4\)\. Expected finite numbers, one row for each of the 3"),
        (np.ones(3), r"features have shape \(3,\)"),
        (np.array([["a"]] * 3), "features have dtype"),
        (np.array([[917364.0], [np.nan], [np.inf]]), "2 of 3 features are not finite"),
    ],
)
def test_features_of_the_truth_are_checked_without_quoting_them(features: np.ndarray, why: str) -> None:
    with pytest.raises(InvalidArgumentError, match=why) as caught:
        Truth(labels=np.array([1, 2, 3]), classes=9, features=features)
    assert "917364" not in str(caught.value)
    assert "917364" not in repr(Truth(labels=np.array([1]), classes=9, features=np.array([[917364.0]])))


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        ({"y": CASE.labels, "features": CASE.features[:, :5]}, r"batch\['features'\] has shape \(24, 5\).*, 64\)"),
        ({"y": CASE.labels, "features": CASE.features[0]}, r"batch\['features'\] has shape \(64,\)"),
        ({"y": CASE.labels, "features": CASE.features[:5]}, r"features have shape \(5, 64\)"),
        ({"features": CASE.features}, 'batch is a dict, and the model is an Update.*"features"'),
        ({"y": CASE.labels, "features": CASE.features, "x": 1}, "batch is a dict"),
        ((CASE.labels, CASE.features), "batch is a tuple"),
    ],
)
def test_an_update_takes_labels_and_features_in_a_dict_and_nothing_else(batch: Any, why: str) -> None:
    with pytest.raises(InvalidArgumentError, match=why):
        audit(CASE.update, batch)


def test_an_undefended_update_is_taken_apart() -> None:
    with activate(Scope()) as scope, pytest.raises(LabelLeak) as caught:
        assert_samples_not_isolated(CASE.update, TRUTH)
    text = str(caught.value)
    assert text.startswith("leaked: share of samples isolated 1.00 > 0.10 (disaggregate)\n")
    assert "  attack          isolated advantage precision" in text
    assert "  100 % of the samples were isolated, with their features (median relative error " in text
    assert "each of these samples by itself" in text
    result = caught.value.audit
    assert (result.outcome, result.question.name, result.figure) == ("leaked", "samples", 1.0)
    assert result.strongest is not None
    assert result.strongest.feature_error is not None
    assert 0.0 < result.strongest.feature_error < 1e-4
    (record,) = scope.records
    assert (record["question"], record["statistics"]["isolated"], record["statistics"]["features_exposed"]) == (
        "samples",
        1.0,
        1.0,
    )
    assert record["figure_ceiling"] == 1.0
    # The error is measured where the truth has the features, and the attack is the same without.
    plain = audit(CASE.update, CASE.labels, samples=True, attacks="disaggregate")
    assert plain.outcome == "leaked"
    assert (plain.verdicts[0].features_exposed, plain.verdicts[0].feature_error) == (1.0, None)


def test_features_come_in_the_units_of_the_heads_input() -> None:
    """Loss weights, which only scale a sample's share in the gradient, leave them as they are."""
    recovery = attack("disaggregate", CASE.update)
    assert recovery.features is not None
    assert np.linalg.norm(recovery.features) == pytest.approx(np.linalg.norm(CASE.features), rel=1e-3)
    scaled = CASE.update.map(lambda array: 7.0 * array, defence="scaled")
    verdict = audit(scaled, TRUTH, samples=True, attacks="disaggregate").verdicts[0]
    assert verdict.isolated == 1.0
    assert verdict.feature_error is not None
    assert verdict.feature_error < 1e-3


@pytest.mark.slow
def test_noise_holds_by_the_control_and_only_by_it() -> None:
    result = assert_samples_not_isolated(CASE.update, CASE.labels, defence=STRONG)
    assert result.message.startswith(
        "held: without the defence the samples came apart, with it no attack isolates any; evidence: the upper bound "
        "over"
    )
    assert result.draws > 30
    assert (result.figure, result.stats["isolated"], result.strongest) == (0.0, None, None)
    assert {v.attack: v.status for v in result.verdicts}["disaggregate"] == "not applicable"
    assert {v.attack: v.isolated for v in result.control}["disaggregate"] == 1.0
    # The same update without the defence beside it: nothing shows that the attack could have succeeded.
    noisy = STRONG(CASE.update, rng=np.random.default_rng(0))
    with pytest.raises(InconclusiveAudit, match="no attack applies: disaggregate because the spectrum"):
        assert_samples_not_isolated(noisy, CASE.labels)
    # One batch of zeros is little to be certain by.
    with pytest.raises(InconclusiveAudit, match=r"but the upper 95 % bound over 1 batch.* pass about \d+ more"):
        assert_samples_not_isolated(CASE.update, CASE.labels, defence=STRONG, confidence=0.95)


def test_a_defence_that_does_not_keep_samples_together_fails() -> None:
    with pytest.raises(LabelLeak, match=r"^leaked: share of samples isolated 1\.00"):
        assert_samples_not_isolated(CASE.update, CASE.labels, defence="clip_norm(norm=1.0)")


@pytest.mark.slow
def test_unknown_weights_are_inconclusive_with_a_defence_and_without() -> None:
    blind = make_update(positions=5, features=64, classes=200, seed=1)
    with pytest.raises(InconclusiveAudit, match=r"no attack applies: disaggregate because .*weights"):
        assert_samples_not_isolated(blind.update, blind.labels)
    with pytest.raises(InconclusiveAudit, match="the positive control failed, the attacks isolate no more without"):
        assert_samples_not_isolated(blind.update, blind.labels, defence=STRONG)
    with pytest.raises(InconclusiveAudit, match="none of the attacks isolates samples"):
        assert_samples_not_isolated(CASE.update, CASE.labels, attacks=["rlg", "bias_sign"])
    for update in (Update.from_arrays(np.full((4, 6), np.nan)), Update.from_arrays(np.zeros((4, 6)))):
        assert audit(update, np.array([1, 2]), samples=True).outcome == "inconclusive"
    assert audit(CASE.update, np.array([], dtype=int), samples=True).outcome == "inconclusive"


@dataclass
class Isolates:
    """Isolates a given share of the samples of the undefended update, and another of the defended."""

    plain: tuple[int, ...]
    defended: tuple[int, ...] | None = None
    name: str = "isolates"
    isolates: bool = True
    calls: list[bool] = field(default_factory=list)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        self.calls.append(bool(update.defences))
        found = self.defended if update.defences else self.plain
        if found is None:
            return Recovery.not_applicable(self.name, "no sample fits")
        return claim(*found, attack=self.name)


EVERY_CLASS = np.array([0, 1, 2, 3, 4, 5, 5])
SMALL = make_head_update(positions=7, features=8, classes=6, seed=1).update


def test_a_batch_in_which_every_class_is_present_is_no_obstacle() -> None:
    whole = Isolates(tuple(EVERY_CLASS.tolist()))
    assert audit(SMALL, EVERY_CLASS, attacks=whole).outcome == "inconclusive"  # presence tells nothing
    with pytest.raises(LabelLeak, match=r"^leaked: share of samples isolated 1\.00") as caught:
        assert_samples_not_isolated(SMALL, EVERY_CLASS, attacks=[whole, "bias_sign"])
    by_name = {v.attack: v for v in caught.value.audit.verdicts}
    assert (by_name["isolates"].status, by_name["isolates"].advantage) == ("recovered", 0.0)
    assert by_name["bias_sign"].advantage == 0.0
    json.dumps(caught.value.audit.to_record(), allow_nan=False)
    few = Isolates((5,))
    with pytest.raises(InconclusiveAudit, match=r"isolated 0\.14 <= 0\.20 \(isolates\), but nothing protects"):
        assert_samples_not_isolated(SMALL, EVERY_CLASS, attacks=few, threshold=0.2)
    gone = Isolates(tuple(EVERY_CLASS.tolist()), None)
    assert assert_samples_not_isolated(SMALL, EVERY_CLASS, attacks=gone, defence=Sign()).outcome == "held"


def test_a_pass_with_a_defence_needs_a_control_that_comes_apart() -> None:
    labels = EVERY_CLASS
    for defended in (None, (), (5,)):
        weak = Isolates((5,), defended)
        with pytest.raises(InconclusiveAudit, match="the positive control failed"):
            assert_samples_not_isolated(SMALL, labels, attacks=weak, defence=Sign(), threshold=0.2)
    able = Isolates((0, 1, 2), (5,))
    held = assert_samples_not_isolated(SMALL, labels, attacks=able, defence=Sign(), threshold=0.2)
    assert held.message.startswith("held: share of samples isolated 0.14 <= 0.20 (isolates); evidence: ")
    with pytest.raises(LabelLeak):
        assert_samples_not_isolated(SMALL, labels, attacks=able, defence=Sign(), threshold=0.1)


def verdict(status: str = "recovered", share: float | None = None, **changes: Any) -> Verdict:
    declared = Samples.declared
    stats = {"isolated": share, "advantage": changes.pop("advantage", 0.0)}
    figure = share if status == "recovered" else None
    return Verdict(
        **{
            "attack": "a",
            "status": Status(status),
            "figure": figure,
            "reason": "so",
            **changes,
            "declared": declared,
            "stats": stats,
        }
    )


def decided(verdicts: list[Verdict], limit: float, *, control: list[Verdict] | None = None) -> str:
    evidence = Evidence(members=[Isolates((), name="a")], control=control, protected=True)
    return Samples().decide(verdicts, Bar(limit=limit, threshold=limit), evidence).outcome


def test_outcomes_by_samples() -> None:
    assert decided([verdict(share=0.5)], 0.1) == "leaked"
    assert decided([verdict(share=0.1)], 0.1) == "held"
    # Whoever did isolate has a say, announced or not; others have none, whatever they could not decide.
    assert decided([verdict(share=0.5, attack="b")], 0.1) == "leaked"
    undecided = verdict("inconclusive", attack="b")
    assert decided([verdict(share=0.1), undecided], 0.1) == "held"
    assert decided([verdict("inconclusive"), verdict(share=0.1, attack="b")], 0.1) == ("inconclusive")
    # An advantage over labels is another matter.
    assert decided([verdict(share=0.0, advantage=1.0)], 0.1) == "held"
    # To recover labels without isolating is no claim about samples, and no sign that a defence works.
    leaky = [verdict(share=1.0)]
    assert decided([verdict()], 0.1, control=leaky) == "inconclusive"
    assert decided([verdict("not applicable")], 0.1, control=leaky) == "held"
    assert decided([verdict("inconclusive")], 0.1, control=leaky) == "inconclusive"
    assert decided([verdict("not applicable")], 0.1, control=[verdict(share=0.1)]) == ("inconclusive")
    assert decided([verdict("not applicable")], 0.1) == "inconclusive"


def test_an_ordinary_assertion_reports_samples_as_a_finding() -> None:
    line = "100 % of the samples were isolated, with their features"
    with activate(Scope()) as scope, pytest.raises(LabelLeak, match=r"^leaked: advantage 1\.00") as caught:
        assert_labels_not_recoverable(CASE.update, CASE.labels, attacks=["bias_sign", "disaggregate"])
    assert line in str(caught.value)
    (record,) = scope.records
    assert (record["question"], record["statistics"]["isolated"]) == ("labels", 1.0)
    record = {k: v for k, v in record.items() if k != "figure_ceiling"}
    rows = [
        {"test": "a", "index": 0, "test_outcome": "failed", **record},
        {"test": "b", "index": 0, "test_outcome": "failed", **record, "figure_name": "share of samples isolated"},
    ]
    document = report_.build(rows)
    jsonschema.validate(document, json_report.schema())
    for text in (markdown.render(document), html_.render(document)):
        assert text.count("of the samples were isolated") == 2
        assert text.count("1.00 (share of samples isolated)") == 1
    assert sum("1.00 (share of samples isolated)" in text for text, _ in terminal.lines(document)) == 1


def test_a_recorded_limit_is_one_on_the_share_of_samples() -> None:
    with activate(Scope(recorded_limit=lambda index: 1.0)):
        result = assert_samples_not_isolated(CASE.update, CASE.labels, attacks="disaggregate")
    assert (result.outcome, result.limit_source, result.figure) == ("held", "baseline", 1.0)


def test_nothing_of_a_sample_is_in_any_output() -> None:
    secret = 91736
    case = make_head_update(positions=4, features=24, classes=secret + 1, seed=2)
    features = case.features.copy()
    features[:, 0] = 81736.25

    @dataclass
    class Careless(Isolates):
        """Says all there is."""

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            return Recovery(
                attack=self.name,
                status="recovered",
                labels=(secret,),
                isolated=1,
                sample_labels=(secret,),
                softmax=np.full((1, 2), 71736.25),
                features=features[:1],
            )

    batch = {"y": np.full(4, secret), "features": features}
    careless = Careless((secret,))
    with activate(Scope()) as scope, pytest.raises(LabelLeak) as caught:
        assert_samples_not_isolated(case.update, batch, attacks=careless)
    result = caught.value.audit
    text = f"{caught.value} {scope.records} {result!r} {result.verdicts!r}"
    assert "25 % of the samples were isolated" in text
    for sentinel in ("91736", "81736", "71736"):
        assert sentinel not in text
    # On request the labels; softmax outputs and features never.
    with activate(Scope()) as scope, contextlib.suppress(LabelLeak):
        scope.settings = scope.settings.override(show_labels=True)
        assert_samples_not_isolated(case.update, batch, attacks=careless)
    assert "91736" in str(scope.records)
    assert "81736" not in str(scope.records)
    assert "71736" not in str(scope.records)


def test_arguments_are_checked() -> None:
    with pytest.raises(InvalidArgumentError, match="samples=1 is a int"):
        audit(CASE.update, CASE.labels, samples=1)  # type: ignore[arg-type]

    class Wide:
        """An adapter whose features are not the head's."""

        name = "wide"

        def capture(self, model: Any, batch: Any, **options: Any) -> Update:
            return CASE.update

        def labels(self, model: Any, batch: Any, **options: Any) -> Truth:
            return Truth(labels=CASE.labels, classes=60, features=np.ones((24, 3)))

    with (
        activate(Scope(adapter=lambda model: Wide())),
        pytest.raises(InvalidArgumentError, match="3 features for each label, the head has 64 inputs"),
    ):
        assert_samples_not_isolated("anything", (0,))


def test_the_share_that_was_isolated_is_bounded_over_batches() -> None:
    none = [verdict(share=0.0, advantage=1.0)] * 200
    several = pool_for(Samples(), none, confidence=0.9)
    assert several.series == ((0.0,) * 200,)
    assert several.upper_bound is not None
    assert 0.0 < several.upper_bound < 0.1
    assert pool_for(Labels(), none, confidence=0.9).upper_bound == 1.0


@pytest.mark.framework
def test_a_keras_model_gives_its_samples_away() -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(40, activation="softmax")]
    )
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(8, 12)).astype("float32"), rng.integers(0, 40, 8)
    with pytest.raises(LabelLeak, match=r"^leaked: share of samples isolated 1\.00 > 0\.10 \(disaggregate\)"):
        assert_samples_not_isolated(model, (x, y))
    assert assert_samples_not_isolated(model, (x, y), defence=STRONG).outcome == "held"
