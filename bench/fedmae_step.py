"""The counterpart of epalm's federated client in `npm run bench -- training`: a step of a masked autoencoder in torch.

Blocks of ViT-B/16 with random weights and a decoder of one block, as in `models_mae.py` of facebookresearch/mae: a
quarter of the patches is encoded, the loss is the mean squared error over the normalized pixels of the others, and
AdamW updates all weights.
"""

import json
import sys

import torch
import torch.nn.functional as F
from torch import nn

from step_cost import print_step_cost

settings = json.loads(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(settings["threads"])
B, D, DD, PATCH, SIDE = settings["batch"], 768, 512, 16, 14
N = SIDE * SIDE
V = N // 4


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        heads = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Mae(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.embed = nn.Conv2d(3, D, PATCH, stride=PATCH)
        self.cls, self.mask = nn.Parameter(torch.randn(1, 1, D) * 0.02), nn.Parameter(torch.randn(1, 1, DD) * 0.02)
        self.register_buffer("positions", torch.randn(1, 1 + N, D) * 0.02)
        self.register_buffer("decoder_positions", torch.randn(1, 1 + N, DD) * 0.02)
        self.blocks = nn.Sequential(*[Block(D, 12) for _ in range(blocks)])
        self.norm = nn.LayerNorm(D, eps=1e-6)
        self.narrow = nn.Linear(D, DD)
        self.decoder = Block(DD, 16)
        self.decoder_norm = nn.LayerNorm(DD, eps=1e-6)
        self.predict = nn.Linear(DD, PATCH * PATCH * 3)

    def forward(self, pixels):
        order = torch.rand(B, N).argsort(1)
        restore = order.argsort(1)
        x = self.embed(pixels).flatten(2).transpose(1, 2) + self.positions[:, 1:]
        x = x.gather(1, order[:, :V, None].expand(-1, -1, D))
        first = (self.cls + self.positions[:, :1]).expand(B, -1, -1)
        x = self.narrow(self.norm(self.blocks(torch.cat([first, x], 1))))
        all_patches = torch.cat([x[:, 1:], self.mask.expand(B, N - V, -1)], 1)
        all_patches = all_patches.gather(1, restore[:, :, None].expand(-1, -1, DD))
        x = self.decoder(torch.cat([x[:, :1], all_patches], 1) + self.decoder_positions)
        predicted = self.predict(self.decoder_norm(x)[:, 1:])
        target = pixels.view(B, 3, SIDE, PATCH, SIDE, PATCH).permute(0, 2, 4, 3, 5, 1).reshape(B, N, -1)
        target = (target - target.mean(-1, True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        hidden = (restore >= V).float()
        return ((predicted - target).square().mean(-1) * hidden).sum() / hidden.sum()


model = Mae(settings["blocks"])
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
pixels = torch.randn(B, 3, SIDE * PATCH, SIDE * PATCH)


def step():
    optimizer.zero_grad()
    model(pixels).backward()
    optimizer.step()


print_step_cost(step, settings)
