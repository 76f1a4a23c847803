#!/usr/bin/env python3
"""Golden vectors of the Llama block, made with transformers, for tests/golden/llama.

    python3 -m venv VENV && VENV/bin/pip install torch transformers safetensors numpy
    VENV/bin/python tools/golden_llama.py tests/golden/llama          writes the files
    VENV/bin/python tools/golden_llama.py --check tests/golden/llama  compares with those there

Each case is a folder that transformers itself can load (config.json, model.safetensors) plus
golden.safetensors. Its tensors are described in tests/golden/README.md. Everything is computed by
the reference in f32 with eager attention; the weights are multiples that bf16 holds exactly.
"""
import argparse
import json
import os
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

IGNORED = -100
SHAPE = dict(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
             rms_norm_eps=1e-5, bos_token_id=None, eos_token_id=None, pad_token_id=None,
             attn_implementation="eager", initializer_range=0.02)
DOCUMENTS = [14, 10]
SINGLE_TOKENS, PROMPT_TOKENS, ANSWER_TOKENS = 16, 6, 24
ADAMW = dict(lr=3e-3, betas=(0.9, 0.95), eps=1e-8)
DECAY, CLIP, STEPS = 0.1, 1.0, 10

# name, class, configuration, stored type, gradients kept (all, or of names with this word)
CASES = [
    ("tied", LlamaForCausalLM,
     lambda: LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_theta=10000.0), torch.float32, ""),
    ("untied", LlamaForCausalLM,
     lambda: LlamaConfig(**SHAPE, tie_word_embeddings=False, rope_theta=500.0), torch.bfloat16, ""),
    ("window", MistralForCausalLM,
     lambda: MistralConfig(**SHAPE, tie_word_embeddings=True, rope_theta=10000.0,
                           sliding_window=8), torch.bfloat16, "self_attn"),
]


def seeded_model(kind, config, seed):
    """Weights lively enough that a wrong head, position or mask moves the logits visibly."""
    generator = torch.Generator().manual_seed(seed)
    model = kind(config).float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            values = torch.randn(p.shape, generator=generator)
            values = 1 + 0.1 * values if p.dim() == 1 else 0.22 * values
            p.copy_(values.bfloat16().float())
    return model


def packed_batch(window, generator):
    """Two documents in one row: ids, restarted positions, first key each token may see, targets."""
    ids, positions, starts, targets = [], [], [], []
    for length in DOCUMENTS:
        document = torch.randint(SHAPE["vocab_size"], (length,), generator=generator).tolist()
        begin = len(ids)
        for t in range(length):
            positions.append(t)
            starts.append(max(begin, begin + t - window + 1) if window else begin)
            # The last token of a document predicts nothing; the first three stand for a prompt.
            targets.append(document[t + 1] if 3 <= t < length - 1 else IGNORED)
        ids += document
    count = len(ids)
    mask = torch.full((count, count), torch.finfo(torch.float32).min)
    for t in range(count):
        mask[t, starts[t]:t + 1] = 0
    return dict(ids=torch.tensor(ids), positions=torch.tensor(positions),
                start=torch.tensor(starts), targets=torch.tensor(targets)), mask[None, None]


def masked_loss(logits, targets):
    return torch.nn.functional.cross_entropy(logits[0], targets, ignore_index=IGNORED)


def packed_forward(model, batch, mask):
    return model(input_ids=batch["ids"][None], position_ids=batch["positions"][None],
                 attention_mask=mask, use_cache=False).logits


def single_case(model, generator, out):
    ids = torch.randint(SHAPE["vocab_size"], (SINGLE_TOKENS,), generator=generator)
    targets = torch.cat([ids[1:], torch.tensor([IGNORED])])
    targets[:5] = IGNORED
    with torch.no_grad():
        logits = model(input_ids=ids[None], use_cache=False).logits
    out.update({"single.ids": ids, "single.targets": targets, "single.logits": logits[0],
                "single.loss": masked_loss(logits, targets)[None]})


def packed_case(model, batch, mask, kept, out):
    logits = packed_forward(model, batch, mask)
    loss = masked_loss(logits, batch["targets"])
    model.zero_grad()
    loss.backward()
    out.update({"packed." + k: v for k, v in batch.items()})
    out.update({"packed.logits": logits[0].detach(), "packed.loss": loss.detach()[None]})
    for name, p in model.named_parameters():
        if kept in name:
            out["gradient." + name] = p.grad.clone()


def greedy_case(model, generator, out):
    ids = torch.randint(SHAPE["vocab_size"], (PROMPT_TOKENS,), generator=generator).tolist()
    margin = float("inf")
    for _ in range(ANSWER_TOKENS):
        with torch.no_grad():
            last = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        best = last.topk(2).values
        margin = min(margin, (best[0] - best[1]).item())
        ids.append(last.argmax().item())
    if margin < 1e-3:
        sys.exit(f"greedy margin {margin:.1e} is too small to be a test; choose another seed")
    out["greedy.prompt"] = torch.tensor(ids[:PROMPT_TOKENS])
    out["greedy.answer"] = torch.tensor(ids[PROMPT_TOKENS:])


def adamw_case(model, batch, mask, out):
    """Last, since it moves the weights. Matrices decay, vectors (norms) do not."""
    groups = [dict(params=[p for p in model.parameters() if p.dim() > 1], weight_decay=DECAY),
              dict(params=[p for p in model.parameters() if p.dim() == 1], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, **ADAMW)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = masked_loss(packed_forward(model, batch, mask), batch["targets"])
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        losses.append(masked_loss(packed_forward(model, batch, mask), batch["targets"]).item())
    out["adamw.losses"] = torch.tensor(losses)
    out["adamw.norms"] = torch.tensor(norms)


def config_json(name, model):
    """As transformers 5 writes it, and once as transformers 4 did: both are in the field."""
    config = model.config.to_dict()
    for key in ("transformers_version", "_name_or_path", "attn_implementation",
                "_attn_implementation", "dtype", "torch_dtype", "output_hidden_states",
                "return_dict", "chunk_size_feed_forward", "id2label", "label2id",
                "is_encoder_decoder", "output_attentions", "problem_type"):
        config.pop(key, None)
    if name == "tied":
        parameters = config.pop("rope_parameters", None)
        config["rope_theta"] = parameters["rope_theta"] if parameters else config["rope_theta"]
        config["rope_scaling"] = None
    config["architectures"] = [type(model).__name__]
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def make(name, kind, config, dtype, kept, seed):
    model = seeded_model(kind, config(), seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    batch, mask = packed_batch(getattr(model.config, "sliding_window", None) or 0, generator)
    weights = {k: v.detach().clone().to(dtype) for k, v in model.state_dict().items()
               if not (k == "lm_head.weight" and model.config.tie_word_embeddings)}
    out, text = {}, config_json(name, model)
    single_case(model, generator, out)
    packed_case(model, batch, mask, kept, out)
    greedy_case(model, generator, out)
    adamw_case(model, batch, mask, out)
    out = {k: (v.to(torch.int32) if v.dtype == torch.int64 else v.float()).contiguous()
           for k, v in out.items()}
    return text, weights, out


def write(folder, text, weights, golden):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        f.write(text)
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    save_file(golden, os.path.join(folder, "golden.safetensors"), metadata={
        "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "adamw": f"rate {ADAMW['lr']} betas {ADAMW['betas'][0]} {ADAMW['betas'][1]} "
                 f"eps {ADAMW['eps']} decay {DECAY} clip {CLIP}"})


def reload_agrees(kind, folder, golden):
    """The folder as written is what the reference itself reads: same logits again."""
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        logits = model(input_ids=golden["single.ids"].long()[None], use_cache=False).logits[0]
    return (logits - golden["single.logits"]).abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    worst = 0.0
    for seed, (name, kind, config, dtype, kept) in enumerate(CASES, start=1):
        folder = os.path.join(options.folder, name)
        text, weights, golden = make(name, kind, config, dtype, kept, seed)
        if options.check:
            stored = load_file(os.path.join(folder, "golden.safetensors"))
            if set(stored) != set(golden):
                sys.exit(f"{folder}: tensors differ: {sorted(set(stored) ^ set(golden))}")
            gap = max((stored[k].double() - golden[k].double()).abs().max().item() for k in golden)
        else:
            write(folder, text, weights, golden)
            gap = reload_agrees(kind, folder, golden)
        worst = max(worst, gap)
        print(f"{name}: {len(golden)} tensors, loss {golden['packed.loss'][0]:.4f} -> "
              f"{golden['adamw.losses'][-1]:.4f}, largest difference {gap:.1e}")
    if worst > 2e-5:
        sys.exit(f"largest difference {worst:.1e} is over 2e-5")


main()
