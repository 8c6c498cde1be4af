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
SETTLE = 4000  # milliseconds in which the page prepares its columns
# Sliders and positions come from a small generator (Lehmer's), so that a second run makes the same moves.
MOVE = """
async (moves) => {
  const sliders = [...document.querySelectorAll(".what-if input[type=range]")], took = [];
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let i = 0; i < moves; i++) {
    const slider = sliders[Math.floor(random() * sliders.length)];
    slider.value = Math.round(random() * slider.max);
    const start = performance.now();
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((done) => requestAnimationFrame(() => {
      const after = new MessageChannel();
      after.port1.onmessage = done;
      after.port2.postMessage(0);
    }));
    took.push([performance.now() - start, slider.parentElement.firstChild.textContent]);
    await new Promise((done) => setTimeout(done, 250));
  }
  return took;
}
"""


def main(page: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.goto(page.resolve().as_uri())
        tab.wait_for_timeout(SETTLE)
        moves = sorted(tab.evaluate(MOVE, MOVES), reverse=True)
        browser.close()
    median, high, most = np.quantile([took for took, _ in moves], [0.5, 0.95, 1])
    load = os.getloadavg()[0]
    print(f"{MOVES} moves: median {median:.0f} ms, 95th percentile {high:.0f}, most {most:.0f}; load {load:.1f}")
    for took, slider in moves[:5]:
        print(f"{took:6.0f} ms  {slider}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
