/* config_gguf.h: the architectures of GGUF that are known here, and their keys. One row says which
 * family of Hugging Face an architecture is, and whether its rows of Q and K stand as neighbours. */
#pragma once
#include "quant/source.h"

typedef struct {
    const char *family;        /* model_type in config.json */
    const char *class_name;    /* of transformers */
    const char *gguf;          /* general.architecture */
    bool neighbours;
    bool mixture;
} GgufArchitecture;

/* NULL: the family has no GGUF form here. */
const GgufArchitecture *gguf_architecture_of(const Outline *outline);
/* NULL: unknown. mixture: the file has experts. */
const GgufArchitecture *gguf_architecture_named(const char *name, bool mixture);
/* The keys of the model (not of its tokenizer). *divisors: head_width / 2 of them must be written as
 * rope_freqs.weight. Errors: ERR_INPUT for what GGUF cannot say. */
bool gguf_add_config(GgufWriter *w, const Source *s, bool *divisors, Error *err) MUST_CHECK;
