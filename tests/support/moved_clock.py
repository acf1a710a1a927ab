"""The command line with the machine's clock moved: `python -P moved_clock.py SECONDS serve …`.

Timers run as ever: only the time of day is another.
"""

import sys
import time

if __name__ == "__main__":
    moved_s = int(sys.argv.pop(1))
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + moved_s
    time.time_ns = lambda: nanoseconds() + moved_s * 1_000_000_000
    from app.cli import main

    main()
