"""Small networks trained on real scans: digits (10 classes) and pairs of digits (100), at several stages.

The scans are scikit-learn's copy of the UCI digits (1797 of 8 x 8 pixels; dependency group bench). A pair is two
scans side by side, both drawn from the same 1797, and its class is the number they spell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from real_heads import Head, read_head

__all__ = ["DATA", "stages"]

#: Name and number of classes.
DATA = {"digits": 10, "pairs": 100}
_PAIRS = 20_000


def _images(data: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    scans, digits = load_digits(return_X_y=True)
    scans = (scans / 16.0).astype(np.float32)
    if data == "digits":
        return scans, digits.astype(np.int64)
    left, right = rng.integers(0, len(scans), (2, _PAIRS))
    return np.hstack([scans[left], scans[right]]), (10 * digits[left] + digits[right]).astype(np.int64)


def stages(data: str, epochs: Sequence[int], *, width: int = 128, seed: int = 0) -> Iterator[tuple[int, float, Head]]:
    """Train a network of two hidden layers and yield it at several stages.

    Parameters
    ----------
    data : str
        A name in `DATA`.
    epochs : sequence of int
        Numbers of epochs after which to yield, increasing; 0 is before training.
    width : int, default 128
        Features d of the head.
    seed : int, default 0
        Seed of weights, pairs and the order of training.

    Yields
    ------
    epoch : int
        Number of epochs so far.
    accuracy : float
        Share of the training images that the network names.
    head : Head
        The head, valid until the next one is requested.
    """
    import keras

    keras.utils.set_random_seed(seed)
    images, labels = _images(data, np.random.default_rng(seed))
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            keras.layers.Dense(2 * width, activation="relu"),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(DATA[data], name="head"),
        ]
    )
    model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    done = 0
    for epoch in epochs:
        if epoch > done:
            model.fit(images, labels, batch_size=64, epochs=epoch - done, verbose=0)
            done = epoch
        head = read_head(model, images, labels)
        named = (head.features @ head.kernel + head.bias).argmax(axis=1)
        yield epoch, float(np.mean(named == labels)), head
