"""Working through the planned runs that have no record yet, as far as the time goes."""

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import chain

import torch

from sasa_tutorial.devices import device_name, resolve_device
from sasa_tutorial.experiments.results import missing_runs
from sasa_tutorial.training.checkpoints import CheckpointError
from sasa_tutorial.training.loop import Diverged
from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.profiles import resolve_profile
from sasa_tutorial.training.records import Record, all_records
from sasa_tutorial.training.run import AlreadyRecorded, RunInUse, train
from sasa_tutorial.training.stopping import Stopped

SLACK = 1.15  # times differ from run to run, and a run also builds, evaluates and saves


def train_missing(
    profile: str = "auto",
    *,
    studies: tuple[str, ...] = (),
    device: str = "auto",
    minutes: float | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Train every planned run of a profile that has no record, in order of value.

    Unfinished runs are continued. A run that another process is at is left to it, so several processes may
    share the grid, on one GPU or on several. A run that diverges is recorded as such, and the next one begins. A run
    that would not end in time, by the records of this device, waits for shorter ones; in the time that is left after
    them it is begun, and saved.

    Args:
        profile: as in `train`.
        studies: names of studies; all of them for none.
        device: as in `train`.
        minutes: save and stop after so many; None for no limit.

    Returns:
        The exit code: 0; 1 where a run had to be left out; 130 or 143 when somebody stopped it.

    Raises:
        ValueError: a profile, study or device that does not exist; started by torchrun.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("--missing trains one run on one device: start it once for each GPU, with --device cuda:N")
    name = resolve_profile(profile).name
    where = device_name(resolve_device(device), bfloat16=resolve_profile(profile).recipe.bfloat16)
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    lacking = missing_runs(all_records(), name, studies)
    say(f"planned runs of profile {name} without a record: {len(lacking)}")
    waiting, done, failed = [], 0, False

    def left() -> float:
        return math.inf if deadline is None else deadline - time.monotonic()

    for plan in chain(lacking, waiting):  # `waiting` fills while the first are taken
        if left() <= 0:
            break
        expected = expected_seconds(plan, all_records(), where)
        if plan not in waiting and not plan.checkpoint.exists() and left() <= (expected or 0):
            waiting.append(plan)
            continue
        done += 1
        say(f"[{done}/{len(lacking)}]")
        try:
            train(plan, device=device, resume=True, deadline=deadline, once=True, say=say)
        except (Diverged, RunInUse, AlreadyRecorded) as error:
            say(str(error))
        except (CheckpointError, torch.OutOfMemoryError) as error:  # of this run: the others may be well
            say(f"{plan} was left out: {error}")
            failed = True
        except Stopped as stopped:
            say(str(stopped))
            if stopped.exit_code:
                return stopped.exit_code
            break
    if left() <= 0:
        say(f"time is up; planned runs without a record: {len(missing_runs(all_records(), name, studies))}")
    return int(failed)


def expected_seconds(plan: Plan, records: Sequence[Record], device: str) -> float | None:
    """How long a run will take here: as long as the same one with another seed, else as the longest of its network,
    else as the longest of its profile. None where nothing is known."""
    wanted = (device, plan.profile.name, "finished")
    here = [r for r in records if (r.device, r.profile, r.status) == wanted and r.train_seconds]
    same = [r.train_seconds for r in here if plan.same_settings(r)]
    network = [r.train_seconds for r in here if r.model == plan.model]
    if same:
        return SLACK * statistics.median(same)
    if network or here:
        return SLACK * max(network or [r.train_seconds for r in here])
    return None
