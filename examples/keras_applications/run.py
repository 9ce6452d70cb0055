"""Recover the labels of training batches from the gradients of any ``keras.applications`` network.

The first experiment of Dang et al., "Revealing and Protecting Labels in Distributed Training" (NeurIPS
2021), as one command. The attacks see one gradient per batch, and neither the labels nor the size of the batch.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# The libraries read both variables when they load. numpy's idle threads spin, and slow down those of the framework.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from arguments import ArgumentError, Options, parse_arguments, parse_defence

__all__ = ["main", "run", "write_json"]


def run(options: Options, *, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Run the experiment.

    Parameters
    ----------
    options : Options
        The command line.
    report : callable, default print
        Receives lines of text, without labels.

    Returns
    -------
    dict
        Contents of the JSON file; they include labels.

    Raises
    ------
    ArgumentError
        For options that do not fit the network or the images.
    """
    # The import stands here and not at the top: it takes seconds, and wrong arguments are answered without it.
    import keras
    from images import make_batches
    from networks import build_network

    from pytest_labelleak import Truth, capture_update
    from pytest_labelleak import attacks as attacks_
    from pytest_labelleak.attacks.gradient.reading import Reading
    from pytest_labelleak.auditing.questions.labels import Labels
    from pytest_labelleak.auditing.questions.pooling import pool

    portfolio = attacks_.resolve(options.attacks)
    defence = parse_defence(options.defence)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.dtype_policy)
    try:
        model, preprocess = build_network(
            options.model, weights=options.weights, image_size=options.image_size, seed=options.seed
        )
    finally:
        keras.config.set_dtype_policy(previous)
    classes, side = int(model.output_shape[-1]), int(model.input_shape[1])
    source, batches = make_batches(options, side, classes, preprocess)
    report(f"{options.model}, weights {options.weights}, {options.dtype_policy}, {keras.backend.backend()}; {source}")
    report(
        f"{options.num_batches} batch(es) of {options.batch_size}, training={options.training}, "
        f"defence: {defence.name if defence else 'none'}"
    )
    rows, verdicts = [], []
    for index, (images, labels) in enumerate(batches):
        shared = capture_update(model, (images, labels), training=options.training)
        if defence is not None:
            shared = defence(shared, rng=np.random.default_rng([options.seed, index, *b"defence"]))
        truth = Truth(labels=labels, classes=classes)
        reading = Reading(shared)
        recoveries = [attacks_.run(member, reading, seed=options.seed, batch=index) for member in portfolio]
        verdicts.append([Labels().score(recovery, truth) for recovery in recoveries])
        rows.append(
            {
                "true": [int(c) for c in truth.present],
                "attacks": {
                    recovery.attack: {
                        "status": recovery.status,
                        "message": recovery.message,
                        "recovered": [int(c) for c in recovery.labels],
                        "exact": verdict.exact_match == 1.0,
                    }
                    for recovery, verdict in zip(recoveries, verdicts[-1], strict=True)
                },
            }
        )
        exact = [name for name, one in rows[-1]["attacks"].items() if one["exact"]]
        report(f"  batch {index + 1}: {len(truth.present)} labels; exactly recovered by {', '.join(exact) or 'none'}")
    # Every batch counts, also those for which an attack named nothing: leaving them out would flatter the attack
    # exactly where a defence works.
    records = [pool(Labels(), column).to_record() for column in zip(*verdicts, strict=True)]
    pooled = [{**{k: v for k, v in one.items() if k != "statistics"}, **one["statistics"]} for one in records]
    report(f"{'attack':<12} {'precision':>9} {'recall':>7} {'F1':>6} {'exact match':>12} {'advantage':>10}")
    for one in pooled:
        line = f"{one['attack']:<12} {one['precision']:>9.3f} {one['recall']:>7.3f} {one['f1']:>6.3f}"
        note = "" if one["status"] == "recovered" else f"  {one['status']}"
        report(f"{line} {one['exact_match']:>12.3f} {one['advantage']:>10.3f}{note}")
    return {
        "format": "pytest-labelleak-keras-applications",
        "version": 1,
        "options": asdict(options),
        "backend": keras.backend.backend(),
        "classes": classes,
        "pooled": pooled,
        "batches": rows,
    }


def write_json(result: dict[str, Any], path: str) -> None:
    """Write `result` to `path`, whole or not at all.

    Parameters
    ----------
    result : dict
        Data of JSON types.
    path : str
        The file.

    Raises
    ------
    ArgumentError
        If it cannot be written.
    """
    target = Path(path)
    scratch = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=target.parent, suffix=".tmp", delete=False, encoding="utf-8") as file:
            scratch = file.name
            json.dump(result, file, indent=1)
            file.write("\n")
        os.replace(scratch, target)
    except OSError as error:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)
        raise ArgumentError(f"--output {path!r} cannot be written: {error.strerror}.") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; default is the process's own.

    Returns
    -------
    int
        Exit status: 0, or 2 for an argument that cannot be used.
    """
    from pytest_labelleak import InvalidArgumentError, UnknownNameError, UnsupportedModelError

    try:
        options = parse_arguments(arguments)
        result = run(options)
        if options.output is not None:
            write_json(result, options.output)
            print(f"wrote {options.output}: it holds the labels of every batch, by design; treat it like the data")
    except (ArgumentError, InvalidArgumentError, UnknownNameError, UnsupportedModelError) as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
