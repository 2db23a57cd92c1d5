"""Threads of a server that stand still, as a debugger would make them."""
import ctypes
import os

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def thread_of(pid, name):
    """A thread of a process whose name begins so."""
    for tid in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/comm" % (pid, tid)) as f:
                if f.read().startswith(name):
                    return int(tid)
        except OSError:         # a thread that has just ended
            pass
    raise LookupError(name)


class Stopped:
    """One thread stands still; what `with` gives is whether it could be stopped."""

    def __init__(self, tid):
        self.tid = tid
        self.is_stopped = _libc.ptrace(PTRACE_SEIZE, tid, None, None) == 0 and \
            _libc.ptrace(PTRACE_INTERRUPT, tid, None, None) == 0

    def __enter__(self):
        return self.is_stopped

    def __exit__(self, *_):
        if self.is_stopped:
            os.waitpid(self.tid, 0x40000000)    # __WALL: it must have been seen to stop
            _libc.ptrace(PTRACE_DETACH, self.tid, None, None)
