"""Break the rules that make the gate trustworthy, one at a time, and see that a test notices."""

from __future__ import annotations

import argparse
import contextlib
import random
import sys

from .generic import changed, places_of, suite_for
from .named import MUTANTS
from .pattern import PlaceError, replaced
from .running import ROOT, copied

PACKAGE = ROOT / "pytest_labelleak"


def main(arguments: list[str] | None = None) -> int:
    """Run the mutants that were asked for; return 1 if one survives, or if too few of a sample are noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants with one of these words in their name or module")
    parser.add_argument("--check", action="store_true", help="only find the places; run no test")
    parser.add_argument("--sample", type=int, metavar="N", help="N generic mutants instead of the named ones")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--least", type=float, default=0.0, metavar="SHARE", help="fail if fewer of it are noticed")
    options = parser.parse_args(arguments)
    if options.sample is not None:
        return run_sample(options)
    return run_named(options)


def run_named(options: argparse.Namespace) -> int:
    """Run the named mutants, after the places of all of them were found."""
    ready = []
    lost = []
    for mutant in MUTANTS:
        if options.words and not any(word in f"{mutant.what} {mutant.module}" for word in options.words):
            continue
        try:
            source = (PACKAGE / mutant.module).read_text("utf-8")
            ready.append((mutant, replaced(source, mutant.where, mutant.find, mutant.put)))
        except (PlaceError, OSError) as error:
            lost.append(f"{mutant.what}: {mutant.module}: {error}")
    for line in lost:
        print(f"LOST      {line}")
    if lost:
        print(
            f"{len(lost)} of {len(lost) + len(ready)} mutants have no place. Bring tests/mutants/named.py up to date."
        )
    if options.check or not ready:
        return 1 if lost or not ready else 0
    survivors = 0
    with copied() as copy:
        for mutant, source in ready:
            noticed = copy.notices(mutant.module, source, mutant.tests)
            survivors += not noticed
            told = "noticed " if noticed else "SURVIVED"
            print(f"{told}  {mutant.what}  ({mutant.module}; {mutant.tests})", flush=True)
    return 1 if survivors or lost else 0


def run_sample(options: argparse.Namespace) -> int:
    """Run a random sample of generic mutants."""
    places = places_of(PACKAGE)
    if options.words:
        places = [place for place in places if any(word in f"{place.kind} {place.module}" for word in options.words)]
    # The kinds differ in number by far: without a turn for each, a sample is one of comparisons and signs.
    order = random.Random(options.seed)
    order.shuffle(places)
    turn: dict[str, int] = {}
    ranked = []
    for index, place in enumerate(places):
        turn[place.kind] = turn.get(place.kind, 0) + 1
        ranked.append((turn[place.kind], index, place))
    chosen = [place for _, _, place in sorted(ranked, key=lambda row: row[:2])[: options.sample]]
    noticed = 0
    with contextlib.nullcontext() if options.check else copied() as copy:
        for place in chosen:
            source, before, after = changed((PACKAGE / place.module).read_text("utf-8"), place)
            found = copy is not None and copy.notices(place.module, source, suite_for(place.module) or "")
            noticed += found
            told = "place   " if copy is None else "noticed " if found else "SURVIVED"
            print(f"{told}  {place.module}:{place.line}  {place.kind}: {before}  ->  {after}", flush=True)
    if options.check:
        return 0
    print(f"{noticed} of {len(chosen)} noticed (seed {options.seed}, {len(places)} places)")
    return 1 if chosen and noticed / len(chosen) < options.least else 0


if __name__ == "__main__":
    sys.exit(main())
