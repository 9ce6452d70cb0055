"""Embedding rows: the tokens a model was fed are the rows of its embedding that move."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import scipy.stats

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update, unit_roundoff
from ..gradient.head import bias_gradient, column_sums, kernel_blocks, moderate
from ..gradient.reading import Reading
from .bulk import log_tail, standardised
from .columns import Statistic

__all__ = ["EmbeddingRows", "EmbeddingRules"]

# Rows whose rank is looked at; more would only take longer.
_MOST_ROWS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRules:
    """When a variable is a lookup table. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    level : float
        Chance that rows which mean nothing are taken for tokens: that any row of noise stands out of the others, and
        that the head seems to raise the classes of rows that have nothing to do with them.
    moving : float
        Largest share of the rows that a batch looks up.
    roundings : float
        Singular values this many roundings of the compute dtype below the largest are rounding.
    """

    level: float = field(default=0.001, metadata={"plateau": (6.25e-5, 0.016)})
    moving: float = field(default=0.5, metadata={"plateau": (0.25, 0.75)})
    roundings: float = field(default=64.0, metadata={"plateau": (4.0, 1020.0)})


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRows:
    """Name every class whose row in an input embedding has a gradient.

    An embedding is a table with one row per token, and only the rows that were looked up get a
    gradient. In a model trained to predict the next token, the inputs are the labels, shifted by one
    position: the table names them all, but for the last of each sequence, and adds the start token.
    Zeros survive sign compression, dropping, scaling and quantisation. A weight penalty and noise move all rows; in a
    variable that is called an embedding, those rows are named that are larger than chance makes a row of the bulk.

    The table is found by its shape, one row per class, most of them zero, and by its name. The kernel of
    a dense layer that happens to have as many inputs as there are classes looks the same where inputs
    are dead. So a variable that is not called an embedding must pass two more tests: its rows move each
    on their own, while a dense kernel's rank is at most the number of samples; and the head's gradient
    raises the classes that they name above the others, beyond chance.

    Where the table is also the head's kernel, every row has a gradient; rows that were looked up stand alone.

    Parameters
    ----------
    rules : EmbeddingRules
        The numbers that decide.

    References
    ----------
    .. [1] L. Melis, C. Song, E. De Cristofaro, V. Shmatikov, "Exploiting Unintended Feature Leakage in
       Collaborative Learning", IEEE S&P 2019. https://doi.org/10.1109/SP.2019.00029
    """

    name: ClassVar[str] = "embedding_rows"
    reference: ClassVar[str] = "Melis et al. 2019, doi:10.1109/SP.2019.00029"
    cost: ClassVar[str] = "pass"
    reads_tied: ClassVar[bool] = True

    rules: EmbeddingRules = EmbeddingRules()

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the tokens that were looked up."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the tokens that were looked up, of a reading."""
        update = reading.update
        if update.head.tied:
            return self._read_tied(reading)
        tables = {
            key: array
            for key, array in update.gradients.items()
            if key != update.head.kernel and array.ndim == 2 and array.shape[0] == update.classes
        }
        if not tables:
            raise NotApplicable(
                f"no variable besides the head's kernel has one row for each of the {update.classes} classes: the "
                "model reads no tokens, its embedding is frozen, or it is tied to the head",
            )
        found: dict[str, np.ndarray] = {}
        reasons = []
        for key, table in tables.items():
            rows = np.flatnonzero(np.any(table != 0, axis=1))
            if rows.size > self.rules.moving * table.shape[0] and "emb" in key.lower():
                rows = _standing_out(table, rows, self.rules)
            reason = _why_no_table(key, table, rows, update, self.rules)
            if reason is None:
                found[key] = rows
            else:
                reasons.append(f"{key!r} {reason}")
        if not found:
            raise NotApplicable("; ".join(reasons))
        # Of several tables, such as the two sides of a translation, the head is made to say the tokens of one.
        best = min(found, key=lambda key: (_chance(update, found[key]), found[key].size)) if len(found) > 1 else ""
        best = best or next(iter(found))
        how = "only" if np.count_nonzero(np.any(tables[best] != 0, axis=1)) == found[best].size else "above all"
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            reason=f"{how} the rows of the batch's tokens move in {best!r}: it betrays them with no attack at all",
            labels=tuple(found[best].tolist()),
            variables=(best,),
            details={"rows": int(found[best].size)},
        )

    def _read_tied(self, reading: Reading) -> Recovery:
        update = reading.update
        try:
            reading.require_fine()
            parts = reading.split()
        except NotApplicable as refusal:
            raise NotApplicable(f"the head is tied to the embedding, and {refusal.because}") from None
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            reason=f"columns of the gradient of {update.head.kernel!r} stand alone: those of the tokens in the batch",
            labels=tuple(parts.tokens.tolist()),
            variables=(update.head.kernel,),
            details={"rows": int(parts.tokens.size)},
        )


def _standing_out(table: np.ndarray, rows: np.ndarray, rules: EmbeddingRules) -> np.ndarray:
    """Return the rows that are larger than chance makes one of the bulk, if there are any; else all of `rows`."""
    some = table[rows].astype(np.float64)
    # Divided first: squares of large but finite entries are not finite.
    lengths = np.linalg.norm(some / np.abs(some).max(), axis=1)
    if not np.isfinite(lengths).all() or not lengths.all():
        return rows
    # Of logarithms: noise spreads the sizes of rows by a factor, and so does a weight penalty.
    sizes = Statistic(name="size", values=np.log(lengths))
    above = np.zeros(rows.size, dtype=bool)
    # Rows that were looked up widen the bulk until they are left out of it. The set only grows.
    while True:
        tails = log_tail(standardised(sizes, ~above), int(np.count_nonzero(~above)))
        more = above | (tails < np.log(rules.level / rows.size))
        if np.array_equal(more, above) or np.count_nonzero(more) > rules.moving * table.shape[0]:
            break
        above = more
    return rows[above] if above.any() else rows


def _why_no_table(key: str, table: np.ndarray, rows: np.ndarray, update: Update, rules: EmbeddingRules) -> str | None:
    """Say why the moving rows of a variable are no rows of an embedding, or return None."""
    if rows.size == 0:
        return "has no gradient"
    if rows.size > rules.moving * table.shape[0]:
        return f"has a gradient in {rows.size} of {table.shape[0]} rows: it is no lookup table, or noise was added"
    if not np.isfinite(table[rows]).all():
        return "has a gradient that is not finite"
    if "emb" in key.lower():
        return None
    # Rows of unit length: rare tokens with small gradients count as much as others.
    some = table[rows[:_MOST_ROWS]].astype(np.float64)
    some /= np.abs(some).max(axis=1, keepdims=True)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    values = np.linalg.svd(some, compute_uv=False)
    rounding = rules.roundings * unit_roundoff(update.compute_dtype) * values[0]
    rank = int(np.count_nonzero(values > rounding))
    if rows.size < 2 or rank < values.size:
        return f"has {rows.size} rows with a gradient, of rank {rank}, as a dense layer with dead inputs would"
    if _chance(update, rows) > rules.level:
        return f"has {rows.size} rows with a gradient, but the head does not raise the classes of their numbers"
    return None


def _chance(update: Update, rows: np.ndarray) -> float:
    """Return the probability that classes which have nothing to do with the update are raised as those of `rows` are.

    The head raises the logit of a class whose bias gradient is negative. Without a bias, the sum of a class's column is
    as good where features are non-negative, and the column's size where they are signed: the better of the two counts,
    at twice its probability.
    """
    bias = bias_gradient(update)
    if bias is not None and np.any(bias):
        evidence = [-bias]
    else:
        energy = sum(np.sum(block**2, axis=0) for _, block in kernel_blocks(moderate(update)))
        evidence = [-column_sums(update), np.asarray(energy)]
    inside = np.zeros(update.classes, dtype=bool)
    inside[rows] = True
    if inside.all():
        return 1.0
    chances = [
        float(scipy.stats.mannwhitneyu(values[inside], values[~inside], alternative="greater").pvalue)
        for values in evidence
    ]
    return min(1.0, len(chances) * min(chances))
