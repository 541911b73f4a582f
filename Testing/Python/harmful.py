"""A cohort's task that harms the process that it arrives in."""

import os
import signal
import time

from MarrowAssessLib.cohort.apart import Limits


class Harmful:
    """A task that harms the process that it arrives in."""

    def __init__(self, tries, how, out, seconds):
        self.tries, self.how, self.out, self.limits = tries, how, out, Limits(seconds)

    def __reduce__(self):
        return harm, (self.tries, self.how)


def harm(tries: str, how: str) -> None:
    """Runs in the study's own process, when it gets its task."""
    with open(tries, "a") as stream:
        stream.write("x")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
