#!/usr/bin/env python3
"""`make run` serves the samples: every postmap line it prints gives the answer it promises."""
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request

sys.path.insert(0, "t/lib")
from harness import *


def port_pair():
    """A port that is free together with the one below it."""
    while True:
        port = free_port()
        try:
            with socket.socket() as s:
                s.bind(("127.0.0.1", port - 1))
            return port
        except OSError:
            pass


def start(dir, port):
    env = dict(os.environ, DEMO_DIR=dir, DEMO_PORT=str(port), DEMO_HTTP=str(free_port()),
               **SANITIZER_ENV)
    return subprocess.Popen(["contrib/demo"], env=env, stdin=subprocess.DEVNULL, text=True,
                            stdout=open(dir + "/out", "w"), stderr=subprocess.STDOUT,
                            preexec_fn=die_with_parent)


def text(dir):
    with open(dir + "/out") as f:
        return f.read()


def check_lines(printed):
    lines = re.findall(r"^  # (.*)\n  (postmap -q .*)\n      (.*)$", printed, re.M)
    ok(len(lines) >= 10, "it prints lines to try")
    for why, command, promised in lines:
        p = run(*shlex.split(command))
        if promised.startswith("("):
            same((p.returncode, p.stdout, p.stderr), (1, "", ""), why)
        else:
            same((p.returncode, p.stdout, p.stderr), (0, promised + "\n", ""), why)


def check_looks(printed):
    """The other ways to look at it that it prints."""
    with urllib.request.urlopen(re.search(r"in a browser +(http:\S+)", printed)[1]) as page:
        like(page.read().decode(), "<title>socketmapd", "the status page")
    for words, want in ("Ask it why, with", r"anna\+eu@example.test.*\nWhy\n"), ("All else it can do", "^usage"):
        p = run(*shlex.split(re.search(words + " +(.*)", printed)[1]))
        ok(p.returncode == 0 and re.search(want, p.stdout, re.S), words, p.stdout, p.stderr)


dir = scratch()
demo = start(dir, port_pair())
loaded = wait_for(lambda: text(dir).count("event=refreshed") >= 8 or demo.poll() is not None)
ok(loaded and demo.poll() is None, "the demo starts", text(dir))
check_lines(text(dir))
check_looks(text(dir))
same(re.findall(r".*(?: error: | warn: |\.conf:\d).*", text(dir)), [], "nothing is wrong in its log")
demo.send_signal(signal.SIGINT)
try:
    same(demo.wait(20 * SLOW), 0, "Control-C ends it")
except subprocess.TimeoutExpired:
    demo.kill()
    ok(False, "Control-C ends it")
done()
