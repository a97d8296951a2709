"""Plan the imaging part of a scan folder, of a curated folder, of results that exist already, of a project's set."""

from __future__ import annotations

from adamacs.modalities.imaging.plan.activation import ActivationPlan, apply_activation, plan_activation
from adamacs.modalities.imaging.plan.curation import (
    CurationPlan,
    RestorationPlan,
    apply_curation,
    apply_restoration,
    plan_curation,
    plan_restoration,
)
from adamacs.modalities.imaging.plan.results import ResultsPlan, apply_results, find_results, plan_results
from adamacs.modalities.imaging.plan.scan import output_dir, plan_scan

__all__ = [
    "ActivationPlan",
    "CurationPlan",
    "RestorationPlan",
    "ResultsPlan",
    "apply_activation",
    "apply_curation",
    "apply_restoration",
    "apply_results",
    "find_results",
    "output_dir",
    "plan_activation",
    "plan_curation",
    "plan_restoration",
    "plan_results",
    "plan_scan",
]
