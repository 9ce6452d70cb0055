"""Mixed precision, loss scaling and other float types."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
layers = keras.layers

from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402


def mixed(policy, optimizer="sgd", scale=1.0):
    inputs = keras.Input((6,))
    body = layers.Dense(12, activation="relu", dtype=policy, name="features")(layers.Rescaling(scale)(inputs))
    head = layers.Dense(5, dtype=policy, name="head")(body)
    model = keras.Model(
        inputs, layers.Activation("softmax", dtype="float64" if policy == "float64" else "float32")(head)
    )
    model.compile(optimizer, loss="sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    ("policy", "dtype", "tolerance"),
    [
        ("mixed_bfloat16", "bfloat16", 0.05),
        ("bfloat16", "bfloat16", 0.05),
        ("mixed_float16", "float16", 0.01),
    ],
)
def test_policies(policy, dtype, tolerance, batch):
    model, reference = mixed(policy), mixed("float32")
    reference.set_weights([np.asarray(w, "float32") for w in model.get_weights()])
    update, expected = KerasAdapter().capture(model, batch), KerasAdapter().capture(reference, batch)
    assert (update.compute_dtype, expected.compute_dtype) == (dtype, "float32")
    size = np.abs(expected.kernel_gradient).max()
    np.testing.assert_allclose(update.kernel_gradient, expected.kernel_gradient, atol=tolerance * size)
    assert update.kernel_gradient.dtype in (np.float32, np.float64)
    assert not np.array_equal(update.kernel_gradient, expected.kernel_gradient)


@pytest.mark.parametrize("floatx", ["float32", "float64"])
def test_float64_counts_only_where_everything_is(floatx, batch):
    previous = keras.config.floatx()
    backend = keras.backend.backend()
    if backend == "jax":
        pytest.skip("needs jax_enable_x64 for the whole process")
    try:
        keras.config.set_floatx(floatx)
        update = KerasAdapter().capture(mixed("float64"), batch)
    finally:
        keras.config.set_floatx(previous)
    assert update.compute_dtype == ("float32" if backend == "torch" else floatx)
    if update.compute_dtype == "float64":
        assert np.abs(update.kernel_gradient.sum(axis=1)).max() < 1e-12


@pytest.mark.parametrize("built", [False, True])
def test_loss_scale_is_undone(built, batch, host):
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5), initial_scale=2.0**10)
    model = mixed("mixed_float16", optimizer)
    if built:
        optimizer.build(model.trainable_variables)
    update = KerasAdapter().capture(model, batch)
    before = [host(v.value) for v in model.trainable_variables]
    model.train_on_batch(*batch)
    after = [host(v.value) for v in model.trainable_variables]
    for old, new, gradient in zip(before, after, update.gradients.values(), strict=True):
        np.testing.assert_allclose((old - new) / 0.5, gradient, rtol=1e-2, atol=1e-3)


def test_overflow_is_what_dynamic_scaling_would_share(batch, host):
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5), initial_scale=2.0**24)
    model = mixed("mixed_float16", optimizer)
    optimizer.build(model.trainable_variables)
    update = KerasAdapter().capture(model, batch)
    assert update.defect() is None
    assert float(host(optimizer.dynamic_scale.value)) == 2.0**24
    plain = KerasAdapter().capture(model, batch)
    np.testing.assert_array_equal(plain.kernel_gradient, update.kernel_gradient)
    before = host(model.trainable_variables[-2].value)
    for _ in range(25):  # skipped steps, each of which halves the scale, until one is applied
        model.train_on_batch(*batch)
        after = host(model.trainable_variables[-2].value)
        if not np.array_equal(before, after):
            break
    np.testing.assert_allclose((before - after) / 0.5, update.kernel_gradient, rtol=1e-2, atol=1e-3)


def test_model_that_is_broken_stays_broken(batch):
    model = mixed("mixed_float16", keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5)))
    weights = model.get_weights()
    weights[0] = np.full_like(weights[0], np.nan)
    model.set_weights(weights)
    assert "NaN" in (KerasAdapter().capture(model, batch).defect() or "")


def test_loss_scale_factor_of_a_plain_optimizer(batch):
    scaled = mixed("float32", keras.optimizers.SGD(0.5, loss_scale_factor=64.0))
    plain = mixed("float32", keras.optimizers.SGD(0.5))
    plain.set_weights(scaled.get_weights())
    left, right = (KerasAdapter().capture(model, batch).kernel_gradient for model in (scaled, plain))
    np.testing.assert_allclose(left, right, atol=1e-7)
