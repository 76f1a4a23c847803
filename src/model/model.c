/* model.c: the family table, configuration checks, and graphs by family; see model.h. */
#include "model/model.h"

#include "base/mem.h"
#include "model/llama.h"

#include <stdio.h>

const Family *const families[] = {&family_llama, &family_mistral, NULL};

const Family *family_named(const char *name)
{
    for (uint32_t i = 0; families[i]; i++) {
        if (strcmp(families[i]->name, name) == 0)
            return families[i];
    }
    return NULL;
}

bool model_check_config(const ModelConfig *c, Error *err)
{
    if (!c->layers || !c->width || !c->heads || !c->kv_heads || !c->head_width || !c->ff_width ||
        !c->vocab || !c->context)
        return fail(err, ERR_INPUT, "model: layers, width, heads, kv_heads, head_width, ff_width, "
                                    "vocabulary and context must all be at least 1");
    if (c->heads % c->kv_heads)
        return fail(err, ERR_INPUT, "model: %u heads are not a multiple of %u kv heads", c->heads,
                    c->kv_heads);
    if (c->head_width % 2)
        return fail(err, ERR_INPUT, "model: the head width, %u, must be even", c->head_width);
    uint64_t matrix = (uint64_t)c->width * (c->ff_width > c->vocab ? c->ff_width : c->vocab);
    if (matrix > (uint64_t)1 << 40 || (uint64_t)c->heads * c->head_width > 1 << 20)
        return fail(err, ERR_LIMIT, "model: a matrix of %llu elements is over the limit",
                    (unsigned long long)matrix);
    return true;
}

bool model_build(Graph *g, const Family *family, const ModelConfig *config, const BuildSpec *spec,
                 ModelPorts *out, Error *err)
{
    if (!model_check_config(config, err))
        return false;
    *out = (ModelPorts){0};
    family->build(g, config, spec, out);
    return graph_failed(g) ? graph_finish(g, err) : true;
}

/* The parameters, laid out by a training graph of one token. */
static bool layout(Model *model, Error *err)
{
    Graph *g;
    ModelPorts ports;
    BuildSpec spec = {.mode = BUILD_TRAIN, .tokens = 1};
    if (!graph_new(&g, err))
        return false;
    bool ok = model_build(g, model->family, &model->config, &spec, &ports, err) &&
              graph_finish(g, err) && weights_new(&model->weights, g, NULL, err);
    graph_free(g);
    return ok;
}

bool model_shell(Model **out, const Family *family, const ModelConfig *config, const char *name,
                 Error *err)
{
    if (config->window && !family->windows)
        return fail(err, ERR_INPUT, "model: a %s model has no sliding window; choose family mistral",
                    family->name);
    Model *model = mem_alloc(1, sizeof *model);
    if (!model)
        return fail(err, ERR_MEMORY, "no memory for a model");
    model->family = family;
    model->config = *config;
    snprintf(model->name, sizeof model->name, "%s", name);
    if (!layout(model, err)) {
        model_free(model);
        return false;
    }
    *out = model;
    return true;
}

bool model_new(Model **out, const Family *family, const ModelConfig *config, Tokenizer *tokenizer,
               const ChatTemplate *chat, const char *name, uint64_t seed, Error *err)
{
    Model *model;
    if (!model_shell(&model, family, config, name, err))
        return false;
    weights_init(&model->weights, config->layers, seed);
    model->tokenizer = tokenizer;
    model->chat = chat;
    *out = model;
    return true;
}

void model_free(Model *model)
{
    if (!model)
        return;
    weights_free(&model->weights);
    chat_template_free(model->chat);
    tokenizer_free(model->tokenizer);
    mem_free(model);
}

uint64_t model_parameters(const Model *model)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < model->weights.count; i++)
        total += shape_count(model->weights.params[i].shape);
    return total;
}
