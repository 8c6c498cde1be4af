"""How long a move of the page's what-if takes in Chromium: from the slider's input until its frame is laid out.

moewright design --memory 80GB --active-params 3B --train-tokens 2T --out designs
moewright report designs --out report.html
python -m tests.benchmarks.what_if_moves report.html
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

MOVES = 50
READY, PAUSE = (0, 8000), 250  # milliseconds: after the first answer, when the first move comes; and between moves
MOVE = """
async ([place, share]) => {
  const slider = document.querySelectorAll(".what-if input[type=range]")[place];
  slider.value = Math.round(share * slider.max);
  const start = performance.now();
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => {
    const after = new MessageChannel();
    after.port1.onmessage = done;
    after.port2.postMessage(0);
  }));
  return [performance.now() - start, slider.parentElement.firstChild.textContent];
}
"""


def main(page: Path) -> None:
    for ready in READY:
        print(f"the first move {ready / 1000:g} s after the first answer:")
        measure(page, ready)


def measure(page: Path, ready: int) -> None:
    """Open the page, wait, move, and print what the moves took."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    random = np.random.default_rng(7)
    moves = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.goto(page.resolve().as_uri())
        tab.locator(".what-if .headline").wait_for()
        tab.locator(".what-if input").first.hover()
        tab.wait_for_timeout(ready)
        session = tab.context.new_cdp_session(tab)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def worked() -> float:
            """Milliseconds that the page's thread has worked, waiting for a processor left out."""
            metrics = session.send("Performance.getMetrics")["metrics"]
            return 1000 * float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

        sliders = tab.locator(".what-if input[type=range]").count()
        for _ in range(MOVES):
            before = worked()
            took, slider = tab.evaluate(MOVE, [int(random.integers(sliders)), float(random.random())])
            moves.append((took, worked() - before, slider))
            tab.wait_for_timeout(PAUSE)
        browser.close()
    load = os.getloadavg()[0]
    for name, place in (("by the clock", 0), ("of the page's thread", 1)):
        median, high, most = np.quantile([move[place] for move in moves], [0.5, 0.95, 1])
        print(f"{MOVES} moves, ms {name}: median {median:.0f}, 95th percentile {high:.0f}, most {most:.0f}")
    print(f"load {load:.1f}; the slowest:")
    for took, of_thread, slider in sorted(moves, reverse=True)[:5]:
        print(f"{took:6.0f} ms, {of_thread:4.0f} of the thread  {slider}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
