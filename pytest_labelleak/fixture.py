"""The object behind the `labelleak` fixture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from .result import Audit
    from .update import Update

__all__ = ["LabelLeakFixture"]


class LabelLeakFixture:
    """Audits with the settings of the running test.

    Attributes
    ----------
    settings : Settings
        Defaults < ini file < command line < marker.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __repr__(self) -> str:
        """Say what it is, without any value of the test."""
        return "<labelleak fixture>"

    def audit(
        self,
        model: Any,
        batch: Any,
        *,
        threshold: float | None = None,
        confidence: float | None = None,
        attacks: Any = None,
        defence: Any = None,
        seed: int | None = None,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
        counts: bool = False,
        samples: bool = False,
        vocabulary: Any = None,
        lexicon: Iterable[str] | None = None,
        sensitive: Any = None,
    ) -> Audit:
        """Call `pytest_labelleak.audit`, which takes the same arguments."""
        from .auditing import audit

        return audit(
            model,
            batch,
            threshold=threshold,
            confidence=confidence,
            attacks=attacks,
            defence=defence,
            seed=seed,
            head=head,
            training=training,
            class_weight=class_weight,
            counts=counts,
            samples=samples,
            vocabulary=vocabulary,
            lexicon=lexicon,
            sensitive=sensitive,
        )

    def assert_labels_not_recoverable(
        self,
        model: Any,
        batch: Any,
        *,
        threshold: float | None = None,
        confidence: float | None = None,
        attacks: Any = None,
        defence: Any = None,
        seed: int | None = None,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
        counts: bool = False,
    ) -> Audit:
        """Call `pytest_labelleak.assert_labels_not_recoverable`, which takes the same arguments."""
        __tracebackhide__ = True
        from .assertions import assert_labels_not_recoverable

        return assert_labels_not_recoverable(
            model,
            batch,
            threshold=threshold,
            confidence=confidence,
            attacks=attacks,
            defence=defence,
            seed=seed,
            head=head,
            training=training,
            class_weight=class_weight,
            counts=counts,
        )

    def assert_samples_not_isolated(
        self,
        model: Any,
        batch: Any,
        *,
        threshold: float | None = None,
        confidence: float | None = None,
        attacks: Any = None,
        defence: Any = None,
        seed: int | None = None,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ) -> Audit:
        """Call `pytest_labelleak.assert_samples_not_isolated`, which takes the same arguments."""
        __tracebackhide__ = True
        from .assertions import assert_samples_not_isolated

        return assert_samples_not_isolated(
            model,
            batch,
            threshold=threshold,
            confidence=confidence,
            attacks=attacks,
            defence=defence,
            seed=seed,
            head=head,
            training=training,
            class_weight=class_weight,
        )

    def assert_words_not_recoverable(
        self,
        model: Any,
        batch: Any,
        *,
        vocabulary: Any,
        sensitive: Any = None,
        lexicon: Iterable[str] | None = None,
        threshold: float | None = None,
        confidence: float | None = None,
        attacks: Any = None,
        defence: Any = None,
        seed: int | None = None,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ) -> Audit:
        """Call `pytest_labelleak.assert_words_not_recoverable`, which takes the same arguments."""
        __tracebackhide__ = True
        from .assertions import assert_words_not_recoverable

        return assert_words_not_recoverable(
            model,
            batch,
            vocabulary=vocabulary,
            sensitive=sensitive,
            lexicon=lexicon,
            threshold=threshold,
            confidence=confidence,
            attacks=attacks,
            defence=defence,
            seed=seed,
            head=head,
            training=training,
            class_weight=class_weight,
        )

    def assert_transcripts_not_recoverable(
        self,
        model: Any,
        batch: Any,
        *,
        threshold: float | None = None,
        word_error_rate: float = 0.0,
        vocabulary: Any = None,
        time_budget: float = 600.0,
        confidence: float | None = None,
        attacks: Any = None,
        defence: Any = None,
        seed: int | None = None,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ) -> Audit:
        """Call `pytest_labelleak.assert_transcripts_not_recoverable`, which takes the same arguments."""
        __tracebackhide__ = True
        from .assertions import assert_transcripts_not_recoverable

        return assert_transcripts_not_recoverable(
            model,
            batch,
            threshold=threshold,
            word_error_rate=word_error_rate,
            vocabulary=vocabulary,
            time_budget=time_budget,
            confidence=confidence,
            attacks=attacks,
            defence=defence,
            seed=seed,
            head=head,
            training=training,
            class_weight=class_weight,
        )

    def capture(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ) -> Update:
        """Call `pytest_labelleak.capture_update`, which takes the same arguments."""
        from .capture import capture_update

        return capture_update(model, batch, head=head, training=training, class_weight=class_weight)
