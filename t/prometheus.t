#!/usr/bin/env python3
"""Alert rules and dashboard: well formed, tested, and about metrics that the server really has."""
import glob
import json
import re
import sys

sys.path.insert(0, "t/lib")
from harness import *

RULES, TESTS = "contrib/prometheus/rules.yml", "contrib/prometheus/rules_test.yml"
DASHBOARD = "contrib/grafana/dashboard.json"


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def exported():
    """Every family in the sources, with its type; a histogram also has three series."""
    names = {}
    for path in glob.glob("src/daemon/metrics*.c"):
        text = read(path).replace('P "', '"socketmapd_')
        for name, kind in re.findall(r'"((?:socketmapd|process)_\w+)",\s*"(counter|gauge|histogram)"',
                                     text):
            names[name] = kind
        for name in re.findall(r'outcomes\(out, "(socketmapd_\w+)"', text):
            names[name] = "counter"
    names["socketmapd_clients_rejected_total"] = "counter"      # named once, in a variable
    for name in [n for n, kind in names.items() if kind == "histogram"]:
        names.update({name + s: "counter" for s in ("_bucket", "_sum", "_count")})
    return names


def used(text):
    return set(re.findall(r"\b(?:socketmapd|process)_[a-z0-9_]+\b", text))


def check_rules(names):
    for command in ("check", RULES), ("test", TESTS):
        done = run("promtool", command[0], "rules", command[1])
        ok(done.returncode == 0, "promtool %s rules" % command[0], done.stdout, done.stderr)
    rules = read(RULES)
    exprs = "\n".join(re.findall(r"expr:(.*?)\n\s+(?:for|labels):", rules, re.S))
    same(sorted(used(exprs) - set(names)), [], "the rules use no metric that we do not export")
    alerts = re.findall(r"- alert: (\w+)", rules)
    tests = re.findall(r"alertname: (\w+)", read(TESTS))
    same([a for a in alerts if tests.count(a) < 2], [], "each alert has a test that fires it, "
         "and one that does not")
    manual = read("man/socketmapd.8")
    same([a for a in alerts if ".It Ic %s\n" % a not in manual], [], "each is explained in "
         "socketmapd(8)")
    reasons = re.findall(r'X\(REASON_\w+, "(\w+)"\)', read("include/base/verdict.h"))
    same([r for r in reasons if ".It Li %s\n" % r not in manual], [], "and so is each reason of a TEMP")
    for field in "severity", "summary", "description", "runbook_url":
        same(rules.count(" %s: " % field), len(alerts), "each has its " + field)


def check_dashboard(names):
    dashboard = json.loads(read(DASHBOARD))
    panels = dashboard["panels"]
    ok(dashboard["__inputs"][0]["pluginId"] == "prometheus" and dashboard["schemaVersion"] >= 37 and
       dashboard["uid"] is None and dashboard["id"] is None, "the dashboard can be imported anywhere")
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    same(variables["datasource"]["type"], "datasource", "the data source is a variable")
    ids = [p["id"] for p in panels]
    same(len(set(ids)), len(ids), "ids of panels are unique")
    plots = [p for p in panels if p["type"] != "row"]
    ok(all(p["datasource"]["uid"] == "${datasource}" and
           all(t["datasource"]["uid"] == "${datasource}" for t in p["targets"]) for p in plots),
       "each panel uses that data source")
    places = [(p["gridPos"]["x"] + i, p["gridPos"]["y"] + k) for p in panels
              for i in range(p["gridPos"]["w"]) for k in range(p["gridPos"]["h"])]
    ok(len(set(places)) == len(places) and max(x for x, _ in places) < 24,
       "panels do not overlap")
    exprs = [t["expr"] for p in plots for t in p["targets"]]
    same(sorted(used("\n".join(exprs)) - set(names)), [], "it uses no metric that we do not export")
    asked = {v for e in exprs for v in re.findall(r"\$(\w+)", e)} - {"__rate_interval"}
    same(sorted(asked - set(variables)), [], "its variables are defined")
    return exprs


def check_exprs(exprs):
    """promtool parses what is put into a rule file."""
    path = scratch() + "/exprs.yml"
    rules = [{"record": "panel:%d" % i, "expr": re.sub(r"\$__rate_interval", "5m", e)}
             for i, e in enumerate(exprs)]
    replace(path, json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = run("promtool", "check", "rules", path)
    ok(done.returncode == 0, "every expression of the dashboard parses", done.stdout, done.stderr)


def check_kinds(names, texts):
    """rate() and increase() are for counters, and only for them."""
    wrong = [n for t in texts for n in re.findall(r"(?:rate|increase)\((\w+)", t)
             if names.get(n) != "counter"]
    same(wrong, [], "rates are of counters")


NAMES = exported()
ok(len(NAMES) > 40, "metrics are found in the sources", len(NAMES))
same([n for n, k in NAMES.items() if (k == "counter") != n.endswith(("_total", "_bucket", "_sum",
                                                                      "_count"))], [],
     "counters end in _total, and nothing else does")
check_rules(NAMES)
EXPRS = check_dashboard(NAMES)
check_exprs(EXPRS)
check_kinds(NAMES, EXPRS + [read(RULES)])
done()
