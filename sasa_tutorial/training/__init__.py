"""Training: data on the device, one loop, checkpoints, records."""

from sasa_tutorial.training.profiles import PROFILES, Profile, resolve_profile
from sasa_tutorial.training.records import Record, committed_records, read_records
from sasa_tutorial.training.run import Run, train

__all__ = ["PROFILES", "Profile", "Record", "Run", "committed_records", "read_records", "resolve_profile", "train"]
