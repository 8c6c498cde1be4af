"""What a page answers at other budgets, in a real browser, against `moewright design` itself."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import laws
from moewright.designs.candidates import CANDIDATE_SIZES
from moewright.designs.design_record import BesideRecord, DesignRecord
from moewright.designs.result import Designs
from moewright.designs.space import SWITCHED_OFF, Space, load_space
from moewright.errors import UserError
from moewright.hf import to_config
from moewright.plain_values import dump_yaml
from moewright.quantities import format_count
from moewright.report.page.page_blocks import range_text

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SMALL = Space(widths=(2048, 2560), depths=(16, 24, 32, 40))
OWN_FORM, DRAWS = "liew2026", 60
OPTIONS = {"memory_bytes": "memory", "device_memory_bytes": "memory"}

# An answer in the browser, with the numbers that the command gives of its first design.
ASK = """
([name, settings]) => {
  const carried = moewright.data(name), whatIf = openWhatIf(carried);
  const sizes = Object.keys(whatIf.sizes);
  return settings.map((setting) => {
    const found = whatIf.decide(setting);
    if (found.reason) return found;
    const first = found.leaders[0];
    const at = (step) => whatIf.columnsAt(setting.training, [step])[0][first];
    const all = (names) => Object.fromEntries(Object.entries(names).map(([name, step]) => [name, at(step)]));
    return {
      leaders: found.leaders.slice(0, 10).map((row) => sizes.map((size) => whatIf.sizes[size][row])),
      scores: found.leaders.slice(0, 10).map((row) => found.scores.get(row) - found.scores.get(first)),
      undecided: found.rows.map((row) => sizes.map((size) => whatIf.sizes[size][row])),
      counts: all(carried.counts),
      hours: carried.hours.map(at),
      decode: found.served.decode.map(at),
      first: found.served.first.map(at),
      kv: at(carried.kv),
      devices: found.served.devices,
      laws: found.laws,
      life: found.life && {
        hours: found.life.hours.map((ends) => ends[found.rows.indexOf(first)]),
        batch: found.life.sequences[found.rows.indexOf(first)],
      },
      worth: found.worth,
      beside: whatIf.beside(setting, found),
      loss: Object.fromEntries(carried.laws.map((law) => [law.name, at(law.readings.own[0])])),
    };
  });
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def own_law(path: Path) -> str:
    """The file of a fit of Liew's form to a made-up table."""
    r = np.random.default_rng(0)
    size, sparsity, experts = 10 ** r.uniform(7.5, 9.5, 80), 2.0 ** r.integers(1, 6, 80), 2.0 ** r.integers(5, 9, 80)
    loss = 1.5 + np.exp(5.0 - 0.25 * np.log(size) + 0.08 * np.log(sparsity) + 0.01 * np.log(experts))
    loss *= np.exp(r.normal(0, 0.01, 80))
    rows = {"total_params": size, "sparsity": sparsity, "num_experts": experts, "loss": loss}
    laws.fit_law(OWN_FORM, pd.DataFrame(rows), bootstrap=DRAWS).save(path)
    return str(path)


class WhatIfPage:
    """A page of one answer, open in a browser."""

    def __init__(self, browser: Any, folder: Path, **asked: Any) -> None:
        self.asked = asked
        self.designs: Designs = moewright.design(**asked, out=folder / "designs")
        moewright.make_report(folder / "designs", folder / "report.html")
        self.said: list[str] = []
        self.tab = browser.new_page()
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.goto((folder / "report.html").as_uri())
        self.tab.wait_for_selector(".what-if .headline")
        self.carried = self.tab.evaluate("moewright.data('design-1-what-if')")

    def settings(self, number: int, seed: int) -> list[dict[str, Any]]:
        """Random ones: budgets anywhere within the carried ranges, all else from what the page offers."""
        r = random.Random(seed)
        names = [law["name"] for law in self.carried["laws"]]
        published = [law for law in names if self.carried["words"]["laws"][law]["published"]]
        found = []
        for _ in range(number):
            some = [law for law in names if r.random() < 0.6]
            prices = {role: r.choice([0.0, r.uniform(0.1, 10)]) for role in ("train", "serve")}
            if self.carried["one_device"]:
                prices["serve"] = prices["train"]
            may_serve = self.carried["one_device"] or all(prices.values())
            tokens = 10 ** r.uniform(10, 15) if may_serve and r.random() < 0.6 else 0
            rules = self.carried["rules"]
            off = r.randrange(1 << len(rules["names"])) if r.random() < 0.5 else 0
            ends = [(limit["low"], limit["high"]) for limit in self.carried["limits"]]
            found.append(
                {
                    "limits": [
                        r.uniform(*each) for each in (zip(rules["low"], rules["high"], strict=True) if off else ends)
                    ],
                    "off": off,
                    "training": r.randrange(len(self.carried["trainings"])),
                    "laws": some if {*some} & {*published} and r.random() < 0.5 else names,
                    "prefer": "balanced" if tokens else r.choice(["balanced", "train", "serve", "loss"]),
                    "serve_tokens": tokens,
                    "prices": prices,
                }
            )
        return found

    def answers(self, settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.tab.evaluate(ASK, ["design-1-what-if", settings])
        return found

    def command(self, setting: dict[str, Any]) -> Designs:
        """What `moewright design` answers at a setting."""
        given = dict(self.asked)
        devices = given.get("devices", 1)
        for limit, most in zip(self.carried["limits"], setting["limits"], strict=True):
            value = 1 / most if limit["name"] == "decode_tokens_per_second" else most
            name = OPTIONS.get(limit["name"], limit["name"])
            given[name] = value / devices if limit["name"] == "memory_bytes" else value
        training = self.designs.budgets.training
        given[training] = self.carried["trainings"][setting["training"]]["amount"]
        words = self.carried["words"]
        given["law"] = [
            law if words["laws"][law]["published"] else words["laws"][law]["word"] for law in setting["laws"]
        ]
        off = {
            name: SWITCHED_OFF[name]
            for bit, name in enumerate(self.carried["rules"]["names"])
            if setting["off"] >> bit & 1
        }
        given["space"] = Space.model_validate({**self.designs.space.to_dict(), **off})
        given["serve_tokens"] = setting["serve_tokens"] or None
        devices_of = {"train": words["hardware"]["trains"], "serve": words["hardware"]["serves"]}
        given["price"] = {devices_of[role]: price for role, price in setting["prices"].items() if price} or None
        answer: Designs = moewright.design(**{**given, "prefer": setting["prefer"]})
        return answer


def assert_same(page: WhatIfPage, settings: list[dict[str, Any]]) -> dict[str, int]:
    """Compare every answer with the command's; how often the page had which."""
    kinds = {"same": 0, "empty": 0, "silent": 0, "beyond": 0, "unserved": 0}
    for setting, found in zip(settings, page.answers(settings), strict=True):
        if found.get("reason") == "empty":
            with pytest.raises(UserError, match="no design of the space"):
                page.command(setting)
        elif found.get("reason") == "unserved":
            with pytest.raises(UserError, match="serve-tokens: not one sequence"):
                page.command(setting)
        elif found.get("reason") == "beyond":
            with pytest.raises(UserError, match=f"{found['law']} cannot rank"):
                page.command(setting)
        elif found.get("reason") == "silent":
            assert not page.command(setting).choice.hearing.may_judge
        else:
            _assert_same_answer(page.command(setting), found)
        kinds[found.get("reason", "same")] += 1
    assert page.said == []
    return kinds


def assert_close(found: Any, expected: Any) -> None:
    """Up to the last digits, in which a browser's logarithms and powers may differ from numpy's."""
    pair = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    np.testing.assert_allclose(*pair, rtol=1e-11, atol=1e-12)


def _assert_same_answer(expected: Designs, found: dict[str, Any]) -> None:
    first, choice = expected.designs[0], expected.choice
    assert found["leaders"] == [[design.sizes[size] for size in CANDIDATE_SIZES] for design in expected.designs]
    assert_close(found["scores"], [design.score for design in expected.designs])
    undecided = [choice.undecided.designs.sizes(row).values() for row in range(len(choice.undecided.designs))]
    assert sorted(map(tuple, found["undecided"])) == sorted(map(tuple, undecided))
    for name, value in found["counts"].items():
        assert_close(value, getattr(first, name))
    assert_close(found["hours"], first.costs.train_device_hours)
    assert_close(found["decode"], first.costs.decode_tokens_per_second)
    assert_close(found["first"], first.costs.time_to_first_token)
    assert_close(found["kv"], first.costs.kv_bytes_per_token)
    assert found["devices"] == choice.on.devices
    if found["life"] is None:
        assert first.costs.serve_device_hours is None
    else:
        assert_close(found["life"]["hours"], first.costs.serve_device_hours)
        assert found["life"]["batch"] == first.costs.serve_batch
    assert set(found["laws"]) == set(choice.hearing.laws)
    assert found["worth"]["at"] == choice.worth.at
    assert_close(found["worth"]["nats"] or 0.0, choice.worth.nats or 0.0)
    baseline = expected.answer().baseline
    assert found["beside"].pop("name") == baseline.name
    by_draws = baseline.as_built.design_against_it.probability_by_draws
    below = found["beside"].pop("below")
    assert below.keys() == by_draws.keys()
    for law, share in below.items():  # a draw whose two losses are alike to the last digit may fall to either side
        assert share == pytest.approx(by_draws[law], abs=1.5 / DRAWS)
    for name, share in found["beside"].items():
        expected_share = getattr(baseline.as_built.design_against_it, name)
        assert (share is None) == (expected_share is None)
        assert_close(share or 0.0, expected_share or 0.0)
    for law, loss in first.predicted_loss.items():
        assert_close(found["loss"][law], loss)


@pytest.mark.parametrize(
    "asked",
    [
        {"memory": 80e9, "active_params": 3e9, "train_tokens": 3e11},
        {"hardware": "H100", "devices": 2, "decode_tokens_per_second": 40, "batch": 16, "train_flops": 1e22},
        {"hardware": "H200", "train_hardware": "H100", "train_tokens": 3e11, "law": [OWN_FORM]},
        {
            "memory": 80e9,
            "train_tokens": 3e11,
            "space": Space.model_validate({**SMALL.to_dict(), "window": 4096, "latent_experts": 0.5}),
        },
        {"total_params": 8e10, "train_tokens": 3e11, "batch": 512, "context": 32768},
    ],
    ids=[
        "memory-and-active",
        "speed-and-flops",
        "a-law-of-ones-own-on-two-devices",
        "windows-and-latent-experts",
        "a-batch-that-does-not-fit",
    ],
)
def test_the_page_answers_as_the_command(browser: Any, tmp_path: Path, asked: dict[str, Any]) -> None:
    if asked.get("law") == [OWN_FORM]:
        asked = {**asked, "law": [own_law(tmp_path / "own.json")]}
    page = WhatIfPage(browser, tmp_path, **{"space": SMALL, **asked})
    kinds = assert_same(page, page.settings(5, seed=1))
    assert kinds["same"] >= 3


@pytest.mark.slow
def test_fifty_settings_of_the_default_space(browser: Any, tmp_path: Path) -> None:
    page = WhatIfPage(browser, tmp_path, memory=80e9, active_params=3e9, train_tokens=2e12)
    kinds = assert_same(page, page.settings(50, seed=2))
    print(kinds)
    assert kinds["same"] >= 40


def test_a_picked_design_is_taken_home_as_it_is(browser: Any, tmp_path: Path) -> None:
    page = WhatIfPage(browser, tmp_path, space=SMALL, memory=80e9, train_tokens=3e11)
    page.tab.locator(".what-if input[type=checkbox][aria-label^=compare]").first.check()
    first = page.designs.designs[0]
    spec = page.tab.locator("[id$=taken-0-spec]").text_content()
    config = page.tab.locator("[id$=taken-0-config-json]").text_content()
    assert spec == dump_yaml(first.architecture.to_dict(defaults=False))
    assert json.loads(config) == to_config(first.architecture, first.family)
    line = page.tab.locator("[id$=taken-0-command]").text_content()
    space = tmp_path / "designs" / "space.yaml"
    assert line == f"moewright design --memory 80GB --train-tokens 300B --space {space}"
    assert load_space(space) == SMALL
    assert page.said == []


# A figure of layers as plain values: every shape with its place, colour and words, and the key.
DRAWN = """figure => [...figure.querySelectorAll("svg[role=img], svg[role=img] *")].map((each) => [
  each.tagName, each.getAttribute("class"), each.getAttribute("aria-label"),
  each.tagName === "title" ? each.textContent : "",
  ...["x", "y", "width", "height", "rx"].map((name) => Number(each.getAttribute(name))),
]).concat([[figure.querySelector("figcaption").innerText]])"""


@pytest.mark.parametrize("more", [{}, {"window": 4096}])
def test_designs_and_published_models_stand_side_by_side(more: dict[str, Any], browser: Any, tmp_path: Path) -> None:
    """With the figures of the command, layers drawn as Python draws them, and what is taken home of each."""
    space = Space.model_validate({**SMALL.to_dict(), **more})
    page = WhatIfPage(browser, tmp_path, space=space, memory=80e9, train_tokens=3e11, baseline="qwen3-30b-a3b")
    tab, answer = page.tab, page.designs.answer()
    tab.locator(".what-if input[type=checkbox][aria-label^=compare]").first.check()
    add, models = tab.get_by_role("button", name="Put it beside"), tab.get_by_label("A published model")
    assert len(models.locator("option").all_inner_texts()) == 13, "the named one and the twelve nearest"
    models.select_option("qwen3-30b-a3b")
    add.click()
    add.click()
    heads = tab.locator(".compared thead th").all_inner_texts()
    assert len(heads) == 1 + 2
    rows = [row.locator("th, td").all_inner_texts() for row in tab.locator(".compared tbody tr").all()]
    table = {row[0].removesuffix(" \u2260"): row[1:] for row in rows}
    differs = tab.locator(".compared tr.differs th").all_inner_texts()
    assert differs == ["drawn", *(name for name, texts in table.items() if len(set(texts)) > 1 and name != "drawn")]
    first, beside = answer.designs[0], answer.baseline.as_built
    shown: tuple[DesignRecord | BesideRecord, ...] = (first, beside)
    for place, model in enumerate(shown):
        assert table["total"][place] == format_count(model.total_params)
        assert table["active"][place] == format_count(model.active_params)
        assert table["H100-hours of training"][place] == range_text(model.costs.train_device_hours)
        speed = next(texts for name, texts in table.items() if name.startswith("tokens/s of a sequence on "))
        assert speed[place] == range_text(model.costs.decode_tokens_per_second)
        assert table["seconds to the first token"][place] == range_text(model.costs.time_to_first_token)
    expected = {each.law: each.loss for each in moewright.predict("qwen3-30b-a3b", train_tokens=3e11).laws}
    found = {name.removeprefix("loss, "): texts[1] for name, texts in table.items() if name.startswith("loss, ")}
    given = {law: f"{loss:.4f}" for law, loss in expected.items() if law in found and loss is not None}
    assert len(given) > 2
    assert given.items() <= found.items()
    tab.locator(".compared").scroll_into_view_if_needed()
    tab.evaluate("document.querySelector('.compared').scrollIntoView()")
    over = """() => {
      const box = document.querySelector(".what-if .compared").getBoundingClientRect();
      return document.querySelector(".what-if .controls").getBoundingClientRect().bottom <= box.top;
    }"""
    assert tab.evaluate(over), "the controls stay above what stands below them"
    figures = tab.locator(".compared td figure.layers")
    assert figures.first.evaluate(DRAWN) == tab.locator("#design-1-layers").evaluate(DRAWN)
    page_of_it = moewright.make_report(["qwen3-30b-a3b"], tmp_path / "model.html")
    other = browser.new_page()
    other.goto(Path(page_of_it.out).absolute().as_uri())
    assert figures.nth(1).evaluate(DRAWN) == other.locator("#layers-1").evaluate(DRAWN)
    taken = tab.locator("[id$=taken-1-command]").text_content()
    assert taken == "moewright inspect qwen3-30b-a3b"
    config = json.loads(tab.locator("[id$=taken-1-config-json]").text_content())
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert moewright.inspect(tmp_path / "config.json").total_params == beside.total_params
    for number in (0, 1, 2):
        models.select_option(index=number + 3)
        add.click()
    assert len(tab.locator(".compared thead th").all()) == 1 + 4
    assert "at most 4" in tab.locator(".compared .bar").inner_text()
    tab.get_by_role("button", name="Take qwen3-30b-a3b away").click()
    tab.locator(".compared thead button").first.click()
    assert not tab.locator(".what-if input[type=checkbox][aria-label^=compare]").first.is_checked()
    assert len(tab.locator(".compared thead th").all()) == 1 + 2
    assert page.said == []


def test_rules_are_switched_off_and_a_link_keeps_the_setting(browser: Any, tmp_path: Path) -> None:
    """The file and the command that the page gives for it answer the same."""
    page = WhatIfPage(browser, tmp_path, space=SMALL, memory=80e9, train_tokens=3e11)
    page.tab.get_by_label("experts' share of active to 0.85").uncheck()
    page.tab.locator(".what-if input[type=range]").nth(1).fill("3")
    page.tab.locator("[id$=what-if-line]").filter(has_text="600B").wait_for()  # a move is drawn with the next frame
    written = page.tab.locator("[id$=what-if-space]").text_content()
    (tmp_path / "changed_space.yaml").write_text(written, encoding="utf-8")
    assert load_space(tmp_path / "changed_space.yaml") == SMALL.model_copy(update={"most_experts_share": 1.0})
    line = page.tab.locator("[id$=what-if-line]").text_content()
    assert line == "moewright design --memory 80GB --train-tokens 600B --space changed_space.yaml"
    page.tab.wait_for_url(lambda url: "=" in url)
    again = browser.new_page()
    again.goto(page.tab.url)
    again.wait_for_selector("[id$=what-if-space]")
    shown = ".what-if .headline, .what-if .facts, [id$=what-if-line]"
    assert again.locator(shown).all_text_contents() == page.tab.locator(shown).all_text_contents()
    page.tab.get_by_role("button", name="As asked").click()
    page.tab.wait_for_url(lambda url: "=" not in url)
    assert page.tab.locator("[id$=what-if-space]").count() == 0
    assert page.said == []
