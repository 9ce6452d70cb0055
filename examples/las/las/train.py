"""Train the recogniser on synthetic speech: ``python -m las.train``. A few minutes on two cores."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .batches import batch_of, say
from .network import build, save, transcribe
from .sentences import Words, held_out, training
from .weights import CHECKPOINT

__all__ = ["main", "train"]

_BATCH = 32
#: The step size falls to this share over the training.
_FINAL_RATE = 0.1


def train(sentences: Sequence[str], *, epochs: int, seed: int = 0, report: bool = True, **sizes: int):
    """Train a fresh recogniser.

    Parameters
    ----------
    sentences : sequence of str
        Sentences for training.
    epochs : int
        Number of passes over the sentences.
    seed : int, default 0
        Seed of the weights, the speed of speech and the order.
    report : bool, default True
        Print the loss.
    **sizes
        As for `build`.

    Returns
    -------
    model : keras.Model
        Trained.
    losses : list of float
        Mean loss per word, epoch by epoch.
    """
    rng = np.random.default_rng(seed)
    model = build(seed=seed, **sizes)
    features = [say(sentence, words_per_minute=int(rng.integers(240, 360))) for sentence in sentences]
    # Utterances of similar length share a batch, so that padding is short.
    order = np.argsort([len(sound) for sound in features])
    groups = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    batches = [batch_of([sentences[i] for i in group], [features[i] for i in group]) for group in groups]
    highest, losses = float(model.optimizer.learning_rate), []
    for epoch in range(epochs):
        begun, sums = time.perf_counter(), []
        model.optimizer.learning_rate = highest * _FINAL_RATE ** (epoch / epochs)
        for index in rng.permutation(len(batches)):
            sums.append(float(model.train_on_batch(*batches[index])))
        losses.append(float(np.mean(sums)))
        if report:
            print(f"epoch {epoch + 1}: loss {losses[-1]:.3f}, {time.perf_counter() - begun:.0f} s", flush=True)
        model.reset_metrics()
    return model, losses


def heard_right(model, sentences: Sequence[str]) -> float:
    """Return the share of sentences that the recogniser transcribes word for word."""
    words, right = Words(), 0
    for sentence in sentences:
        # Each sentence is a batch of its own, because the network is trained with little padding.
        inputs, _ = batch_of([sentence])
        right += words.decode(transcribe(model, inputs["frames"])[0]) == sentence
    return right / len(sentences)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(prog="python -m las.train", description=__doc__)
    parser.add_argument("--sentences", type=int, default=4000, help="to train on (default 4000)")
    parser.add_argument("--epochs", type=int, default=24, help="default 24")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--output", type=Path, default=CHECKPOINT, help="where the weights go")
    options = parser.parse_args(arguments)
    model, losses = train(training(options.sentences, seed=options.seed), epochs=options.epochs, seed=options.seed)
    share = heard_right(model, held_out(50))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save(model, options.output)
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}; {share:.0%} of 50 unheard sentences transcribed word for word")
    return 0


if __name__ == "__main__":
    sys.exit(main())
