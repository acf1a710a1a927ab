"""A child process that connects to the control server and obeys it. It needs the standard library alone.

Its one argument is the port of the control server.
"""

import json
import os
import signal
import socket
import subprocess
import sys

DEAF = "trap '' TERM; while :; do sleep 1; done"


def breed() -> list[int]:
    """Start what a careless program leaves behind: a child in its group that ignores SIGTERM, and one that left it."""
    deaf = subprocess.Popen(["/bin/sh", "-c", DEAF], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    stray = subprocess.Popen(["/bin/sleep", "1000"], stdout=subprocess.DEVNULL, start_new_session=True)
    return [deaf.pid, stray.pid]


def main() -> None:
    """Dial, then carry out order after order until one of them is the last."""
    environ = os.environ
    line = socket.create_connection(("127.0.0.1", int(sys.argv[1]))).makefile("rw")
    hello = {
        "task_id": environ["SWARMHOLD_TASK_ID"],
        "attempt": int(environ["SWARMHOLD_ATTEMPT"]),
        "handle": environ["SWARMHOLD_HANDLE"],
        "pid": os.getpid(),
    }
    print(json.dumps(hello), file=line, flush=True)
    for text in line:
        order = json.loads(text)
        match order["do"]:
            case "breed":
                print(json.dumps({"pids": breed()}), file=line, flush=True)
            case "be deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                print(json.dumps({}), file=line, flush=True)
            case "say":
                final = {"type": "final", "content": {"kind": "inline", "value": order["value"]}, "ok": order["ok"]}
                sys.stdout.write(json.dumps(final) + "\n")
                sys.stdout.flush()
                sys.exit(0)
            case "fail":
                sys.exit(order["why"])


if __name__ == "__main__":
    main()
