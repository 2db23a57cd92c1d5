"""Threads of a server that stand still, as a debugger would make them."""
import ctypes
import os

from harness import threads

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def thread_of(pid, name):
    """A thread of a process whose name begins so."""
    return next(t for t, own in threads(pid).items() if own.startswith(name))


class Stopped:
    """One thread stands still, while the others run."""

    def __init__(self, tid):
        self.tid = tid

    def __enter__(self):
        for request in PTRACE_SEIZE, PTRACE_INTERRUPT:
            if _libc.ptrace(request, self.tid, None, None):
                raise OSError(ctypes.get_errno(), "ptrace")
        os.waitpid(self.tid, 0x40000000)    # __WALL: seen to stop

    def __exit__(self, *_):
        _libc.ptrace(PTRACE_DETACH, self.tid, None, None)
