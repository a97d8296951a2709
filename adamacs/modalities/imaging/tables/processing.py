"""A run of the tool: with which parameters, what was asked for, and what came of it."""

from __future__ import annotations

from pathlib import Path

import datajoint as dj

from adamacs.core import devices, settings
from adamacs.core.errors import InvalidParameters, ProcessingFailed
from adamacs.modalities.imaging.tables._schema import schema
from adamacs.modalities.imaging.tables.results import require_fit, result_folder
from adamacs.modalities.imaging.tables.scan_info import ScanInfo, scan_of
from adamacs.schemas import scan as scan_schema
from adamacs.schemas.scan import Scan, ScanFile
from adamacs.schemas.session import ProjectSession
from adamacs.schemas.subject import Project
from adamacs.storage.failed import FailedAttempts


@schema
class ProcessingMethod(dj.Lookup):
    definition = """
    # A tool that turns movies into cells
    processing_method : varchar(16)
    ---
    processing_method_desc = '' : varchar(255)
    """
    contents = [{"processing_method": "suite2p", "processing_method_desc": "Suite2p: register, detect, extract"}]


@schema
class ProcessingParamSet(dj.Manual):
    definition = """
    # One way to run a tool of one version
    paramset_idx : int16
    ---
    -> ProcessingMethod
    tool_version   : varchar(16)  # another version is another set
    paramset_desc  : varchar(1280)
    param_set_hash : varchar(64)  # hex, of method, version and parameters
    validated      : bool         # False where the set was read from results that others made
    params         : json         # nested, only what differs from the tool's defaults
    unique index (param_set_hash)
    """

    @classmethod
    def insert_new(cls, params, *, paramset_idx=None, desc="", method="suite2p", tool_version=None, validated=True):
        """Add a parameter set, or return the index of the same one that is there already.

        Parameters
        ----------
        params
            Nested dict of the tool's own parameters; what is left out takes the tool's default.
        paramset_idx
            The index to give it; by default the next free one.
        tool_version
            By default the version that adamacs knows.
        validated
            False takes the parameters as they are: for results that were made elsewhere.

        Raises
        ------
        InvalidParameters
            A key is unknown (with the nearest name), a value is refused, or the index holds another set.
        """
        from adamacs.modalities.imaging import parameters

        version = tool_version or parameters.SUITE2P_VERSION
        if validated:
            params = parameters.validate(method, version, params)
        digest = parameters.param_hash(method, version, params)
        if same := (cls & {"param_set_hash": digest}).to_arrays("paramset_idx").tolist():
            if paramset_idx not in (None, same[0]):
                raise InvalidParameters("These parameters are there already.", {"paramset_idx": same[0]})
            return same[0]
        if paramset_idx is None:
            paramset_idx = max(cls.to_arrays("paramset_idx").tolist(), default=-1) + 1
        if cls & {"paramset_idx": paramset_idx}:
            hint = "A set never changes: give the new one another index."
            raise InvalidParameters("This index holds other parameters.", {"paramset_idx": paramset_idx}, hint)
        cls.insert1(
            {
                "paramset_idx": paramset_idx,
                "processing_method": method,
                "tool_version": version,
                "paramset_desc": desc,
                "param_set_hash": digest,
                "validated": validated,
                "params": params,
            }
        )
        return paramset_idx


@schema
class ProjectParamSet(dj.Manual):
    definition = """
    # Which parameter set a project uses since when: the newest is active, the others are superseded
    -> Project
    active_since : datetime(0)  # naive UTC, clock of the database
    ---
    -> ProcessingParamSet
    """

    @classmethod
    def active(cls):
        """Return the query of the set that each project uses now: project, `since` and paramset_idx."""
        newest = dj.U("project").aggr(cls, newest="MAX(active_since)")
        return (cls * newest & "active_since = newest").proj("paramset_idx", since="active_since")

    @classmethod
    def superseded(cls):
        """Return the query of the sets that each project used once and does not use now."""
        return cls - cls.active()


@schema
class ProcessingTask(dj.Manual):
    definition = """
    # A request: this scan, processed this way
    -> Scan
    -> ProcessingParamSet
    ---
    processing_output_dir : varchar(1023)  # POSIX, relative to the root `processed`
    task_mode : varchar(8)  # trigger: compute; load: take the results that lie there
    functional_channel = 0 : int16  # the saved channel to extract, 0-based
    """


@schema
class Processing(dj.Computed):
    definition = """
    # A finished run of the tool
    -> ProcessingTask
    ---
    processing_time : datetime(6)  # naive UTC, when the folder was finished
    package_version : varchar(16)  # of the tool that made the folder; empty where it does not say
    manifest_digest : varchar(64)  # blake3 (hex) over the checksums of the planes' arrays
    """
    stale_after = 1800.0  # s; Suite2p is never silent for so long

    @property
    def key_source(self):
        return ProcessingTask & ScanInfo

    @classmethod
    def urgent_keys(cls):
        """Return the query of the keys to be computed before other new ones.

        Their scan has results already, but of a set that its project has superseded, and they ask for the set that
        the same project uses now.
        """
        asked = ProjectSession.proj() * ProcessingTask.proj() & ProjectParamSet.active()
        outdated = ProjectSession.proj() * cls.proj() & ProjectParamSet.superseded()
        return (cls().key_source & (asked & outdated.proj(outdated_idx="paramset_idx"))) - cls

    def make_fetch(self, key):  # the request with its parameters, the files in order, and what the scan holds
        task = (ProcessingTask * ProcessingParamSet & key).fetch1()
        return task, (ScanInfo.ScanFile * ScanFile & key).to_dicts(order_by="file_id"), *scan_of(key)

    def make_compute(self, key, task, files, info, fields):
        from adamacs.modalities.imaging import engine
        from adamacs.modalities.imaging.reader import suite2p

        folder = result_folder(task["processing_output_dir"])
        if task["task_mode"] == "load":
            require_fit(suite2p.read_result(folder), info, fields)
            return (engine.load(folder),)
        if not task["validated"]:
            raise ProcessingFailed("These parameters came with foreign results and were never validated.", key)
        return (_run_suite2p(key, folder, task, [scan_schema.require_unchanged(row) for row in files]),)

    def make_insert(self, key, finished):
        self.insert1(
            {
                **key,
                "processing_time": finished.time,
                "package_version": finished.version,
                "manifest_digest": finished.digest,
            }
        )
        folder = (ProcessingTask & key).fetch1("processing_output_dir")
        Curation.insert1(
            {
                **key,
                "curation_id": 1,
                "curation_time": finished.time,
                "curation_output_dir": folder,
                "manual_curation": False,
                "curation_note": "as the tool left it",
            }
        )


def _run_suite2p(key, folder, task, paths):
    from adamacs.modalities.imaging import engine, reader

    lab = settings.active()
    return engine.run_suite2p(
        paths,
        folder,
        task["params"],
        engine.acquisition_of(reader.read_scan(paths), functional_channel=task["functional_channel"]),
        device=lab.workers.device,
        threads=lab.workers.threads or devices.cores(),
        scratch=lab.home / Path(lab.workers.scratch).expanduser() if lab.workers.scratch else None,
        version=task["tool_version"],
        failed=FailedAttempts(lab.root("processed"), key, lab.workers.keep_failed_days),
    )


@schema
class Curation(dj.Manual):
    definition = """
    # A state of the results: 1 is the tool's own, further ones a person's
    -> Processing
    curation_id : int16
    ---
    curation_time       : datetime(6)    # naive UTC
    curation_output_dir : varchar(1023)  # POSIX, relative to the root `processed`
    manual_curation     : bool
    curation_note = ''  : varchar(2000)
    """


def request_of(key):
    """Return what `read_results` wants to know of a curation, and the fields of its scan by plane."""
    row = (Curation * Processing & key).fetch1()
    # The tool's own state is told by Processing; the copy of a person's edits has a manifest of its own.
    digest = row["manifest_digest"] if row["curation_id"] == 1 else None
    curation = {
        "key": {name: row[name] for name in Curation.primary_key},
        "folder": row["curation_output_dir"],
        "digest": digest,
    }
    return curation, (ScanInfo.Field & key).to_dicts(order_by="field_idx")


def neuropil_coefficient(key):
    """Return the share of the neuropil that a run subtracted before deconvolution; Suite2p's default if not told."""
    from adamacs.modalities.imaging import parameters

    params = (Processing * ProcessingParamSet & key).fetch1("params")
    default = parameters.defaults("suite2p", parameters.SUITE2P_VERSION)["extraction"]["neuropil_coefficient"]
    nested = params.get("extraction", {}).get("neuropil_coefficient", default)  # 0.14 has no groups
    return float(params.get("neucoeff", nested))


def made_folders(key):
    """Return the result folders that adamacs made for a scan: those of finished runs, and copies kept as curations.

    What lies at the place of a request that never ran, or was taken over, is somebody else's.
    """
    runs = Processing * ProcessingTask & key & {"task_mode": "trigger"}
    curated = Curation & key & {"manual_curation": True}
    told = runs.to_arrays("processing_output_dir"), curated.to_arrays("curation_output_dir")
    folders = [result_folder(str(relative)) for names in told for relative in sorted(names)]
    return [folder for folder in folders if (folder / "manifest.json").is_file()]
