"""The memory that work may take: what is free, or what the user allows.

Estimates are held against it before the work is done, so that a model or a file that asks for more
is refused by name and not by the system, which would end the process.
"""

from __future__ import annotations

from pathlib import Path

from onnx2snn.errors import UsageError

GIB = 2**30

MEMINFO = Path("/proc/meminfo")

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells the limits of a container."""

FALLBACK = 16 * GIB
"""Bytes taken to be free where the system does not tell."""

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}

_allowed: list[int] = []


def allow(limit: int | None) -> None:
    """Set the memory that work may take, in bytes; None: what is free."""
    _allowed[:] = [] if limit is None else [limit]


def affordable() -> int:
    """Return the bytes that work may take."""
    if _allowed:
        return _allowed[0]
    return min(_free_memory(), _free_in_container())


def excess(needed: int) -> str | None:
    """Return why some bytes are too many, to stand in a sentence, or None where they are not."""
    limit = affordable()
    if needed <= limit:
        return None
    free = "are allowed" if _allowed else "are free"
    return f"takes about {as_text(needed)} of memory, and {as_text(limit)} {free}"


def as_text(size: int) -> str:
    """Return a number of bytes for a sentence, like 3.2 GiB."""
    if size < GIB:
        return f"{size / 2**20:.1f} MiB"
    if size < 2**60:
        return f"{size / GIB:.1f} GiB"
    return "more than 2^60 bytes"


def parse_bytes(text: str) -> int:
    """Return the bytes that a text like 4G or 512M stands for; powers of 1024 (UsageError)."""
    number = text.strip().upper().removesuffix("IB").removesuffix("B")
    unit = number[-1:] if number[-1:] in ("K", "M", "G", "T") else ""
    digits = number.removesuffix(unit)
    try:
        size = int(float(digits) * UNITS[unit])
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise UsageError(f"'{text}' is no amount of memory; give one like 512M or 4G")
    return size


def _free_memory() -> int:
    """Return the bytes that the machine has free."""
    for line in _read(MEMINFO).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return FALLBACK


def _free_in_container() -> int:
    """Return the bytes that the container may still take, or a large number without one."""
    limit, used = _read(CGROUP / "memory.max").strip(), _read(CGROUP / "memory.current").strip()
    if not (limit.isdecimal() and used.isdecimal()):
        return 2**62
    # what is cached of files is given back when asked for
    cached = 0
    for line in _read(CGROUP / "memory.stat").splitlines():
        if line.startswith(("inactive_file ", "active_file ")):
            cached += int(line.split()[1])
    return max(0, int(limit) - int(used) + cached)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
