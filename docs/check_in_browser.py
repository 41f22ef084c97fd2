"""Look at every page of the built site in headless Chromium; `make test-docs-browser` runs this.

At 1440 and 390 pixels: nothing is wider than the window, no code block is cut off (nor, at 1440, a
table, which scrolls in its frame on narrow screens), no image is missing, no script fails, nothing
is loaded from elsewhere, formulas are typeset, and the search finds "early stopping". A server on
a free port of this machine serves the site and one more page, which opens all others in a frame of
the given width and sends back its findings.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1600,1000"
).split()
WIDTHS = (1440, 390)
SECONDS = 300
LOOKER = """<!doctype html><title>looker</title><body><script>
const pages = PAGES, widths = WIDTHS, faults = [];
const pause = ms => new Promise(done => setTimeout(done, ms));

async function open(page, width, ready) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.src = page;
  document.body.append(frame);
  await new Promise(done => { frame.onload = done; });
  const inside = frame.contentWindow;
  const errors = inside.scriptErrors;
  for (let wait = 0; wait < 200 && !ready(inside); wait++) await pause(50);
  if (!ready(inside)) errors.push("is not ready after 10 s");
  return [frame, inside, errors];
}

function settled(inside) {
  const math = inside.document.querySelectorAll(".math").length;
  const set = inside.document.querySelectorAll("mjx-container").length;
  return inside.document.readyState == "complete" && set >= math;
}

function look(inside) {
  const found = [], page = inside.document, root = page.documentElement;
  if (root.scrollWidth > root.clientWidth)
    found.push(`is ${root.scrollWidth} pixels wide`);
  const scrolls = node => node.tagName != "ARTICLE" && (
    /auto|scroll/.test(inside.getComputedStyle(node).overflowX) || scrolls(node.parentElement));
  for (const node of page.querySelectorAll("article *"))
    if (node.getBoundingClientRect().right > root.clientWidth + 1 && !scrolls(node.parentElement)) {
      found.push(`has something too wide: ${node.outerHTML.slice(0, 60)}`);
      break;
    }
  for (const block of page.querySelectorAll(".highlight pre"))
    if (block.scrollWidth > block.clientWidth + 1)
      found.push(`cuts off code: ${block.textContent.slice(0, 60)}`);
  if (page.querySelector(".highlight pre") && !page.querySelector("button.copybtn"))
    found.push("has no buttons to copy code");
  for (const frame of page.querySelectorAll(".table-wrapper"))
    if (root.clientWidth > 1000 && frame.scrollWidth > frame.clientWidth + 1)
      found.push(`cuts off the table: ${frame.textContent.trim().slice(0, 60)}`);
  for (const image of page.querySelectorAll("img"))
    if (!image.complete || !image.naturalWidth) found.push(`has no image ${image.src}`);
  for (const fault of page.querySelectorAll("mjx-merror"))
    found.push(`has a formula that fails: ${fault.textContent}`);
  for (const entry of inside.performance.getEntriesByType("resource"))
    if (!entry.name.startsWith(location.origin) && !entry.name.startsWith("data:"))
      found.push(`loads ${entry.name}`);
  return found;
}

async function all() {
  for (const width of widths) {
    for (const page of pages) {
      const [frame, inside, errors] = await open(page, width, settled);
      for (const image of inside.document.querySelectorAll("img[loading=lazy]"))
        image.loading = "eager";
      for (let wait = 0; wait < 40; wait++) {
        if ([...inside.document.images].every(image => image.complete)) break;
        await pause(50);
      }
      for (const fault of [...errors, ...look(inside)])
        faults.push(`${width} px: ${page} ${fault}`);
      frame.remove();
    }
    const found = inside => ["EarlyStopping", "training.html"].every(name =>
      inside.document.querySelector(`#search-results li a[href*="${name}"]`));
    const [frame, inside, errors] = await open("search.html?q=early+stopping", width, found);
    if (!found(inside)) faults.push(`${width} px: the search does not find "early stopping"`);
    for (const fault of [...errors, ...look(inside)]) faults.push(`${width} px: search ${fault}`);
    frame.remove();
  }
}
all().catch(error => faults.push(`the check failed: ${error.stack}`)).finally(() =>
  fetch("report", {method: "POST", body: JSON.stringify(faults)}));
</script>"""


ERRORS = """<head><script>var scriptErrors = [];
addEventListener("error", event => event.message && scriptErrors.push(event.message));</script>"""


class Site(SimpleHTTPRequestHandler):
    """Serve the looking page, and the site with a list of scripts' errors; receive the report."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if path.suffix != ".html" or not (path.exists() or path.name == "looker.html"):
            return super().do_GET()
        text = self.server.looker
        if path.name != "looker.html":
            text = path.read_text(encoding="utf-8").replace("<head>", ERRORS, 1)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self):
        self.server.faults = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.reported.set()

    def log_message(self, *_):
        pass


def check(site, browser):
    """Return a list of sentences about what is wrong, and the number of pages."""
    pages = sorted(str(p.relative_to(site).as_posix()) for p in site.rglob("*.html"))
    pages = [page for page in pages if not page.startswith(("_static/", "_modules/", "search"))]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(site)))
    server.looker = LOOKER.replace("PAGES", json.dumps(pages)).replace("WIDTHS", str([*WIDTHS]))
    server.faults, server.reported = ["the browser sent no report"], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        address = f"http://127.0.0.1:{server.server_port}/looker.html"
        process = subprocess.Popen(
            [browser, *OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-port=0", address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            server.reported.wait(SECONDS)
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
    return server.faults, len(pages)


def main():
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("nncore: skipped, there is no Chromium (Debian: apt install chromium)")
        return 0
    site = Path(sys.argv[1])
    faults, count = check(site, browser)
    print("\n".join(faults) or f"nncore: {count} pages are right at {WIDTHS[0]} and {WIDTHS[1]} px")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
