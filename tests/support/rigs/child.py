"""A child process that connects to the control server and obeys it. It needs the standard library alone.

Its one argument is the port of the control server.
"""

import json
import os
import signal
import socket
import subprocess
import sys

IGNORES_SIGTERM = "trap '' TERM; while :; do sleep 1; done"


def start_children() -> list[int]:
    """Start what a careless program leaves behind: a child in its group that ignores SIGTERM, and one that left it."""
    ignoring = subprocess.Popen(["/bin/sh", "-c", IGNORES_SIGTERM], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    orphan = subprocess.Popen(["/bin/sleep", "1000"], stdout=subprocess.DEVNULL, start_new_session=True)
    return [ignoring.pid, orphan.pid]


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
            case "start_children":
                print(json.dumps({"pids": start_children()}), file=line, flush=True)
            case "ignore sigterm":
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
