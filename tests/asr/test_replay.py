"""Transcripts by running the decoder over a batch that was taken apart: only the head's gradient is read."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import pytest_labelleak as pl
from pytest_labelleak import GaussianNoise, InvalidArgumentError
from pytest_labelleak.asr import Ordering, Replay, isolated
from pytest_labelleak.asr.replay.beam import ReplayRules, replay
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.attacks.registry import run

sys.path.insert(0, str(Path(__file__).parent))
from decoders import END, UNITS, Elman, keras_batch, keras_decoder

SENTENCE = (7, 12, 3, 45, 8, END)
TWICE = (7, 12, 7, 30, 12, 7, END)
SHORT = (51, 9, END)
DECODER = Elman()


def order(update, decoder=DECODER, **options):
    return Replay(decoder=decoder, **options).order(update, rng=np.random.default_rng(0))


def follow(labels, features, decoder=DECODER, stop=lambda: False, **rules):
    paths, finished = replay(decoder, labels, features, decoder.context_rows, stop=stop, rules=ReplayRules(**rules))
    return [tuple(labels[list(path.positions)].tolist()) for path in paths], paths, finished


def some_transcripts():
    sentence = st.lists(st.integers(3, 12), min_size=1, max_size=6).map(lambda words: (*words, END))
    return st.lists(sentence, min_size=1, max_size=3)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(transcripts=some_transcripts(), seed=st.integers(0, 2**16), data=st.data())
def test_any_positions_in_any_order_are_put_in_theirs(transcripts, seed, data):
    labels, features = DECODER.positions(transcripts, seed=seed)
    shuffled = np.array(data.draw(st.permutations(range(labels.size))))
    read, paths, finished = follow(labels[shuffled], features[shuffled])
    assert finished
    assert sorted(read) == sorted(transcripts)
    assert all(path.ended for path in paths)


@pytest.mark.parametrize("transcripts", [[SENTENCE], [TWICE], [SENTENCE, TWICE, SHORT]])
def test_reads_transcripts_off_the_gradient_of_the_head(transcripts):
    update = DECODER.update(transcripts)
    assert set(update.gradients) == {update.head.kernel}
    found = order(update)
    assert (found.status, found.message) == ("recovered", "")
    assert sorted(found.transcripts) == sorted(transcripts)
    assert found.unique
    assert all(all(links) for links in found.certain)
    assert [len(links) + 1 for links in found.certain] == [len(t) for t in found.transcripts]
    assert found.variables == (update.head.kernel,)
    # Ordering has no cell's gradient to read here.
    assert Ordering().order(update, rng=np.random.default_rng(0)).status == "not applicable"


@pytest.mark.parametrize("transcripts", [[TWICE], [SENTENCE, TWICE, SHORT]])
def test_several_local_steps_certify_nothing(transcripts):
    # The weights move between steps, so the states are those of no single set of weights.
    found = order(dataclasses.replace(DECODER.update(transcripts), steps=2))
    assert (found.status, found.unique) == ("recovered", False)
    assert not any(itertools.chain(*found.certain))
    assert "sums 2 local steps" in found.reason
    assert found.as_recovery().details["unique"] is False


def test_ordering_and_replay_take_the_batch_apart_once_together(monkeypatch):
    calls = []
    taken_apart = isolated.ask
    monkeypatch.setattr(isolated, "ask", lambda *given, **named: calls.append(1) or taken_apart(*given, **named))
    reading = Reading(DECODER.update([TWICE]))
    both = run(Ordering(), reading, seed=0), run(Replay(decoder=DECODER), reading, seed=0)
    assert [recovery.status for recovery in both] == ["not applicable", "recovered"]
    assert both[1].transcripts == (TWICE,)
    assert len(calls) == 1


def test_noise_in_the_gradient_leaves_the_order_to_be_seen():
    update = GaussianNoise(relative=1e-4)(DECODER.update([TWICE]), rng=np.random.default_rng(3))
    found = order(update)
    assert found.transcripts == (TWICE,)
    assert 1e-4 < found.details["largest_used"] < 0.1


def test_an_utterance_is_read_whole_beside_one_that_is_not():
    labels, features = DECODER.positions([SENTENCE, TWICE])
    without = np.delete(np.arange(labels.size), 9)
    read, paths, _ = follow(labels[without], features[without])
    assert SENTENCE in read
    (other,) = [path for path, said in zip(paths, read, strict=True) if said != SENTENCE]
    assert not other.ended
    assert len(other.positions) == 3


@pytest.mark.parametrize("seed", [3, 5, 7])
def test_a_wrong_turn_is_taken_back(seed):
    # A decoder that cares little for words, contexts that are all but the same, and noise in the states: at some step
    # another position is the nearest.
    decoder = Elman(says=0.05, hears=3.0)
    labels, features = decoder.positions([SENTENCE, TWICE], alike=0.98, seed=seed)
    features[:, :UNITS] += 0.03 * np.random.default_rng(seed).normal(size=(labels.size, UNITS))
    assert sorted(follow(labels, features, decoder)[0]) == sorted([SENTENCE, TWICE])
    assert sorted(follow(labels, features, decoder, beam=1)[0]) != sorted([SENTENCE, TWICE])


def test_what_is_nearly_as_near_is_not_certain():
    labels, features = DECODER.positions([SENTENCE])
    # A second position like the third one, whose state is off by no more than it is itself.
    features[2, 0] += 1e-3
    twin = features[2].copy()
    twin[0] -= 2e-3
    _, paths, _ = follow(np.append(labels, labels[2]), np.vstack([features, twin]))
    assert paths[0].certain[:2] == (True, True)
    assert not paths[0].certain[2]


def test_a_decoder_of_other_weights_reads_nothing():
    found = order(DECODER.update([SENTENCE]), decoder=Elman(seed=1))
    assert found.status == "not applicable"
    assert "its weights are others" in found.message
    assert not found.transcripts


def test_says_what_is_missing():
    update = DECODER.update([SENTENCE])
    assert "cannot be taken apart" in order(dataclasses.replace(update, head=unknown(update))).message
    assert "90 classes and the speller 80" in order(update, decoder=Elman(classes=80)).message

    class Blind(Elman):
        context_rows = None

    assert "does not see what attention answers" in order(update, decoder=Blind()).message


def unknown(update):
    return dataclasses.replace(update.head, kernel_value=None)


def test_a_budget_that_ran_out_says_how_far_it_got():
    labels, features = DECODER.positions([SENTENCE])
    asked = []
    read, _, finished = follow(labels, features, stop=lambda: bool(asked.append(1)) or len(asked) > 2)
    assert (read, finished) == ([SENTENCE[:3]], False)
    found = order(DECODER.update([SENTENCE]), time_budget=1e-9)
    assert not found.finished
    assert not found.unique
    assert "the time budget of 1e-09 s ran out" in found.message
    assert "1 of 6 label positions are in an order" in found.message


def test_a_budget_that_ran_out_is_no_pass():
    update, labels = DECODER.update([SENTENCE]), np.array(SENTENCE)
    with pytest.raises(pl.InconclusiveAudit, match="ran out"):
        pl.assert_transcripts_not_recoverable(update, labels, attacks=Replay(decoder=DECODER, time_budget=1e-9))
    with pytest.raises(pl.LabelLeak, match="replay"):
        pl.assert_transcripts_not_recoverable(update, labels, attacks=[Ordering(), Replay(decoder=DECODER)])


@pytest.mark.parametrize("budget", [0, -1.0, float("nan"), float("inf")])
def test_refuses_a_budget_that_is_none(budget):
    with pytest.raises(InvalidArgumentError, match="time_budget"):
        Replay(decoder=DECODER, time_budget=budget)


def test_no_label_is_in_any_text():
    found = order(DECODER.update([(77, 83, 71, END)]))
    recovery = Replay(decoder=DECODER)(DECODER.update([(77, 83, 71, END)]), rng=np.random.default_rng(0))
    assert recovery.transcripts == ((77, 83, 71, END),)
    assert recovery.counts == {2: 1, 71: 1, 77: 1, 83: 1}
    for text in (repr(found), found.message, repr(recovery), recovery.message, repr(Replay(decoder=DECODER))):
        assert not {"77", "83", "71"} & set(text.replace(",", " ").replace("(", " ").replace(")", " ").split())


@pytest.fixture(scope="module")
def keras_case():
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow so far")
    return keras_decoder()


@pytest.mark.parametrize("transcripts", [[TWICE], [SENTENCE, TWICE]])
def test_keras_decoders(keras_case, transcripts):
    from pytest_labelleak.asr import free_contexts

    inputs, labels = keras_batch(transcripts)
    speller = free_contexts(keras_case, start=1, end=END)
    update = pl.capture_update(keras_case, (inputs, labels))
    # Padding is a label of its own here, whose steps belong to nobody's transcript.
    kept = {name: array for name, array in update.gradients.items() if name.startswith("head")}
    found = order(dataclasses.replace(update, gradients=kept, values={}), decoder=speller)
    assert sorted(t for t in found.transcripts if t[-1] == END) == sorted(transcripts)


def test_what_keras_decoders_show_is_what_their_heads_take(keras_case):
    import keras

    from pytest_labelleak.asr import free_contexts

    inputs, labels = keras_batch([SENTENCE])
    speller = free_contexts(keras_case, start=1, end=END)
    (attention,) = (layer for layer in keras_case.layers if isinstance(layer, keras.layers.Attention))
    inner = keras.Model(keras_case.inputs, [keras_case.get_layer("head").input, attention.output])
    seen, contexts = (array.numpy() for array in inner([inputs["frames"], inputs["tokens"]]))
    shown = speller.head_inputs(np.repeat(contexts, 2, axis=0), np.repeat(labels, 2, axis=0))
    assert shown.shape == (2, 6, seen.shape[2])
    np.testing.assert_allclose(shown[1], seen[0], atol=1e-5)
    np.testing.assert_allclose(shown[0], shown[1], atol=1e-6)
