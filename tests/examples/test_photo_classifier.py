"""The example has the network and photos that it names, and its assets arrive whole or not at all."""

from __future__ import annotations

import sys
import zipfile

import numpy as np
import pytest

from examples.image_classifier.photo_classifier import assets

keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def photos():
    from examples.image_classifier.photo_classifier.photos import load_photos

    return load_photos()


def test_the_photos_carry_their_class_in_their_name(photos):
    images, labels = photos
    assert images.shape == (20, 224, 224, 3)
    assert images.dtype == np.float32
    assert -1.0 <= images.min() < -0.9
    assert 0.9 < images.max() <= 1.0
    assert labels[:3].tolist() == [243, 559, 438]
    assert np.unique(labels).size == 19


# Raised inside Keras' predict on the torch backend.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_the_trained_network_knows_the_photos(photos):
    from examples.image_classifier.photo_classifier.network import load_trained

    images, labels = photos
    order = np.argsort(-load_trained().predict(images, verbose=0), axis=1)
    assert np.sum(order[:, 0] == labels) == 17
    assert np.sum(order[:, :3] == labels[:, None]) == 19


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    from examples.image_classifier.photo_classifier import network

    model = network.build_network(classes=3)
    with pytest.raises(ValueError, match="fc"):
        network.load_weights(model, assets.fetch_weights())
    monkeypatch.setattr(network, "load_checkpoint", lambda path: {})
    with pytest.raises(ValueError, match=r"no tensor '_conv_stem\.weight'"):
        network.load_weights(model, "anything")


def test_a_second_fetch_starts_nothing(photos, monkeypatch):
    before = assets.fetch_photos()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert assets.fetch_photos() == before


def wheel(folder, content: bytes):
    """Write a stand-in for the photos' package, and let pip find only that."""
    name = folder / "foolbox-3.3.4-py3-none-any.whl"
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("foolbox/data/imagenet_00_1.jpg", content)
        archive.writestr("foolbox-3.3.4.dist-info/METADATA", "Metadata-Version: 2.1\nName: foolbox\nVersion: 3.3.4\n")
        archive.writestr("foolbox-3.3.4.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("foolbox-3.3.4.dist-info/RECORD", "")


@pytest.fixture
def offline(tmp_path, monkeypatch):
    index = tmp_path / "index"
    index.mkdir()
    cache = tmp_path / "cache"
    monkeypatch.setenv("LABELLEAK_CACHE", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index, cache


def test_a_package_with_other_bytes_is_not_used(offline):
    index, cache = offline
    wheel(index, b"not the photo")
    with pytest.raises(assets.AssetError, match="sha256"):
        assets.fetch_photos()
    assert list(cache.iterdir()) == []


def test_a_package_that_cannot_be_had_is_one_clear_error(offline):
    _, cache = offline
    with pytest.raises(assets.AssetError, match=r"could not download foolbox==3\.3\.4: ERROR.*package index"):
        assets.fetch_photos()
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABELLEAK_CACHE", str(tmp_path / "file"))
    with pytest.raises(assets.AssetError, match="Set LABELLEAK_CACHE to a writable folder"):
        assets.fetch_photos()


def test_a_cache_with_files_missing_says_what_to_delete(offline):
    _, cache = offline
    (cache / "photos-3.3.4").mkdir(parents=True)
    with pytest.raises(assets.AssetError, match="delete the folder"):
        assets.fetch_photos()
