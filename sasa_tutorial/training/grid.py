"""Working through the planned runs that have no record yet, as far as the time goes."""

import time
from collections.abc import Callable

from sasa_tutorial.training.loop import Diverged
from sasa_tutorial.training.profiles import resolve_profile
from sasa_tutorial.training.records import committed_records, local_records, read_records
from sasa_tutorial.training.results import missing_runs
from sasa_tutorial.training.run import RunInUse, train
from sasa_tutorial.training.stopping import Stopped


def train_missing(
    profile: str = "auto",
    *,
    device: str = "auto",
    minutes: float | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Train every planned run of a profile that has no record, in order of value, and resume what was left unfinished.

    A run that another process is at is left to it. A run that diverges is recorded as such, and the next one begins.

    Args:
        profile: as in `train`.
        device: as in `train`.
        minutes: save and stop after so many; None for no limit.

    Returns:
        The exit code: 0, or 130 or 143 when somebody stopped it.
    """
    name = resolve_profile(profile).name
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    lacking = missing_runs(read_records(committed_records()) + read_records(local_records()), name)
    say(f"{len(lacking)} planned runs of profile {name} have no record")
    for number, plan in enumerate(lacking, start=1):
        left = None if deadline is None else (deadline - time.monotonic()) / 60
        if left is not None and left <= 0:
            say(f"time is up, {len(lacking) - number + 1} runs are left")
            break
        say(f"[{number}/{len(lacking)}]")
        try:
            train(plan.model, profile=name, seed=plan.seed, device=device, resume=True, minutes=left, say=say)
        except (Diverged, RunInUse) as error:
            say(str(error))
        except Stopped as stopped:
            say(str(stopped))
            return stopped.exit_code
    return 0
