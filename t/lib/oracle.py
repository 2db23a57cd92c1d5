"""Real Postfix as the oracle: tables, its answers, and the comparison with ours."""
import atexit
import glob
import json
import os
import shutil
import subprocess

from harness import done, ok, replace, scratch

ORACLE = "../shared/oracle"


class Oracle:
    """
    A private copy with `made`, {name: text} of more table files, its fixture up with `options`,
    and the answers of Postfix to the tables whose names begin with `prefix`.
    """

    def __init__(self, prefix, made, *options):
        self.dir = scratch()
        if not ok(os.path.isdir(ORACLE), "the oracle is there",
                  "this test needs ../shared/oracle beside the checkout, with Postfix's answers"):
            done()
        shutil.copytree(ORACLE, self.dir + "/oracle")
        for name, text in made.items():
            replace("%s/oracle/public/tables/%s.cf.in" % (self.dir, name), text)
        os.environ["ORACLE_RUN"] = self.dir + "/run"
        atexit.register(self.run, "fixture", "down", "--wipe")
        wrong = self.run("fixture", "up", *options)
        if not ok(not wrong, "its data are there", wrong):
            done()
        self.answers = self.dir + "/answers.tsv"
        wrong = self.run("oracle-answers", "--tables", "^%s_" % prefix, "--out", self.answers)
        if not ok(not wrong, "Postfix has answered", wrong):
            done()
        self.tables = {os.path.basename(f)[:-3]: f
                       for f in glob.glob("%s/run/cf/*/%s_*.cf" % (self.dir, prefix))}

    def run(self, program, *args):
        """Run one of its programs; what it printed when it failed."""
        p = subprocess.run([self.dir + "/oracle/" + program, *args], text=True, timeout=600,
                           errors="surrogateescape", stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return None if p.returncode == 0 else "%s: status %d\n%s%s" % (
            program, p.returncode, p.stdout[-3000:], p.stderr[-3000:])

    def compare(self, server, how, map, tables, differences=()):
        """
        All pairs of these tables agree, and each has some; of the unsafe ones, too, as an
        injected key must do what it does in Postfix. Only the kind of an error may differ,
        and what is too long for a socketmap reply is one; and a few of these `differences`.
        """
        report = self.dir + "/report.json"
        wrong = self.run("oracle-compare", "--answers", self.answers,
                         "--endpoint", "unix:" + server.socket, "--map", map,
                         "--tables", "^(%s)$" % "|".join(tables), "--class", "all",
                         "--strict-order", "--json", report, "--show", "2", "--quiet")
        with open(report) as f:
            told = json.load(f)
        pairs = {t: v["pairs"] for t, v in told["tables"].items()}
        total = told["total"]
        ok(set(total["kinds"]) <= {"errclass", "oversize", *differences} and
           total["bad"] <= (total["pairs"] // 50 if differences else 0),
           "%s: %d answers like Postfix's" % (how, total["pairs"]), wrong, total)
        ok(sorted(pairs) == sorted(tables) and min(pairs.values()) > 5,
           "%s: no table is left out" % how, pairs)
