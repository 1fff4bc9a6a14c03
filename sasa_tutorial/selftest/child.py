"""The process of one stage: `python -m sasa_tutorial.selftest.child MODULE`, with the job as JSON on its input."""

import importlib
import json
import sys
import traceback

from sasa_tutorial.selftest.faults import provoke
from sasa_tutorial.selftest.job import Job
from sasa_tutorial.selftest.report import Report, one_line


def main(module: str) -> int:
    """Run the stage; what it raises is a failure in its report, with the traceback in the text.

    Returns:
        The exit code: 0 where all was well.
    """
    job = Job(**json.load(sys.stdin))
    report = Report(job.stage, job.folder)
    try:
        provoke(job.stage)
        headline = importlib.import_module(module).run(job, report)
    except Exception as error:
        report.line(traceback.format_exc())
        report.failure(one_line(error))
        headline = "the stage was left at an error"
    report.end(headline)
    return 1 if report.found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
