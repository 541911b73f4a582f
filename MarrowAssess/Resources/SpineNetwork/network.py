"""The network in PyTorch, for training alone: a U-Net of about 250,000 weights, five levels."""

import numpy as np
import torch
from digital_spine import Structure
from torch import nn
from torch.nn import functional

CHANNELS = (16, 24, 32, 48, 64)
N_SLICES = 3


def _block(n_in: int, n_out: int) -> nn.Sequential:
    layers = []
    for n in (n_in, n_out):
        layers += [
            nn.Conv2d(n, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class SpineNetwork(nn.Module):
    """Logits of the structures (n, 11, rows, columns) from three slices (n, 3, rows, columns)."""

    def __init__(self):
        super().__init__()
        widths = (N_SLICES, *CHANNELS)
        self.down = nn.ModuleList(_block(widths[i], widths[i + 1]) for i in range(5))
        self.up = nn.ModuleList(
            _block(CHANNELS[i + 1] + CHANNELS[i], CHANNELS[i]) for i in range(4)
        )
        self.out = nn.Conv2d(CHANNELS[0], len(Structure), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        passed = []
        for i, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if i else x)
            passed.append(x)
        for i in range(3, -1, -1):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[i](torch.cat([x, passed[i]], 1))
        return self.out(x)

    def blocks(self) -> list[tuple[str, nn.Module, nn.Module | None]]:
        """Name, convolution and normalization of each layer, as the weights' file orders them."""
        layers = []
        for part, modules in (("down", self.down), ("up", self.up)):
            for i, block in enumerate(modules):
                layers += [(f"{part}_{i}_{k}", block[3 * k], block[3 * k + 1]) for k in (0, 1)]
        return [*layers, ("out", self.out, None)]


def folded(network: SpineNetwork) -> dict[str, np.ndarray]:
    """Weights with the normalization folded in, half precision, for the product's own inference."""
    arrays = {}
    for name, conv, norm in network.blocks():
        w = conv.weight.detach().double()
        if norm is None:
            b = conv.bias.detach().double()
        else:
            gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
            w = w * gain[:, None, None, None]
            b = norm.bias.double() - norm.running_mean.double() * gain
        arrays[name + "_weight"] = w.detach().numpy().astype(np.float16)
        arrays[name + "_bias"] = b.detach().numpy().astype(np.float16)
    return arrays


@torch.no_grad()
def start_from(network: SpineNetwork, arrays: dict[str, np.ndarray], batch: torch.Tensor) -> None:
    """Set a network to folded weights; its normalization is fitted layer by layer on a batch."""
    network.train()
    for name, conv, norm in network.blocks():
        conv.weight.copy_(torch.from_numpy(arrays[name + "_weight"].astype(np.float32)))
        bias = torch.from_numpy(arrays[name + "_bias"].astype(np.float32))
        if norm is None:
            conv.bias.copy_(bias)
            continue
        seen = {}
        hook = norm.register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.setdefault("x", inputs[0].clone())
        )
        network(batch)
        hook.remove()
        mean, sd = seen["x"].mean((0, 2, 3)), seen["x"].std((0, 2, 3))
        norm.weight.copy_(torch.sqrt(sd**2 + norm.eps))
        norm.bias.copy_(mean + bias)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(sd**2)
