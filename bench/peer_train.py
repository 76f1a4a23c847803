#!/usr/bin/env python3
"""The peer of our training benchmarks: a clean PyTorch model of the same shapes.

    peer_train.py --shape a b c --mode eager compile --steps 7 --threads 2

Llama block (RMSNorm, rotary positions, SwiGLU, tied embedding), f32, scaled_dot_product_attention,
fused AdamW, gradients clipped to norm 1: what a careful user of the current release would write.
Each shape and mode runs in a process of its own, so that its peak memory is its own. Prints JSON.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

# layers, width, heads, feed-forward, vocabulary, context, batch
SHAPES = {
    "a": (6, 384, 6, 1024, 65, 256, 12),
    "b": (12, 768, 12, 2048, 32000, 512, 4),
    "c": (4, 128, 4, 344, 65, 64, 12),
}


def build(shape):
    import torch
    from torch import nn
    from torch.nn import functional as F
    layers, width, heads, feed, vocab, context, _ = SHAPES[shape]
    head = width // heads

    def linear(inputs, outputs):
        layer = nn.Linear(inputs, outputs, bias=False)
        nn.init.normal_(layer.weight, std=0.02)
        return layer

    def rotate(x, cosine, sine):
        first, second = x[..., :head // 2], x[..., head // 2:]
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_attention, self.norm_feed = nn.RMSNorm(width, 1e-5), nn.RMSNorm(width, 1e-5)
            self.qkv, self.out = linear(width, 3 * width), linear(width, width)
            self.gate_up, self.down = linear(width, 2 * feed), linear(feed, width)

        def forward(self, x, cosine, sine):
            batch, tokens, _ = x.shape
            q, k, v = self.qkv(self.norm_attention(x)).view(
                batch, tokens, 3, heads, head).permute(2, 0, 3, 1, 4)
            q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
            gate, up = self.gate_up(self.norm_feed(x)).chunk(2, -1)
            return x + self.down(F.silu(gate) * up)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocab, width)
            nn.init.normal_(self.embedding.weight, std=0.02)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.RMSNorm(width, 1e-5)
            angle = torch.outer(torch.arange(context).float(),
                                10000.0 ** (-torch.arange(0, head, 2).float() / head))
            self.register_buffer("cosine", angle.cos())
            self.register_buffer("sine", angle.sin())

        def forward(self, ids, targets):
            x = self.embedding(ids)
            for block in self.blocks:
                x = block(x, self.cosine, self.sine)
            logits = F.linear(self.norm(x), self.embedding.weight)
            return F.cross_entropy(logits.view(-1, vocab), targets.view(-1))

    return Model()


def measure(shape, mode, steps, threads):
    import torch
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layers, width, _, _, vocab, context, batch = SHAPES[shape]
    if mode == "medium":  # products in bf16 where the processor has them
        torch.set_float32_matmul_precision("medium")
    model = build(shape)
    parameters = sum(p.numel() for p in model.parameters())
    decayed = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=1e-4, betas=(0.9, 0.95), fused=True)
    forward = model if mode == "eager" else torch.compile(model)
    seconds = []
    for step in range(steps + 2):  # the first two warm up
        ids = torch.randint(vocab, (batch, context + 1))
        begin = time.perf_counter()
        loss = forward(ids[:, :-1], ids[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if step >= 2:
            seconds.append(time.perf_counter() - begin)
    tokens = batch * context
    median = statistics.median(seconds)
    flops = 6 * parameters * tokens + 12 * layers * width * context * tokens
    return {"peer": f"torch {torch.__version__}", "shape": shape, "mode": mode, "threads": threads,
            "parameters": parameters, "tokens_per_step": tokens, "steps": steps,
            "seconds_per_step_median": round(median, 5),
            "tokens_per_second": round(tokens / median, 1),
            "tokens_per_second_range": [round(tokens / max(seconds), 1),
                                        round(tokens / min(seconds), 1)],
            "gflops": round(flops / median / 1e9, 1),
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", nargs="+", choices=sorted(SHAPES), default=sorted(SHAPES))
    parser.add_argument("--mode", nargs="+", choices=["eager", "compile", "medium"],
                        default=["eager", "compile"])
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--here", action="store_true", help="one shape and mode, in this process")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.shape[0], options.mode[0], options.steps,
                                 options.threads)))
        return
    results = []
    for shape in options.shape:
        for mode in options.mode:
            run = subprocess.run([sys.executable, __file__, "--here", "--shape", shape, "--mode",
                                  mode, "--steps", str(options.steps), "--threads",
                                  str(options.threads)], capture_output=True, text=True)
            if run.returncode:
                reason = (run.stderr.strip().splitlines() or ["no output"])[-1]
                results.append({"shape": shape, "mode": mode, "error": reason})
            else:
                results.append(json.loads(run.stdout.strip().splitlines()[-1]))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))


main()
