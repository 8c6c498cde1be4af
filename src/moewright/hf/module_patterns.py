"""Lists of modules as quantisers write them: names, parents, endings, wildcards and `re:` expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from moewright.errors import UserError
from moewright.hf.module_names import Module
from moewright.quantities import brief

_WRAPPERS = re.compile(r"(?:(?:model|language_model|text_model|transformer|backbone|base_model|decoder)\.)+")
# What a regular expression may be anchored to; module names themselves are kept without it.
_PREFIXES = ("", "model.", "model.language_model.", "language_model.model.", "backbone.")
_EXPERT_NUMBER = re.compile(r"\bexperts\.(\d+)\.")
_REGEX_SIGNS = re.compile(r"[\\()|^$+?\[\]]")
# Of one list: modelopt names every matrix of every expert, which are 69,120 in Kimi-K2.
_LONGEST = 200_000
_LONGEST_ENTRY = 1_000
_MOST_REPEATS = 8
"""Of one expression, each without an end: every further one multiplies the time of a match by a name's length."""


class ModulePatterns:
    """The entries of one list, and which of them fitted anything.

    An entry fits a module that it names, that lies beneath what it names, or whose last words it is; `*` stands for
    anything, and `re:` begins a regular expression that is matched from the start of the whole name (as
    compressed-tensors, transformers and modelopt read their lists). `part_of_word` True: an entry fits wherever its
    letters occur (AutoAWQ).
    """

    def __init__(self, entries: Iterable[str], key: str, part_of_word: bool = False) -> None:
        self._words: dict[str, set[str]] = {}  # what is looked up -> the entries as written
        self._numbered: dict[str, dict[int, str]] = {}  # a name without its expert's number -> the numbers
        self._starts: dict[str, str] = {}
        self._expressions: list[tuple[re.Pattern[str], str]] = []
        self._parts: tuple[str, ...] = ()
        self.entries = tuple(entries)
        self.fitted: set[str] = set()
        if len(self.entries) > _LONGEST:
            raise UserError(f"{key}: {len(self.entries):,} entries are more than the {_LONGEST:,} that are read")
        for entry in self.entries:
            if len(entry) > _LONGEST_ENTRY:
                raise UserError(f"{key}: an entry of {len(entry):,} letters is longer than the {_LONGEST_ENTRY:,} read")
            self._sort_in(entry, key, part_of_word)
        self._first_letters = tuple(self._starts)

    def _sort_in(self, entry: str, key: str, part_of_word: bool) -> None:
        if entry.startswith("re:") or _REGEX_SIGNS.search(entry):
            try:
                expression = re.compile(entry.removeprefix("re:"))
            except (re.error, RecursionError, OverflowError):
                raise UserError(f"{key}: {brief(entry)} is not a regular expression") from None
            if _may_take_forever(entry):
                raise UserError(
                    f"{key}: {brief(entry)} repeats what itself repeats or chooses: matching might never end"
                )
            self._expressions.append((expression, entry))
            return
        bare = _WRAPPERS.sub("", entry, count=1) if _WRAPPERS.match(entry) else entry
        bare = bare.removesuffix(".weight")
        if "*" in bare:
            if bare.endswith("*") and "*" not in bare[:-1] and len(bare) > 1:
                self._starts[bare[:-1]] = entry
            else:
                first, *middle, last = (re.escape(part) for part in bare.split("*"))
                # Each part where it first occurs, for good: it never helps to look for it further on.
                text = first + "".join(f"(?>.*?{part})" for part in middle if part)
                self._expressions.append((re.compile(rf"{text}.*{last}(?:\..*)?$"), entry))
        elif part_of_word:
            self._parts += (entry,)
        elif number := _EXPERT_NUMBER.search(bare):
            without = bare[: number.start(1)] + bare[number.end() :]
            self._numbered.setdefault(without, {})[int(number[1])] = entry
        else:
            self._words.setdefault(bare, set()).add(entry)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def fitting_copies(self, module: Module) -> int:
        """How many of the module's copies an entry fits."""
        numbers: set[int] = set()
        for name in module.names:
            if self._fits_all(name):
                return module.copies
            for number, entry in self._numbered.get(name, {}).items():
                self.fitted.add(entry)
                if number < module.copies:
                    numbers.add(number)
        return len(numbers)

    def _fits_all(self, name: str) -> bool:
        found = False
        parts = name.split(".")
        places = [".".join(parts[:stop]) for stop in range(1, len(parts))]  # what the module lies beneath
        places += [".".join(parts[start:]) for start in range(len(parts))]  # its name, and its last words
        if "experts" in parts:  # transformers 5 makes one module of a layer's experts
            stop = parts.index("experts") + 1
            places += [".".join(parts[start:stop]) for start in range(1, stop)]
        for place in places:
            if place in self._words:
                self.fitted |= self._words[place]
                found = True
        if self._first_letters and name.startswith(self._first_letters):
            self.fitted |= {entry for start, entry in self._starts.items() if name.startswith(start)}
            found = True
        numbered = name.replace(".experts.", ".experts.0.")
        for expression, entry in self._expressions:
            if any(expression.match(prefix + one) for prefix in _PREFIXES for one in {name, numbered}):
                self.fitted.add(entry)
                found = True
        for part in self._parts:
            if part in f"model.{name}":
                self.fitted.add(part)
                found = True
        return found


def _may_take_forever(expression: str) -> bool:
    """Whether a repeated group has a repetition or a choice in it, or there are many repetitions: such expressions can
    take a time that grows exponentially, or as a high power, with the length of a name."""
    text = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", expression)  # what stands for one letter
    repeats = len(re.findall(r"[*+]|\{\d*,\}", text))
    opened: list[bool] = []  # for each group: whether it repeats or chooses
    for place, sign in enumerate(text):
        if sign == "(":
            opened.append(False)
        elif sign == ")" and opened:
            inner = opened.pop()
            is_repeated = text[place + 1 : place + 2] in ("*", "+", "{")
            if inner and is_repeated:
                return True
            if opened and (inner or is_repeated):
                opened[-1] = True
        elif opened and (sign in "*+{|" or (sign == "?" and text[place - 1] != "(")):
            opened[-1] = True
    return repeats > _MOST_REPEATS


_NO_MATRIX = re.compile(
    r"norm|bias|embed|rotary|vision|visual|patch|audio|image|projector|mm_|mtp|lm_head|e_score|conv1d|A_log|dt_bias|merger"
    r"|router|(^|\.)gate$|gate\.wg|eh_proj|hnorm|shared_head|shared_expert_gate|indexers_proj"
)


def unknown_entries(patterns: ModulePatterns, num_layers: int) -> list[str]:
    """Entries that fit no matrix of the model, and whose words do not say that they concern none."""
    found = []
    for entry in patterns.entries:
        layer = re.search(r"\blayers\\?\.(\d+)", entry)
        beyond = layer is not None and int(layer[1]) >= num_layers
        # the class of a module that is no linear layer, which compressed-tensors looks for among such layers
        is_class = re.fullmatch(r"[A-Z]\w+", entry) is not None and entry != "Linear"
        if entry not in patterns.fitted and not beyond and not is_class and not _NO_MATRIX.search(entry):
            found.append(entry)
    return found
