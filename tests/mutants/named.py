"""The rules that make the gate trustworthy, and how each is broken."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MUTANTS", "Mutant"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule, broken at one place.

    Parameters
    ----------
    what : str
        The rule.
    module : str
        Module below the package, such as ``"attacks/rlg/separation.py"``.
    where, find, put : str
        Function, pattern and replacement (see `pattern`).
    tests : str
        Files of tests that must fail.
    """

    what: str
    module: str
    where: str
    find: str
    put: str
    tests: str


_RLG = "tests/attacks/test_rlg.py"
_DISAGGREGATE = "tests/attacks/test_disaggregate.py"
_ORDERING = "tests/asr/test_ordering.py"
_REPLAY = "tests/asr/test_replay.py"
_PATHS = "tests/asr/test_paths.py"
_VERDICT = "tests/test_verdict.py"
_PORTFOLIO = "tests/test_portfolio.py"

_OF_ATTACKS = (
    Mutant(
        "the sign in RLG",
        "attacks/rlg/separation.py",
        "_Test.directly",
        "self._record(any_column, -any_direction / any_length, any_margin)",
        "self._record(any_column, any_direction / any_length, any_margin)",
        _RLG,
    ),
    Mutant(
        "the side of the cone in RLG",
        "attacks/rlg/separation.py",
        "_Test.directly",
        "np.append(any_point, 0.0)",
        "np.append(-any_point, 0.0)",
        _RLG,
    ),
    Mutant(
        "the tilt by noise",
        "attacks/rlg/separation.py",
        "separate",
        "np.maximum(any_deviations * any_noise, any_least)",
        "np.maximum(1e-9 * any_noise, any_least)",
        _RLG,
    ),
    Mutant(
        "the rank rule: a fixed tolerance instead of the noise",
        "attacks/gradient/subspace.py",
        "_read",
        "any_positions, any_rank, any_exact = any_chosen or (0, 0, False)",
        "any_positions = any_rank = int(np.count_nonzero(values > 1e-3 * values[0])); any_exact = True",
        _RLG,
    ),
    Mutant(
        "the rank rule: differences that rounding explains",
        "attacks/gradient/rank.py",
        "choose_rank",
        "any_exact = float(any_rest[any_rank]) <= any_rounding * np.sqrt(any_rows * any_columns)",
        "any_exact = any_rank == 1",
        _RLG,
    ),
    Mutant(
        "the sign of duals in RLG",
        "attacks/rlg/separation.py",
        "_Test.by_duals",
        "self._record(any_column, -any_dual / any_length, any_margin)",
        "self._record(any_column, any_dual / any_length, any_margin)",
        _RLG,
    ),
    Mutant(
        "the share of a repeated column itself that a closing brings in",
        "attacks/rlg/elimination.py",
        "_with_closing",
        "any_own[any_extra] = any_times[any_extra] * any_weights[any_positions]",
        "any_own[any_extra] = 0.0",
        _RLG,
    ),
    Mutant(
        "the rounding of weights in their differences",
        "attacks/gradient/subspace.py",
        "_read",
        "_rounding_of_weights(*any_arguments)",
        "0.0",
        _RLG,
    ),
    Mutant(
        "reading the spectrum without scales where noise was added",
        "attacks/gradient/subspace.py",
        "_find_subspace",
        "any_operator = ScaledGradient(any_update, equilibrate=False)",
        "return found",
        _RLG,
    ),
    Mutant(
        "directions that do not balance",
        "attacks/rlg/attack.py",
        "RLG._read",
        "any_margin > SEPARATED and any_column in any_balanced",
        "any_margin > SEPARATED",
        _RLG,
    ),
    Mutant(
        "copies of samples found before",
        "attacks/disaggregate/one_by_one.py",
        "Deflation._take",
        "any(any_one.copies(any_other) for any_other in any_samples)",
        "False",
        _DISAGGREGATE,
    ),
    Mutant(
        "giving up samples that are in the way",
        "attacks/disaggregate/one_by_one.py",
        "Deflation.run",
        "self._jointly() or self._reopened(*any_arguments)",
        "self._jointly()",
        _DISAGGREGATE,
    ),
    Mutant(
        "polishing a vector that is no sample yet for longer",
        "attacks/disaggregate/one_by_one.py",
        "Deflation._polished",
        "any_few if any_found.residual <= any_tolerance else any_many",
        "any_few",
        _DISAGGREGATE,
    ),
    Mutant(
        "the rest of earlier rounds in late finds",
        "attacks/disaggregate/one_by_one.py",
        "Deflation._lift",
        "self._accepted(self._polished(any_found))",
        "self._accepted(any_found)",
        _DISAGGREGATE,
    ),
    Mutant(
        "a joint solution of half the samples",
        "attacks/disaggregate/one_by_one.py",
        "Deflation._jointly",
        "self.left / 2 if any_most else 1",
        "self.left if any_most else 1",
        _DISAGGREGATE,
    ),
    Mutant(
        "the equilibration before the rank",
        "attacks/gradient/range_finder.py",
        "ScaledGradient.__init__",
        "self.rows = np.flatnonzero(self.row_scale)",
        "self.rows = np.flatnonzero(self.row_scale); self.column_scale[:] = self.row_scale[:] = 1.0",
        _RLG,
    ),
    Mutant(
        "the sign of the bias",
        "attacks/rules/bias_sign.py",
        "BiasSign.__call__",
        "np.flatnonzero(any_bias < -any_bound)",
        "np.flatnonzero(any_bias > any_bound)",
        "tests/attacks/test_rules.py",
    ),
    Mutant(
        "the sum of the columns that a tied head hides",
        "attacks/gradient/tied.py",
        "_merge",
        "[any_columns, -any_columns.sum(axis=-1, keepdims=True)]",
        "[any_columns, any_columns.sum(axis=-1, keepdims=True)]",
        "tests/attacks/test_tied.py",
    ),
    Mutant(
        "columns of a tied head that stand alone",
        "attacks/gradient/tied.py",
        "_alone",
        "any_energy < any_share * any_explained",
        "any_energy < np.inf",
        "tests/attacks/test_tied.py",
    ),
)

_OF_SPEECH = (
    Mutant(
        "matching: a dropped entry may be anything that small",
        "asr/matching/observed.py",
        "Observed.rest",
        "any_apart - np.clip(any_apart, *any_limits)",
        "any_apart",
        "tests/asr/test_matching.py",
    ),
    Mutant(
        "matching: signs are no proof",
        "asr/matching/search.py",
        "Search._verdict",
        "if any_residual <= any_tolerance and any(any_one.signs for any_one in any_targets): ...",
        "if False: ...",
        "tests/asr/test_matching_keras.py",
    ),
    Mutant(
        "replay: the nearest position goes on, and not any",
        "asr/replay/beam.py",
        "_assign",
        "np.log(np.clip(any_errors, any_least, any_most))",
        "np.zeros_like(any_errors) - 1e9",
        _REPLAY,
    ),
    Mutant(
        "replay: a position that is nearly as near is not certain",
        "asr/replay/beam.py",
        "Path.certain",
        "any_other >= any_factor * max(any_error, any_least)",
        "any_other >= 0.0 * max(any_error, any_least)",
        _REPLAY,
    ),
    Mutant(
        "replay: nothing is followed that is not near",
        "asr/replay/beam.py",
        "",
        "_NEAR = any_share",
        "_NEAR = 1e9",
        _REPLAY,
    ),
    Mutant(
        "utterances that do not end alike prove nothing",
        "asr/ordering/attack.py",
        "_ordered",
        "any_alike = len({any_labels[any_p] for any_p in any_ends}) == 1",
        "any_alike = True",
        _ORDERING,
    ),
    Mutant(
        "states that drowned in noise are no ends",
        "asr/ordering/links.py",
        "find_links",
        "any_fits and not _drowned(*any_arguments)",
        "any_fits",
        _ORDERING,
    ),
    Mutant(
        "the gap that a proof of order asks for",
        "asr/ordering/attack.py",
        "_ordered",
        "any_links.clear and any_alike and _stands_out(*any_arguments)",
        "any_links.clear",
        _ORDERING,
    ),
    Mutant(
        "transcripts: a penalty that stays in the cell's gradient",
        "asr/ordering/recurrence.py",
        "_blocks",
        "any_block -= any_penalty[any_rows, : any_columns]",
        "pass",
        _ORDERING,
    ),
    Mutant(
        "transcripts: the state of the step before",
        "asr/ordering/links.py",
        "_test",
        "any_cost[any_ends] = np.inf",
        "any_cost = any_cost.T.copy()",
        _ORDERING,
    ),
    Mutant(
        "transcripts: proof without a look at other orders",
        "asr/ordering/paths.py",
        "cover",
        "not any_search.gave_up and len(any_readings) == 1",
        "True",
        _PATHS,
    ),
    Mutant(
        "transcripts: links on alternating cycles are not certain",
        "asr/ordering/paths.py",
        "cover",
        "np.bincount(any_component)[any_component] == 1",
        "np.bincount(any_component)[any_component] >= 1",
        _PATHS,
    ),
    Mutant(
        "transcripts: a guess in which ends are guessed is no proof",
        "asr/ordering/links.py",
        "find_ends",
        "return any_ends, bool(any_jump > any_gap)",
        "return any_ends, True",
        _ORDERING,
    ),
    Mutant(
        "transcripts: one claim stands for one transcript",
        "asr/scoring/transcripts.py",
        "TranscriptScorer.recovered",
        "np.count_nonzero(any_rates[any_rows, any_columns] <= any_limit)",
        "np.count_nonzero((any_rates <= any_limit).any(axis=1))",
        "tests/test_transcripts.py",
    ),
    Mutant(
        "failed attacks in the report over utterances",
        "asr/scoring/utterances.py",
        "bag_report",
        "any_right / len(any_claimed) if any_claimed else 0.0",
        "any_right / len(any_claimed) if any_claimed else 1.0",
        "tests/asr/test_report.py",
    ),
    Mutant(
        "words: terms that an attack forms by accident",
        "asr/scoring/words.py",
        "WordScorer.found",
        "any_share**any_number < CHANCE",
        "True",
        "tests/test_words.py",
    ),
    Mutant(
        "words: terms not said count against the attack",
        "asr/scoring/words.py",
        "WordScorer.found",
        'any_figures["words_recovered"] - any_wrong',
        'any_figures["words_recovered"]',
        "tests/test_words.py",
    ),
)

_OF_AUDITS = (
    Mutant(
        "labels in messages",
        "auditing/explanation.py",
        "raise_for",
        "any_show = active_scope().settings.show_labels",
        "any_show = True",
        "tests/test_auditing.py tests/plugin/test_redaction.py",
    ),
    Mutant(
        "inconclusive is never a pass",
        "auditing/explanation.py",
        "raise_for",
        "if any_result.outcome != HELD: ...",
        "if False: ...",
        "tests/test_auditing.py",
    ),
    Mutant(
        "one undecided attack spoils a pass",
        "auditing/outcome.py",
        "outcome_of",
        "if undecided: ...",
        "if False: ...",
        _VERDICT,
    ),
    Mutant(
        "words: a sensitive term is a leak whatever the average",
        "auditing/questions/words.py",
        "sensitive_outcome",
        "if exposed: ...",
        "if exposed and outcome == LEAKED: ...",
        "tests/test_words.py",
    ),
    Mutant(
        "words: a list that tested nothing",
        "auditing/questions/words.py",
        "sensitive_outcome",
        "if any_must_occur and not any_present: ...",
        "if False: ...",
        "tests/test_words.py",
    ),
    Mutant(
        "words: a defence is not credited for terms that nobody can form",
        "auditing/questions/words.py",
        "sensitive_outcome",
        "if missed: ...",
        "if False: ...",
        "tests/test_words.py",
    ),
    Mutant(
        "words: text in messages",
        "auditing/measure.py",
        "run_audit",
        "any_scope.deals_in_words |= any_vocabulary is not None",
        "pass",
        "tests/plugin/test_words_run.py",
    ),
    Mutant(
        "the positive control",
        "auditing/decision.py",
        "decide",
        "if any_control is not None and any_outcome == HELD and not any_alone: ...",
        "if False: ...",
        "tests/test_auditing.py",
    ),
    Mutant(
        "the baseline comparison",
        "auditing/measure.py",
        "run_audit",
        "any_settings.threshold if any_recorded is None else any_recorded",
        "any_settings.threshold if any_recorded is None else 1.0",
        "tests/plugin/test_baseline_run.py",
    ),
    Mutant(
        "the false-positive rate in the advantage",
        "auditing/scoring/labels.py",
        "score",
        "any_hits - any_false_alarms if any_absent else 0.0",
        "any_hits if any_absent else 0.0",
        _VERDICT,
    ),
    Mutant(
        "the upper bound: every attack's",
        "auditing/outcome.py",
        "within_bound",
        "any_bound = max(1.0 if any_v.upper_bound is None else any_v.upper_bound for any_v in any_verdicts)",
        "any_bound = best.upper_bound",
        _VERDICT,
    ),
    Mutant(
        "the upper bound: its coverage",
        "auditing/confidence.py",
        "_log_capital",
        "any_capital - math.log(len(any_bets))",
        "any_capital",
        _VERDICT,
    ),
    Mutant(
        "confidence where the baseline is within the threshold",
        "auditing/outcome.py",
        "within_bound",
        "any_confidence is None or any_limit > any_threshold",
        "any_confidence is None or any_limit != any_threshold",
        _VERDICT,
    ),
    Mutant(
        "positions: distinct labels instead",
        "auditing/scoring/labels.py",
        "score",
        "float(any_recovery.positions == any_truth.labels.size)",
        "float(any_recovery.positions == present.size)",
        _VERDICT,
    ),
    Mutant(
        "positions: no claim is not read",
        "auditing/pooling.py",
        "_mean_of_claims",
        "[any_figure or 0.0 for any_figure in any_figures]",
        "[any_figure for any_figure in any_figures if any_figure is not None]",
        _VERDICT,
    ),
    Mutant(
        "counts: the correction for chance",
        "auditing/scoring/counts.py",
        "counts_advantage",
        "chance_accuracy(*any_arguments)",
        "0.0",
        _VERDICT,
    ),
    Mutant(
        "counts: the figure that is compared",
        "auditing/outcome.py",
        "outcome_of",
        "figure_of(any_best, samples=any_samples) > any_limit",
        "any_best.advantage > any_limit",
        _VERDICT,
    ),
    Mutant(
        "counts: too many positions",
        "auditing/scoring/counts.py",
        "count_accuracy",
        "max(any_claimed.sum(), any_true.sum())",
        "any_true.sum()",
        "tests/test_counting.py",
    ),
    Mutant(
        "samples: a pass without a control that takes the batch apart",
        "auditing/questions/controlled.py",
        "solving_outcome",
        "if any_before != LEAKED: ...",
        "if False: ...",
        "tests/test_samples.py",
    ),
    Mutant(
        "transcripts: the positive control",
        "auditing/questions/controlled.py",
        "solving_outcome",
        "if any_before != LEAKED: ...",
        "if False: ...",
        "tests/test_transcripts.py",
    ),
    Mutant(
        "transcripts: running out of time is no pass",
        "auditing/scoring/labels.py",
        "score_transcripts",
        'if any_share < 1.0 and any_recovery.details.get("finished") is False: ...',
        "if False: ...",
        "tests/test_transcripts.py",
    ),
    Mutant(
        "samples: one too many is as wrong as one too few",
        "auditing/scoring/samples.py",
        "isolation_figures",
        "count_accuracy(any_found, any_true)",
        "float(np.minimum(any_found, any_true).sum() / labels.size)",
        "tests/test_samples.py",
    ),
    Mutant(
        "samples: the figure that decides",
        "auditing/outcome.py",
        "figure_of",
        "(any_verdict.samples_isolated or 0.0) if any_samples else any_verdict.figure",
        "any_verdict.figure",
        "tests/test_samples.py",
    ),
    Mutant(
        "leaving attacks out: samples that are asked for",
        "auditing/portfolio.py",
        "everything_read",
        '("samples_isolated", "features_exposed") if any_samples else ("advantage",)',
        '("advantage",)',
        _PORTFOLIO,
    ),
    Mutant(
        "leaving attacks out: where everything is tolerated",
        "auditing/portfolio.py",
        "everything_read.holds",
        "any_limit < 1.0 and any_read",
        "any_read",
        _PORTFOLIO,
    ),
    Mutant(
        "leaving attacks out: findings besides the advantage",
        "auditing/portfolio.py",
        "everything_read.holds",
        '[*any_decisive, "positions_exact", *any_counts]',
        "[*any_decisive]",
        _PORTFOLIO,
    ),
    Mutant(
        "leaving attacks out: in measurements",
        "auditing/measure.py",
        "run_audit",
        'any_asserted and any_settings.attacks == ("auto",)',
        'any_settings.attacks == ("auto",)',
        _PORTFOLIO,
    ),
    Mutant(
        "leaving attacks out: batches that were let go",
        "auditing/portfolio.py",
        "PortfolioRun.add",
        "while not self._is_complete(): ...",
        "pass",
        _PORTFOLIO,
    ),
    Mutant(
        "leaving attacks out: not run is neither way",
        "auditing/outcome.py",
        "outcome_of",
        "[any_v for any_v in any_verdicts if any_v.status != Status.NOT_RUN]",
        "list(any_verdicts)",
        f"{_PORTFOLIO} {_VERDICT}",
    ),
)

_OF_THE_PLUGIN = (
    Mutant(
        "redaction of arguments and locals",
        "plugin/hooks.py",
        "pytest_runtest_makereport",
        "any_report.longrepr = any_state.hide(render(*any_arguments, **any_options))",
        "pass",
        "tests/plugin/test_redaction.py",
    ),
    Mutant(
        "words: terms in the source of a failing test",
        "plugin/running_test.py",
        "ItemState.hide",
        "return hide_terms(any_longrepr, any_terms)",
        "return any_longrepr",
        "tests/plugin/test_words_run.py",
    ),
    Mutant(
        "a gate in which no audit ran",
        "plugin/session.py",
        "LabelLeakSession.pytest_sessionfinish",
        'if not any_report["audits"] and not any_setup_only: ...',
        "if False: ...",
        "tests/plugin/test_gate.py",
    ),
)

_OF_CAPTURE = (
    Mutant(
        "positions that the loss ignores",
        "capture/keras/truth.py",
        "truth_of",
        "any_keep = any_keep & any_known.reshape(any_positions)",
        "pass",
        "tests/capture/test_keras_sequences.py",
    ),
    Mutant(
        "the orientation of a tied kernel",
        "capture/keras/head/product.py",
        "product_of",
        "1 - any_last if any_turned else any_last",
        "any_last",
        "tests/capture/test_keras_sequences.py",
    ),
)

MUTANTS = (*_OF_ATTACKS, *_OF_SPEECH, *_OF_AUDITS, *_OF_THE_PLUGIN, *_OF_CAPTURE)
