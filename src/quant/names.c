/* names.c: see names.h. */
#include "quant/names.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define L "model.layers.%l."
#define N "layers.%l."
#define B "blk.%l."

static const NameRow rows[] = {
    {{"model.embed_tokens.weight", "tok_embeddings.weight", "token_embd.weight"},
     DIM_VOCAB, DIM_WIDTH, TURNED_NOT, MIX_ANY},
    {{"model.norm.weight", "norm.weight", "output_norm.weight"},
     DIM_WIDTH, DIM_NONE, TURNED_NOT, MIX_ANY},
    {{"lm_head.weight", "output.weight", "output.weight"},
     DIM_VOCAB, DIM_WIDTH, TURNED_NOT, MIX_ANY},
    {{L "input_layernorm.weight", N "attention_norm.weight", B "attn_norm.weight"},
     DIM_WIDTH, DIM_NONE, TURNED_NOT, MIX_ANY},
    {{L "self_attn.q_proj.weight", N "attention.wq.weight", B "attn_q.weight"},
     DIM_Q, DIM_WIDTH, TURNED_Q, MIX_ANY},
    {{L "self_attn.k_proj.weight", N "attention.wk.weight", B "attn_k.weight"},
     DIM_KV, DIM_WIDTH, TURNED_K, MIX_ANY},
    {{L "self_attn.v_proj.weight", N "attention.wv.weight", B "attn_v.weight"},
     DIM_KV, DIM_WIDTH, TURNED_NOT, MIX_ANY},
    {{L "self_attn.o_proj.weight", N "attention.wo.weight", B "attn_output.weight"},
     DIM_WIDTH, DIM_Q, TURNED_NOT, MIX_ANY},
    {{L "self_attn.q_proj.bias", NULL, B "attn_q.bias"}, DIM_Q, DIM_NONE, TURNED_Q, MIX_ANY},
    {{L "self_attn.k_proj.bias", NULL, B "attn_k.bias"}, DIM_KV, DIM_NONE, TURNED_K, MIX_ANY},
    {{L "self_attn.v_proj.bias", NULL, B "attn_v.bias"}, DIM_KV, DIM_NONE, TURNED_NOT, MIX_ANY},
    {{L "self_attn.o_proj.bias", NULL, B "attn_output.bias"},
     DIM_WIDTH, DIM_NONE, TURNED_NOT, MIX_ANY},
    {{L "self_attn.q_norm.weight", NULL, B "attn_q_norm.weight"},
     DIM_HEAD, DIM_NONE, TURNED_NOT, MIX_ANY},
    {{L "self_attn.k_norm.weight", NULL, B "attn_k_norm.weight"},
     DIM_HEAD, DIM_NONE, TURNED_NOT, MIX_ANY},
    {{L "post_attention_layernorm.weight", N "ffn_norm.weight", B "ffn_norm.weight"},
     DIM_WIDTH, DIM_NONE, TURNED_NOT, MIX_ANY},
    {{L "mlp.gate_proj.weight", N "feed_forward.w1.weight", B "ffn_gate.weight"},
     DIM_FF, DIM_WIDTH, TURNED_NOT, MIX_ANY},
    {{L "mlp.up_proj.weight", N "feed_forward.w3.weight", B "ffn_up.weight"},
     DIM_FF, DIM_WIDTH, TURNED_NOT, MIX_ANY},
    {{L "mlp.down_proj.weight", N "feed_forward.w2.weight", B "ffn_down.weight"},
     DIM_WIDTH, DIM_FF, TURNED_NOT, MIX_ANY},
    {{L "block_sparse_moe.gate.weight", N "feed_forward.gate.weight", B "ffn_gate_inp.weight"},
     DIM_EXPERTS, DIM_WIDTH, TURNED_NOT, MIX_MIXTRAL},
    {{L "block_sparse_moe.experts.%e.w1.weight", N "feed_forward.experts.%e.w1.weight",
      B "ffn_gate_exps.weight"}, DIM_EXPERT_FF, DIM_WIDTH, TURNED_NOT, MIX_MIXTRAL},
    {{L "block_sparse_moe.experts.%e.w3.weight", N "feed_forward.experts.%e.w3.weight",
      B "ffn_up_exps.weight"}, DIM_EXPERT_FF, DIM_WIDTH, TURNED_NOT, MIX_MIXTRAL},
    {{L "block_sparse_moe.experts.%e.w2.weight", N "feed_forward.experts.%e.w2.weight",
      B "ffn_down_exps.weight"}, DIM_WIDTH, DIM_EXPERT_FF, TURNED_NOT, MIX_MIXTRAL},
    {{L "mlp.gate.weight", NULL, B "ffn_gate_inp.weight"},
     DIM_EXPERTS, DIM_WIDTH, TURNED_NOT, MIX_QWEN},
    {{L "mlp.experts.%e.gate_proj.weight", NULL, B "ffn_gate_exps.weight"},
     DIM_EXPERT_FF, DIM_WIDTH, TURNED_NOT, MIX_QWEN},
    {{L "mlp.experts.%e.up_proj.weight", NULL, B "ffn_up_exps.weight"},
     DIM_EXPERT_FF, DIM_WIDTH, TURNED_NOT, MIX_QWEN},
    {{L "mlp.experts.%e.down_proj.weight", NULL, B "ffn_down_exps.weight"},
     DIM_WIDTH, DIM_EXPERT_FF, TURNED_NOT, MIX_QWEN},
};

enum { ROW_COUNT = sizeof rows / sizeof *rows, NUMBER_MAX = 99999 };

/* A number without leading zeros, so that each name is written in one way only. */
static bool take_number(const char **text, uint32_t *out)
{
    const char *at = *text;
    uint32_t value = 0;
    if (*at < '0' || *at > '9' || (*at == '0' && at[1] >= '0' && at[1] <= '9'))
        return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        value = 10 * value + (uint32_t)(*at - '0');
        if (value > NUMBER_MAX)
            return false;
    }
    *text = at;
    *out = value;
    return true;
}

static bool match(const char *pattern, const char *text, Name *out)
{
    for (; *pattern; pattern++) {
        if (*pattern != '%') {
            if (*text++ != *pattern)
                return false;
            continue;
        }
        uint32_t *number = *++pattern == 'l' ? &out->layer : &out->expert;
        if (!take_number(&text, number))
            return false;
    }
    return *text == 0;
}

bool name_parse(NameStyle style, const char *text, NameMix mix, Name *out)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        Name name = {.row = &rows[i]};
        if (style == NAMES_GGUF && rows[i].mix != MIX_ANY && rows[i].mix != mix)
            continue;
        if (rows[i].name[style] && match(rows[i].name[style], text, &name)) {
            *out = name;
            return true;
        }
    }
    return false;
}

bool name_write(NameStyle style, const Name *name, char text[NAME_ROOM])
{
    const char *pattern = name->row->name[style];
    size_t used = 0;
    if (!pattern)
        return false;
    for (; *pattern && used + 16 < NAME_ROOM; pattern++) {
        if (*pattern != '%')
            text[used++] = *pattern;
        else
            used += (size_t)snprintf(text + used, 16, "%u",
                                     *++pattern == 'l' ? name->layer : name->expert);
    }
    assert(*pattern == 0); /* every name of the table fits */
    text[used] = 0;
    return true;
}

bool name_has_experts(const NameRow *row)
{
    return strstr(row->name[NAMES_HF], "%e") != NULL;
}

const NameRow *name_row(uint32_t index)
{
    return index < ROW_COUNT ? &rows[index] : NULL;
}

bool name_is_needed(const NameRow *row)
{
    static const char *const needed[] = {"tok_embeddings", "norm", "attention_norm", "attention.wq",
                                         "attention.wk", "attention.wv", "attention.wo", "ffn_norm"};
    const char *native = row->name[NAMES_NATIVE];
    if (native && strncmp(native, N, strlen(N)) == 0)
        native += strlen(N);
    for (size_t i = 0; native && i < sizeof needed / sizeof *needed; i++) {
        size_t size = strlen(needed[i]);
        if (strncmp(native, needed[i], size) == 0 && strcmp(native + size, ".weight") == 0)
            return true;
    }
    return false;
}

bool name_unwrap(const char *text, char out[NAME_ROOM])
{
    static const struct {
        const char *from, *to;
    } prefixes[] = {
        {"language_model.model.", "model."},
        {"language_model.lm_head.", "lm_head."},
        {"model.language_model.", "model."},
    };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t size = strlen(prefixes[i].from);
        if (strncmp(text, prefixes[i].from, size) == 0 && strlen(text) < NAME_ROOM) {
            snprintf(out, NAME_ROOM, "%s%s", prefixes[i].to, text + size);
            return true;
        }
    }
    return false;
}
