"""Label counts in a run of pytest: fixture, table and JSON."""

from __future__ import annotations

import json


def test_the_fixture_asks_for_label_counts(project, run):
    project.makepyfile(
        """
        import numpy as np
        from pytest_labelleak import Update

        def test_counts(labelleak):
            rng = np.random.default_rng(0)
            labels = np.minimum(rng.geometric(0.5, size=64) - 1, 9)
            labels[:10] = np.arange(10)
            errors = (0.1 - np.eye(10)[labels]) / 64
            inputs = rng.random((64, 32))
            update = Update.from_arrays(inputs.T @ errors, bias_gradient=errors.sum(axis=0))
            labelleak.assert_label_counts_not_recoverable(update, labels)
        """
    )
    result = run("--labelleak", "--labelleak-report=report.json")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["E * every class is present in 1 of 1 batch(es): their shares alone are a secret"])
    result.stdout.fnmatch_lines(["leaked *1.00 (advantage over shares) *"])
    (row,) = json.loads((project.path / "report.json").read_text())["audits"]
    assert row["question"] == "label_counts"
    assert row["statistics"]["batches_full"] == 1
    assert "shares" not in row["verdicts"][0]["statistics"]
