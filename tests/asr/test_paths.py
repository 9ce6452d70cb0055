"""Paths through plausible links, against trying every order."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_labelleak.asr.ordering.paths import cover


def all_covers(cost, first, last):
    """Return every cover by plausible links, as a set of paths."""
    positions = len(first)
    found = set()
    for order in itertools.permutations(range(positions)):
        paths, path = [], []
        for position in order:
            link = first[position] if not path else cost[path[-1], position]
            if link > 1.0:
                break
            path.append(position)
            if last[position]:
                paths.append(tuple(path))
                path = []
        else:
            if not path:
                found.add(tuple(sorted(paths)))
    return found


@settings(max_examples=150, deadline=None)
@given(data=st.data(), positions=st.integers(1, 6))
def test_agrees_with_trying_every_order(data, positions):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    cost = np.where(rng.random((positions, positions)) < data.draw(st.sampled_from([0.2, 0.4, 0.7])), 0.1, 9.0)
    cost *= rng.uniform(0.5, 1.5, cost.shape)
    np.fill_diagonal(cost, np.inf)
    first = np.where(rng.random(positions) < 0.6, 0.1, 9.0)
    last = rng.random(positions) < 0.4
    last[rng.integers(positions)] = True
    if data.draw(st.booleans()):  # most often there is an order
        order = rng.permutation(positions)
        last[order[-1]] = True
        for before, after in zip([None, *order[:-1]], order, strict=True):
            if before is None or last[before]:
                first[after] = 0.2
            else:
                cost[before, after] = 0.2
    labels = rng.integers(0, 4, positions)
    expected = all_covers(cost, first, last)
    found = cover(cost, first, last, labels)
    if not expected:
        assert found is None
        return
    assert found is not None
    assert tuple(sorted(found.paths)) in expected
    assert found.exhausted
    readings = {tuple(sorted(tuple(labels[p] for p in path) for path in paths)) for paths in expected}
    assert found.unique == (len(readings) == 1)
    links = [{pair for path in paths for pair in itertools.pairwise(path)} for paths in expected]
    for path, flags in zip(found.paths, found.certain, strict=True):
        for pair, sure in zip(itertools.pairwise(path), flags, strict=True):
            # Orders with cycles are counted as plausible too, so that a link may be certain without being called so.
            assert not sure or all(pair in cover_links for cover_links in links)


def test_a_long_transcript_of_one_word_reads_in_one_way_only():
    positions = 40
    cost = np.full((positions, positions), 9.0)
    for p in range(positions - 1):
        cost[p, p + 1] = 0.1
    cost[3, 5] = cost[4, 6] = cost[5, 4] = 0.3  # 3 4 5 6 or 3 5 4 6
    first, last = np.full(positions, 9.0), np.zeros(positions, bool)
    first[0], last[-1] = 0.1, True
    same = cover(cost, first, last, [7] * positions)
    other = cover(cost, first, last, list(range(positions)))
    assert same.unique
    assert not other.unique
    assert other.certain[0].count(False) == 3


def test_gives_up_in_time():
    positions = 60
    cost = np.full((positions, positions), 0.5)
    np.fill_diagonal(cost, np.inf)
    first, last = np.full(positions, 0.5), np.zeros(positions, bool)
    last[-1] = True
    found = cover(cost, first, last, [7] * (positions - 1) + [2])
    assert not found.exhausted
    assert not found.unique
