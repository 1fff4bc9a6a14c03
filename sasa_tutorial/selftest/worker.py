"""A process that tries a part of the kernels' trials: `python -m sasa_tutorial.selftest.worker`, settings on its input.

It says what it begins and what came of it, a JSON object a line; whoever listens knows what it was at when it died.
"""

import json
import sys
import time
import warnings

from sasa_tutorial.devices import resolve_device
from sasa_tutorial.selftest.report import one_line
from sasa_tutorial.selftest.trials import Trial, trials

BROKEN = 3  # exit code: the GPU answers nothing any more in this process, another one has to go on


def main() -> int:
    """Work through the trials first, first + step, first + 2 step, … until the deadline.

    Returns:
        0 where all were tried or the time was up, BROKEN where this process cannot go on.
    """
    told = json.load(sys.stdin)
    # Programs that do not start are replaced by plain PyTorch with a warning, which is right everywhere but here.
    warnings.filterwarnings("error", message="local attention goes on in plain PyTorch")
    listed = trials(resolve_device("auto"), told["seed"])
    for index in range(told["first"], len(listed), told["step"]):
        if index != told["first"] and time.time() > told["deadline"]:  # one is tried however long imports took
            break
        trial = listed[index]
        _say(begin=index, name=trial.name, of=len(listed))
        begun = time.perf_counter()
        verdict, text, broken = judged(trial)
        _say(end=index, name=trial.name, verdict=verdict, text=text, seconds=round(time.perf_counter() - begun, 2))
        if broken:
            return BROKEN
    return 0


def judged(trial: Trial) -> tuple[str, str, bool]:
    """well, failed or skipped; a sentence; whether the process is of no more use."""
    try:
        outcome = trial.check()
    except NotImplementedError as reason:
        return "skipped", str(reason), False
    except Exception as error:
        # After an illegal access every call of the driver fails in this process.
        broken = "CUDA error" in str(error) or type(error).__name__ == "AcceleratorError"
        return "failed", one_line(error), broken
    return ("failed", outcome.problem, False) if outcome.problem else ("well", str(outcome), False)


def _say(**event: object) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main())
