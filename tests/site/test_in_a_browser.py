"""Pages of the built site in a real browser: Chromium without a window, on a desktop and a phone.

A page of our own shows each page in a frame of a given width, asks it from inside, and writes down
what it found; `--dump-dom` prints that.
"""

import functools
import html
import json
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "build/site"
BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="no site is built: make docs"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here"),
]

PAGES = {
    "index.html": "batchflow documentation",
    "docs/tutorial/first_pipeline.html": "pipeline",
    "docs/reference/language.html": "language of chains",
    "api/datasets.html": "Datasets",
    "notebooks/06_data.html": "Data",
}
WIDTHS = {"desktop": 1280, "phone": 390}

# Nothing goes out from here, and nothing of another page is remembered.
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
    "--window-size=1400,1000",
    "--dump-dom",
]
ASKING = """<!doctype html><iframe width="{width}" height="900" src="/{page}"></iframe><pre></pre>
<script>
const frame = document.querySelector("iframe"), errors = [];
frame.addEventListener("load", () => {{
  const inside = frame.contentDocument, root = inside.documentElement;
  frame.contentWindow.addEventListener("error", event => errors.push(String(event.message)));
  const seen = query => {{
    const found = inside.querySelector(query);
    return Boolean(found) && found.getClientRects().length > 0;
  }};
  setTimeout(() => {{
    const sheets = [...inside.styleSheets].map(sheet => sheet.cssRules.length);
    document.querySelector("pre").textContent = JSON.stringify({{
      heading: inside.querySelector("h1")?.textContent,
      overflow: root.scrollWidth - root.clientWidth,
      rules: sheets.reduce((sum, n) => sum + n, 0),
      broken: [...inside.images].filter(image => !image.naturalWidth).map(image => image.src),
      contents: seen(".sidebar-tree a"),
      left: inside.querySelector(".sidebar-drawer")?.getBoundingClientRect().right,
      search: seen(".sidebar-search"),
      menu: seen(".mobile-header"),
      errors,
    }});
  }}, 500);
}});
</script>"""


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        asked = re.fullmatch(r"/ask/(\d+)/(.*)", self.path)
        if not asked:
            return super().do_GET()
        body = ASKING.format(width=asked[1], page=asked[2]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return self.wfile.write(body)

    def log_request(self, code="-", _size="-"):
        if int(code) >= 400 and not self.path.endswith("favicon.ico"):
            self.server.missing.append(self.path)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    handler = functools.partial(_Handler, directory=str(SITE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.missing = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_and_fits(server, tmp_path, page, width):
    address = f"http://127.0.0.1:{server.server_port}/ask/{width}/{page}"
    command = [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path}", address]
    printed = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    ).stdout
    (told,) = re.findall(r"<pre>(.*?)</pre>", printed, re.DOTALL)
    seen = json.loads(html.unescape(told))
    assert PAGES[page] in seen["heading"]
    assert seen["rules"] > 100  # it is dressed
    assert seen["overflow"] <= 0  # nothing sticks out to the right
    assert seen["broken"] == seen["errors"] == server.missing == []
    assert seen["menu"] == (width == WIDTHS["phone"])
    # On a phone the contents wait beside the screen, until the menu is opened.
    assert (seen["left"] > 0) == (width == WIDTHS["desktop"])
    assert seen["contents"]
    assert seen["search"]
