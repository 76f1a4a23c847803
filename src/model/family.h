/* family.h: what the files of model/ share: family rows, the one build function, rotary frequencies,
 * config.json. Private to model/; everybody else sees model.h. */
#pragma once
#include "model/model.h"

#include <string.h>

/* ---- decoder.c ---- */

/* The build function of every family: what differs between them stands in ModelConfig and in the
 * names that the family's row gives its experts. */
void decoder_build(Graph *g, const Family *family, const ModelConfig *config,
                   const BuildSpec *spec, ModelPorts *out);

/* ---- rope.c ---- */

/* The frequencies of the E/2 pairs of a scaled rotary embedding, in f32 with transformers' order of
 * operations and rounding, so that they are its numbers. */
void rope_frequencies(const ModelConfig *config, float *out);
/* The factor of cosines and sines that YaRN gives a model stretched `factor` times. */
double rope_yarn_attention(double factor, double mscale, double mscale_all);

/* ---- config_read.c, config_write.c ---- */

/* The family and configuration that the object of config.json describes, and a sentence about what
 * was left out of it. `file` is for messages. */
typedef struct {
    const Family *family;
    ModelConfig config;
    bool tied_given;  /* config.json says whether the head is the embedding */
    bool wrapped;     /* the text part of a model of text and images */
    bool fp8;         /* weights may be f8 with scales */
} ConfigFile;
bool config_read(const json_t *object, const char *file, ConfigFile *out, Error *err) MUST_CHECK;
/* The keys that describe the arithmetic; false: no memory. */
bool config_write(const Family *family, const ModelConfig *config, json_t *out);
/* Members of json objects; false: no memory. */
bool config_set_u32(json_t *object, const char *key, uint64_t value);

/* ---- model.c ---- */

/* A model with weights laid out but not set, for the loader. */
bool model_shell(Model **out, const Family *family, const ModelConfig *config, const char *name,
                 Error *err) MUST_CHECK;
