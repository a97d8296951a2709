"""Sixteen processes that plan and apply the same session at once, again and again.

`python -m tests.rivals HOME RECORDING ROUNDS` prints a JSON line per round: what each of them says became of the scan.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from adamacs import pipeline
from adamacs.core import settings as settings_module
from adamacs.core.settings import Settings
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest

RIVALS = 16


def main() -> None:
    """Copy the recording to the share under a new token, tell all of them, print what they did; as often as asked."""
    home, recording, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    settings = settings_module.load(home)
    context = multiprocessing.get_context("fork")  # nothing is connected yet, and no thread runs
    pipes = [context.Pipe() for _ in range(RIVALS)]
    for _, theirs in pipes:
        context.Process(target=rival, args=(settings, theirs), daemon=True).start()
    for number in range(rounds):
        place = settings.root("share") / "demo" / folder_of(number)
        shutil.copytree(recording, place)
        for ours, _ in pipes:
            ours.send(place)
        print(json.dumps([ours.recv() for ours, _ in pipes]), flush=True)


def folder_of(number: int) -> str:
    """Return the name of a recording folder with a token of its own."""
    return f"XX_ANM-0001_2026-02-10_scan{number:08}_sess{number:08}"


def rival(settings: Settings, orders: Connection) -> None:
    """Ingest the folders that one is told, each at once."""
    pipeline.connect(settings)
    while True:
        place = orders.recv()
        (outcome,) = apply_plan(plan_ingest([place], settings), settings)
        orders.send(f"{outcome.state} {outcome.reason}".strip())


if __name__ == "__main__":
    main()
