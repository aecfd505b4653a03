"""``python -m bench``: measure, print one table, and leave it in ``bench/results`` as Markdown and JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import List, Optional

from bench import measure, plan, processes, report
from bench.site import REPOSITORY, BenchmarkFailed, Subject, our_command

RESULTS = REPOSITORY / "bench" / "results"
SIZES = {"full": plan.FULL, "quick": plan.QUICK, "tiny": plan.TINY}


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parse(arguments)
    chosen: plan.Plan = SIZES[options.size]
    if options.repeats:
        chosen = replace(chosen, repeats=options.repeats)
    subjects = [Subject(report.OURS, our_command(options.python))]
    if not options.without_original:
        program = original_conmand()
        if not os.access(program, os.X_OK):
            sys.stderr.write(
                f"cannot run the original's daemon {program}: no such program; set CONMAN_ORIGINAL to the directory "
                "that holds its usr/sbin/conmand, or measure ours alone with --without-original\n"
            )
            return 1
        subjects.insert(0, Subject(report.ORIGINAL, (str(program),)))
    if not _enough_descriptors(processes.raise_descriptor_limit(), chosen):
        return 1
    samples: List[measure.Sample] = []
    try:
        for sample in measure.run(chosen, subjects, set(options.only or measure.NAMES), _progress):
            samples.append(sample)
    except BenchmarkFailed as error:
        sys.stderr.write(f"benchmark given up: {error}\n")
        return 1
    finally:
        if samples:
            _publish(samples, chosen, options.results)
    return 0


def original_conmand() -> Path:
    """Under ``$CONMAN_ORIGINAL``, else where ``make`` puts it."""
    directory = os.environ.get("CONMAN_ORIGINAL") or REPOSITORY / ".peers" / "conman-0.3.1"
    return Path(directory) / "usr" / "sbin" / "conmand"


def _parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="tiny only shows that it runs")
    parser.add_argument(
        "--quick", dest="size", action="store_const", const="quick", help="--size quick: a minute, rough figures"
    )
    parser.add_argument("--only", action="append", choices=measure.NAMES, help="measure this; may be repeated")
    parser.add_argument("--repeats", type=int, help="runs of each measurement")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for our daemon")
    parser.add_argument("--without-original", action="store_true", help="measure ours alone; there are no ratios then")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the table")
    return parser.parse_args(arguments)


def _enough_descriptors(limit: int, chosen: plan.Plan) -> bool:
    needed = 2 * max(chosen.sizes) + 100  # a daemon has a device and a log for each console
    if limit < needed:
        sys.stderr.write(f"{needed} descriptors are needed and {limit} allowed: raise the hard limit (ulimit -Hn)\n")
    return limit >= needed


def _progress(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def _publish(samples: List[measure.Sample], chosen: plan.Plan, directory: Path) -> None:
    table, conditions = report.lines(samples), report.conditions(chosen)
    sys.stdout.write(f"{conditions}\n\n{report.as_text(table)}")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "latest.md").write_text(f"{conditions}\n\n{report.as_markdown(table)}", encoding="utf-8")
    document = {
        "conditions": conditions,
        "plan": asdict(chosen),
        "table": [asdict(line) for line in table],
        "samples": [asdict(sample) for sample in samples],
    }
    (directory / "latest.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
