"""Gradient matching on a small Listen-Attend-Spell model in Keras."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re

import numpy as np
import pytest

from pytest_labelleak import Update, defences
from pytest_labelleak.asr import GradientMatching, MatchingAttack, free_contexts
from pytest_labelleak.asr.matching.objectives import OBJECTIVES, Distance
from pytest_labelleak.asr.matching.observed import observe
from pytest_labelleak.asr.matching.problem import _directions, pose
from pytest_labelleak.asr.matching.rearrange import rearrange
from pytest_labelleak.asr.matching.unknowns import SOFT_LABELS, Unknowns
from pytest_labelleak.core.errors import InvalidArgumentError, UnsupportedModelError

keras = pytest.importorskip("keras")
needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow so far")


@pytest.fixture(scope="module")
def model():
    from las.network import build

    pytest.importorskip("espeakng_loader")
    return build(classes=24, cells=12, context=10, embedding=8, seed=4)


@pytest.fixture(scope="module")
def case(model):
    """Return a gradient, its labels and its contexts."""
    from pytest_labelleak import capture_update

    rng = np.random.default_rng(1)
    labels = np.array([[7, 11, 5, 20, 2]], np.int32)
    inputs = {
        "frames": 3.0 * rng.normal(size=(1, 32, 40)).astype("float32"),
        "tokens": np.concatenate([[[1]], labels[:, :-1]], axis=1).astype("int32"),
    }
    heard = keras.Model(model.inputs, model.get_layer("attention").output)
    contexts = heard([inputs["frames"], inputs["tokens"]]).numpy()[0]
    return capture_update(model, (inputs, labels)), labels[0], contexts


@pytest.fixture(scope="module")
def speller(model):
    return free_contexts(model, start=1, end=2)


@needs_tensorflow
def test_at_the_truth_the_gradients_are_the_models_own(model, case, speller):
    update, labels, contexts = case
    assert (speller.classes, speller.context_width, speller.initial, speller.end) == (24, 10, 0, 2)
    every = speller.keys(every=True)
    assert set(every) - set(speller.keys()) == {
        "embedding/embeddings",
        *(f"speller_1/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")),
    }
    found = dict(zip(every, speller.gradients(contexts, np.eye(24)[labels], every), strict=True))
    for key in set(speller.keys()):
        np.testing.assert_allclose(found[key], update.gradients[key], rtol=1e-3, atol=1e-7)
    for key in set(every) - set(speller.keys()):
        assert found[key].shape == update.gradients[key].shape
        # The part through the attention's query is missing.
        assert np.linalg.norm(found[key] - update.gradients[key]) > 1e-3 * np.linalg.norm(update.gradients[key])


@needs_tensorflow
@pytest.mark.parametrize("soft_labels", SOFT_LABELS)
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_second_derivatives_agree_with_finite_differences(model, case, kind, soft_labels):
    from pytest_labelleak.asr.decoders.keras import KerasFreeContexts

    update, truth, _ = case
    speller = KerasFreeContexts(model, start=1, dtype="float64")
    keys = speller.keys(every=True)
    problem = Unknowns(
        decoder=speller,
        distance=Distance(kind=kind, targets=[observe(np.asarray(update.gradients[key], np.float64)) for key in keys]),
        keys=keys,
        positions=5,
        bag=np.unique(truth),
        soft_labels=soft_labels,
        last=2,
    )
    rng = np.random.default_rng(2)
    vector = problem.start(rng, context_scale=0.5)
    gradient = problem(vector)[1]
    assert gradient.shape == vector.shape == (5 * 10 + 4 * 5,)
    for direction in (gradient, rng.normal(size=vector.size), np.r_[np.zeros(50), rng.normal(size=20)]):
        step = 1e-5 * direction / np.linalg.norm(direction)
        difference = problem(vector + step)[0] - problem(vector - step)[0]
        assert difference == pytest.approx(2.0 * float(gradient @ step), rel=1e-4, abs=1e-12)
    held = problem.at_transcript(truth, vector[:50])[1]
    step = 1e-5 * held / np.linalg.norm(held)
    difference = (
        problem.at_transcript(truth, vector[:50] + step)[0] - problem.at_transcript(truth, vector[:50] - step)[0]
    )
    assert difference == pytest.approx(2.0 * float(held @ step), rel=1e-4)


FAST = GradientMatching(steps=600)


@needs_tensorflow
@pytest.mark.parametrize("objective", ["normalised", "cosine"])
def test_the_transcript_comes_out(case, speller, objective):
    update, labels, contexts = case
    found = dataclasses.replace(FAST, objective=objective)(update, speller, rng=np.random.default_rng(0))
    assert found.status == "recovered", found.message
    assert found.tokens == tuple(labels)
    assert found.positions == 5
    assert found.residual < 1e-4
    assert np.linalg.norm(found.contexts - contexts) < 0.1 * np.linalg.norm(contexts)
    assert "tokens" not in repr(found)
    assert "contexts" not in repr(found)


@needs_tensorflow
@pytest.mark.parametrize(
    ("defence", "status"),
    [
        ("clip_norm(norm=0.01)", "recovered"),
        ("gaussian_noise(relative=0.01)", "inconclusive"),
        ("drop_smallest(fraction=0.8)", "recovered"),
        ("sign", "inconclusive"),
    ],
)
def test_the_transcript_comes_out_of_what_defences_leave(case, speller, defence, status):
    update, labels, _ = case
    shared = defences.resolve(defence)(update, rng=np.random.default_rng(2))
    found = dataclasses.replace(FAST, attempts=8)(shared, speller, rng=np.random.default_rng(0))
    assert found.tokens == tuple(labels)
    # Noise leaves more than the tolerance, and signs are no proof.
    assert found.status == status
    assert ("nothing but signs" in found.message) == (defence == "sign")


@needs_tensorflow
def test_weight_penalties_of_the_cells_are_taken_off_too(case, speller):
    update = case[0]
    key = next(filter(lambda name: not name.startswith("head"), speller.keys()))
    penalty = np.random.default_rng(0).normal(size=update.gradients[key].shape).astype(np.float32)
    shared = dataclasses.replace(
        update, gradients=dict(update.gradients) | {key: update.gradients[key] + penalty}, penalties={key: penalty}
    )
    problem = pose(shared, speller, FAST)
    assert isinstance(problem, Unknowns)
    target = dict(zip(problem.keys, problem.distance.targets, strict=True))[key].target
    np.testing.assert_allclose(target, update.gradients[key], atol=1e-6)


@needs_tensorflow
def test_contexts_lie_in_the_directions_of_the_heads_gradient(case, speller):
    update, labels, contexts = case
    assert speller.context_rows == slice(12, 22)  # behind the upper layer's 12 cells
    basis = _directions(update, speller, 5)
    np.testing.assert_allclose(basis @ basis.T, np.eye(5), atol=1e-6)
    inside = contexts @ basis.T @ basis
    assert np.linalg.norm(inside - contexts) < 1e-3 * np.linalg.norm(contexts)
    found = dataclasses.replace(FAST, subspace=False)(update, speller, rng=np.random.default_rng(0))
    assert (found.status, found.tokens) == ("recovered", tuple(labels))


@needs_tensorflow
def test_positions_in_a_wrong_order_are_put_right(case, speller):
    update, labels, contexts = case
    problem = pose(update, speller, FAST)
    order = [2, 0, 1, 3, 4]
    part = (contexts[order] @ problem.basis.T).ravel()
    start = problem.at_transcript(labels[order], part)[0]
    assert start > 1e-3
    options = {"enough": 1e-7, "stop": lambda: False}
    wrong = tuple(labels[order].tolist()), part, start
    tokens, _, residual = rearrange(problem, *wrong, rounds=5, **options)
    assert tokens == tuple(labels)
    assert residual < 1e-6
    assert rearrange(problem, *wrong, rounds=0, **options)[0] == wrong[0]


@needs_tensorflow
def test_a_gradient_of_unknown_scale_is_matched_as_well(case, speller):
    update, labels, _ = case
    shrunk = dataclasses.replace(
        update,
        gradients={key: array * np.float32(0.01) for key, array in update.gradients.items()},
        reduction="unknown",
    )
    found = FAST(shrunk, speller, rng=np.random.default_rng(0))
    assert (found.status, found.tokens) == ("recovered", tuple(labels))


@needs_tensorflow
def test_words_can_be_left_unrestricted(case, speller):
    update, labels, _ = case
    found = dataclasses.replace(FAST, restrict=False, attempts=3)(update, speller, rng=np.random.default_rng(0))
    assert (found.status, found.tokens) == ("recovered", tuple(labels))


@needs_tensorflow
def test_a_transcript_that_does_not_explain_the_gradient_is_not_claimed(case, speller):
    update, _, _ = case
    rng = np.random.default_rng(5)
    # The head tells the words as before, and the layer below is of another utterance.
    foreign = {
        key: array if key.startswith("head") else rng.permutation(array.ravel()).reshape(array.shape)
        for key, array in update.gradients.items()
    }
    found = dataclasses.replace(FAST, attempts=2, steps=60, moves=1)(
        dataclasses.replace(update, gradients=foreign), speller, rng=np.random.default_rng(0)
    )
    assert found.status == "inconclusive"
    assert "unexplained" in found.message
    assert found.attempts == 2


@needs_tensorflow
def test_time_that_runs_out_is_inconclusive(case, speller):
    calls = []
    found = FAST(case[0], speller, rng=np.random.default_rng(0), stop=lambda: calls.append(1) or len(calls) >= 3)
    assert (found.status, found.steps) == ("inconclusive", 3)
    assert "ran out after 3 steps" in found.message


@needs_tensorflow
def test_as_an_attack_it_counts_right_guesses_and_is_inconclusive_about_wrong_ones(case, model, speller):
    import pytest_labelleak as pl

    update, labels, _ = case
    one = dataclasses.replace(FAST, attempts=1, steps=150)
    attack = MatchingAttack(decoder=speller, settings=one)
    with pytest.raises(pl.LabelLeak, match="matching"):
        pl.assert_transcripts_not_recoverable(update, labels, attacks=attack)
    with pytest.raises(pl.InconclusiveAudit, match="time ran out"):
        pl.assert_transcripts_not_recoverable(
            update, labels, attacks=MatchingAttack(decoder=speller, settings=one, time_budget=1e-9)
        )
    # With noise nothing explains the gradient to the default tolerance, and still the guess is right.
    rng = np.random.default_rng(8)
    noisy = dataclasses.replace(
        update,
        gradients={
            key: array if key.startswith("head") else (array * (1 + 0.03 * rng.normal(size=array.shape))).astype("f4")
            for key, array in update.gradients.items()
        },
    )
    found = one(noisy, speller, rng=np.random.default_rng(0))
    assert (found.status, found.tokens) == ("inconclusive", tuple(labels))
    with pytest.raises(pl.LabelLeak, match="matching"):
        pl.assert_transcripts_not_recoverable(noisy, labels, attacks=attack)
    with pytest.raises(InvalidArgumentError, match="time_budget=0"):
        MatchingAttack(decoder=speller, time_budget=0)


class InterruptionError(Exception):
    pass


@needs_tensorflow
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(case, speller, tmp_path):
    update = case[0]
    settings = GradientMatching(optimiser="adam", steps=40, attempts=2, moves=0, tolerance=1e-30)
    whole = settings(update, speller, rng=np.random.default_rng(3))

    def interrupt(progress):
        if progress.attempt == 2 and progress.step == 20:
            raise InterruptionError

    path = tmp_path / "search.npz"
    with pytest.raises(InterruptionError):
        settings(update, speller, rng=np.random.default_rng(3), checkpoint=path, every=10, report=interrupt)
    steps = []
    again = settings(
        update,
        speller,
        rng=np.random.default_rng(99),  # the file holds the drawn seeds
        checkpoint=path,
        every=10,
        report=lambda progress: steps.append((progress.attempt, progress.step)),
    )
    assert steps == [(2, 30), (2, 40)]
    assert (again.tokens, again.steps, again.attempts) == (whole.tokens, whole.steps, 2)
    assert again.loss == pytest.approx(whole.loss, rel=1e-4)
    finished = settings(update, speller, rng=np.random.default_rng(3), checkpoint=path, report=interrupt)
    assert finished.tokens == whole.tokens
    with pytest.raises(InvalidArgumentError, match="another search"):
        dataclasses.replace(settings, steps=41)(update, speller, rng=np.random.default_rng(3), checkpoint=path)


@needs_tensorflow
def test_what_it_cannot_be_applied_to(case, speller):
    update = case[0]
    rng = np.random.default_rng(0)
    head = {key: array for key, array in update.gradients.items() if key.startswith("head")}
    cases = {
        "holds no gradient of 'speller_2": dataclasses.replace(update, gradients=head, values={}, penalties={}),
        "sums up 3 local steps": dataclasses.replace(update, steps=3),
        "smooths its labels": dataclasses.replace(update, head=dataclasses.replace(update.head, label_smoothing=0.1)),
        "no attack names tokens": update.map(np.zeros_like, defence="nothing"),
    }
    for message, shared in cases.items():
        found = FAST(shared, speller, rng=rng)
        assert found.status == "not applicable"
        assert message in found.message
    other = Update.from_arrays(np.zeros((3, 4)))
    assert "holds no gradient" in FAST(other, speller, rng=rng).message


@needs_tensorflow
def test_models_that_cannot_be_cut_say_why():
    layers = keras.layers
    tokens, frames = keras.Input((None,), dtype="int32"), keras.Input((None, 3))
    embedded = layers.Embedding(9, 4)(tokens)
    lower = layers.LSTM(3, return_sequences=True)(embedded)
    plain = keras.Model([tokens], layers.Dense(9)(lower))
    plain.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(UnsupportedModelError, match="start="):
        free_contexts(plain)
    with pytest.raises(UnsupportedModelError, match=r"0 layers for one: none\. Expected one attention") as refused:
        free_contexts(plain, start=1)
    # The advice names parameters that exist, and a way out for a Transformer.
    (call,) = re.findall(r"(pytest_labelleak\.asr\.decoders\.keras\.\w+)\(model, ([^)]*)\)", str(refused.value))
    speller = pkgutil.resolve_name(call[0])
    assert set(re.findall(r"\w+(?==)", call[1])) <= set(inspect.signature(speller).parameters)
    assert "Whisper" in str(refused.value)
    answer = layers.Attention(name="ask")([lower, frames])
    dropped = layers.Dropout(0.5, name="holes")(layers.Concatenate()([lower, answer]))
    with pytest.raises(UnsupportedModelError, match=r"'holes' .* drops units"):
        free_contexts(keras.Model([tokens, frames], layers.Dense(9)(dropped)), start=1)
    _, *state = layers.LSTM(3, return_state=True)(frames)
    started = layers.LSTM(3, return_sequences=True)(embedded, initial_state=state)
    joined = layers.Concatenate()([started, layers.Attention()([started, frames])])
    with pytest.raises(UnsupportedModelError, match="initial state"):
        free_contexts(keras.Model([tokens, frames], layers.Dense(9)(joined)), start=1)
