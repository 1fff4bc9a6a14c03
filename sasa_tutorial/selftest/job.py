"""What a stage is told: where to write, how long it may take, on what it computes."""

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Job:
    """The settings of one stage, as they travel to its process."""

    stage: str
    out: str  # folder of the report
    deadline: float  # when to be done, on the clock of `time.time`, which all processes share
    seed: int  # of everything random
    processes: int = 0  # of the grid; 0: 8 on a GPU, else 1
    data: str = ""  # folder of the images, for the grid

    @property
    def left(self) -> float:
        """Seconds until the stage should be done."""
        return self.deadline - time.time()

    @property
    def folder(self) -> Path:
        """Where the report is."""
        return Path(self.out)
