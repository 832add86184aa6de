"""Runs a program that the kernel refuses every connection with EPERM, by a seccomp filter with the calls of Codex's.

It refuses to send on a pair of sockets too, by which asyncio wakes a loop from another thread.

``python no_connect.py PROGRAM ARGUMENT…``; exits with 77 where there is no such filter.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

CALLS = {
    "x86_64": (0xC000003E, (42, 43, 44, 48, 49, 50, 51, 52, 54, 55, 288, 299, 307)),
    "aarch64": (0xC00000B7, (200, 201, 202, 203, 204, 205, 206, 208, 209, 210, 242, 243, 269)),
}
"""By machine: its number for the kernel's audit, and those of connect, accept, bind, listen, sendto and their like."""
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050001


def program(audit: int, calls: tuple[int, ...]) -> bytes:
    """A filter that refuses calls with EPERM."""
    steps = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, audit),
        (RETURN, 0, 0, ALLOW),
        (LOAD, 0, 0, 0),
        *((EQUAL, len(calls) - place, 0, call) for place, call in enumerate(calls)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, EPERM),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def main() -> None:
    if platform.machine() not in CALLS or not sys.platform.startswith("linux"):
        sys.exit(77)
    code = ctypes.create_string_buffer(program(*CALLS[platform.machine()]))
    head = ctypes.create_string_buffer(struct.pack("HL", len(code) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER, head, 0, 0):
        sys.exit(77)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
