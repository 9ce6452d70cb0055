"""Coverage of an audit: variables that attacks examined, and those that a defence leaves as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pytest_labelleak import GaussianNoise, InconclusiveAudit, Recovery, Update, assert_labels_not_recoverable, audit

CLASSES = 40
LABELS = np.arange(0, 24, 3)


def softmax_gradient(features: int = 6, classes: int = CLASSES, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    errors = np.full((LABELS.size, classes), 1.0 / classes) - np.eye(classes)[LABELS % classes]
    return np.abs(rng.standard_normal((LABELS.size, features))).T @ errors


def table() -> np.ndarray:
    rows = np.zeros((50, 4))
    rows[LABELS] = np.random.default_rng(1).standard_normal((LABELS.size, 4))
    return rows


DENSE = np.random.default_rng(2).standard_normal((7, 6))
MORE = {"second/kernel": softmax_gradient(5, 30, seed=3), "tokens": table(), "dense/kernel": DENSE}


@dataclass(frozen=True)
class Only:
    """Strong noise on some of the variables."""

    names: tuple[str, ...]
    name: str = "only"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        noisy = update.map(lambda array: array + rng.normal(0.0, 1e3, array.shape), defence=self.name)
        kept = {key: noisy.gradients[key] if key in self.names else array for key, array in update.gradients.items()}
        fresh = iter(kept.values())
        return update.map(lambda array: next(fresh), defence=self.name)


@dataclass(frozen=True)
class Undefended:
    """An attack that reads one variable, and succeeds while nothing defends the update."""

    variable: str
    name: str = "undefended"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        labels = () if update.defences else tuple(LABELS.tolist())
        return Recovery(attack=self.name, status="recovered", labels=labels, variables=(self.variable,))  # type: ignore[arg-type]


def update_of(more: dict[str, np.ndarray]) -> Update:
    return Update.from_arrays(softmax_gradient(), gradients=more)


def test_an_audit_lists_the_variables_that_it_examined() -> None:
    result = audit(update_of(MORE), LABELS, attacks="llg")
    assert result.coverage.examined == ("kernel",)
    assert dict(result.coverage.unexamined) == {name: array.shape for name, array in MORE.items()}
    assert result.coverage.telling == ("kernel", "second/kernel", "tokens")
    assert result.coverage.unprotected == ()
    (text,) = [finding.text for finding in result.findings if finding.name == "coverage"]
    assert "examined 1 of 4 shared variables, and not 'second/kernel (5, 30)', 'tokens (50, 4)'" in text
    assert "'second/kernel', 'tokens' may be a further head or embedding" in text
    record = result.to_record()["coverage"]
    assert record["unexamined"][0] == {"name": "second/kernel", "shape": [5, 30]}
    assert set(record) == {"examined", "unexamined", "unprotected", "telling"}


def test_a_head_alone_is_covered() -> None:
    result = audit(update_of({}), LABELS, attacks="llg")
    assert not result.coverage.unexamined
    assert not [finding for finding in result.findings if finding.name == "coverage"]


def test_attacks_examine_the_parts_that_they_read() -> None:
    update = Update.from_arrays(softmax_gradient(), bias_gradient=softmax_gradient(1)[0])
    assert audit(update, LABELS, attacks="bias_sign").coverage.examined == ("bias",)
    assert audit(update, LABELS, attacks=["bias_sign", "llg"]).coverage.examined == ("kernel", "bias")


@pytest.mark.parametrize("name", ["second/kernel", "tokens"])
@pytest.mark.slow
def test_a_head_or_embedding_without_protection_is_no_pass(name: str) -> None:
    update = update_of({name: MORE[name], "dense/kernel": DENSE})
    rest = ("kernel", "dense/kernel")
    held = assert_labels_not_recoverable(update, LABELS, attacks="llg", defence=Only((*rest, name)))
    assert held.coverage.unprotected == ()
    with pytest.raises(InconclusiveAudit, match=f"the defence leaves '{name}' as it is, which has the form of a head"):
        assert_labels_not_recoverable(update, LABELS, attacks="llg", defence=Only(rest))
    # An attack that examined it has said all that attacks say.
    examined = assert_labels_not_recoverable(update, LABELS, attacks=["llg", Undefended(name)], defence=Only(rest))
    assert examined.coverage.unprotected == (name,)


def test_another_variable_without_protection_is_named() -> None:
    update = update_of({"dense/kernel": DENSE})
    held = assert_labels_not_recoverable(update, LABELS, attacks="llg", defence=Only(("kernel",)))
    assert held.coverage.unprotected == ("dense/kernel",)
    (finding,) = [finding for finding in held.findings if finding.name == "coverage"]
    assert "the defence leaves 'dense/kernel' as it is" in finding.text
    assert finding.prominent


def test_the_audited_kernel_must_be_examined_where_it_is_left_as_it_is() -> None:
    errors = (np.full((LABELS.size, CLASSES), 1.0 / CLASSES) - np.eye(CLASSES)[LABELS]).sum(axis=0)
    update = Update.from_arrays(softmax_gradient(), bias_gradient=errors)
    result = audit(update, LABELS, attacks="bias_sign", defence=Only(("bias",)))
    assert result.outcome == "inconclusive"
    assert result.coverage.open == ("kernel",)


def test_a_defence_that_changes_nothing_is_the_attacks_matter() -> None:
    result = audit(update_of(MORE), LABELS, attacks="llg", defence=Only(()))
    assert result.coverage.unprotected == ()
    assert result.outcome == "leaked"


def test_noise_on_everything_leaves_nothing_as_it_is() -> None:
    result = audit(update_of(MORE), LABELS, attacks="llg", defence=GaussianNoise(relative=1000.0))
    assert result.coverage.unprotected == ()
    assert result.coverage.open == ()
