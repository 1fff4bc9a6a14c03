"""Faults on demand, for the tests of the self-test: SASA_SELFTEST_FAULT=STAGE:KIND[,STAGE:KIND …].

Kinds: raise, hang, crash (the process is gone without a word), compiler (no C compiler works).
"""

import os
import signal
import tempfile
import time

from sasa_tutorial.selftest.processes import KILL


def provoke(stage: str) -> None:
    """Do what the variable asks for in this stage; usually nothing.

    Raises:
        RuntimeError: asked for.
    """
    for fault in filter(None, os.environ.get("SASA_SELFTEST_FAULT", "").split(",")):
        where, _, kind = fault.partition(":")
        if where != stage:
            continue
        if kind == "raise":
            raise RuntimeError("a fault that was asked for")
        if kind == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        if kind == "crash":
            os.kill(os.getpid(), KILL)
        if kind == "compiler":
            os.environ["CC"] = "false"
            for variable in ("XDG_CACHE_HOME", "TRITON_CACHE_DIR"):  # where earlier results are
                os.environ[variable] = tempfile.mkdtemp(prefix="sasa-selftest-")
