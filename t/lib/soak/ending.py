"""However the soak goes, it ends by itself, and all that it has started goes with it."""
import atexit
import faulthandler
import os
import signal
import sys

from harness import _libc, children, is_running, proc_file, run

CLONE_NEWNS, PR_SET_CHILD_SUBREAPER = 0x20000, 36     # sched.h, linux/prctl.h
GRACE = 90      # seconds for an orderly end
_is_ending = False


def prepare(seconds):
    """
    Before any thread: whoever loses its parent becomes our child, mounts are ours alone and vanish
    with us, SIGTERM ends the test as an exception does, and so do so many seconds.
    """
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if _libc.unshare(CLONE_NEWNS) == 0:
        run("mount", "--make-rprivate", "/")
    atexit.register(kill_all)
    for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
        signal.signal(number, _on_signal)
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.alarm(int(seconds))
    # Whatever happens to the thread that sees signals.
    faulthandler.dump_traceback_later(seconds + 2 * GRACE, exit=True, file=sys.__stderr__)


def begin():
    """From here on the test only tidies up: it is not to be interrupted, but must be quick."""
    global _is_ending
    _is_ending = True
    signal.alarm(GRACE)


def _on_signal(number, frame):
    if not _is_ending:
        begin()
        raise SystemExit(128 + number)


def _on_alarm(number, frame):
    # No print(): it may be what was interrupted.
    os.write(2, b"# This takes too long. What all threads do:\n")
    faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
    if _is_ending:
        kill_all()
        os._exit(1)
    begin()
    raise SystemExit(1)


def kill_all():
    """Kill all our children, and theirs, which become ours."""
    for _ in range(100):
        ours = children(os.getpid())
        for pid in ours:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ChildProcessError, ProcessLookupError):
                pass        # somebody else has waited for it
        if not ours:
            return


def adopted():
    """
    The processes of socketmapd that are our children now, servers and orphaned drivers; those that
    have ended are put away.
    """
    running = []
    for pid in children(os.getpid()):
        try:
            # Of a child that has not become a driver process, too, whatever its thread was called.
            name = os.path.basename(os.readlink("/proc/%d/exe" % pid))
        except OSError:
            name = proc_file(pid, "comm").strip()       # it has ended
        if not name.startswith("socketmapd"):
            continue
        if is_running(pid):
            running.append(pid)
        elif name != "socketmapd":      # its Popen waits for that
            os.waitpid(pid, 0)
    return running


