/* source_gguf.c: a GGUF file; see source.h. ggml's shapes are reversed, and the experts of a layer
 * are one tensor, which is taken apart here. */
#include "quant/config_gguf.h"
#include "quant/rope_rules.h"
#include "quant/source_parts.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    Source *s;
    const Gguf *gguf;
    Outline outline;
} Opening;

static bool add_one(Opening *o, const GgufTensor *from, const StoredType *type, Name *name,
                    uint32_t rank, uint64_t offset, Error *err)
{
    char text[NAME_ROOM];
    if (!name_write(NAMES_HF, name, text))
        return fail(err, ERR_INTERNAL, "tensor '%.80s' has no name", from->name);
    SourceTensor *t = source_add_tensor(o->s, text, err);
    if (!t)
        return false;
    t->type = type;
    t->rank = rank;
    for (uint32_t d = 0; d < rank; d++)
        t->shape[d] = from->shape[rank - 1 - d];
    t->offset = offset;
    return tensor_measure(t, err);
}

static bool add_tensor(Opening *o, const GgufTensor *from, Error *err)
{
    Name name;
    const char *file = gguf_name(o->gguf);
    const StoredType *type = stored_of_ggml(from->type);
    if (!type)
        return fail(err, ERR_FORMAT, "%.100s: tensor '%.80s' is %s, which is not read here", file,
                    from->name, ggml_type_info[from->type].name);
    if (!name_parse(NAMES_GGUF, from->name, outline_mix(&o->outline), &name))
        return fail(err, ERR_FORMAT, "%.100s: tensor '%.80s' is not known in this architecture",
                    file, from->name);
    if (!name_has_experts(name.row))
        return add_one(o, from, type, &name, from->rank, from->offset, err);
    if (from->rank != 3 || from->shape[2] != o->outline.experts)
        return fail(err, ERR_FORMAT, "%.100s: tensor '%.80s' must hold %" PRIu32 " experts", file,
                    from->name, o->outline.experts);
    for (name.expert = 0; name.expert < o->outline.experts; name.expert++) {
        uint64_t bytes = from->bytes / o->outline.experts; /* rows are whole blocks */
        if (!add_one(o, from, type, &name, 2, from->offset + name.expert * bytes, err))
            return false;
    }
    return true;
}

/* Llama 3's rule of scaling is in the file only as what follows from it. */
static bool take_divisors(Source *s, const GgufTensor *from, Error *err)
{
    enum { MOST = 512 };
    float divisors[MOST];
    uint32_t count = (uint32_t)from->shape[0];
    Rope rope;
    if (from->type != GGML_F32 || from->rank != 1 || from->shape[0] > MOST ||
        count != s->outline.head_width / 2)
        return fail(err, ERR_FORMAT, "tensor 'rope_freqs.weight' must be %" PRIu32 " values of F32",
                    s->outline.head_width / 2);
    if (!fs_file_read(&s->files[0], from->offset, divisors, count * sizeof *divisors, err) ||
        !rope_read(&rope, s->config, "config.json", err))
        return false;
    if (rope.kind != ROPE_DEFAULT || !rope_llama3_of_divisors(&rope, divisors, count))
        return fail(err, ERR_FORMAT, "tensor 'rope_freqs.weight' follows no rule known here");
    return rope_write(&rope, s->config) || source_fail_memory(s, err);
}

static bool open_tensors(Source *s, const Gguf *gguf, Error *err)
{
    Opening o = {.s = s, .gguf = gguf};
    uint32_t parts;
    if (!gguf_get_u32(gguf, "split.count", 0, 65535, 1, &parts, err))
        return false;
    if (parts > 1)
        return fail(err, ERR_INPUT, "'%.120s' is one of %" PRIu32 " parts: join them with "
                                    "'llama-gguf-split --merge'", s->path, parts);
    if (!gguf_to_config(gguf, &s->config, err) ||
        !outline_read(&o.outline, s->config, s->path, err))
        return false;
    s->outline = o.outline;
    for (uint32_t i = 0; i < gguf_tensor_count(gguf); i++) {
        const GgufTensor *from = gguf_tensor_at(gguf, i);
        bool divisors = strcmp(from->name, "rope_freqs.weight") == 0;
        if (divisors ? !take_divisors(s, from, err) : !add_tensor(&o, from, err))
            return false;
    }
    const GgufArchitecture *a = gguf_architecture_of(&o.outline);
    return source_finish(s, a && a->neighbours, err);
}

bool source_open_gguf(Source *s, Error *err)
{
    Gguf *gguf;
    const char *licence;
    if (!gguf_open_header(&gguf, &s->files[0], err))
        return false;
    bool ok = open_tensors(s, gguf, err) &&
              gguf_get_text(gguf, "general.license", "", &licence, err);
    if (ok && *licence) {
        s->licence = arena_copy_text(&s->arena, licence, strlen(licence));
        ok = s->licence || source_fail_memory(s, err);
    }
    ok = ok && gguf_to_tokenizer(s, gguf, err);
    gguf_close(gguf);
    return ok;
}
