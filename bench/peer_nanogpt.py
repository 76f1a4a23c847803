#!/usr/bin/env python3
"""The peer of our character benchmark: GPT-2's architecture in nanoGPT's CPU configuration.

    peer_nanogpt.py TEXT_FILE --threads 2 [--compile]

4 layers, 4 heads, width 128, context 64, batch 12, 2,000 iterations, no dropout, no biases; AdamW
with rate 1e-3 falling to 1e-4 by a cosine after 100 steps of warm-up, beta2 0.99, decay 0.1 on
matrices, gradients clipped to norm 1. The first 90 % of the characters train. Prints JSON: the loss
over 200 validation batches, and the wall time of training alone and with everything.
"""
import argparse
import json
import math
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, STEPS = 4, 4, 128, 64, 12, 2000
RATE, RATE_END, WARMUP, EVAL_BATCHES = 1e-3, 1e-4, 100, 200


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_attention = nn.LayerNorm(WIDTH, bias=False)
        self.norm_feed = nn.LayerNorm(WIDTH, bias=False)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.project_attention = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.project_feed = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(
            batch, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project_attention(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH))
        return x + self.project_feed(F.gelu(self.up(self.norm_feed(x))))


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                small = "project" in name
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * LAYERS) if small else 0.02)

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions.weight[:ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def batch_of(data):
    start = torch.randint(len(data) - CONTEXT, (BATCH,))
    rows = torch.stack([data[s:s + CONTEXT + 1] for s in start.tolist()])
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def rate_at(step):
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    share = (step - WARMUP) / (STEPS - WARMUP)
    return RATE_END + 0.5 * (1 + math.cos(math.pi * share)) * (RATE - RATE_END)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    begin = time.perf_counter()
    with open(options.text, encoding="utf-8") as f:
        text = f.read()
    alphabet = {c: i for i, c in enumerate(sorted(set(text)))}
    data = torch.tensor([alphabet[c] for c in text])
    split = int(0.9 * len(data))
    train, valid = data[:split], data[split:]
    model = Model(len(alphabet))
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), fused=True)
    forward = torch.compile(model) if options.compile else model
    training = time.perf_counter()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        loss = forward(*batch_of(train))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    training = time.perf_counter() - training
    with torch.no_grad():
        losses = [model(*batch_of(valid)).item() for _ in range(EVAL_BATCHES)]
    print(json.dumps({
        "peer": f"torch {torch.__version__}", "mode": "compile" if options.compile else "eager",
        "threads": options.threads, "seed": options.seed, "steps": STEPS,
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation_loss": round(sum(losses) / len(losses), 4),
        "training_loss_last": round(loss.item(), 4), "seconds_training": round(training, 2),
        "seconds_all": round(time.perf_counter() - begin, 2),
        "tokens_per_second": round(STEPS * BATCH * CONTEXT / training),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


main()
