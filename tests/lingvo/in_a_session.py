"""Capture in a tf1 graph and session; a program of its own, since eager mode is turned off for the whole process."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import lingvo_patches

lingvo_patches.install()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from lingvo.core import py_utils  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import conftest  # noqa: E402

import pytest_labelleak as pl  # noqa: E402
from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter  # noqa: E402
from pytest_labelleak.capture.local_steps import LocalSteps  # noqa: E402

v1 = tf.compat.v1


def expect(condition, what):
    if not condition:
        raise SystemExit(f"failed: {what}")


def main():
    """Compare, in the published decoder mode."""
    py_utils.SetEagerMode(False)
    adapter = LingvoAdapter()
    batch = conftest.make_batch.__wrapped__()(1, 5)
    graph = tf.Graph()
    with graph.as_default():
        v1.set_random_seed(int(sys.argv[1]) if sys.argv[1:] else 1)
        task = conftest.small_params(unrolled=False).Instantiate()
        try:
            adapter.capture(task, batch)
        except pl.UnsupportedModelError as error:
            expect("the default session is none" in str(error), "an error without a session")
        else:
            raise SystemExit("failed: captured without a session")
        with v1.Session() as session:
            try:
                adapter.capture(task, batch)
            except pl.UnsupportedModelError as error:
                expect("is not initialised" in str(error), "an error for fresh variables")
            session.run(v1.global_variables_initializer())
            saver = v1.train.Saver()
            with tempfile.TemporaryDirectory() as folder:
                saver.save(session, f"{folder}/weights")
                session.run(task.decoder.softmax.vars.weight_0.assign_add(tf.ones((32, 40))))
                other = adapter.capture(task, batch)
                operations = len(graph.get_operations())
                saver.restore(session, f"{folder}/weights")  # a checkpoint
            collections = {name: len(items) for name, items in graph._collections.items()}
            update = adapter.capture(task, batch)
            expect(len(graph.get_operations()) == operations, "nothing is built twice")
            expect({n: len(i) for n, i in graph._collections.items()} == collections, "collections are as before")
            expect(update.origin == "lingvo/session", update.origin)
            expect(not np.allclose(other.head.kernel_value, update.head.kernel_value), "weights are the checkpoint's")
            expect(not np.array_equal(other.kernel_gradient, update.kernel_gradient), "the checkpoint counts")

            # The head's gradient from lingvo's own graph, by TensorFlow alone.
            metrics, _ = task.FPropDefaultTheta(batch.Transform(tf.constant))
            kernel = task.decoder.softmax.vars.weight_0
            (plain,) = tf.gradients(metrics["loss"][0], [kernel])
            plain = session.run(plain) + 1e-6 * update.head.kernel_value
            scale = np.vdot(plain, update.kernel_gradient) / np.vdot(plain, plain)
            close = np.allclose(update.kernel_gradient, scale * plain, rtol=1e-3, atol=1e-7 * np.abs(plain).max())
            expect(close, "the gradient is lingvo's")
            truth = adapter.labels(task, batch)
            expect(pl.attack("rlg", update).labels == tuple(truth.present), "the labels are in it")

            before = session.run(kernel)
            steps = adapter.capture(task, LocalSteps(batches=[batch, batch], learning_rate=0.01))
            expect(np.array_equal(session.run(kernel), before), "local steps are undone")
            one, two = update.kernel_gradient.ravel(), steps.kernel_gradient.ravel()
            size = np.linalg.norm(two) / np.linalg.norm(one)
            angle = np.vdot(one, two) / np.linalg.norm(one) / np.linalg.norm(two)
            expect(1.5 < size < 2.5 and angle > 0.9, f"two steps of about one direction: {size}, {angle}")
    print("ok")


if __name__ == "__main__":
    main()
