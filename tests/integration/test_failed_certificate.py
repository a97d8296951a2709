"""The page that explains a failed certificate shows sentences that recordings, damaged in that way, truly get."""

from __future__ import annotations

import re
from pathlib import Path

from adamacs import pipeline
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.workers import loop, roles
from tests import damaged
from tests.integration.test_events import lab  # noqa: F401 - a fixture

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "failed-certificate.md"


def test_every_sentence_of_the_page_is_said_of_a_recording_that_was_damaged_so(lab):  # noqa: F811
    written = damaged.write(lab.home)
    plan = plan_ingest([lab.settings.root("share")], lab.settings)
    assert {outcome.state for outcome in apply_plan(plan, lab.settings)} == {"written"}
    failed = loop.drain(roles.named("cpu")).failed
    page = PAGE.read_text(encoding="utf-8")
    explained = re.sub(r"[`…|]|\s+", " ", page)
    for scan_id, one in written.items():
        if "." in one.of:
            said = [failure for failure in failed if failure.startswith(one.of) and scan_id in failure]
        else:
            said = (pipeline.sync.Certificate.Stream & {"scan_id": scan_id, "stream": one.of}).to_arrays("stream_why")
        assert any(one.says in sentence for sentence in said), f"{scan_id}: {said}, not {one.says!r}"
        assert all(part in explained for part in sentences(one.says)), f"the page does not explain {one.says!r}"


def sentences(said: str) -> list[str]:
    """Return the sentences of a text; numbers hold points, too."""
    return re.split(r"(?<=\.) (?=[A-Z0-9l])", said)
