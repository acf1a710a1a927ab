"""Ctrl-C ends a command that waits, whichever thread the system gives the signal to."""

import signal
import subprocess
import sys

WAITING = """
import asyncio, signal, sys, threading
from app.cli import interrupts

threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # from now on the other thread takes it

async def wait():
    print("waiting", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)

try:
    interrupts.run(wait())
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_signal_wakes_the_loop_from_any_thread() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "waiting\n"
            program.send_signal(signal.SIGINT)
            assert program.wait(timeout=60) == 130
            assert program.stdout.read() == "cancelled\n"
        finally:
            program.kill()
