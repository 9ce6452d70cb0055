"""Updates of decoders: synthetic ones with everything under control, and real Keras ones."""

from __future__ import annotations

import numpy as np

from pytest_labelleak import Head, Update

CLASSES, UNITS, CONTEXT, END = 90, 24, 32, 2


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def synthetic(
    transcripts,
    *,
    gates=4,
    stacked=True,
    state_first=True,
    context_at="end",
    noise=0.0,
    penalty=False,
    seed=0,
    classes=CLASSES,
    context=CONTEXT,
):
    """Return the update of a decoder whose states, contexts and gate errors are random, and wired as a decoder's.

    The head sees state and context of a step; the cell takes the context, something else, and the state of the step
    before.
    """
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.asarray(t) for t in transcripts])
    total = labels.size
    states, contexts = rng.normal(size=(total, UNITS)), rng.normal(size=(total, context))
    before = np.concatenate([np.vstack([np.zeros(UNITS), s[:-1]]) for s in _split(states, transcripts)])
    features = np.hstack([states, contexts] if state_first else [contexts, states])
    weights = rng.normal(size=(UNITS + context, classes)) / np.sqrt(UNITS + context)
    errors = softmax(features @ weights)
    errors[np.arange(total), labels] -= 1.0
    head = features.T @ errors / total

    one, other = rng.normal(size=(2, total, 11))
    inputs = {"start": [contexts, one], "end": [one, contexts], "middle": [one, contexts, other]}[context_at]
    units = UNITS
    gate_errors = rng.normal(size=(total, gates * units))
    parts = [np.hstack(inputs).T @ gate_errors, before.T @ gate_errors]
    if gates == 3 and not stacked:  # a GRU gates the candidate state between its two products
        parts[1][:, 2 * units :] = before.T @ (gate_errors[:, 2 * units :] * rng.uniform(size=(total, units)))
    encoder = rng.normal(size=(400, 31)).T @ rng.normal(size=(400, gates * units))
    kernels = {"encoder/kernel": encoder}
    if stacked:
        kernels["decoder/wm"] = np.vstack(parts)
    else:
        kernels |= {"decoder/kernel": parts[0], "decoder/recurrent": parts[1]}
    penalties = {}
    if penalty:
        for name in [name for name in kernels if name.startswith("decoder")]:
            penalties[name] = rng.normal(size=kernels[name].shape).astype(np.float32)
            kernels[name] = kernels[name] + penalties[name]
    kernels = {name: array + noise * rng.normal(size=array.shape) for name, array in kernels.items()}
    gradients = {name: array.astype(np.float32) for name, array in {**kernels, "head": head}.items()}
    return Update(
        gradients=gradients, head=Head(kernel="head", kernel_value=weights.astype(np.float32)), penalties=penalties
    )


class Elman:
    """A decoder that can be run, in numpy: token and context go into a state of tanh units."""

    initial, end, context_width = 0, END, CONTEXT
    context_rows = slice(UNITS, None)

    def __init__(self, classes=CLASSES, seed=0, says=1.0, hears=1.0):
        rng = np.random.default_rng(seed)
        self.classes = classes
        self.table = says * rng.normal(size=(classes, UNITS))
        self.hears = hears * rng.normal(size=(CONTEXT, UNITS)) / np.sqrt(CONTEXT)
        self.keeps = rng.normal(size=(UNITS, UNITS)) / np.sqrt(UNITS)
        self.kernel = rng.normal(size=(UNITS + CONTEXT, classes)) / np.sqrt(UNITS)

    def head_inputs(self, contexts, tokens):
        fed = np.concatenate([np.ones_like(tokens[:, :1]), tokens[:, :-1]], axis=1)
        state, seen = np.zeros((len(tokens), UNITS)), []
        for place in range(tokens.shape[1]):
            state = np.tanh(self.table[fed[:, place]] + contexts[:, place] @ self.hears + state @ self.keeps)
            seen.append(np.hstack([state, contexts[:, place]]))
        return np.stack(seen, axis=1)

    def positions(self, transcripts, *, alike=0.0, seed=0):
        """Return labels and inputs of the head, utterance after utterance; contexts are alike up to 1 - `alike`."""
        rng = np.random.default_rng(seed)
        common = rng.normal(size=CONTEXT)
        seen = []
        for transcript in transcripts:
            contexts = alike * common + (1.0 - alike) * rng.normal(size=(len(transcript), CONTEXT))
            seen.append(self.head_inputs(contexts[None], np.array([transcript]))[0])
        return np.concatenate([np.array(t) for t in transcripts]), np.concatenate(seen)

    def update(self, transcripts, **options):
        """Return the gradient of the head, and nothing else."""
        labels, features = self.positions(transcripts, **options)
        errors = softmax(features @ self.kernel)
        errors[np.arange(labels.size), labels] -= 1.0
        return Update.from_arrays(
            (features.T @ errors / labels.size).astype(np.float32), kernel=self.kernel.astype(np.float32)
        )


def _split(array, transcripts):
    return np.split(array, np.cumsum([len(t) for t in transcripts])[:-1])


def keras_decoder(kind="LSTM", *, classes=60, context_to_head=True, context_to_cell=True, regularised=False, seed=3):
    """Return a small attention decoder of stock Keras layers, compiled: frames and tokens to logits."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    frames = layers.Input((None, 8), name="frames")
    tokens = layers.Input((None,), dtype="int32", name="tokens")
    heard = layers.Dense(18, activation="tanh")(frames)
    said = layers.Embedding(classes, 10, mask_zero=True)(tokens)
    lower = layers.LSTM(18, return_sequences=True)(said)
    answer = layers.Attention(score_mode="dot")([lower, heard])
    options = {"kernel_regularizer": "l2", "recurrent_regularizer": "l2"} if regularised else {}
    cell = getattr(layers, kind)(20, return_sequences=True, name="speller", **options)
    upper = cell(layers.Concatenate()([lower, answer]) if context_to_cell else lower)
    seen = layers.Concatenate()([upper, answer]) if context_to_head else upper
    model = keras.Model({"frames": frames, "tokens": tokens}, layers.Dense(classes, name="head")(seen))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    # Weights of some size: with fresh ones all contexts are nearly the same.
    rng = np.random.default_rng(seed)
    model.set_weights([w + 0.4 * rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def keras_batch(transcripts, *, seed=0):
    """Return a batch for it; 0 is padding, 1 the start."""
    rng = np.random.default_rng(seed)
    longest = max(map(len, transcripts))
    labels, tokens = np.zeros((2, len(transcripts), longest), np.int32)
    for row, transcript in enumerate(transcripts):
        labels[row, : len(transcript)] = transcript
        tokens[row, : len(transcript)] = [1, *transcript[:-1]]
    frames = rng.normal(size=(len(transcripts), 12, 8)).astype(np.float32)
    return {"frames": frames, "tokens": tokens}, labels
