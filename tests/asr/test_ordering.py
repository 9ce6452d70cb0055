"""Transcripts put in order: exactly where the update allows it, and with a proof that is none where it does not."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pytest_labelleak import InvalidArgumentError, Update, attack
from pytest_labelleak.asr import Ordering
from pytest_labelleak.asr.ordering.attack import OrderingRules, _ordered
from pytest_labelleak.asr.ordering.links import Links
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.attacks.registry import run
from pytest_labelleak.core.recovery import Status

sys.path.insert(0, str(Path(__file__).parent))
from decoders import keras_batch, keras_decoder, synthetic

END = 2
SENTENCE = (7, 12, 3, 45, 8, END)
TWICE = (7, 12, 7, 30, 12, 7, END)


def order(update, **options):
    return Ordering(**options).order(update, rng=np.random.default_rng(0))


def read(update):
    return sorted(order(update).transcripts)


def some_transcripts():
    sentence = st.lists(st.integers(3, 12), min_size=1, max_size=6).map(lambda words: (*words, END))
    return st.lists(sentence, min_size=1, max_size=3)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    transcripts=some_transcripts(),
    gates=st.sampled_from([4, 3, 1]),
    stacked=st.booleans(),
    state_first=st.booleans(),
    context_at=st.sampled_from(["start", "end"]),
    seed=st.integers(0, 2**16),
)
def test_any_transcripts_in_any_layout(transcripts, seed, **layout):
    update = synthetic(transcripts, seed=seed, **layout)
    isolated = attack("disaggregate", update)
    found = order(update)
    if isolated.isolated != sum(map(len, transcripts)):
        # The batch did not come apart, which is another attack's matter.
        assert found.status == "not applicable"
        return
    assert found.status == "recovered", found.message
    assert sorted(found.transcripts) == sorted(transcripts)
    assert found.unique
    assert all(all(links) for links in found.certain)


@pytest.mark.parametrize("transcripts", [[SENTENCE], [TWICE], [SENTENCE, TWICE], [(5, END), (9, END), SENTENCE]])
def test_reads_transcripts(transcripts):
    found = order(synthetic(transcripts))
    assert sorted(found.transcripts) == sorted(transcripts)
    assert found.unique
    assert found.variables == ("head", "decoder/wm")


def test_the_context_may_be_anywhere_in_the_input():
    assert read(synthetic([TWICE], context_at="middle")) == [TWICE]


@pytest.mark.parametrize(("used", "unique"), [(0.36, False), (0.1, True)])
def test_a_link_refused_by_little_proves_nothing(used, unique):
    cost = np.array([[np.inf, used, 1.01], [1.01, np.inf, used], [1.01, 1.01, np.inf]])
    links = Links(cost=cost, first=np.array([0.0, 9.0, 9.0]), ends=np.array([False, False, True]), clear=True)
    found = _ordered(links, (5, 6, 7), float("inf"), OrderingRules())
    assert found.paths == ((0, 1, 2),)
    assert found.unique is unique
    assert all(found.certain[0]) is unique


@pytest.mark.parametrize("transcripts", [[TWICE], [SENTENCE, TWICE], [(17,)]])
def test_several_local_steps_certify_nothing(transcripts):
    # The weights move between steps: errors of the size that one step explains say nothing about a link.
    found = order(dataclasses.replace(synthetic(transcripts), steps=3))
    assert (found.status, found.unique) == ("recovered", False)
    assert not any(itertools.chain(*found.certain))
    assert [len(links) + 1 for links in found.certain] == [len(t) for t in found.transcripts]
    assert "sums 3 local steps" in found.reason
    assert found.as_recovery().details["unique"] is False


def test_attacks_that_share_a_reading_take_the_batch_apart_once(monkeypatch):
    from pytest_labelleak.asr import isolated

    calls = []
    taken_apart = isolated.ask
    monkeypatch.setattr(isolated, "ask", lambda *given, **named: calls.append(1) or taken_apart(*given, **named))
    reading = Reading(synthetic([TWICE]))
    first = Ordering().read(reading, rng=np.random.default_rng(0))
    second = Ordering(time_budget=9.0).read(reading, rng=np.random.default_rng(1))
    assert first.transcripts == second.transcripts == (TWICE,)
    assert len(calls) == 1
    # Another temperature is another loss.
    run(Ordering(temperature=2.0), reading, seed=0)
    assert len(calls) == 2


def test_a_refusal_is_stored_without_the_prefix_that_its_message_has():
    update = synthetic([SENTENCE])
    alone = dataclasses.replace(update, gradients={"head": update.gradients["head"]})
    found = order(alone)
    assert found.status is Status.NOT_APPLICABLE
    assert found.message == f"not applicable, because {found.reason}"
    recovery = attack(Ordering(), alone)
    assert (recovery.reason, recovery.message) == (found.reason, found.message)


def test_one_label_is_a_transcript():
    found = order(synthetic([(17,)]))
    assert found.transcripts == ((17,),)
    assert found.unique


def test_utterances_of_one_label_each_follow_nothing():
    update = synthetic([(17,), (23,), (5,)])
    assert read(update) == [(5,), (17,), (23,)]


def test_weight_penalties_are_taken_off():
    update = synthetic([TWICE], penalty=True)
    assert read(update) == [TWICE]
    assert not order(dataclasses.replace(update, penalties={})).unique


@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.slow
def test_noise_is_never_taken_for_proof(noise):
    for seed in range(4):
        found = order(synthetic([SENTENCE, TWICE], noise=noise, seed=seed))
        right = sorted(found.transcripts) == sorted([SENTENCE, TWICE])
        assert right or not found.unique
        certain = {
            pair
            for path, links in zip(found.transcripts, found.certain, strict=True)
            for pair, sure in zip(itertools.pairwise(path), links, strict=True)
            if sure
        }
        assert certain <= {pair for t in (SENTENCE, TWICE) for pair in itertools.pairwise(t)}
    if noise == 1e-4:
        assert right


def test_states_that_drown_in_noise_are_no_ends():
    update = synthetic([SENTENCE], stacked=False)
    noise = 1e6 * np.random.default_rng(0).normal(size=update.gradients["decoder/recurrent"].shape)
    drowned = dict(update.gradients) | {"decoder/recurrent": noise.astype(np.float32)}
    found = order(dataclasses.replace(update, gradients=drowned))
    # Not an utterance of its own for every position.
    assert found.status == "not applicable"


def test_utterances_that_do_not_end_alike_prove_nothing():
    found = order(synthetic([(7, 12, 45), (30, 8)]))
    assert sorted(found.transcripts) == [(7, 12, 45), (30, 8)]
    assert not found.unique


def test_equal_contexts_leave_the_order_open():
    # With a context of zeros everywhere but for its size, nothing tells which state a step takes.
    update = synthetic([SENTENCE], context=1)
    found = order(update)
    assert not found.unique


def test_says_what_is_missing():
    update = synthetic([SENTENCE])
    alone = dataclasses.replace(update, gradients={"head": update.gradients["head"]})
    assert "recurrent cell" in order(alone).message
    unknown = dataclasses.replace(update, head=dataclasses.replace(update.head, kernel_value=None))
    assert "weights are not known" in order(unknown).message
    for found in (order(alone), order(unknown)):
        assert found.status == "not applicable"
        assert found.transcripts == ()


def test_only_the_gradient_and_the_weights_matter():
    update = synthetic([SENTENCE, TWICE])
    renamed = {f"v{k}" if name != "head" else name: g for k, (name, g) in enumerate(update.gradients.items())}
    scaled = {name: np.float32(1e-3) * gradient for name, gradient in renamed.items()}
    assert read(Update(gradients=scaled, head=update.head)) == sorted([SENTENCE, TWICE])


def test_as_an_attack_it_claims_labels_and_counts_too():
    recovery = attack(Ordering(), synthetic([TWICE]))
    assert recovery.transcripts == (TWICE,)
    assert recovery.labels == (2, 7, 12, 30)
    assert recovery.counts == {2: 1, 7: 3, 12: 2, 30: 1}
    assert recovery.positions == len(TWICE)
    assert recovery.details["unique"] is True


def test_no_label_is_in_any_text():
    found = order(synthetic([(71, 83, 71, END)]))
    for text in (repr(found), repr(attack(Ordering(), synthetic([(71, 83, 71, END)])))):
        assert "71" not in text
        assert "83" not in text


def test_a_budget_that_ran_out_says_how_far_it_got(monkeypatch):
    # The clock jumps when the batch has been taken apart: no cell that fits may be left to try.
    update = dataclasses.replace(synthetic([SENTENCE]), penalties={})
    gradients = {name: g for name, g in update.gradients.items() if name != "decoder/wm"}
    rng = np.random.default_rng(1)
    features = attack("disaggregate", update).features
    # A cell whose inputs fit those of the head, but without order: the states are those of other steps.
    inputs = np.hstack([features[:, 24:], rng.normal(size=features[:, :24].shape)])
    gradients["decoder/wm"] = (inputs.T @ rng.normal(size=(len(features), 96))).astype(np.float32)
    found = order(dataclasses.replace(update, gradients=gradients), time_budget=1e-9)
    assert found.status == "inconclusive"
    assert not found.finished
    assert "time budget" in found.message
    assert "taken apart" in found.message


@pytest.mark.parametrize("budget", [0.0, -1.0, np.nan, np.inf])
def test_refuses_a_budget_that_is_none(budget):
    with pytest.raises(InvalidArgumentError, match="time_budget"):
        Ordering(time_budget=budget)


@pytest.mark.framework
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_keras_decoders(kind):
    from pytest_labelleak import capture_update

    transcripts = [(7, 12, 9, 12, 33, END), (40, 7, 21, END)]
    update = capture_update(keras_decoder(kind), keras_batch(transcripts))
    found = order(update)
    assert sorted(found.transcripts) == sorted(transcripts), found.message
    assert found.unique


@pytest.mark.framework
def test_keras_regularisers_are_taken_off():
    from pytest_labelleak import capture_update

    update = capture_update(keras_decoder(regularised=True), keras_batch([TWICE]))
    assert set(update.penalties) == {"speller/lstm_cell/kernel", "speller/lstm_cell/recurrent_kernel"}
    assert read(update) == [TWICE]


@pytest.mark.framework
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("wiring", [{"context_to_head": False}, {"context_to_cell": False}])
def test_keras_decoders_that_hide_the_context(kind, wiring):
    from pytest_labelleak import capture_update

    update = capture_update(keras_decoder(kind, **wiring), keras_batch([TWICE]))
    found = order(update)
    assert found.transcripts == (TWICE,), found.message
    assert found.unique
    # That needs the cell's weights, and one utterance.
    assert not order(dataclasses.replace(update, values={})).transcripts
    two = capture_update(keras_decoder(kind, **wiring), keras_batch([TWICE, SENTENCE]))
    assert not order(two).unique
