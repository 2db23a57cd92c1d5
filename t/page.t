#!/usr/bin/env python3
"""The status page in a real browser: what it shows, and that it does as an administrator looks on."""
import os
import re
import sys

sys.path.insert(0, "t/lib")
from harness import *
from browser import CHROMEDRIVER, CHROMIUM, Browser
from mariadb import MariaDB
from slapd import SUFFIX, Slapd
from web import ask

PICTURES = "build/page"
NASTY = '<script>document.title="x"</script>'
NASTY_KEY = '"<b>\'&amp;"@odd.test'
ENTER = "\ue007"
PEOPLE = "".join("dn: cn=u{0},{1}\nobjectClass: adGroup\ncn: u{0}\nmail: u{0}@people.test\n\n"
                 .format(i, SUFFIX) for i in range(40))
MIRROR = {"mode": "mirror", "refresh": "1s", "on_miss": "notfound"}


def make_server(slapd, db):
    server = Server(recipient_delimiter="+", snapshot_interval="100ms", start_wait="100ms")
    rows = ["anna@shop.test", "'anna@example.test'", "sales@shop.test", "'anna@example.test'",
            "@shop.test", "'ben@example.test'", NASTY_KEY, "'%s'" % NASTY]
    database(server.dir + "/mail.sqlite", "CREATE TABLE alias (address TEXT, target TEXT);" + "".join(
        "INSERT INTO alias VALUES ('%s', %s);" % (k.replace("'", "''"), v)
        for k, v in zip(rows[::2], rows[1::2])))
    odd = Directory(server.dir, "odd")
    odd.rows({"long": "x" * 5000})
    odd.script("lookup * down " + NASTY)
    server.sources = [{"name": "mail", "driver": "sqlite", "dbpath": server.dir + "/mail.sqlite"},
                      slapd.source("directory"), db.source("db"), odd.source()]
    server.maps = {
        "virtual_alias_maps": dict(MIRROR, source="mail", query="SELECT target FROM alias "
                                   "WHERE address = '%s'", scan_query="SELECT * FROM alias"),
        "people": dict(MIRROR, source="directory", search="exact", search_base=SUFFIX,
                       query_filter="(mail=%s)", result_attribute="cn"),
        "virtual_mailbox_maps": {"source": "db", "query": "SELECT box FROM box WHERE name = '%s'",
                                 "mode": "demand"},
        "odd": {"source": "odd", "search": "exact", "mode": "demand"},
        "shrinking": dict(MIRROR, source="db", search="exact", scan_query="SELECT * FROM box",
                          query="SELECT box FROM box WHERE name = '%s'")}
    server.web = "127.0.0.1:%d" % free_port()
    server.listeners.append({"protocol": "http", "address": "inet:" + server.web})
    return server


# --- reading the page ---------------------------------------------------------------------------

def row(page, table, name):
    """{column: text} of one row, {} when there is none."""
    return page.run("""
        const head = [...document.querySelectorAll(`#${arguments[0]} th`)];
        const row = [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].find(
            tr => tr.cells[0].firstChild.textContent === arguments[1]);
        return row ? Object.fromEntries(head.map((th, i) =>
            [th.firstChild.textContent.trim(), row.cells[i].innerText])) : {}""", table, name)


def state_is(page, table, name, word, kind):
    """Wait for a state, as a word and as a class."""
    return ok(page.wait("""
        const row = [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].find(
            tr => tr.cells[0].firstChild.textContent === arguments[1]);
        const state = row?.cells[1].firstChild;
        return state?.textContent === arguments[2] && state.className === arguments[3]""",
        table, name, word, kind, seconds=60), "%s is shown as %s, %s" % (name, word, kind),
        row(page, table, name))


def text(page, css):
    return page.run("return document.querySelector(arguments[0]).innerText", css)


def text_becomes(page, css, pattern, name, seconds=20):
    page.wait("return new RegExp(arguments[1], 's').test(document.querySelector(arguments[0]).innerText)",
              css, pattern, seconds=seconds)
    return like(text(page, css), "(?s)" + pattern, name)


def explained(page, map, key):
    """Ask by hand; the sentence and all of the explanation."""
    page.run("document.getElementById('map').value = arguments[0]", map)
    page.run("document.getElementById('why').textContent = ''")     # of the question before
    page.clear("#key")
    page.type("#key", key + ENTER)
    page.wait("return document.getElementById('answer').ariaBusy === 'false' && "
              "document.getElementById('why').innerText")
    return text(page, "#why"), text(page, "#answer")


# --- what it does -------------------------------------------------------------------------------

def check_policy(server):
    reply = ask("inet:" + server.web, "/")
    policy = reply.headers["Content-Security-Policy"]
    same((reply.status, reply.headers["Content-Type"]), (200, "text/html; charset=utf-8"), "it is HTML")
    with open("src/daemon/page.html", "rb") as f:
        ok(reply.body == f.read(), "as in the source")
    for part in "default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", \
            "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'":
        ok(part in policy, "its policy: " + part, policy)
    ok("unsafe" not in policy, "and nothing unsafe", policy)
    same([ask("inet:" + server.web, p).status for p in ("//", "/index.html", "/x")], [404] * 3,
         "it is at / alone")


def check_numbers(server, page):
    def answers():
        return int(re.sub(r".*\n|,", "", row(page, "maps", "virtual_alias_maps")["Rate"]))
    before = answers()
    keys = ["anna@shop.test", "anna+x@shop.test", "typo@shop.test", "nobody@nowhere.test"]
    with Load(server, "virtual_alias_maps", keys, lambda *_: None, clients=1) as load:
        ok(wait_for(lambda: answers() > before, 20), "the count of a map grows under load")
        ok(page.wait("return parseFloat(document.querySelector('#answers').innerText) > 0"),
           "so does the rate of all", text(page, "#answers"))
    ok(load.total() >= answers() - before, "by no more than was answered")
    like(row(page, "maps", "virtual_alias_maps")["Rate"], r"^[\d.,]+/s\n", "a rate")
    like(row(page, "maps", "virtual_alias_maps")["From memory"], "^100 %", "all from memory")
    like(row(page, "maps", "virtual_alias_maps")["Entries"], r"^4\n", "its entries")
    like(row(page, "maps", "virtual_alias_maps")["Age"], r"^\d+ s", "its age")
    ok(page.wait("return /M.*L/.test(document.querySelector('#maps path.rate').getAttribute('d'))"),
       "and a plot")
    for i in range(3):
        server.ask("odd", "key%d" % i)
    ok(page.wait("""return [...document.querySelectorAll('#maps tbody tr')].some(tr =>
        tr.cells[0].innerText.startsWith('odd') && tr.querySelector('path.temp').getAttribute('d')
        && tr.cells[6].firstChild.className === 'warn')"""), "TEMPs are marked")
    like(row(page, "maps", "odd")["From memory"], "^0 %", "who got TEMP got nothing from memory")
    like(server.ask("virtual_mailbox_maps", "u1@box.test"), "^OK ", "a lookup in the database")
    ok(page.wait("""return [...document.querySelectorAll('#maps tbody tr')].some(tr =>
        tr.cells[0].innerText.startsWith('virtual_mailbox') && /^0 %/.test(tr.cells[5].innerText))"""),
       "what waited for the directory did not come from memory", row(page, "maps", "virtual_mailbox_maps"))
    ok(page.wait("""return [...document.querySelectorAll('#sources tbody tr')].some(tr =>
        tr.cells[0].innerText.startsWith('db') && /\\d .?s$/.test(tr.cells[4].innerText))"""),
       "has a latency", row(page, "sources", "db"))


def check_rejection(db, page):
    db.sql("DELETE FROM box WHERE name <> 'u1@box.test'", "mail")
    text_becomes(page, "#notices", r"shrinking.*rejected.*1 keys instead of 200.*"
                 r"socketmapctl accept shrinking", "a rejected scan, and what to do")


def check_state_directory(server, page):
    os.chmod(server.state, 0o777)
    text_becomes(page, "#notices", "No snapshots can be written to %s: others may write" % server.state,
                 "a state directory that cannot be used")
    os.chmod(server.state, 0o700)


def check_down(slapd, page):
    slapd.stop()
    state_is(page, "sources", "directory", "down", "bad")
    text_becomes(page, "#notices", r"directory cannot be reached( since \d[^:]*:\S+)?: .*refused", "and why")
    text_becomes(page, "#events", "refresh_failed.*map=people", "the event is there")
    slapd.start()
    state_is(page, "sources", "directory", "up", "good")
    ok(page.wait("return !document.querySelector('#notices').innerText.includes('reached')"),
       "then nothing is said of it")


def check_nasty(server, page):
    """Whatever strangers and directories say is text."""
    server.ask("<img/src=x>", "key")
    text_becomes(page, "#events", "<img/src=x>", "an event with HTML is text")
    text_becomes(page, "#sources", "<script>document.title", "so is the error of a source")
    why, all = explained(page, "virtual_alias_maps", NASTY_KEY)
    ok(NASTY_KEY in all and NASTY in all, "so are key and value", all)
    same(page.run("return document.getElementById('key').value"), NASTY_KEY, "and the box's")
    why, all = explained(page, "odd", NASTY)
    ok(NASTY in all, "so is a reason", all)
    same(page.run("return document.querySelectorAll('main script, main img, main b').length"), 0,
         "no element was made of it")
    like(page.run("return document.title"), "socketmapd$", "no script ran")


def check_explanations(page):
    why, all = explained(page, "virtual_alias_maps", "Sales+EU@shop.test")
    like(all, r"FOUND\s*anna\+EU@example\.test", "a hit by its second key")
    like(all, r"OK anna\+EU@example\.test(.|\n)*200 anna\+EU@example\.test", "the replies of both protocols")
    like(why, "sales@shop.test", "and why")
    ok(page.wait("return location.hash === '#explain=virtual_alias_maps/Sales%2BEU%40shop.test'"),
       "the address can be shared")
    page.screenshot(PICTURES + "/explain.png")
    why, all = explained(page, "people", "nobody@people.test")
    like(all, "NOTFOUND", "a miss")
    like(why, "(?i)copy|not (there|found|in)|no such", "and why")
    why, all = explained(page, "virtual_mailbox_maps", "u1@box.test")
    like(all, r"SELECT box FROM box", "the query that a directory gets")


def check_sight(page):
    """Pictures, and that nothing is wider than the window."""
    page.run("history.replaceState(null, '', location.pathname); "
             "document.getElementById('answer').hidden = true; "
             "document.activeElement.blur(); scrollTo(0, 0)")
    for name, width, height, scheme in (("phone", 320, 640, "light"), ("light", 1280, 900, "light"),
                                        ("dark", 1280, 900, "dark"), ("tablet", 800, 1000, "dark")):
        page.size(width, height)
        page.colours(scheme)
        wide = page.run("return [document.documentElement.scrollWidth, innerWidth]")
        ok(wide[0] <= width == wide[1], "%s: it fits %d pixels" % (name, width), wide)
        wide = page.run("""return [...document.querySelectorAll('section *')].filter(e =>
            e.getBoundingClientRect().right > innerWidth && !e.closest('thead')).map(
            e => e.outerHTML)""")
        same(wide, [], name + ": so does each part")
        shade = page.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0]")
        same(int(shade) > 128, scheme == "light", "%s: %s paper" % (name, scheme))
        page.screenshot("%s/%s.png" % (PICTURES, name))
        ok(os.path.getsize("%s/%s.png" % (PICTURES, name)) > 10000, name + ": a picture")


def check_names(page):
    """What a screen reader is told; roles, as the layout for phones makes no tables."""
    same(page.run("""return [...document.querySelectorAll('input, select, button')].filter(
        e => !e.labels?.[0]?.innerText && !e.innerText).length"""), 0, "every field has a label")
    for table in "maps", "sources", "events":
        tree = page.cdp("Accessibility.queryAXTree", role="columnheader", objectId=page.cdp(
            "Runtime.evaluate", expression="document.getElementById('%s')" % table)["result"]["objectId"])
        ok(len(tree["nodes"]) >= 4, "%s: its columns have heads" % table)
    same(page.run("return document.getElementById('state').role"), "status", "the state is read aloud")
    page.run("document.activeElement.blur()")
    same(page.run("return document.querySelector('#maps svg').role || "
                  "document.querySelector('#maps svg').getAttribute('role')"), "img", "plots are images")


def check_shared(page):
    page.open("about:blank")
    page.open(page.url + "#explain=people/u7%40people.test")
    text_becomes(page, "#answer", r"FOUND\s*u7", "a shared address is explained at once")
    same(page.run("return document.getElementById('map').value"), "people", "the box says of what")


def check_hidden(page):
    page.minimize()
    ok(page.wait("return document.hidden && timer === 0"), "out of sight it asks for nothing")
    page.show()
    ok(page.wait("return !document.hidden && timer !== 0"), "and goes on when somebody looks")


def check_restart(server, page):
    same(server.stop(), None, "the server ends")
    text_becomes(page, "#state", r"no answer from the server since \d\d:", "the page says so")
    ok(page.run("return document.body.classList.contains('silent')"), "and dims what is old")
    server.start()
    ok(page.wait("return !document.body.classList.contains('silent') && "
                 "document.getElementById('pid').innerText === arguments[0]", str(server.pid)),
       "it finds the next server by itself")
    same(page.run("return [...histories.values()].some(h => h.over(10)?.count < 0)"), False,
         "whose counters begin anew")


def check(page, server, slapd, db):
    page.url = "http://%s/" % server.web
    page.open("about:blank")
    page.requests()
    page.open(page.url)
    text_becomes(page, "#word", "^ready$", "it says ready")
    like(text(page, "#version"), r"^\d+\.\d+", "and its version")
    state_is(page, "maps", "virtual_alias_maps", "fresh", "good")
    state_is(page, "maps", "virtual_mailbox_maps", "demand", "calm")
    check_numbers(server, page)
    check_rejection(db, page)
    check_state_directory(server, page)
    check_down(slapd, page)
    check_nasty(server, page)
    check_explanations(page)
    check_names(page)
    check_hidden(page)
    check_sight(page)
    check_shared(page)
    same(page.console(), [], "no error and no broken policy in all that")
    same([u for u in page.requests() if not u.startswith((page.url, "data:"))], [],
         "it asks nobody else for anything")
    same(page.run("""const s = document.createElement('script'); s.textContent = 'window.ran = 1';
        document.body.append(s); document.body.setAttribute('style', 'color: red');
        return [window.ran || 0, getComputedStyle(document.body).color === 'rgb(255, 0, 0)']"""),
         [0, False], "a script and a style that got in would not run")
    check_restart(server, page)


missing = [p for p in (CHROMIUM, CHROMEDRIVER) if not os.path.exists(p)]
if missing:
    ok(False, "there is a browser", *missing)
    done()
os.makedirs(PICTURES, exist_ok=True)
slapd, db = Slapd(PEOPLE), MariaDB(
    "CREATE TABLE box (name VARCHAR(80) PRIMARY KEY, box VARCHAR(80));" + "".join(
        "INSERT INTO box VALUES ('u%d@box.test', 'box%d/');" % (i, i) for i in range(200)))
with make_server(slapd, db) as server:
    check_policy(server)
    browser = Browser()
    try:
        check(browser, server, slapd, db)
    finally:
        browser.close()
done()
