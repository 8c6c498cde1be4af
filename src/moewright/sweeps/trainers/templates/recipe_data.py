"""What a recipe says of data and learning rates, as the lab has it; `train.py` beside it imports this.

Written by `moewright sweep`. It needs numpy and torch.
"""

import math

import numpy as np
import torch


class Sequences:
    """Sequences of so many tokens and the token after each, from shards of bare tokens seen as one long text."""

    def __init__(self, files, dtype, length, count=None, seed=None):
        """`seed`: an order of its own for each epoch, the lab's; None: as they lie. `count`: how many in all."""
        self.parts = [np.memmap(path, dtype=dtype, mode="r") for path in files]
        self.ends = np.cumsum([len(part) for part in self.parts])
        self.length, self.own = length, (int(self.ends[-1]) - 1) // length
        self.count, self.seed, self.orders = count or self.own, seed, {}

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        epoch, place = divmod(index, self.own)
        if self.seed is not None:
            if epoch not in self.orders:
                self.orders = {epoch: order(self.own, self.seed, epoch)}
            place = int(self.orders[epoch][place])
        tokens = torch.from_numpy(self.read(place * self.length, (place + 1) * self.length + 1))
        return {"input_ids": tokens[:-1], "labels": tokens[1:]}

    def read(self, start, stop):
        read = []
        for part, end in zip(self.parts, self.ends, strict=True):
            first = end - len(part)
            if start < end and stop > first:
                read.append(part[max(start - first, 0) : stop - first])
        return np.concatenate(read).astype(np.int64)


class Joined:
    """The first sequences of each validation set, one set after the other; `most`: of a set, None is all."""

    def __init__(self, sets, most):
        self.places = [(each, index) for each in sets for index in range(min(each.own, most or each.own))]

    def __len__(self):
        return len(self.places)

    def __getitem__(self, index):
        dataset, place = self.places[index]
        return dataset[place]


def order(size, seed, epoch):
    """The lab's order of an epoch: by a key for each sequence, an output of SplitMix64."""

    def mix(values):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))

    stream = mix(mix(np.array([seed % 2**64], dtype=np.uint64)) + np.uint64(epoch))
    keys = mix(stream + np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return np.argsort(keys, kind="stable")


def share(recipe, step):
    """Share of the peak learning rate for a step, from 0."""
    schedule, tokens, whole = recipe["schedule"], (step + 1) * recipe["batch_tokens"], recipe["train_tokens"]
    warmup, floor = schedule["warmup_tokens"], schedule.get("final_share", 1.0)
    if tokens <= warmup:
        return tokens / warmup
    if schedule["kind"] == "constant":
        return 1.0
    if schedule["kind"] == "wsd":
        decay = schedule["decay_share"] * whole
        return 1 - (1 - floor) * max(0.0, min(tokens, whole) - (whole - decay)) / decay
    done = (min(tokens, whole) - warmup) / (whole - warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


def passes(every_tokens, batch_tokens, step):
    """Whether a multiple of `every_tokens` was reached in this step, from 1; None: never."""
    return bool(every_tokens) and step * batch_tokens // every_tokens > (step - 1) * batch_tokens // every_tokens
