"""The process that measures studies of a cohort: tasks come on its input, outcomes leave it.

Run by `cohort.apart` as ``python -m MarrowAssessLib.cohort.child``; it ends when its input does.
"""

from __future__ import annotations

import os
import pickle
import queue
import re
import sys
import threading
from pkgutil import resolve_name
from typing import BinaryIO

from MarrowAssessLib.cohort.apart import Task
from MarrowAssessLib.cohort.inventory import StudySource
from MarrowAssessLib.cohort.state import DONE, FAILED, Outcome


def main() -> None:
    """Measure what comes until nothing comes any more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print is no answer
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, tasks), daemon=True).start()
    pickle.dump("ready", answers)
    answers.flush()
    while True:
        pickle.dump(outcome_of(tasks.get()), answers)
        answers.flush()


def _listen(stream: BinaryIO, tasks: queue.SimpleQueue) -> None:
    """Take in tasks; where whoever asks has gone, end at once, in the middle of a study."""
    try:
        while True:
            tasks.put(pickle.load(stream))
    except (EOFError, OSError):
        os._exit(0)
    except BaseException:  # a task that cannot be read: the asker sees the process end
        os._exit(70)


def outcome_of(task: Task) -> Outcome:
    """Measure one study; whatever happens is told in its outcome."""
    _limit_memory(task.limits.gigabytes)
    outcome = Outcome(FAILED)
    try:
        outcome.digest = task.source.digest()
        outcome.rows, outcome.facts = resolve_name(task.measure)(task)
        outcome.state = DONE
    except MemoryError:
        outcome.reason = f"It needs more than {task.limits.gigabytes:g} GB of memory."
        outcome.crashed = outcome.by_limit = True
    except Exception as error:  # one broken study never stops the others
        outcome.reason = _sentence(error, task.source)
    return outcome


def _limit_memory(gigabytes: float) -> None:
    """Of this process from now on; the next task may set another limit."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int(gigabytes * 2**30)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _sentence(error: Exception, source: StudySource) -> str:
    """Why a study failed, without names of its files or folders."""
    from PDFFMapperLib.images.identity import without_names

    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, (ValueError, OSError)):
        text = f"It cannot be measured ({type(error).__name__}: {text})."
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}."
    text = re.sub(r"; this is [\[{\"].*$", ".", text)  # what a study file has in a wrong place
    places = [*source.files, *source.named, source.path]
    folders = {parent for place in places for parent in place.parents[:3]}
    called = [one for one in (source.name, source.patient) if one]
    return without_names(text, [*places, *called, *sorted(folders, key=str)[::-1]])


if __name__ == "__main__":
    main()
