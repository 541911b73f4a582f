"""Train the spine network on painted anatomy. See README.md for the commands."""

import argparse
import copy
import csv
import math
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
from appearance import appear
from digital_spine import FINE, Structure, paint_many, structures
from network import SpineNetwork, folded, start_from
from torch.nn import functional

BATCH = 8
POOL = 400
FRESH = 4
"""Samples of the pool made anew for each step: each is used about twice."""
PEAK_RATE = 1.5e-3
_WEIGHTS = torch.tensor([0.6, 1.2, 1.2, 1.3, 1.1, 1.0, 0.8, 1.2, 0.9, 0.8, 1.1])
_REGIONS = {
    "body": (Structure.BODY, Structure.CORE),
    "core": (Structure.CORE,),
    "disc": (Structure.DISC,),
    "canal": (Structure.FLUID, Structure.NERVE),
    "sacrum": (Structure.SACRUM,),
}


class Painted:
    """Folders of painted anatomy, of which each sample takes a random one."""

    def __init__(self, folders: list[Path]):
        self.parts = [
            [np.load(folder / f"{name}.npy", mmap_mode="r") for name in
             ("tissue", "depth", "owner", "scale")]
            for folder in folders
        ]  # fmt: skip

    def sample(self, rng) -> tuple[np.ndarray, np.ndarray]:
        """An image (3, rows, columns) float16 and the structures at twice its resolution."""
        complete = [np.flatnonzero(np.asarray(part[3]) > 0) for part in self.parts]
        n = rng.integers(sum(map(len, complete)))
        for (tissue, depth, owner, scale), held in zip(self.parts, complete, strict=True):  # noqa: B007
            if n < len(held):
                break
            n -= len(held)
        i = held[n]
        found = structures(tissue[i][3], depth[i][3], float(scale[i]))
        image, found = appear(rng, tissue[i], depth[i], owner[i], found)
        return image.astype(np.float16), found


def _make(folders: list[Path], seed: int, samples) -> None:
    """Samples without end into a queue; in a process of its own."""
    painted, rng = Painted(folders), np.random.default_rng(seed)
    while True:
        samples.put(painted.sample(rng))


def _batch(rng, pool) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = [pool[i] for i in rng.integers(len(pool), size=BATCH)]
    x = np.stack([c[0] for c in chosen]).astype(np.float32)
    if rng.random() < 0.5:
        x = x[:, ::-1]
    x = x * np.exp(rng.normal(0, 0.12, (BATCH, 1, 1, 1))) + rng.normal(0, 0.12, (BATCH, 1, 1, 1))
    if rng.random() < 0.5:
        x = x + rng.normal(0, 0.05, x.shape)
    x = torch.from_numpy(np.ascontiguousarray(x, np.float32))
    return x.to(memory_format=torch.channels_last), _shares(np.stack([c[1] for c in chosen]))


def _shares(found: np.ndarray) -> torch.Tensor:
    """Share of each structure in each pixel (n, 11, rows, columns), from twice the resolution."""
    y = torch.from_numpy(found)
    shares = torch.stack([(y == k).float() for k in range(len(Structure))], 1)
    return functional.avg_pool2d(shares, FINE)


def _loss(logits, shares) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy plus Dice loss of the regions; and their Dice."""
    entropy = -(functional.log_softmax(logits, 1) * shares * _WEIGHTS[:, None, None]).sum(1).mean()
    p = logits.softmax(1)
    dice = []
    for members in _REGIONS.values():
        a = sum(p[:, k] for k in members)
        b = sum(shares[:, k] for k in members)
        # partial pixels cannot be won: the best possible is 1 with squared sums
        dice.append((2 * (a * b).sum() + 50) / ((a * a).sum() + (b * b).sum() + 50))
    dice = torch.stack(dice)
    return entropy + (1 - dice).mean(), dice.detach()


@torch.no_grad()
def _average(mean, network, step: int) -> None:
    keep = min(0.998, step / (step + 20))
    for a, b in zip(mean.parameters(), network.parameters(), strict=True):
        a.lerp_(b, 1 - keep)
    for a, b in zip(mean.buffers(), network.buffers(), strict=True):
        if a.dtype == torch.int64:
            a.copy_(b)
        else:
            a.lerp_(b, 1 - keep)


@torch.no_grad()
def _check(network, samples) -> list[float]:
    """Mean Dice of the regions on samples that training never sees."""
    network.eval()
    dice = [
        _loss(network(torch.from_numpy(x[None].astype(np.float32))), _shares(y[None]))[1].numpy()
        for x, y in samples
    ]
    network.train()
    return np.mean(dice, 0).tolist()


def _rate(share: float, step: int) -> float:
    """Learning rate: a short rise, then half a cosine; share of the training that is done."""
    return PEAK_RATE * min(1, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-5


def train(args) -> None:
    """Paint what is missing, train, log every 50 steps, save averaged weights every 250."""
    for n, folder in enumerate(args.anatomy, 1):
        if not folder.exists():
            paint_many(folder, 1400, 100000 * n)
    if not args.check.exists():
        paint_many(args.check, 96, 900000)
    made = multiprocessing.Queue(64)
    maker = multiprocessing.Process(target=_make, args=(args.anatomy, args.seed, made), daemon=True)
    maker.start()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    held_out = np.random.default_rng(987654321)
    check = Painted([args.check])
    check_samples = [check.sample(held_out) for _ in range(48)]
    pool = [made.get() for _ in range(POOL if not args.quick else 16)]
    network = SpineNetwork()
    if args.start:
        start = np.load(args.start)
        start_from(network, {k: start[k] for k in start.files}, _batch(rng, pool)[0])
    network = network.to(memory_format=torch.channels_last)
    mean = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=1e-2)
    began, step, recent = time.time(), 0, []
    file = args.out.with_suffix(".csv").open("w", newline="")
    log = csv.writer(file)
    log.writerow(["step", "seconds", "rate", "set", "loss", *_REGIONS])
    while True:
        elapsed = time.time() - began
        share = step / args.steps if args.steps else elapsed / args.seconds
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = _rate(share, step)
        for _ in range(FRESH):
            pool[rng.integers(len(pool))] = made.get()
        loss, dice = _loss(*_forward(network, _batch(rng, pool)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        step += 1
        _average(mean, network, step)
        recent.append([loss.item(), *dice.tolist()])
        if step % 50 == 0:
            row = [f"{v:.4f}" for v in np.mean(recent, 0)]
            log.writerow([step, round(elapsed), f"{_rate(share, step):.2e}", "train", *row])
            recent = []
            file.flush()
        if step % 250 == 0:
            np.savez(args.out, **folded(mean))
            if step % 500 == 0:
                row = [f"{v:.4f}" for v in _check(mean, check_samples)]
                log.writerow([step, round(elapsed), "", "check", "", *row])
    row = [f"{v:.4f}" for v in _check(mean, check_samples)]
    log.writerow([step, round(time.time() - began), "", "check", "", *row])
    np.savez_compressed(args.out, **folded(mean))
    maker.terminate()


def _forward(network, batch):
    x, shares = batch
    with torch.autocast("cpu", torch.bfloat16):  # twice as fast where the processor has it
        logits = network(x)
    return logits.float(), shares


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anatomy", type=Path, nargs="+", required=True, help="painted folders")
    parser.add_argument(
        "--check", type=Path, required=True, help="painted folder, never trained on"
    )
    parser.add_argument("--out", type=Path, required=True, help="weights to write (.npz)")
    parser.add_argument("--start", type=Path, help="weights to start from (.npz)")
    parser.add_argument("--steps", type=int, default=0, help="of 8 samples each")
    parser.add_argument("--seconds", type=float, default=3600, help="where no steps are given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a small pool, for trying")
    train(parser.parse_args())
