/* rope_rules.h: the scaling of rotary positions, as config.json says it and as GGUF does.
 *
 * config.json has rope_parameters (transformers 5) or rope_theta with rope_scaling (4); both are
 * read, both are written where they say the same. GGUF has keys for linear and YaRN, and for
 * Llama 3's rule a tensor of head_width / 2 divisors of the frequencies, `rope_freqs.weight`.
 * Threads: any.
 */
#pragma once
#include "format/json.h"

typedef enum { ROPE_DEFAULT, ROPE_LINEAR, ROPE_YARN, ROPE_LLAMA3, ROPE_KIND_COUNT } RopeKind;

typedef struct {
    RopeKind kind;
    double theta, factor;
    double beta_fast, beta_slow, mscale, mscale_all_dim; /* yarn; mscale 0: not said */
    double low_freq_factor, high_freq_factor;            /* llama3 */
    double llama_4_beta;  /* queries times 1 + beta ln(1 + floor(position / original)); 0: no */
    uint32_t original;    /* original_max_position_embeddings */
} Rope;

/* From the object that describes the text model. */
bool rope_read(Rope *out, const json_t *text, const char *name, Error *err) MUST_CHECK;
/* Sets rope_theta, rope_parameters and rope_scaling. False: no memory. */
bool rope_write(const Rope *rope, json_t *config);

/* Llama 3's divisors: out[count], count = head_width / 2. */
void rope_llama3_divisors(const Rope *rope, uint32_t count, float *out);
/* The rule that gives these divisors, among those that models use (factors 1 and 4, 8192 original
 * positions, any factor); false: none. theta is the caller's. */
bool rope_llama3_of_divisors(Rope *rope, const float *divisors, uint32_t count);
