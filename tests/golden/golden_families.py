#!/usr/bin/env python3
"""Golden vectors of every model family, made with transformers, for tests/golden/families.

    python3 -m venv VENV && VENV/bin/pip install torch transformers safetensors numpy pillow
    VENV/bin/python tests/golden/golden_families.py tests/golden/families          writes the files
    VENV/bin/python tests/golden/golden_families.py --check tests/golden/families  compares

Weights are not stored: both sides compute them from the tensors' names (recipe() here,
families_test.c there). A case is a folder with config.json, as transformers 5 writes it or as the
checkpoints in the field have it, and golden.safetensors, described in tests/golden/README.md.
Everything is computed by the reference in f32 with eager attention.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

SHAPE = dict(vocab_size=53, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
             rms_norm_eps=1e-5, bos_token_id=None, eos_token_id=None, pad_token_id=None)
TOKENS, PROMPT, ANSWER, HIGH_TOKENS, HIGH_FIRST = 12, 5, 64, 8, 16380
PROBES = 6

LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=64)
YARN3 = dict(rope_type="yarn", rope_theta=1000000.0, factor=16.0, beta_fast=32.0, beta_slow=1.0,
             mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1)
SLIDING, FULL = "sliding_attention", "full_attention"
EXPERTS = dict(hidden_size=24, intermediate_size=20)

# name: (model_type, what differs from SHAPE, style of config.json, tokens far out)
CASES = {
    "llama3": ("llama", dict(head_dim=16, rope_parameters=LLAMA3), "v4", True),
    "llama_bias": ("llama", dict(head_dim=8, attention_bias=True, mlp_bias=True,
                                 rope_parameters=dict(rope_type="linear", rope_theta=10000.0,
                                                      factor=2.0),
                                 tie_word_embeddings=True), "v5", False),
    "nemo": ("mistral", dict(hidden_size=40, head_dim=16, sliding_window=None,
                             rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
             "v4", False),
    "ministral": ("ministral", dict(num_hidden_layers=4, head_dim=8, sliding_window=4,
                                    layer_types=[FULL, SLIDING, SLIDING, SLIDING]), "v5", False),
    "ministral3": ("ministral3", dict(head_dim=16, tie_word_embeddings=True,
                                      rope_parameters=dict(YARN3,
                                                           original_max_position_embeddings=32)),
                   "v5", True),
    "ministral3_far": ("ministral3", dict(head_dim=32, max_position_embeddings=262144,
                                          rope_parameters=dict(
                                              YARN3, original_max_position_embeddings=16384)),
                       "wrapped", True),
    "mistral_small": ("mistral", dict(head_dim=16, sliding_window=None, rope_parameters=dict(
        rope_type="default", rope_theta=1e9)), "wrapped", False),
    "mixtral": ("mixtral", dict(EXPERTS, num_local_experts=5, num_experts_per_tok=2,
                                rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
                "v4", False),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True, use_sliding_window=True, sliding_window=5,
                            max_window_layers=1, rms_norm_eps=1e-6), "v5", False),
    "qwen3": ("qwen3", dict(head_dim=16, rms_norm_eps=1e-6, rope_parameters=dict(
        rope_type="yarn", rope_theta=1000000.0, factor=4.0, original_max_position_embeddings=32)),
        "v4", True),
    "qwen3_moe": ("qwen3_moe", dict(EXPERTS, head_dim=8, moe_intermediate_size=20, num_experts=6,
                                    num_experts_per_tok=3, norm_topk_prob=False), "v5", False),
}


def integers(name, count):
    """Numbers of 0 to 255 from a name: FNV-1a of it, then splitmix64 for each index."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(56)).astype(np.int64)


def recipe(name, shape):
    """Norms about 1, everything else about 0: exact in f32."""
    k = torch.tensor(integers(name, int(np.prod(shape))) - 128).float()
    values = 1 + k / 1024 if "norm" in name.split(".")[-2] else 3 * k / 1024
    return values.reshape(shape)


def tokens(case, what, count):
    return torch.tensor(integers(case + "." + what, count) % SHAPE["vocab_size"])


# ---- names of files and of the reference's modules ----

def split(name, tensor, kind):
    """A tensor of a module, or its gradient, under the names that checkpoints use."""
    name = name.replace("model.language_model.", "model.")
    if kind == "mixtral":
        name = name.replace(".mlp.", ".block_sparse_moe.")
    gate, up, down = ("w1", "w3", "w2") if kind == "mixtral" else ("gate_proj", "up_proj",
                                                                   "down_proj")
    if name.endswith("experts.gate_up_proj"):
        base, half = name[:-len("gate_up_proj")], tensor.shape[1] // 2
        for e in range(tensor.shape[0]):
            yield f"{base}{e}.{gate}.weight", tensor[e, :half]
            yield f"{base}{e}.{up}.weight", tensor[e, half:]
    elif name.endswith("experts.down_proj"):
        base = name[:-len("down_proj")]
        for e in range(tensor.shape[0]):
            yield f"{base}{e}.{down}.weight", tensor[e]
    else:
        yield name, tensor


def text_parameters(model):
    return {n: p for n, p in model.named_parameters() if "vision" not in n and "projector" not in n}


def set_weights(model, kind):
    with torch.no_grad():
        for name, p in text_parameters(model).items():
            for part, view in split(name, p, kind):
                view.copy_(recipe(part, tuple(view.shape)))


def make_model(kind, config, style):
    if style != "wrapped":
        return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    vision = transformers.PixtralVisionConfig(hidden_size=16, intermediate_size=16,
                                              num_hidden_layers=1, num_attention_heads=2,
                                              head_dim=8, image_size=28, patch_size=14)
    wrapper = transformers.Mistral3Config(vision_config=vision, text_config=config,
                                          tie_word_embeddings=config.tie_word_embeddings)
    return transformers.Mistral3ForConditionalGeneration._from_config(
        wrapper, attn_implementation="eager")


# ---- config.json ----

def config_object(model, style):
    config = json.loads(model.config.to_json_string(use_diff=False))
    text = config["text_config"] if style == "wrapped" else config
    if style == "v4":
        rope = text.pop("rope_parameters")
        text["rope_theta"] = rope.pop("rope_theta")
        text["rope_scaling"] = rope if rope.get("rope_type") != "default" else None
        text["torch_dtype"] = text.pop("dtype", None)
    keep = set(SHAPE) | {
        "model_type", "head_dim", "rope_parameters", "rope_theta", "rope_scaling", "hidden_act",
        "tie_word_embeddings", "sliding_window", "layer_types", "use_sliding_window",
        "max_window_layers", "attention_bias", "mlp_bias", "num_local_experts",
        "num_experts_per_tok", "num_experts", "norm_topk_prob", "moe_intermediate_size",
        "decoder_sparse_step", "mlp_only_layers", "attention_dropout", "initializer_range",
        "torch_dtype", "dtype", "use_cache", "router_aux_loss_coef"}
    text = {k: v for k, v in text.items() if k in keep}
    out = dict(text, architectures=[type(model).__name__])
    if style == "wrapped":
        out = {"architectures": [type(model).__name__], "model_type": "mistral3",
               "image_token_index": 10, "text_config": text,
               "tie_word_embeddings": config["tie_word_embeddings"],
               "vision_config": {"model_type": "pixtral"}}
    return out


# ---- what is computed ----

def forward(model, ids, positions=None):
    extra = {} if positions is None else {"position_ids": positions[None]}
    return model(input_ids=ids[None], use_cache=False, **extra).logits[0]


def gradient_case(model, kind, ids, out):
    logits = forward(model, ids)
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="sum")
    model.zero_grad()
    loss.backward()
    rows = {}
    for name, p in text_parameters(model).items():
        for part, g in split(name, p.grad, kind):
            flat = g.double().flatten()
            probe = torch.tensor(integers("probe." + part, len(flat)) - 128).double() / 128
            at = [j * len(flat) // PROBES for j in range(PROBES)]
            rows[part] = torch.cat([flat.norm()[None], (flat * probe).sum()[None], flat[at]])
    out["loss"] = loss.detach()[None]
    out["gradients"] = torch.stack([rows[name] for name in sorted(rows)])


def greedy_case(model, case, out):
    """The first prompt of the recipe whose 64 answers are decided by a clear margin."""
    for attempt in range(200):
        ids = tokens(case, f"prompt{attempt}", PROMPT).tolist()
        margin = float("inf")
        for _ in range(ANSWER):
            with torch.no_grad():
                last = forward(model, torch.tensor(ids))[-1]
            best = last.topk(2).values
            margin = min(margin, (best[0] - best[1]).item())
            if margin < 2e-3:
                break
            ids.append(last.argmax().item())
        if margin >= 2e-3:
            out["greedy"] = torch.tensor(ids)
            return
    sys.exit(f"{case}: no prompt has a clear greedy answer")


def make(case):
    kind, differences, style, far = CASES[case]
    options = dict(SHAPE, tie_word_embeddings=False)
    options.update(differences)
    model = make_model(kind, transformers.AutoConfig.for_model(kind, **options), style)
    model = model.float().eval()
    set_weights(model, kind)
    out = {"ids": tokens(case, "ids", TOKENS)}
    with torch.no_grad():
        out["logits"] = forward(model, out["ids"])
        if far:
            ids = tokens(case, "far", HIGH_TOKENS)
            out["far.ids"] = ids
            out["far.positions"] = torch.arange(HIGH_FIRST, HIGH_FIRST + HIGH_TOKENS)
            out["far.logits"] = forward(model, ids, out["far.positions"])
    if far:
        text = model.model.language_model if style == "wrapped" else model.model
        out["frequencies"] = text.rotary_emb.inv_freq
    greedy_case(model, case, out)
    gradient_case(model, kind, out["ids"], out)
    out = {k: (v.int() if v.dtype == torch.int64 else v.float()).contiguous()
           for k, v in out.items()}
    return model, config_object(model, style), out


def files_agree(model, kind, style, config, ids, logits):
    """Weights under the names that checkpoints use, with config.json as written here, are what
    transformers itself loads: the same logits again."""
    folder = tempfile.mkdtemp()
    tensors = {}
    for name, p in text_parameters(model).items():
        for part, view in split(name, p.detach(), kind):
            tensors[("language_model." if style == "wrapped" else "") + part] = view.clone()
    if style == "wrapped":  # the other parts, that the reference needs
        for name, p in model.named_parameters():
            if name not in text_parameters(model):
                tensors[name[len("model."):]] = p.detach().clone()
        config = dict(config, vision_config=model.config.vision_config.to_dict())
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    again = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        gap = (forward(again.eval(), ids.long()) - logits).abs().max().item()
    shutil.rmtree(folder)
    return gap


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--only", help="one case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for case in CASES if not options.only else [options.only]:
        kind, _, style, _ = CASES[case]
        folder = os.path.join(options.folder, case)
        model, config, golden = make(case)
        gap = files_agree(model, kind, style, config, golden["ids"], golden["logits"])
        if gap > 1e-6:
            sys.exit(f"{case}: the reference reads other weights than were meant: {gap:.1e}")
        if options.check:
            stored = load_file(os.path.join(folder, "golden.safetensors"))
            if set(stored) != set(golden):
                sys.exit(f"{case}: tensors differ: {sorted(set(stored) ^ set(golden))}")
            gap = max((stored[k].double() - golden[k].double()).abs().max().item() for k in golden)
            if gap > 2e-4:
                sys.exit(f"{case}: largest difference {gap:.1e} is over 2e-4")
        else:
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
                f.write(json.dumps(config, indent=2, sort_keys=True) + "\n")
            save_file(golden, os.path.join(folder, "golden.safetensors"), metadata={
                "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}"})
        print(f"{case}: {len(golden)} tensors, loss {golden['loss'][0]:.3f}, logits up to "
              f"{golden['logits'].abs().max():.2f}, difference {gap:.1e}")


main()
