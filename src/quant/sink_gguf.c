/* sink_gguf.c: one GGUF file; see convert.h. Shapes are reversed, the experts of a layer become one
 * tensor, and a scaling of rotary positions by Llama 3's rule becomes a tensor of divisors. */
#include "quant/config_gguf.h"
#include "quant/convert_parts.h"
#include "quant/gguf_vocab.h"
#include "quant/rope_rules.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    ConvertItem item;
    Name name;
} Entry;

typedef struct {
    const Source *source;
    const GgufArchitecture *architecture;
    const ConvertOptions *options;
    const StoredType *asked;
    Entry *entries; /* by name: those of one GGUF tensor stand together, experts in order */
    uint32_t count;
    uint64_t bytes;
    bool divisors;
} Plan;

/* By layer (what stands outside of layers first), kind, expert: any order is legal, this one keeps
 * the experts of a tensor together. */
static int by_place(const void *left, const void *right)
{
    const Name *a = &((const Entry *)left)->name, *b = &((const Entry *)right)->name;
    bool a_inner = strstr(a->row->name[NAMES_HF], "%l"), b_inner = strstr(b->row->name[NAMES_HF],
                                                                        "%l");
    if (a_inner != b_inner)
        return a_inner ? 1 : -1;
    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    if (a->row != b->row)
        return a->row < b->row ? -1 : 1;
    return a->expert < b->expert ? -1 : a->expert > b->expert;
}

/* The router of a mixture stays f32, as llama.cpp has it: it is small, and rounding moves choices. */
static const StoredType *type_of(const Plan *p, const SourceTensor *t, const Name *name,
                                 const float **importance)
{
    const StoredType *f32 = stored_of_st(ST_F32);
    if (t->rank < 2 || name->row->rows == DIM_EXPERTS)
        return f32;
    if (p->options->choose)
        return p->options->choose(p->options->choose_user, t, importance);
    if (!p->asked) {
        bool holds = t->type->ggml >= 0 && !t->scale.type && t->type->of_f32;
        return holds ? t->type : f32;
    }
    return t->columns % p->asked->block ? stored_of_st(ST_F16) : p->asked;
}

static bool plan_tensor(Plan *p, const SourceTensor *t, ConvertResult *result, Error *err)
{
    Name name;
    char alone[NAME_ROOM], text[NAME_ROOM];
    const Outline *o = &p->source->outline;
    bool inner = o->wrapped && name_unwrap(t->name, alone);
    if (!name_parse(NAMES_HF, inner ? alone : t->name, MIX_ANY, &name) ||
        !name_write(NAMES_GGUF, &name, text)) {
        if (!o->wrapped)
            return fail(err, ERR_INPUT, "gguf: no name is known for tensor '%.80s'", t->name);
        result->left_out++;
        return true;
    }
    if (o->tied && strcmp(text, "output.weight") == 0) {
        result->left_out++;
        return true;
    }
    const float *importance = NULL;
    const StoredType *as = type_of(p, t, &name, &importance);
    p->entries[p->count++] = (Entry){{t, as, p->architecture->neighbours, importance}, name};
    p->bytes += stored_bytes(as, tensor_elements(t));
    result->exact = result->exact && type_is_exact(t, as);
    return true;
}

/* Every expert of a tensor, once. */
static bool check_experts(const Plan *p, Error *err)
{
    uint32_t experts = p->source->outline.experts;
    for (uint32_t i = 0; i < p->count; i++) {
        const Name *name = &p->entries[i].name;
        if (!name_has_experts(name->row))
            continue;
        bool first = i == 0 || p->entries[i - 1].name.row != name->row ||
                     p->entries[i - 1].name.layer != name->layer;
        bool last = i + 1 == p->count || p->entries[i + 1].name.row != name->row ||
                    p->entries[i + 1].name.layer != name->layer;
        uint32_t want = first ? 0 : p->entries[i - 1].name.expert + 1;
        if (name->expert != want || (last && name->expert + 1 != experts))
            return fail(err, ERR_FORMAT, "tensor '%.80s': experts of its layer are missing",
                        p->entries[i].item.from->name);
        if (!first && p->entries[i].item.as != p->entries[i - 1].item.as)
            return fail(err, ERR_INPUT, "tensor '%.80s': experts of one layer are of two types: "
                                        "choose one with --type", p->entries[i].item.from->name);
    }
    return true;
}

static bool plan_new(Plan *p, const Source *s, const ConvertOptions *options,
                     ConvertResult *result, Error *err)
{
    const StoredType *asked = options->type;
    *p = (Plan){.source = s, .options = options, .asked = asked,
                .architecture = gguf_architecture_of(&s->outline)};
    if (!p->architecture)
        return fail(err, ERR_FORMAT, "a model of family '%.40s' has no GGUF form here",
                    s->outline.family);
    if (asked && asked->ggml < 0)
        return fail(err, ERR_INPUT, "GGUF cannot hold %s", asked->name);
    p->entries = mem_alloc(s->count, sizeof *p->entries);
    if (!p->entries)
        return fail(err, ERR_MEMORY, "no memory to export %" PRIu32 " tensors", s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        if (!plan_tensor(p, &s->tensors[i], result, err))
            return false;
    }
    if (p->count)
        qsort(p->entries, p->count, sizeof *p->entries, by_place);
    result->bytes = p->bytes;
    result->tensors = p->count;
    result->files = 1;
    return check_experts(p, err);
}

static void add_tensors(GgufWriter *w, const Plan *p)
{
    uint64_t divisors = p->source->outline.head_width / 2;
    if (p->divisors)
        gguf_add_tensor(w, "rope_freqs.weight", GGML_F32, 1, &divisors);
    for (uint32_t i = 0; i < p->count; i++) {
        const Entry *e = &p->entries[i];
        const SourceTensor *t = e->item.from;
        char name[NAME_ROOM];
        uint64_t shape[3] = {t->rank == 2 ? t->columns : t->rows, t->rows,
                             p->source->outline.experts};
        bool experts = name_has_experts(e->name.row);
        if (experts && e->name.expert)
            continue;
        if (name_write(NAMES_GGUF, &e->name, name))
            gguf_add_tensor(w, name, (uint32_t)e->item.as->ggml, t->rank + experts, shape);
    }
}

/* general.file_type is a hint for people: that of the type asked for, else of the embedding. */
static void add_file_type(GgufWriter *w, const Plan *p)
{
    const StoredType *type = p->asked;
    if (p->options->choose) {
        gguf_add_u32(w, "general.file_type", p->options->file_type);
        gguf_add_u32(w, "general.quantization_version", 2);
        return;
    }
    for (uint32_t i = 0; !type && i < p->count; i++)
        type = p->entries[i].item.from->rank == 2 ? p->entries[i].item.as : NULL;
    gguf_add_u32(w, "general.file_type", type ? type->file_type : 0);
    if (type && type->block > 1)
        gguf_add_u32(w, "general.quantization_version", 2);
}

static bool put(void *user, const void *bytes, uint64_t size, Error *err)
{
    return gguf_add_data(user, bytes, size, err);
}

static bool write_divisors(GgufWriter *w, const Plan *p, Error *err)
{
    Rope rope;
    uint32_t count = p->source->outline.head_width / 2; /* at most 512 */
    float divisors[512];
    if (!p->divisors)
        return true;
    if (!rope_read(&rope, p->source->outline.text, "config.json", err))
        return false;
    rope_llama3_divisors(&rope, count, divisors);
    return gguf_add_data(w, divisors, count * sizeof *divisors, err);
}

static bool write_file(GgufWriter *w, Plan *p, const char *path, const ConvertOptions *options,
                       Error *err)
{
    ConvertRun run;
    if (!gguf_add_config(w, p->source, &p->divisors, err))
        return false;
    add_file_type(w, p);
    if (!gguf_vocab_add(w, p->source, err))
        return false;
    add_tensors(w, p);
    if (options->dry_run)
        return true;
    if (!run_begin(&run, p->source, options, p->bytes, err))
        return false;
    bool ok = gguf_begin(w, path, err) && write_divisors(w, p, err);
    for (uint32_t i = 0; ok && i < p->count; i++)
        ok = run_copy(&run, &p->entries[i].item, put, w, err);
    ok = ok && gguf_commit(w, err);
    run_end(&run);
    return ok;
}

bool sink_gguf(const Source *s, const char *path, const ConvertOptions *options,
               ConvertResult *result, Error *err)
{
    Plan plan;
    GgufWriter *w;
    bool ok = plan_new(&plan, s, options, result, err);
    if (ok && gguf_writer_new(&w, err)) {
        ok = write_file(w, &plan, path, options, err);
        gguf_writer_free(w);
    } else {
        ok = false;
    }
    mem_free(plan.entries);
    return ok;
}
