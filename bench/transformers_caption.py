"""The counterpart of `npm run bench -- transformers`: captions by transformers on torch, timed piece by piece.

ViT-B/16 and an OPT decoder with the shape of opt-125m, with random weights. As in the published code, K [CLS] states are
projected and overwrite the hidden state of the perceptual slot at the layers of the injection. The decoder generates
with transformers' own `generate` and its KV cache. Below the injection, the slot holds zeros and is not masked, which
does not change the cost. Each line of the input names a piece of work; the answer is its duration in milliseconds.
"""

import json
import sys
import time

import torch
from transformers import OPTConfig, OPTForCausalLM, ViTConfig, ViTModel

settings = json.loads(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(settings["threads"])
torch.set_grad_enabled(False)
K, START, END = settings["states"], settings["start"], settings["end"]

encoder = ViTModel(ViTConfig(), add_pooling_layer=False).eval()
decoder = OPTForCausalLM(OPTConfig()).eval()
connector = torch.nn.Linear(768, 768)
prompt = torch.randn(1, 1, 768)
pixels = torch.randn(settings["batch"], 3, 224, 224)
ids = torch.full((1, settings["tokens"]), 2)
projected = torch.zeros(1, K, 768)


def injection(layer):
    state = min((layer - START) // max(1, (END - START) // K), K - 1)

    def overwrite(_, args, named):
        hidden = args[0] if args else named["hidden_states"]
        # Later tokens see the slot through the cache.
        if hidden.shape[1] == 1:
            return None
        states = projected.repeat_interleave(hidden.shape[0] // projected.shape[0], 0)
        changed = torch.cat([states[:, state : state + 1], hidden[:, 1:]], 1)
        return ((changed, *args[1:]), named) if args else (args, {**named, "hidden_states": changed})

    return overwrite


for index in range(START, END):
    decoder.model.decoder.layers[index].register_forward_pre_hook(injection(index), with_kwargs=True)


def encode(images):
    states = encoder(images, output_hidden_states=True).hidden_states[-K:]
    return connector(encoder.layernorm(torch.stack([state[:, 0] for state in states], 1)))


def generate(states, tokens, beams):
    global projected
    projected = states
    rows = states.shape[0]
    text = decoder.get_input_embeddings()(ids).expand(rows, -1, -1)
    embeddings = torch.cat([torch.zeros(rows, 1, 768), prompt.expand(rows, -1, -1), text], 1)
    options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "num_beams": beams, "do_sample": False}
    mask = torch.ones(embeddings.shape[:2], dtype=torch.long)
    output = decoder.generate(inputs_embeds=embeddings, attention_mask=mask, pad_token_id=1, **options)
    assert output.shape == (rows, tokens), output.shape


known = encode(pixels)
NEW = settings["newTokens"]
work = {
    "greedy": lambda: generate(encode(pixels[:1]), NEW, 1),
    "beams": lambda: generate(encode(pixels[:1]), NEW, settings["beams"]),
    "batch": lambda: generate(known, NEW, 1),
    "first": lambda: generate(known, 1, 1),
}
print("ready", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    work[line.strip()]()
    print(1000 * (time.perf_counter() - started), flush=True)
