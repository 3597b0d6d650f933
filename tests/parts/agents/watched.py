"""Runs a program, and keeps what it and every program that it started had in memory when they ended.

    watched.py FOLDER PROGRAM [WORD…]

FOLDER gets, for each process, `N-NAME.memory` (what it could write to, pages of nothing left out) and `N-NAME.environ`.
Only its end is waited for, so the program does what it always does; its exit status is ours. What must not be in there is
not told to us: whoever reads the folder looks for it.
"""

import ctypes
import errno
import os
import signal
import sys

SEIZE, CONT, LISTEN = 0x4206, 7, 0x4208
FORK, VFORK, CLONE, EXIT, KILL_WITH_US = 0x2, 0x4, 0x8, 0x40, 0x100000
EVENT_EXIT, EVENT_STOP = 6, 128
ALL_THREADS = 0x40000000
CHUNK_BYTES = 1 << 20
PAGE_BYTES = 4096
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
folder, program = os.path.abspath(sys.argv[1]), sys.argv[2:]
kept = 0


def ptrace(request, process, data=0):
    if libc.ptrace(request, process, None, data) == 0:
        return
    code = ctypes.get_errno()
    # It may have been killed in between: then `waitpid` tells.
    if code != errno.ESRCH:
        raise OSError(code, f"ptrace {request:#x}")


def writable(process):
    """The parts of its memory where a program keeps what it read."""
    with open(f"/proc/{process}/maps") as maps:
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                begin, end = (int(edge, 16) for edge in span.split("-"))
                yield begin, end


def keep(process):
    """Everything of a process that is about to end."""
    global kept
    with open(f"/proc/{process}/comm") as comm:
        name = f"{folder}/{kept}-{comm.read().strip().replace('/', '_')}"
    kept += 1
    with open(f"/proc/{process}/environ", "rb") as environ, open(f"{name}.environ", "wb") as copy:
        copy.write(environ.read())
    with open(f"/proc/{process}/mem", "rb", 0) as memory, open(f"{name}.memory", "wb") as copy:
        for begin, end in writable(process):
            for place in range(begin, end, CHUNK_BYTES):
                try:
                    memory.seek(place)
                    chunk = memory.read(min(CHUNK_BYTES, end - place))
                except OSError:
                    # A mapping that cannot be read, such as a device's.
                    break
                copy.writelines(pages_of_something(chunk))


def pages_of_something(chunk):
    """What was reserved and never used holds nothing to find."""
    if chunk.count(0) == len(chunk):
        return
    for page in range(0, len(chunk), PAGE_BYTES):
        text = chunk[page : page + PAGE_BYTES]
        if text.count(0) != len(text):
            yield text


def is_leader(thread):
    with open(f"/proc/{thread}/status") as status:
        return f"\nTgid:\t{thread}\n" in status.read()


def stopped(thread, status):
    """Lets a thread go on after whatever stopped it."""
    stop, event = os.WSTOPSIG(status), status >> 16
    if event == EVENT_STOP and stop in STOPPING:
        return ptrace(LISTEN, thread)
    if event == EVENT_EXIT and is_leader(thread):
        keep(thread)
    ptrace(CONT, thread, 0 if event else stop)


def start():
    """The program, not yet begun until it is watched."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os.execvp(program[0], program)
    os.close(reader)
    ptrace(SEIZE, child, FORK | VFORK | CLONE | EXIT | KILL_WITH_US)
    os.close(writer)
    return child


os.makedirs(folder, exist_ok=True)
child = start()
while True:
    thread, status = os.waitpid(-1, ALL_THREADS)
    if os.WIFSTOPPED(status):
        stopped(thread, status)
    elif thread == child:
        sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
