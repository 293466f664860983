"""Opens, uses and shuts down clients in memory: cycles.py COUNT. Fails if they leave memory behind."""

import re
import sys
from pathlib import Path

import peerchat
from peerchat import errors

#: Far less than a client that stays takes, some hundred KiB; more than what a fragmented heap does.
LIMIT_KIB_PER_CLIENT = 8


def cycle():
    with peerchat.Client(user="alice", bind="127.0.0.1:0") as client:
        try:
            client.bootstrap("no-port")
        except errors.InvalidAddressError:
            client.send_blocking("bob", "hello")


def resident_kib():
    """Returns what the process holds in memory; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    found = re.search(r"^VmRSS:\s*(\d+) kB", status.read_text(), re.M) if status.exists() else None
    return int(found[1]) if found else 0


def growth_kib(before, count):
    """Returns how much memory `count` clients leave behind, after `before` others."""
    for _ in range(before):
        cycle()
    held = resident_kib()
    for _ in range(count):
        cycle()
    return resident_kib() - held


def main():
    count = int(sys.argv[1])
    growth = growth_kib(before=min(1000, count), count=count)
    print(f"Python: {count} clients left {growth} KiB behind")
    return 1 if growth > LIMIT_KIB_PER_CLIENT * count else 0


if __name__ == "__main__":
    sys.exit(main())
