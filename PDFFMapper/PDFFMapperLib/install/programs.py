"""Programs of others, run in a process group of their own without network, ended when canceled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

POLL_S = 0.2
END_S = 1.0  # from being asked to end until being killed
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # or Windows opens a console for each
# Not even usage statistics: whatever asks for the network is sent where nobody listens.
_NOWHERE = "http://127.0.0.1:9"
OFFLINE = {
    "HTTP_PROXY": _NOWHERE, "HTTPS_PROXY": _NOWHERE, "http_proxy": _NOWHERE,
    "https_proxy": _NOWHERE, "ALL_PROXY": _NOWHERE, "NO_PROXY": "", "no_proxy": "",
    "HF_HUB_OFFLINE": "1",
}  # fmt: skip


def find_program(name: str) -> Path | None:
    """A program on PATH or beside this Python, where Slicer installs it; None if it is neither."""
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    return Path(found) if found else None


def launched(program: Path) -> list[str]:
    """How a program is started; in Slicer by the launcher that sets up its Python."""
    launcher = shutil.which("PythonSlicer")
    own = Path(sysconfig.get_path("scripts")) in program.parents
    return [launcher, str(program)] if launcher and own else [str(program)]


def run_program(
    name: str,
    command: Sequence[str],
    log: Path,
    time_limit_s: float,
    progress: Callable[[str], bool] | None = None,
) -> int:
    """Run a command in the folder of its log and return its code.

    Args:
        name: of the program, for sentences.
        command: to run.
        log: file for all that it prints.
        time_limit_s: after which it is ended.
        progress: takes the last line that it printed; returning False ends it.

    Raises:
        ValueError: it took too long.
        InterruptedError: canceled.
    """
    until = time.monotonic() + time_limit_s
    with log.open("w", encoding="utf-8", errors="replace") as stream:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env={**os.environ, **OFFLINE, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=sys.platform != "win32",
            creationflags=NO_WINDOW,
        )
        try:
            while process.poll() is None:
                if progress and not progress(last_lines(log, 1)):
                    raise InterruptedError(f"{name} was canceled before it was done.")
                if time.monotonic() > until:
                    raise ValueError(f"{name} took longer than {time_limit_s:g} s and was ended.")
                time.sleep(POLL_S)
        finally:
            _end(process)
    return process.returncode


def last_lines(log: Path, count: int) -> str:
    """The last lines of a program's log, in one."""
    with log.open(encoding="utf-8", errors="replace") as stream:
        lines = deque((line.strip() for line in stream if line.strip()), maxlen=count)
    return " / ".join(lines)[-300:].rstrip(".")


def _end(process: subprocess.Popen) -> None:
    """End a process and what it has started, also where that goes on behind it."""
    if sys.platform == "win32":
        if process.poll() is None:
            tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
            with suppress(OSError):  # it is not on PATH: what was started goes on
                subprocess.run(tree, capture_output=True, check=False, creationflags=NO_WINDOW)
            process.kill()
    else:
        with suppress(subprocess.TimeoutExpired):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(END_S)
        with suppress(ProcessLookupError, PermissionError):  # none is left; macOS says the latter
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
