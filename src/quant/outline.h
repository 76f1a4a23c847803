/* outline.h: what the shapes and names of a checkpoint follow from, read from its config.json.
 *
 * A config.json may wrap a text model inside of one for text and pictures (text_config): the outline
 * is that of the text model. Limits are those of model/model.h, widened to mixtures. It says nothing
 * of whether this program can run the model: model_load does.
 *
 * Errors: ERR_FORMAT "name: key ...". Threads: any; an outline borrows its config.
 */
#pragma once
#include "format/json.h"
#include "quant/names.h"

typedef struct {
    const json_t *text;    /* the object that describes the text model; borrowed */
    const char *family;    /* its model_type; borrowed */
    bool wrapped;          /* it stood in text_config */
    bool tied;             /* the head is the embedding */
    uint32_t layers, width, heads, kv_heads, head_width, ff_width, vocab, context;
    uint32_t window;       /* 0: none */
    uint32_t experts, experts_used, expert_ff_width; /* 0: no mixture */
} Outline;

bool outline_read(Outline *out, const json_t *config, const char *name, Error *err) MUST_CHECK;
uint32_t outline_dim(const Outline *outline, NameDim dim); /* 0 for DIM_NONE */
NameMix outline_mix(const Outline *outline);
/* A tensor of the table must have the shape that the outline gives it, and lie in one of its layers
 * and experts. */
bool outline_check(const Outline *outline, const Name *name, uint32_t rank, const uint64_t *shape,
                   const char *tensor, Error *err) MUST_CHECK;
