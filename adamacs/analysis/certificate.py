"""The sync certificate of a scan, to be demanded by an analysis.

>>> from adamacs.analysis.certificate import require_pass                            # doctest: +SKIP
>>> require_pass({"scan_id": "scan9FYMTPCA"}, ["two_photon_frames", "bpod_trials"])  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from adamacs import pipeline
from adamacs.analysis.events import one_scan
from adamacs.core.errors import InvalidKey, NotCertified, describe, nearest
from adamacs.core.modality import named

Key = Mapping[str, Any]

RENEW = "Delete it, and a worker makes it anew: (sync.Certificate & key).delete()."


def require_pass(
    key: Key, streams: Collection[str] | None = None, *, warn_ok: bool = True, compared: bool = False
) -> None:
    """Refuse a scan whose streams do not agree with each other; return where they do.

    Parameters
    ----------
    key
        Of one scan, such as `{"scan_id": ...}`.
    streams
        Those that the analysis uses, such as `two_photon_frames`; by default all.
    warn_ok
        Whether a stream that is warned of will do.
    compared
        Demand that something else tells of each stream, too: one that is told by one alone cannot fail.

    Raises
    ------
    NotCertified
        A stream is not fit, and why; or the certificate is missing, or older than what it stands on.
    InvalidKey
        No scan, or more than one, has this key; or it has no such stream.
    """
    scan = one_scan(key)
    demand(scan)
    found = {row["stream"]: row for row in (pipeline.sync.Certificate.Stream & scan).to_dicts(order_by="stream")}
    if old := outdated(scan):
        raise NotCertified(f"The sync certificate is outdated: {' '.join(old)}", scan, RENEW)
    for name in sorted(set(streams or ()) - set(found)):
        raise InvalidKey(f"Nobody tells of a stream {name!r}.", scan, nearest(name, list(found)))
    wanted = [found[name] for name in sorted(found if streams is None else set(streams))]
    admitted = ("pass", "warn") if warn_ok else ("pass",)
    unfit = [row for row in wanted if row["stream_verdict"] not in admitted or (compared and not row["is_compared"])]
    if unfit:
        said = " ".join(f"{row['stream']} ({row['stream_verdict']}): {row['stream_why']}" for row in unfit)
        hint = f"`adamacs sync {scan['scan_id']} --plot FILE` shows it."
        raise NotCertified(said, scan, hint, tuple(row["stream"] for row in unfit))


def outdated(key: Key) -> tuple[str, ...]:
    """Return in sentences what a certificate does not know: what was planned, placed or told since.

    Promises and placements that it stands on take it along where they go; what a modality told from a table of its own
    does not, so it is asked again.
    """
    sync = pipeline.sync
    if not sync.Certificate & key:
        return ()
    known = (*(sync.Certificate.Teller & key).to_arrays("teller"), *(sync.Certificate.Silent & key).to_arrays("teller"))
    tellers = set((sync.Teller & key).to_arrays("teller")) - set(known)
    clocks = set((sync.ClockSync & key).to_arrays("source")) - set((sync.Certificate.Clock & key).to_arrays("source"))
    said = [f"{teller} was not asked." for teller in sorted(tellers)]
    said += [f"The clock of {source} was placed since." for source in sorted(clocks)]
    said += [
        f"{teller} tells otherwise now." for teller in sorted(set(sync.TELLERS) - tellers) if _differs(key, teller)
    ]
    return tuple(said)


def _differs(key: Key, teller: str) -> bool:
    """Whether a teller that is no source of events would promise something else than is stored."""
    sync = pipeline.sync
    table, declared = sync.TELLERS[teller]
    stored = sync.Promise & key & {"teller": teller}
    if not stored:
        return False
    return not table & key or set(named(declared.promises)(dict(key))) != set(sync.promises_of(stored))


def demand(key: Key) -> dict[str, Any]:
    """Return the row of the certificate of a scan.

    Raises
    ------
    NotCertified
        There is none (yet).
    """
    found = (pipeline.sync.Certificate & key).to_dicts()
    if not found:
        why = f"`adamacs why sync.Certificate {describe({'scan_id': key['scan_id']})}` tells the reason."
        raise NotCertified("The scan has no sync certificate (yet).", key, why)
    row: dict[str, Any] = found[0]
    return row
