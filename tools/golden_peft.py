#!/usr/bin/env python3
"""Makes tests/golden/peft: adapters of PEFT on a tiny model, and the weights PEFT merges.

    python3 -m venv VENV && VENV/bin/pip install torch transformers peft safetensors
    VENV/bin/python tools/golden_peft.py tests/golden/peft

base/ is the model; NAME/ an adapter as PEFT saves it; NAME/merged.safetensors what merge_and_unload
gives for the tensors that it changes. All values are random, from one seed.
"""
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

CASES = {
    "lora": dict(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"]),
    "rslora": dict(r=2, lora_alpha=3, use_rslora=True, target_modules="all-linear",
                   rank_pattern={"k_proj": 3, r"layers\.1\.mlp\.(up|gate)_proj": 1},
                   alpha_pattern={"model.layers.0.self_attn.q_proj": 5}),
    "dora": dict(r=2, lora_alpha=4, use_dora=True, target_modules=["q_proj", "o_proj"]),
    "whole": dict(r=2, lora_alpha=4, target_modules=["embed_tokens", "v_proj"],
                  modules_to_save=["lm_head"]),
}


def model():
    torch.manual_seed(1)
    config = LlamaConfig(hidden_size=8, intermediate_size=12, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, head_dim=4, vocab_size=10,
                         max_position_embeddings=16, tie_word_embeddings=False)
    return LlamaForCausalLM(config).float()


def main():
    out = pathlib.Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    base = model()
    base.save_pretrained(out / "base")
    (out / "base" / "generation_config.json").unlink(missing_ok=True)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    for name, options in CASES.items():
        tuned = get_peft_model(model(), LoraConfig(task_type="CAUSAL_LM", **options))
        generator = torch.Generator().manual_seed(2)
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
        tuned.save_pretrained(out / name)
        (out / name / "README.md").unlink(missing_ok=True)
        merged = tuned.merge_and_unload().state_dict()
        changed = {key: value.contiguous() for key, value in merged.items()
                   if not torch.equal(value, before[key])}
        save_file(changed, out / name / "merged.safetensors")
        print(name, sorted(load_file(out / name / "adapter_model.safetensors"))[:3], len(changed))


if __name__ == "__main__":
    main()
