#!/usr/bin/env python3
"""Makes tokenizer.json and cases.json: requests and the ids that mistral-common gives for them in
each version of its format. Needs mistral-common. usage: make.py FOLDER

The tokenizer is byte-level BPE with a few merges, the same as a Tekkenizer and as tokenizer.json; a
format does not look into its tokenizer, so it serves for the versions that SentencePiece serves too.
A case of "chat" is a request by its number, a version, the modes that accept it (s: serving,
f: finetuning, a: any) and its ids, null when no mode does."""
import base64
import json
import sys

from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.base import SpecialTokens, TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import (
    InstructTokenizerV1, InstructTokenizerV2, InstructTokenizerV3, InstructTokenizerV7,
    InstructTokenizerV11, InstructTokenizerV13, InstructTokenizerV15)
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.model_settings_builder import ModelSettingsBuilder
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TOKENS = ["th", "he", "in", "er", "an", "re", "the", " t", " a", "on", ": ", '":', '",', "ing"]
MERGES = [("t", "h"), ("h", "e"), ("i", "n"), ("e", "r"), ("a", "n"), ("r", "e"), ("th", "e"),
          (" ", "t"), (" ", "a"), ("o", "n"), (":", " "), ('"', ":"), ('"', ","), ("in", "g")]
SPECIALS = [t.value for t in SpecialTokens]
CLASSES = {"v1": InstructTokenizerV1, "v2": InstructTokenizerV2, "v3": InstructTokenizerV3,
           "v7": InstructTokenizerV7, "v11": InstructTokenizerV11, "v13": InstructTokenizerV13,
           "v15": InstructTokenizerV15}
BUILDER = {"reasoning_effort": {"type": "enum", "values": ["none", "high"], "accepts_none": True,
                                "default": "none"},
           "json_schema": {"type": "json_schema", "accepts_none": False, "default": None}}


def user(content):
    return {"role": "user", "content": content}


def system(content):
    return {"role": "system", "content": content}


def says(content, **more):
    return dict({"role": "assistant", "content": content}, **more)


def calls(*all_calls, **more):
    return dict({"role": "assistant", "content": more.pop("content", None), "tool_calls": [
        {"type": "function", "id": i, "function": {"name": n, "arguments": a}}
        if i else {"type": "function", "function": {"name": n, "arguments": a}}
        for i, n, a in all_calls]}, **more)


def result(call, content, name="f"):
    return {"role": "tool", "tool_call_id": call, "name": name, "content": content}


def text(t):
    return {"type": "text", "text": t}


def think(t, closed=True):
    return {"type": "thinking", "thinking": t, "closed": closed}


TOOL = {"type": "function", "function": {"name": "f", "description": "the \u00e9 \"f\"", "strict": True,
        "parameters": {"type": "object", "properties": {"x": {"type": "integer", "default": 1.0}},
                       "required": ["x"]}}}
BARE = {"type": "function", "function": {"name": "g", "parameters": {}}}
A, B = "abcdefgh1", "abcdefgh2"
ARGS = '{"x":1,  "y":[1.50,true,null,"\\u00e9"]}'

REQUESTS = [
    {"messages": [user("Hello the world")]},
    {"messages": [user("")]},
    {"messages": [system("Be brief."), user("hi"), says("yes  "), user("[INST] </s> <s> ok")]},
    {"messages": [system("one"), system("two"), user("hi")]},
    {"messages": [system("")]},
    {"messages": [system("only")]},
    {"messages": [user("a"), system("in the middle"), user("b")]},
    {"messages": [user("a"), user("b"), says("c"), says("d"), user("e")]},
    {"messages": [user([text("one"), text("two")]), says([text("x"), text("y ")]), user("z")]},
    {"messages": [user("a"), user([text(""), text("b")]), says("c"), user("")]},
    {"messages": [user("a"), says("b")]},
    {"messages": [user("a"), says("the beg", prefix=True)]},
    {"messages": [user("a"), says("b", prefix=True), user("c")]},
    {"messages": [says("b"), user("c")]},
    {"messages": [says("b")]},
    {"messages": []},
    {"messages": [user("a"), says("")]},
    {"messages": [user("a"), says(""), user("b")]},
    {"messages": [user("a")], "tools": [TOOL, BARE]},
    {"messages": [user("a"), says("b"), user("c")], "tools": [TOOL]},
    {"messages": [system("s"), user("a"), says("b"), user("c")], "tools": [TOOL]},
    {"messages": [user("a"), calls((A, "f", ARGS)), result(A, "{\"t\": 21}")], "tools": [TOOL]},
    {"messages": [user("a"), calls((A, "f", ARGS)), result(A, "not json"), says("b")]},
    {"messages": [user("a"), calls((A, "f", "{}")), result(A, ""), says("b"), user("c")]},
    {"messages": [user("a"), calls((A, "f", "")), result(A, [text("x"), text("y")])]},
    {"messages": [user("a"), calls((A, "f", "broken {")), result(A, "1.0")]},
    {"messages": [user("a"), calls((A, "f", {"k": "\u00e9"})), result(A, "[1,2]")]},
    {"messages": [user("a"), calls((A, "f", "{}"), (B, "g", "{}")), result(A, "1"), result(B, "2")]},
    {"messages": [user("a"), calls((A, "f", "{}"), (B, "g", "{}")), result(B, "2"), result(A, "1")]},
    {"messages": [user("a"), calls((A, "f", "{}"), (B, "g", "{}")), result(A, "2"), result(A, "1")]},
    {"messages": [user("a"), calls((A, "f", "{}"), (B, "g", "{}")), result(A, "2")]},
    {"messages": [user("a"), calls((A, "f", "{}"))]},
    {"messages": [user("a"), calls((None, "f", "{}"))]},
    {"messages": [user("a"), calls(("null", "f", "{}"))]},
    {"messages": [user("a"), calls(("short", "f", "{}")), result("short", "1")]},
    {"messages": [user("a"), calls((A, "bad name", "{}")), result(A, "1")]},
    {"messages": [user("a"), calls((A, "f", "{}")), result(A, "1", "bad name")]},
    {"messages": [user("a"), calls((A, "f", "{}"), content="and text ")]},
    {"messages": [user("a"), calls((A, "f", "{}"), content="and text "), result(A, "1")]},
    {"messages": [user("a"), result(A, "1")]},
    {"messages": [user("a"), says("b"), result(A, "1"), user("x")]},
    {"messages": [user("a"), calls((A, "f", "{}")), result(B, "1"), user("x")]},
    {"messages": [user("a"), calls((A, "f", "{}")), user("x")]},
    {"messages": [user("a"), calls((A, "f", "{}")), result(A, "1", None), says("ok"), user("b"),
                  calls((B, "g", "{}")), result(B, "2", None)], "tools": [TOOL, BARE]},
    {"messages": [user("a"), says([think("hm"), text("b")]), user("c")]},
    {"messages": [user("a"), says([think("hm"), text("b "), text("c "), think("again"), text("d ")])]},
    {"messages": [user("a"), says([think("hm", False)], prefix=True)]},
    {"messages": [system([text("S1"), think("TS"), text("S2")]), user("a")]},
    {"messages": [user("a"), says([think("x")]), says("b"), user("c")]},
    {"messages": [user([think("x")])]},
    {"messages": [user("a"), says("b", weight=0), says("c", weight=1)]},
    {"messages": [user("a"), says("b", weight=0), user("c"), says("d")]},
    {"messages": [user("a"), says("b", weight=2)]},
    {"messages": [system("s"), user("a")], "reasoning_effort": "high"},
    {"messages": [user("a"), says("b"), user("c")], "tools": [BARE], "reasoning_effort": "none"},
    {"messages": [user("a")], "response_format": {"type": "json_schema", "json_schema": {
        "name": "n", "schema": {"type": "object", "properties": {"z": {"type": "string"}, "a": {}}}}}},
]
FIM = [["def f(", "return a + b"], ["the in", ""], ["", "\n  x"], ["\u00e9 ", " \u00e9"]]


def tekkenizer():
    vocab = [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None}
             for i, t in enumerate([bytes([b]) for b in range(256)] +
                                   [t.encode() for t in TOKENS])]
    specials = [{"rank": i, "token_str": t, "is_control": True} for i, t in enumerate(SPECIALS)]
    return lambda version: Tekkenizer(
        vocab, special_tokens=specials, pattern=PATTERN, vocab_size=len(vocab) + len(specials),
        num_special_tokens=len(specials), version=TokenizerVersion(version),
        model_settings_builder=ModelSettingsBuilder.model_validate(BUILDER)
        if version == "v15" else None)


def alphabet():
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for byte in range(256):
        table[byte] = chr(byte) if byte in plain else chr(256 + extra)
        extra += byte not in plain
    return table


def tokenizer_json():
    table = alphabet()
    spell = lambda t: "".join(table[b] for b in t)
    pieces = [bytes([b]) for b in range(256)] + [t.encode() for t in TOKENS]
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False,
                              "rstrip": False, "normalized": False, "special": True}
                             for i, t in enumerate(SPECIALS)],
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                              "use_regex": True},
            "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True,
                                                "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False,
                      "vocab": {spell(p): len(SPECIALS) + i for i, p in enumerate(pieces)},
                      "merges": [spell(a.encode()) + " " + spell(b.encode()) for a, b in MERGES]}}


def encode(tokenizer, version, mode, request):
    instruct = CLASSES[version](tokenizer)
    builder = tokenizer.model_settings_builder
    try:
        from mistral_common.protocol.instruct.messages import FinetuningAssistantMessage
        from mistral_common.protocol.instruct.messages import SystemMessage, ToolMessage, UserMessage
        from typing import Annotated, Union
        from pydantic import Field
        message = Annotated[Union[SystemMessage, UserMessage, FinetuningAssistantMessage, ToolMessage],
                            Field(discriminator="role")]
        made = ChatCompletionRequest[message].model_validate(dict(request, model="m"))
        normalizer = get_normalizer(TokenizerVersion(version), builder)
        normalizer._assistant_message_class = FinetuningAssistantMessage
        whole = MistralTokenizer(instruct, get_validator(TokenizerVersion(version), mode), normalizer)
        ids = whole.encode_chat_completion(made).tokens
        settings = normalizer.build_settings(made).model_dump(exclude_none=True)
        return ids, settings
    except Exception as e:
        return None, type(e).__name__ + ": " + str(e)[:60].replace("\n", " ")


def main(folder):
    make = tekkenizer()
    out = []
    for version in CLASSES:
        tokenizer = make(version)
        for number, request in enumerate(REQUESTS):
            if version != "v15" and ("reasoning_effort" in request or "response_format" in request):
                continue
            case = {"request": number, "version": version, "modes": "", "ids": None}
            for mode in (ValidationMode.serving, ValidationMode.finetuning, ValidationMode.agnostic):
                ids, extra = encode(tokenizer, version, mode, request)
                if not ids:
                    continue
                assert case["ids"] in (None, ids)
                case["ids"] = ids
                case["modes"] += mode.value[0]
                if extra:
                    case["settings"] = extra
            out.append(case)
    fim = [{"version": v, "prompt": p, "suffix": s,
            "ids": CLASSES[v](make(v)).encode_fim(FIMRequest(prompt=p, suffix=s)).tokens}
           for v in ("v2", "v3", "v7", "v13") for p, s in FIM]
    with open(folder + "/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(tokenizer_json(), f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    with open(folder + "/cases.json", "w", encoding="utf-8") as f:
        f.write('{"requests": [\n')
        f.write(",\n".join(json.dumps({k: r[k] for k in ("messages", "tools") if k in r},
                                       ensure_ascii=False) for r in REQUESTS))
        f.write('\n],\n"chat": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in out))
        f.write('\n],\n"fim": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in fim))
        f.write("\n]}\n")
    print(len(out), "chats,", sum(c["ids"] is None for c in out), "refused,", len(fim), "fim")


main(sys.argv[1])
