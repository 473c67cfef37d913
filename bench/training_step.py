"""The counterpart of `npm run bench -- training`: the same training step in torch, with its cost printed as JSON.

An OPT decoder with the shape of opt-125m and random frozen weights. K states are projected and overwrite the hidden
state of the perceptual slot as in the published code (see docs/training.md). The gradients reach the connector and the
soft token, which AdamW updates.
"""

import json
import sys

import torch
import torch.nn.functional as F

from step_cost import print_step_cost

settings = json.loads(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(settings["threads"])
D, HEADS, LAYERS, VOCABULARY = 768, 12, 12, 50272
B, T, K = settings["batch"], settings["tokens"], settings["states"]
START, END = settings["start"], settings["end"]


def frozen(*shape):
    return torch.randn(*shape) * 0.02


embedding, positions = frozen(VOCABULARY, D), frozen(2050, D)
layers = [
    {
        "qkv": (frozen(3 * D, D), frozen(3 * D)),
        "out": (frozen(D, D), frozen(D)),
        "fc1": (frozen(4 * D, D), frozen(4 * D)),
        "fc2": (frozen(D, 4 * D), frozen(D)),
        "norm1": (1 + frozen(D), frozen(D)),
        "norm2": (1 + frozen(D), frozen(D)),
    }
    for _ in range(LAYERS)
]
last_norm = (1 + frozen(D), frozen(D))
connector = torch.nn.Linear(768, D)
prompt = torch.nn.Parameter(torch.randn(1, D))
optimizer = torch.optim.AdamW([*connector.parameters(), prompt], lr=1e-4, weight_decay=0.02)
ids = torch.randint(3, 250, (B, T))
states = torch.randn(B, K, 768)
length = 2 + T
visible = torch.ones(length, length, dtype=torch.bool).tril()
text_only = visible.clone()
text_only[1:, 0] = False


def layer(hidden, weights, mask):
    normed = F.layer_norm(hidden, (D,), *weights["norm1"])
    q, k, v = F.linear(normed, *weights["qkv"]).view(B, length, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    hidden = hidden + F.linear(mixed.transpose(1, 2).reshape(B, length, D), *weights["out"])
    normed = F.layer_norm(hidden, (D,), *weights["norm2"])
    return hidden + F.linear(F.relu(F.linear(normed, *weights["fc1"])), *weights["fc2"])


def step():
    projected = connector(states)
    text = F.embedding(ids, embedding) + positions[2 : 2 + T]
    hidden = torch.cat([torch.zeros(B, 1, D), prompt.expand(B, 1, D), text], 1)
    stride = max(1, (END - START) // K)
    for index, weights in enumerate(layers):
        if START <= index < END:
            state = projected[:, min((index - START) // stride, K - 1)]
            hidden = torch.cat([state[:, None], hidden[:, 1:]], 1)
        hidden = layer(hidden, weights, visible if index >= START else text_only)
    scores = F.linear(F.layer_norm(hidden[:, 2:-1], (D,), *last_norm), embedding)
    loss = F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum") * 0.1 / B
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


print_step_cost(step, settings)
