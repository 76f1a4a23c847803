/* model.c: configuration checks, graphs by family, models in memory; see model.h. */
#include "model/model.h"

#include "base/mem.h"
#include "model/family.h"

#include <stdio.h>

/* Rotary frequencies, queries by position, experts, windows. */
static bool check_parts(const ModelConfig *c, Error *err)
{
    const RopeScaling *r = &c->rope;
    if (r->kind != ROPE_PLAIN && (!(r->factor >= 1) || r->original == 0))
        return fail(err, ERR_INPUT, "model: rotary scaling needs a factor of 1 at least, and the "
                                    "original context");
    if (r->kind == ROPE_LLAMA3 && !(r->low > 0 && r->high > r->low))
        return fail(err, ERR_INPUT, "model: llama3 rotary scaling needs 0 < low_freq_factor < "
                                    "high_freq_factor");
    if (r->kind == ROPE_YARN && !(r->beta_fast > 0 && r->beta_slow > 0 && r->attention > 0 &&
                                  c->theta > 1))
        return fail(err, ERR_INPUT, "model: yarn needs positive betas and attention factor, and a "
                                    "theta over 1");
    if (c->query_original && !(c->query_beta > 0))
        return fail(err, ERR_INPUT, "model: queries scaled by position need a positive beta");
    if (c->experts && (c->experts > MODEL_EXPERTS_MAX || !c->chosen || c->chosen > c->experts ||
                       !c->expert_width))
        return fail(err, ERR_INPUT, "model: of %u experts (%d at most) %u are chosen, with a width "
                                    "of %u",
                    c->experts, MODEL_EXPERTS_MAX, c->chosen, c->expert_width);
    if ((model_features(c) & FEATURE_PATTERN) && !c->window)
        return fail(err, ERR_INPUT, "model: layers without a window, in a model that has none");
    return true;
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
    if (c->layers > MODEL_LAYERS_MAX || c->head_width > MODEL_HEAD_WIDTH_MAX)
        return fail(err, ERR_LIMIT, "model: %u layers (%d at most) of heads %u wide (%d at most)",
                    c->layers, MODEL_LAYERS_MAX, c->head_width, MODEL_HEAD_WIDTH_MAX);
    uint64_t widest = c->ff_width > c->vocab ? c->ff_width : c->vocab;
    if ((uint64_t)c->experts * c->expert_width > widest)
        widest = (uint64_t)c->experts * c->expert_width;
    uint64_t matrix = c->width * widest;
    if (matrix > (uint64_t)1 << 40 || (uint64_t)c->heads * c->head_width > 1 << 20)
        return fail(err, ERR_LIMIT, "model: a matrix of %llu elements is over the limit",
                    (unsigned long long)matrix);
    return check_parts(c, err);
}

static const Family *family_that_may(ModelFeature feature)
{
    const Family *family = families;
    while (family->name && !(family->may & feature))
        family++;
    return family;
}

/* A family that cannot say a feature must not be given it: it would be lost on saving. */
static bool check_family(const Family *family, const ModelConfig *config, Error *err)
{
    uint32_t has = model_features(config);
    for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
        ModelFeature feature = (ModelFeature)(1u << i);
        if ((has & feature) && !(family->may & feature))
            return fail(err, ERR_INPUT, "model: a %s model cannot have %s; choose family %s",
                        family->name, model_feature_text(feature), family_that_may(feature)->name);
        if (!(has & feature) && (family->must & feature))
            return fail(err, ERR_INPUT, "model: a %s model must have %s", family->name,
                        model_feature_text(feature));
    }
    return true;
}

bool model_build(Graph *g, const Family *family, const ModelConfig *config, const BuildSpec *spec,
                 ModelPorts *out, Error *err)
{
    if (!model_check_config(config, err) || !check_family(family, config, err))
        return false;
    *out = (ModelPorts){0};
    decoder_build(g, family, config, spec, out);
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
