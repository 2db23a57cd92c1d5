"""A headless Chromium, driven by the W3C's WebDriver protocol: JSON over HTTP to chromedriver."""
import atexit
import base64
import http.client
import json
import os
import signal
import subprocess

from harness import SLOW, children, die_with_parent, free_port, is_running, scratch, wait_for

CHROMIUM, CHROMEDRIVER = "/usr/lib/chromium/chromium", "/usr/bin/chromedriver"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"     # WebDriver 12.1: how an element is named
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-extensions", "--no-first-run", "--hide-scrollbars",
             "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


class Error(Exception):
    pass


def descendants(pid):
    for child in children(pid):
        yield child
        yield from descendants(child)


class Browser:
    """One window with a profile of its own. All processes of it end with close()."""

    def __init__(self, width=1280, height=900):
        self.dir, port = scratch(), free_port()
        with open(self.dir + "/log", "wb") as log:
            self.process = subprocess.Popen(
                [CHROMEDRIVER, "--port=%d" % port], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, preexec_fn=die_with_parent, env=dict(os.environ, HOME=self.dir, TMPDIR=self.dir))
        atexit.register(self.close)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        if not wait_for(self._is_up, 30):
            raise Error("chromedriver does not start")
        options = {"binary": CHROMIUM, "args": ARGUMENTS + [
            "--user-data-dir=%s/profile" % self.dir, "--window-size=%d,%d" % (width, height)]}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": options, "timeouts": {"script": 120000},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})
        self.session = "/session/" + session["sessionId"]

    def _is_up(self):
        try:
            return self._call("GET", "/status")["ready"]
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return self.process.poll() is not None

    def _call(self, method, path, body=None):
        self.connection.request(method, path, None if body is None else json.dumps(body),
                                {"Content-Type": "application/json"})
        r = self.connection.getresponse()
        value = json.loads(r.read())["value"]
        if r.status != 200:
            raise Error("%s: %s" % (path, value.get("message", value)))
        return value

    def _post(self, command, **body):
        return self._call("POST", self.session + command, body)

    def close(self):
        """The driver ends the browser when it is asked to; what is left then is killed."""
        if self.process.poll() is not None:
            return
        pids = list(descendants(self.process.pid))
        try:
            self._call("DELETE", self.session)
        except (OSError, http.client.HTTPException, Error, AttributeError):
            pass
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not any(map(is_running, pids)), 5)
        for pid in filter(is_running, pids):
            os.kill(pid, signal.SIGKILL)

    # --- what a visitor does

    def open(self, url):
        self._post("/url", url=url)

    def run(self, script, *arguments):
        """Call a function with that body in the page; what it returns."""
        return self._post("/execute/sync", script="return (async function() { %s }).apply(null, "
                          "arguments)" % script, args=list(arguments))

    def wait(self, script, *arguments, seconds=20):
        """Until the body returns something true, which comes back; its last value else."""
        return self.run("""
            const [body, seconds, ...args] = arguments, ask = new Function(body);
            const end = performance.now() + seconds * 1000;
            for (;;) {
                const value = ask(...args);
                if (value || performance.now() > end)
                    return value;
                await new Promise(go => setTimeout(go, 50));
            }""", script, seconds * SLOW, *arguments)

    def _element(self, css):
        return self._post("/element", using="css selector", value=css)[ELEMENT]

    def click(self, css):
        self._post("/element/%s/click" % self._element(css))

    def type(self, css, text):
        """Real keys, behind what is there; "\\ue007" is Enter."""
        self._post("/element/%s/value" % self._element(css), text=text)

    def clear(self, css):
        self._post("/element/%s/clear" % self._element(css))

    # --- what only a tester does

    def cdp(self, command, **parameters):
        """Chromium's own protocol."""
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def size(self, width, height):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=width < 600)

    def colours(self, scheme):
        """ "light" or "dark" """
        self.cdp("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}])

    def minimize(self):
        self._post("/window/minimize")

    def show(self):
        self._post("/window/rect", width=1280, height=900)

    def console(self):
        """Errors and warnings since the last call: of scripts, of loading, of policies."""
        return [e["message"] for e in self._post("/se/log", type="browser")
                if e["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        """The addresses of all requests since the last call."""
        events = (json.loads(e["message"])["message"] for e in
                  self._post("/se/log", type="performance"))
        return [e["params"]["request"]["url"] for e in events
                if e["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path):
        """The whole page, as far down as it goes, as PNG."""
        image = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(image))
