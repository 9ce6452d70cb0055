"""Break the rules that make the gate trustworthy, one at a time, and see that a test notices.

Run ``make mutants``. Each mutant is one replaced line in a copy of the package; the named tests must fail on
it and pass without it. Not collected by pytest: it runs pytest. Words as arguments choose mutants by what is broken,
or where.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

# What is broken, file, line as it is, line as it is not, tests that must fail.
MUTANTS = (
    (
        "the sign in RLG",
        "attacks/rlg/separation.py",
        "self._record(column, -separating / length, self.margin[column])",
        "self._record(column, separating / length, self.margin[column])",
        "tests/attacks/test_rlg.py",
    ),
    (
        "the side of the cone in RLG",
        "attacks/rlg/separation.py",
        "np.append(self.points[:, column], 0.0),",
        "np.append(-self.points[:, column], 0.0),",
        "tests/attacks/test_rlg.py",
    ),
    (
        "the tilt by noise",
        "attacks/rlg/separation.py",
        "np.maximum(deviations * noise, _ROUNDING)",
        "np.maximum(1e-9 * noise, _ROUNDING)",
        "tests/attacks/test_rlg.py",
    ),
    (
        "the rank rule: a fixed tolerance instead of the noise",
        "attacks/gradient/subspace.py",
        "    positions, rank, exact = chosen or (0, 0, False)",
        "    positions = rank = int(np.count_nonzero(values > 1e-3 * values[0])); exact = True",
        "tests/attacks/test_rlg.py",
    ),
    (
        "the rank rule: what rounding explains",
        "attacks/gradient/rank.py",
        "        exact = float(beyond[rank]) <= rules.rounding_only * rounding * np.sqrt(rows * columns)",
        "        exact = rank == 1",
        "tests/attacks/test_rlg.py",
    ),
    (
        "the sign of duals in RLG",
        "attacks/rlg/separation.py",
        "self._record(int(basis.columns[k]), -basis.duals[k] / lengths[k], margin)",
        "self._record(int(basis.columns[k]), basis.duals[k] / lengths[k], margin)",
        "tests/attacks/test_rlg.py",
    ),
    (
        "what a closing brings in of a repeated column itself",
        "attacks/rlg/elimination.py",
        "own[extra] = times[extra] * weights[swap.positions]",
        "own[extra] = 0.0",
        "tests/attacks/test_rlg.py",
    ),
    (
        "the rounding of weights in their differences",
        "attacks/gradient/subspace.py",
        "    of_weights = _rounding_of_weights(update, operator)",
        "    of_weights = 0.0",
        "tests/attacks/test_rlg.py",
    ),
    (
        "reading the spectrum without scales where noise was added",
        "attacks/gradient/subspace.py",
        "    operator = ScaledGradient(update, equilibrate=False)",
        "    return found",
        "tests/attacks/test_rlg.py",
    ),
    (
        "directions that do not balance",
        "attacks/rlg/attack.py",
        "            if verified[column] > rules.separation.separated and column in balanced",
        "            if verified[column] > rules.separation.separated",
        "tests/attacks/test_rlg.py",
    ),
    (
        "copies of samples found before",
        "attacks/disaggregate/one_by_one.py",
        "            known = any(one.copies(other) for other in self.samples)",
        "            known = False",
        "tests/attacks/test_disaggregate.py",
    ),
    (
        "giving up samples that are in the way",
        "attacks/disaggregate/one_by_one.py",
        "                found = self._jointly() or self._reopened(rng)",
        "                found = self._jointly()",
        "tests/attacks/test_disaggregate.py",
    ),
    (
        "polishing what is no sample yet for longer",
        "attacks/disaggregate/one_by_one.py",
        "        most = _POLISHING if found.residual <= self._tolerance else self._effort.iterations",
        "        most = _POLISHING",
        "tests/attacks/test_disaggregate.py",
    ),
    (
        "what earlier rounds leave behind in late finds",
        "attacks/disaggregate/one_by_one.py",
        "        return self._accepted(self._polished(found))",
        "        return self._accepted(found)",
        "tests/attacks/test_disaggregate.py",
    ),
    (
        "a joint solution of half the samples",
        "attacks/disaggregate/one_by_one.py",
        "self.left / 2 if most",
        "self.left if most",
        "tests/attacks/test_disaggregate.py",
    ),
    (
        "matching: what was dropped may be anything that small",
        "asr/matching/observed.py",
        "        outside: np.ndarray = apart - np.clip(apart, -np.asarray(self.width), self.width)",
        "        outside: np.ndarray = apart",
        "tests/asr/test_matching.py",
    ),
    (
        "matching: signs are no proof",
        "asr/matching/search.py",
        "        if state.best_residual <= settings.tolerance and any(one.signs for one in problem.distance.targets):",
        "        if False:",
        "tests/asr/test_matching_keras.py",
    ),
    (
        "replay: the nearest position goes on, and not any",
        "asr/replay/beam.py",
        "    heights = np.log(np.clip(errors, _ROUNDING, 1.0 / _ROUNDING))",
        "    heights = np.zeros_like(errors) - 1e9",
        "tests/asr/test_replay.py",
    ),
    (
        "replay: what is nearly as near is not certain",
        "asr/replay/beam.py",
        "            other >= _CERTAIN * max(error, _ROUNDING)",
        "            other >= 0.0 * max(error, _ROUNDING)",
        "tests/asr/test_replay.py",
    ),
    (
        "replay: nothing is followed beyond what is near",
        "asr/replay/beam.py",
        "_NEAR = 0.2",
        "_NEAR = 1e9",
        "tests/asr/test_replay.py",
    ),
    (
        "utterances that do not end alike prove nothing",
        "asr/ordering/attack.py",
        "    alike = len({labels[p] for p in np.flatnonzero(links.ends)}) == 1",
        "    alike = True",
        "tests/asr/test_ordering.py",
    ),
    (
        "states that drowned in noise are no ends",
        "asr/ordering/links.py",
        "            if alone.fits(context) and not _drowned(factor, units):",
        "            if alone.fits(context):",
        "tests/asr/test_ordering.py",
    ),
    (
        "the gap that a proof of order asks for",
        "asr/ordering/attack.py",
        "(links.clear and alike and _stands_out(found, links.cost))",
        "links.clear",
        "tests/asr/test_ordering.py",
    ),
    (
        "the equilibration before the rank",
        "attacks/gradient/range_finder.py",
        "        self.rows = np.flatnonzero(self.row_scale)",
        "        self.rows = np.flatnonzero(self.row_scale); self.column_scale[:] = self.row_scale[:] = 1.0",
        "tests/attacks/test_rlg.py",
    ),
    (
        "the sign of the bias",
        "attacks/rules/bias_sign.py",
        "np.flatnonzero(bias < -bound)",
        "np.flatnonzero(bias > bound)",
        "tests/attacks/test_rules.py",
    ),
    (
        "redaction of arguments and locals",
        "plugin/hooks.py",
        "            report.longrepr = state.hide(render(item, call.excinfo, clean=clean, words=words))",
        "            pass",
        "tests/plugin/test_redaction.py",
    ),
    (
        "labels in messages",
        "auditing/explanation.py",
        "show_labels = active_scope().settings.show_labels",
        "show_labels = True",
        "tests/test_auditing.py tests/plugin/test_redaction.py",
    ),
    (
        "inconclusive is never a pass",
        "auditing/explanation.py",
        "    if result.outcome != HELD:",
        "    if False:",
        "tests/test_auditing.py",
    ),
    (
        "one undecided attack spoils a pass",
        "auditing/outcome.py",
        "    if undecided:",
        "    if False:",
        "tests/test_verdict.py",
    ),
    (
        "words: a sensitive term is a leak whatever the average",
        "auditing/questions/words.py",
        "    if exposed:",
        "    if exposed and outcome == LEAKED:",
        "tests/test_words.py",
    ),
    (
        "words: a list that tested nothing",
        "auditing/questions/words.py",
        "    if must_occur and not present:",
        "    if False:",
        "tests/test_words.py",
    ),
    (
        "words: a defence is not credited for terms that nobody can form",
        "auditing/questions/words.py",
        "    if missed:",
        "    if False:",
        "tests/test_words.py",
    ),
    (
        "words: terms that an attack forms by accident",
        "asr/scoring/words.py",
        "named**number < CHANCE",
        "True",
        "tests/test_words.py",
    ),
    (
        "words: those not said count against the attack",
        "asr/scoring/words.py",
        'figures["words_recovered"] - wrong',
        'figures["words_recovered"]',
        "tests/test_words.py",
    ),
    (
        "words: terms in the source of a failing test",
        "plugin/running_test.py",
        "        return hide_terms(longrepr, self.scope.private_terms)",
        "        return longrepr",
        "tests/plugin/test_words_run.py",
    ),
    (
        "words: text in messages",
        "auditing/measure.py",
        "    scope.deals_in_words |= vocabulary is not None",
        "    pass",
        "tests/plugin/test_words_run.py",
    ),
    (
        "the positive control",
        "auditing/decision.py",
        "    if control is not None and outcome == HELD and not terms_alone:",
        "    if False:",
        "tests/test_auditing.py",
    ),
    (
        "the baseline comparison",
        "auditing/measure.py",
        "    limit = settings.threshold if recorded is None else recorded",
        "    limit = settings.threshold if recorded is None else 1.0",
        "tests/plugin/test_baseline_run.py",
    ),
    (
        "the false-positive rate in the advantage",
        "auditing/scoring/labels.py",
        "        advantage=tpr - fpr if absent else 0.0,",
        "        advantage=tpr if absent else 0.0,",
        "tests/test_verdict.py",
    ),
    (
        "the upper bound: every attack's",
        "auditing/outcome.py",
        "    bound = max(1.0 if v.upper_bound is None else v.upper_bound for v in verdicts)",
        "    bound = best.upper_bound",
        "tests/test_verdict.py",
    ),
    (
        "the upper bound: its coverage",
        "auditing/confidence.py",
        "    return float(np.logaddexp.reduce(log_growth)) - math.log(len(_BETS))",
        "    return float(np.logaddexp.reduce(log_growth))",
        "tests/test_verdict.py",
    ),
    (
        "confidence where the baseline is within the threshold",
        "auditing/outcome.py",
        "    if confidence is None or limit > threshold:",
        "    if confidence is None or limit != threshold:",
        "tests/test_verdict.py",
    ),
    (
        "positions: distinct labels instead",
        "auditing/scoring/labels.py",
        "float(recovery.positions == truth.labels.size)",
        "float(recovery.positions == present.size)",
        "tests/test_verdict.py",
    ),
    (
        "positions: no claim is not read",
        "auditing/pooling.py",
        "    return float(np.mean([figure or 0.0 for figure in figures]))",
        "    return float(np.mean([figure for figure in figures if figure is not None]))",
        "tests/test_verdict.py",
    ),
    (
        "counts: the correction for chance",
        "auditing/scoring/counts.py",
        "    chance = chance_accuracy(true)",
        "    chance = 0.0",
        "tests/test_verdict.py",
    ),
    (
        "counts: what is compared",
        "auditing/outcome.py",
        "    if best is not None and figure_of(best, samples=samples) > limit + 1e-9:",
        "    if best is not None and best.advantage > limit + 1e-9:",
        "tests/test_verdict.py",
    ),
    (
        "counts: too many positions",
        "auditing/scoring/counts.py",
        "max(claimed.sum(), true.sum())",
        "true.sum()",
        "tests/test_counting.py",
    ),
    (
        "samples: a pass without a control that takes the batch apart",
        "auditing/questions/controlled.py",
        "    if before != LEAKED:",
        "    if False:",
        "tests/test_samples.py",
    ),
    (
        "samples: one too many is as wrong as one too few",
        "auditing/scoring/samples.py",
        "count_accuracy(np.bincount(found, minlength=classes), true)",
        "float(np.minimum(np.bincount(found, minlength=classes), true).sum() / labels.size)",
        "tests/test_samples.py",
    ),
    (
        "samples: the figure that decides",
        "auditing/outcome.py",
        "    return (verdict.samples_isolated or 0.0) if samples else verdict.figure",
        "    return verdict.figure",
        "tests/test_samples.py",
    ),
    (
        "leaving attacks out: samples that are asked for",
        "auditing/portfolio.py",
        '    decisive = ("samples_isolated", "features_exposed") if samples else ("advantage",)',
        '    decisive = ("advantage",)',
        "tests/test_portfolio.py",
    ),
    (
        "leaving attacks out: where everything is tolerated",
        "auditing/portfolio.py",
        "        return limit + 1e-9 < 1.0 and all(",
        "        return all(",
        "tests/test_portfolio.py",
    ),
    (
        "leaving attacks out: findings besides the advantage",
        "auditing/portfolio.py",
        '        figures = [*decisive, "positions_exact", *(["counts_exact"] if counts else [])]',
        "        figures = [*decisive]",
        "tests/test_portfolio.py",
    ),
    (
        "leaving attacks out: in measurements",
        "auditing/measure.py",
        '    thrifty = asserted and settings.attacks == ("auto",)',
        '    thrifty = settings.attacks == ("auto",)',
        "tests/test_portfolio.py",
    ),
    (
        "leaving attacks out: batches that were let go",
        "auditing/portfolio.py",
        "            while not self._is_complete():\n                self._run_next()",
        "            pass",
        "tests/test_portfolio.py",
    ),
    (
        "leaving attacks out: not run is neither way",
        "auditing/outcome.py",
        "    verdicts = [verdict for verdict in verdicts if verdict.status != NOT_RUN]",
        "    verdicts = list(verdicts)",
        "tests/test_portfolio.py tests/test_verdict.py",
    ),
    (
        "a gate in which no audit ran",
        "plugin/session.py",
        '            if not report["audits"] and not self._config.getoption("setuponly", False):',
        "            if False:",
        "tests/plugin/test_gate.py",
    ),
    (
        "the sum of the columns that a tied head hides",
        "attacks/gradient/tied.py",
        "[columns, -columns.sum(axis=-1, keepdims=True)]",
        "[columns, columns.sum(axis=-1, keepdims=True)]",
        "tests/attacks/test_tied.py",
    ),
    (
        "which columns of a tied head stand alone",
        "attacks/gradient/tied.py",
        "(energy < rules.noise_energy * explained)",
        "(energy < np.inf)",
        "tests/attacks/test_tied.py",
    ),
    (
        "positions that the loss ignores",
        "capture/keras/truth.py",
        "    keep = keep & known.reshape(positions)",
        "    pass",
        "tests/capture/test_keras_sequences.py",
    ),
    (
        "the orientation of a tied kernel",
        "capture/keras/head/product.py",
        "axis = 1 - last if turned else last",
        "axis = last",
        "tests/capture/test_keras_sequences.py",
    ),
    (
        "transcripts: a penalty that stays in the cell's gradient",
        "asr/ordering/recurrence.py",
        "                block -= penalty[chosen, : cell.columns]",
        "                pass",
        "tests/asr/test_ordering.py",
    ),
    (
        "transcripts: the state of the step before",
        "asr/ordering/links.py",
        "    cost[ends] = np.inf",
        "    cost = cost.T.copy()",
        "tests/asr/test_ordering.py",
    ),
    (
        "transcripts: proof without a look at other orders",
        "asr/ordering/paths.py",
        "        unique=not search.gave_up and len(readings) == 1,",
        "        unique=True,",
        "tests/asr/test_paths.py",
    ),
    (
        "transcripts: links on alternating cycles are not certain",
        "asr/ordering/paths.py",
        "    alone = np.bincount(component)[component] == 1",
        "    alone = np.bincount(component)[component] >= 1",
        "tests/asr/test_paths.py",
    ),
    (
        "transcripts: a guess in which ends are guessed is no proof",
        "asr/ordering/links.py",
        "    return ends, bool(jumps[number - 1] > _GAP)",
        "    return ends, True",
        "tests/asr/test_ordering.py",
    ),
    (
        "transcripts: running out of time is no pass",
        "auditing/scoring/labels.py",
        '    if share < 1.0 and recovery.details.get("finished") is False:',
        "    if False:",
        "tests/test_transcripts.py",
    ),
    (
        "transcripts: the positive control",
        "auditing/questions/controlled.py",
        "    if before != LEAKED:",
        "    if False:",
        "tests/test_transcripts.py",
    ),
    (
        "transcripts: one claim stands for one transcript",
        "asr/scoring/transcripts.py",
        "        return float(np.count_nonzero(rates[rows, columns] <= self.limit + 1e-12) / len(said))",
        "        return float(np.count_nonzero((rates <= self.limit + 1e-12).any(axis=1)) / len(said))",
        "tests/test_transcripts.py",
    ),
    (
        "failed attacks in the report over utterances",
        "asr/scoring/utterances.py",
        "right / len(claimed) if claimed else 0.0",
        "right / len(claimed) if claimed else 1.0",
        "tests/asr/test_report.py",
    ),
)


def tests_pass(tree: Path, tests: str) -> bool:
    """Run `tests` on the copy of the project in `tree`."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"pytest ended with {done.returncode} on {tests}:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def main() -> int:
    """Run every mutant; return 1 if one of them survives."""
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(
            ROOT,
            tree,
            ignore=shutil.ignore_patterns(".venv*", ".git", ".cache", "*_cache", ".hypothesis", "__pycache__"),
        )
        for what, name, line, broken, tests in MUTANTS:
            if sys.argv[1:] and not any(word in f"{what} {name}" for word in sys.argv[1:]):
                continue
            path = tree / "pytest_labelleak" / name
            original = path.read_text(encoding="utf-8")
            if original.count(line) != 1:
                sys.exit(
                    f"{name} holds {original.count(line)} times: {line!r}. Expected once; bring mutants.py up to date."
                )
            path.write_text(original.replace(line, broken), encoding="utf-8")
            survived = tests_pass(tree, tests)
            path.write_text(original, encoding="utf-8")
            survivors += survived
            print(f"{'SURVIVED' if survived else 'noticed ':8}  {what}  ({name}; {tests})", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
