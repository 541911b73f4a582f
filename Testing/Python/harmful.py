"""What a study may do to the process that it is measured in."""

import os
import signal
import time

import numpy as np
from MarrowAssessLib.cohort.state import FAILED, Outcome


def _count(task) -> int:
    """Which try this is; noted in a file beside the results."""
    with open(task.out.parent / "tries", "a+") as stream:
        stream.write("x")
        stream.seek(0)
        return len(stream.read())


def killed(task):
    _count(task)
    os.kill(os.getpid(), signal.SIGKILL)


def endless(task):
    _count(task)
    time.sleep(60)


def greedy(task):
    """Takes 3 GB, for real."""
    _count(task)
    return [{"value": float(np.ones(3 * 2**27)[-1])}], {}


def harmless(task):
    _count(task)
    task.staging.mkdir()
    return [{"process": os.getpid()}], {}


def quick(task):
    """Stands for cohort.apart.measure_apart."""
    return Outcome(FAILED, "as said")
