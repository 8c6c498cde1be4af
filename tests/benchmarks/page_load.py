"""What Lighthouse says of a page, when it is first seen, and how a long table of it sorts and filters, in Chromium.

moewright design --memory 80GB --active-params 3B --train-tokens 2T --out designs
moewright report designs --out report.html
python -m tests.benchmarks.page_load report.html
python -m tests.benchmarks.page_load --runs 1000

Lighthouse is fetched by npx into the user's own cache; without npx or a network its part is left out, and said to be.
The page is served by this process, compressed as web servers do, for a file on a disk is nothing that Lighthouse opens.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

import moewright

LIGHTHOUSE = "lighthouse@12.8.2"
OPENINGS = 5
COLUMNS = 98
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")

SORT = """
(table) => {
  const took = [], heads = [...table.querySelectorAll(".sort")];
  for (const head of heads.slice(2, 7)) {
    const start = performance.now();
    head.click();
    table.getBoundingClientRect();
    took.push(performance.now() - start);
  }
  return Math.max(...took);
}
"""
FILTER = """
(input) => {
  const start = performance.now();
  input.value = "run-7";
  input.dispatchEvent(new Event("input"));
  document.body.getBoundingClientRect();
  return performance.now() - start;
}
"""


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("there is no Chromium on this machine")
    return found


def table_of(rows: int, folder: Path) -> Path:
    """A page of a table of so many made-up runs."""
    r = np.random.default_rng(0)
    size, tokens = 10 ** r.uniform(7, 9, rows), 10 ** r.uniform(9, 11, rows)
    table: dict[str, Any] = {"run_id": [f"run-{number}" for number in range(rows)]}
    table |= {"total_params": size, "train_tokens": tokens, "loss": 1.7 + 400 / size**0.34 + 400 / tokens**0.28}
    table |= {f"setting_{number}": r.uniform(0, 1, rows) for number in range(COLUMNS - len(table))}
    pd.DataFrame(table).to_csv(folder / "runs.csv", index=False)
    moewright.make_report(folder / "runs.csv", folder / "report.html")
    return folder / "report.html"


def opened(page: Path) -> None:
    """When the page is first seen, and what its longest table takes."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        seen, longest = [], []
        for _ in range(OPENINGS):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.resolve().as_uri())
            paints = "performance.getEntriesByName('first-contentful-paint').map((each) => each.startTime)"
            seen += tab.evaluate(paints)
            tables = tab.locator("[id^=runs-] table.grid")
            if tables.count():
                longest = [tables.first.evaluate(SORT), tab.get_by_role("searchbox").first.evaluate(FILTER)]
            tab.close()
        browser.close()
    print(f"{page.name}, {page.stat().st_size / 1000:,.0f} kB: first seen after {np.median(seen):.0f} ms (median of")
    print(f"{OPENINGS} openings; {min(seen):.0f} to {max(seen):.0f}); load {os.getloadavg()[0]:.1f}")
    if longest:
        print(f"the runs: a sort took {longest[0]:.0f} ms at most, a filter {longest[1]:.0f} ms")


class _Page(BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def lighthouse(page: Path) -> None:
    """Its scores of the page."""
    npx = shutil.which("npx")
    if npx is None:
        print("Lighthouse: left out, there is no npx on this machine")
        return
    handler = type("Served", (_Page,), {"content": gzip.compress(page.read_bytes())})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        flags = " ".join((*FLAGS, "--headless=new", f"--user-data-dir={folder}/profile"))
        words = [npx, "--yes", LIGHTHOUSE, f"http://127.0.0.1:{server.server_port}/", "--preset=desktop", "--quiet"]
        words += ["--output=json", f"--output-path={folder}/answer.json", f"--chrome-flags={flags}"]
        words += ["--only-categories=performance,accessibility"]
        environment = {**os.environ, "CHROME_PATH": chromium()}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder, check=False)
        server.shutdown()
        if done.returncode:
            print(f"Lighthouse: left out, it did not run: {done.stderr.strip().splitlines()[-1:]}")
            return
        answer = json.loads(Path(folder, "answer.json").read_text(encoding="utf-8"))
    scores = {name: each["score"] for name, each in answer["categories"].items()}
    wanted = ("first-contentful-paint", "largest-contentful-paint", "total-blocking-time", "speed-index")
    audits = {name: answer["audits"][name]["displayValue"] for name in wanted}
    print(f"{LIGHTHOUSE}: {scores}, load {os.getloadavg()[0]:.1f}")
    print(", ".join(f"{name} {value}" for name, value in audits.items()))


def main(arguments: list[str]) -> None:
    if arguments[0] == "--runs":
        with tempfile.TemporaryDirectory() as folder:
            opened(table_of(int(arguments[1]), Path(folder)))
        return
    page = Path(arguments[0])
    opened(page)
    lighthouse(page)


if __name__ == "__main__":
    main(sys.argv[1:])
