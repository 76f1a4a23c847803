/* weights.c: parameters in one slab, by name; see model.h. */
#include "model/model.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALIGN_ELEMENTS = 16 };

bool weights_new(Weights *out, const Graph *g, const Weights *held, Error *err)
{
    Weights w = {0};
    w.params = mem_alloc(graph_values(g), sizeof *w.params);
    if (!w.params)
        return fail(err, ERR_MEMORY, "no memory for the list of parameters");
    for (ValueId id = 1; id <= graph_values(g); id++) {
        const Value *value = graph_value(g, id);
        if (value->role != ROLE_PARAM || (held && weights_find(held, graph_name(g, id))))
            continue;
        ParamInfo *param = &w.params[w.count++];
        snprintf(param->name, sizeof param->name, "%s", graph_name(g, id));
        param->shape = value->shape;
        param->offset = w.elements;
        w.elements += (shape_count(value->shape) + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS *
                      ALIGN_ELEMENTS;
    }
    w.slab = mem_alloc_aligned(w.elements * sizeof(float), 64);
    if (!w.slab) {
        mem_free(w.params);
        return fail(err, ERR_MEMORY, "no memory for %llu parameters: %llu MiB are needed",
                    (unsigned long long)w.elements, (unsigned long long)w.elements * 4 >> 20);
    }
    memset(w.slab, 0, w.elements * sizeof(float));
    *out = w;
    return true;
}

void weights_free(Weights *weights)
{
    mem_free(weights->params);
    mem_free(weights->slab);
    *weights = (Weights){0};
}

const ParamInfo *weights_find(const Weights *weights, const char *name)
{
    for (uint32_t i = 0; i < weights->count; i++) {
        if (strcmp(weights->params[i].name, name) == 0)
            return &weights->params[i];
    }
    return NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static void init_normal(float *to, uint64_t count, RngKey key, double deviation)
{
    for (uint64_t i = 0; i < count; i++)
        to[i] = (float)(deviation * rng_normal(key, i));
}

void weights_init(Weights *weights, uint32_t layers, uint64_t seed)
{
    for (uint32_t p = 0; p < weights->count; p++) {
        const ParamInfo *param = &weights->params[p];
        float *to = weights->slab + param->offset;
        uint64_t count = shape_count(param->shape);
        RngKey key = rng_key(seed, param->name);
        bool inward = strstr(param->name, "o_proj") || strstr(param->name, "down_proj") ||
                      strstr(param->name, "experts.*.w2");
        if (ends_with(param->name, ".bias")) {
            memset(to, 0, count * sizeof *to);
        } else if (param->shape.rank == 1) {
            for (uint64_t i = 0; i < count; i++)
                to[i] = 1;
        } else if (ends_with(param->name, ".lora_B")) {
            memset(to, 0, count * sizeof *to);
        } else if (ends_with(param->name, ".lora_A")) {
            double bound = 1.0 / sqrt(param->shape.dim[1]);
            for (uint64_t i = 0; i < count; i++)
                to[i] = (float)(bound * (2 * rng_uniform(key, i) - 1));
        } else {
            init_normal(to, count, key, inward ? 0.02 / sqrt(2.0 * layers) : 0.02);
        }
    }
}
