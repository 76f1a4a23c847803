#!/usr/bin/env python3
"""Our files in llama.cpp and transformers, and the same numbers out of all three.

    python3 tests/convert/peers_test.py build/src/cli/bastide

Needs torch and transformers (BASTIDE_PYTHON names a Python with them), and for llama.cpp a folder
with the package node-llama-cpp (BASTIDE_LLAMACPP names its node_modules). What is absent is skipped,
loudly; when all is, the exit status is 77.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

IDS = [1, 5, 9, 3, 7, 11, 2, 8]
STEPS = 12
NODE = """
import {createRequire} from "module";
import {pathToFileURL} from "url";
const [,, modules, file, ids, steps] = process.argv;
const require = createRequire(pathToFileURL(modules + "/"));
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(require.resolve("node-llama-cpp")));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath: file});
const context = await model.createContext({contextSize: 256, threads: 1});
const out = [];
for await (const id of context.getSequence().evaluate(ids.split(",").map(Number), {temperature: 0})) {
    out.push(id);
    if (out.length >= Number(steps)) break;
}
console.log(JSON.stringify(out));
process.exit(0);
"""


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True,
                          text=True).stdout


def ours(program, folder, ids):
    return json.loads(run(program, "model", "logits", folder, "--tokens", ",".join(map(str, ids)),
                          "--json"))


def greedy(program, folder):
    ids = list(IDS)
    for _ in range(STEPS):
        ids.append(ours(program, folder, ids)["best"])
    return ids[len(IDS):]


def models(torch, transformers):
    """name, transformers' model: shapes that set every layout apart."""
    shape = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, vocab_size=64, max_position_embeddings=128,
                 bos_token_id=1, eos_token_id=2)
    cases = [("llama", "LlamaConfig", dict(head_dim=32)),
             ("llama3", "LlamaConfig", dict(head_dim=32, rope_scaling=dict(
                 rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                 original_max_position_embeddings=8192), rope_theta=500000.0)),
             ("mistral", "MistralConfig", dict(head_dim=32, sliding_window=None)),
             ("qwen2", "Qwen2Config", {}),
             ("qwen3", "Qwen3Config", dict(head_dim=32)),
             ("ministral3", "Ministral3Config", dict(head_dim=32, rope_parameters=dict(
                 rope_type="yarn", rope_theta=1e6, factor=16.0, beta_fast=32.0, beta_slow=1.0,
                 original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=1.0,
                 llama_4_scaling_beta=0.1))),
             ("mixtral", "MixtralConfig", dict(num_local_experts=4, num_experts_per_tok=2))]
    for name, kind, more in cases:
        if hasattr(transformers, kind):
            torch.manual_seed(3)
            config = getattr(transformers, kind)(**{**shape, **more})
            model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
            for key, value in model.named_parameters():
                value.data = torch.randn_like(value) * (0.15 if value.dim() > 1 else 0.3)
                value.data += 1 if key.endswith("norm.weight") else 0
            yield name, model


def write_tokenizer(folder):
    """64 tokens of one sign each, so that llama.cpp has a vocabulary."""
    signs = "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`"
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "vocab": {sign: id for id, sign in enumerate(signs[:64])}, "merges": []}
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
            "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(file))


def generate(torch, model):
    ids = torch.tensor([IDS])
    with torch.no_grad():
        for _ in range(STEPS):
            best = model(ids).logits[0, -1].argmax()
            ids = torch.cat([ids, best.view(1, 1)], 1)
    return ids[0, len(IDS):].tolist()


def main():
    python = os.environ.get("BASTIDE_PYTHON")
    if python and os.path.realpath(python) != os.path.realpath(sys.executable) \
            and "BASTIDE_PEERS" not in os.environ:
        os.environ["BASTIDE_PEERS"] = "1"
        os.execv(python, [python, *sys.argv])
    program = os.path.realpath(sys.argv[1] if len(sys.argv) > 1 else "build/src/cli/bastide")
    modules = os.environ.get("BASTIDE_LLAMACPP")
    try:
        import torch
        import transformers
    except ImportError:
        print("peers: SKIPPED: torch and transformers are needed: set BASTIDE_PYTHON.")
        return 77
    if not modules:
        print("peers: llama.cpp is left out: BASTIDE_LLAMACPP names no node_modules.")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        (work / "peer.mjs").write_text(NODE)
        for name, model in models(torch, transformers):
            model.save_pretrained(work / name)
            write_tokenizer(work / name)
            want, got = generate(torch, model), {}
            run(program, "model", "export", work / name, work / f"{name}.gguf")
            run(program, "model", "import", work / f"{name}.gguf", work / f"{name}-back")
            back = transformers.AutoModelForCausalLM.from_pretrained(work / f"{name}-back").eval()
            got["our folder in transformers"] = generate(torch, back)
            try:
                got["ours"] = greedy(program, work / f"{name}-back")
            except subprocess.CalledProcessError as problem:
                print(f"peers: {name} does not run here: {problem.stderr.strip()}")
            if modules:
                try:
                    got["our GGUF in llama.cpp"] = json.loads(run(
                        "node", work / "peer.mjs", modules, work / f"{name}.gguf",
                        ",".join(map(str, IDS)), STEPS))
                except subprocess.CalledProcessError as problem:
                    print(f"WRONG {name}: llama.cpp: {problem.stderr.strip()[-300:]}")
                    wrong += 1
            for where, ids in got.items():
                # llama.cpp stops at an end token
                same = ids == want[:len(ids)] and (len(ids) == len(want) or want[len(ids)] == 2)
                wrong += not same
                print(f"{'ok   ' if same else 'WRONG'} {name}: {where}: {ids}"
                      + ("" if same else f", expected {want}"))
    print(f"peers: {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
