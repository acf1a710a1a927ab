"""Commands that are forked from a process which has imported them behave like programs that were started."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import forking
from tests.support.forking import Forked
from tests.support.processes import own_variables
from tests.support.waiting import wait_until


def test_arguments_directory_variables_output_and_status_are_its_own(tmp_path: Path) -> None:
    """As with a program that `subprocess` runs in this place."""
    own = own_variables()
    (tmp_path / "one.toml").write_text("[engine]\nlease = 31\n")
    asked = ("config", "show", "--config", "one.toml")
    variables = own | {"SWARMHOLD_ENGINE__HANDLE_LIFE": "86400"}
    forked = forking.run(*asked, env=variables, cwd=tmp_path)
    started = subprocess.run(
        [forking.PROGRAM, *asked], env=variables, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shown = forking.run("--help", env=own)
    refused = forking.run("config", "check", "--config", "two.toml", env=own, cwd=tmp_path)

    assert (forked.returncode, forked.stdout, forked.stderr) == (0, started.stdout, started.stderr)
    assert shown.stdout.lstrip().startswith("Usage: swarmhold ")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "two.toml" in refused.stderr


def test_a_signal_ends_it_and_is_its_status(tmp_path: Path) -> None:
    """It belongs to a session of its own if that is asked for, and is gone when its end is known."""
    log = tmp_path / "log"
    with log.open("wb") as output, Path(os.devnull).open("rb") as nothing:
        descriptors = [nothing.fileno(), output.fileno(), output.fileno()]
        arguments = ["serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
        process = Forked(arguments, env=own_variables(), descriptors=descriptors, own_session=True)
    wait_until(lambda: "listening" in log.read_text())

    assert os.getsid(process.pid) == process.pid
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(60) == process.poll() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
