/* rope_rules.c: see rope_rules.h. */
#include "quant/rope_rules.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[ROPE_KIND_COUNT] = {"default", "linear", "yarn", "llama3"};

static bool read_yarn(Rope *r, const json_t *from, const char *name, Error *err)
{
    return json_get_f64(from, "beta_fast", 0, 1e6, 32, &r->beta_fast, name, err) &&
           json_get_f64(from, "beta_slow", 0, 1e6, 1, &r->beta_slow, name, err) &&
           json_get_f64(from, "mscale", 0, 100, 0, &r->mscale, name, err) &&
           json_get_f64(from, "mscale_all_dim", 0, 100, 0, &r->mscale_all_dim, name, err) &&
           json_get_f64(from, "llama_4_scaling_beta", 0, 100, 0, &r->llama_4_beta, name, err) &&
           json_need_u32(from, "original_max_position_embeddings", 1, 1 << 26, &r->original, name,
                         err);
}

static bool read_llama3(Rope *r, const json_t *from, const char *name, Error *err)
{
    return json_get_f64(from, "low_freq_factor", 1e-3, 1e3, 1, &r->low_freq_factor, name, err) &&
           json_get_f64(from, "high_freq_factor", 1e-3, 1e3, 4, &r->high_freq_factor, name, err) &&
           json_get_u32(from, "original_max_position_embeddings", 1, 1 << 26, 8192, &r->original,
                        name, err);
}

bool rope_read(Rope *out, const json_t *text, const char *name, Error *err)
{
    Rope r = {.factor = 1};
    const json_t *from = json_object_get(text, "rope_parameters");
    const char *old, *kind;
    if (!json_is_object(from))
        from = json_object_get(text, "rope_scaling");
    if (!json_get_f64(text, "rope_theta", 1, 1e12, 10000, &r.theta, name, err))
        return false;
    if (!json_is_object(from)) {
        *out = r;
        return true;
    }
    if (!json_get_f64(from, "rope_theta", 1, 1e12, r.theta, &r.theta, name, err) ||
        !json_get_text(from, "type", "default", &old, name, err) ||
        !json_get_text(from, "rope_type", old, &kind, name, err) ||
        !json_get_f64(from, "factor", 1e-3, 1e6, 1, &r.factor, name, err))
        return false;
    while (r.kind < ROPE_KIND_COUNT && strcmp(kind, kind_names[r.kind]) != 0)
        r.kind++;
    if (r.kind == ROPE_KIND_COUNT)
        return fail(err, ERR_FORMAT, "%s: rope_type '%.40s' is not supported", name, kind);
    if ((r.kind == ROPE_YARN && !read_yarn(&r, from, name, err)) ||
        (r.kind == ROPE_LLAMA3 && !read_llama3(&r, from, name, err)))
        return false;
    *out = r;
    return true;
}

static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

bool rope_write(const Rope *r, json_t *config)
{
    json_t *rope = json_pack("{s:s, s:f}", "rope_type", kind_names[r->kind], "rope_theta", r->theta);
    bool ok = rope != NULL;
    if (ok && r->kind != ROPE_DEFAULT)
        ok = set(rope, "factor", json_real(r->factor));
    if (ok && r->kind >= ROPE_YARN)
        ok = set(rope, "original_max_position_embeddings", json_integer(r->original));
    if (ok && r->kind == ROPE_YARN)
        ok = set(rope, "beta_fast", json_real(r->beta_fast)) &&
             set(rope, "beta_slow", json_real(r->beta_slow)) &&
             (r->mscale == 0 || set(rope, "mscale", json_real(r->mscale))) &&
             (r->mscale_all_dim == 0 ||
              set(rope, "mscale_all_dim", json_real(r->mscale_all_dim))) &&
             (r->llama_4_beta == 0 ||
              set(rope, "llama_4_scaling_beta", json_real(r->llama_4_beta)));
    if (ok && r->kind == ROPE_LLAMA3)
        ok = set(rope, "low_freq_factor", json_real(r->low_freq_factor)) &&
             set(rope, "high_freq_factor", json_real(r->high_freq_factor));
    ok = ok && set(config, "rope_theta", json_real(r->theta)) &&
         json_object_set(config, "rope_scaling", r->kind == ROPE_DEFAULT ? json_null() : rope) == 0;
    return set(config, "rope_parameters", rope) && ok;
}

/* Waves shorter than the original positions over high_freq_factor stay, those longer than over
 * low_freq_factor are stretched by the factor, and between both it is blended. */
static double divisor(const Rope *r, uint32_t i, uint32_t count)
{
    double wave = 6.283185307179586 * pow(r->theta, (double)i / count);
    double blend = (r->original / wave - r->low_freq_factor) /
                   (r->high_freq_factor - r->low_freq_factor);
    blend = blend < 0 ? 0 : blend > 1 ? 1 : blend;
    return 1 / ((1 - blend) / r->factor + blend);
}

void rope_llama3_divisors(const Rope *r, uint32_t count, float *out)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = (float)divisor(r, i, count);
}

bool rope_llama3_of_divisors(Rope *rope, const float *divisors, uint32_t count)
{
    Rope r = {.kind = ROPE_LLAMA3, .theta = rope->theta, .factor = 1, .low_freq_factor = 1,
              .high_freq_factor = 4, .original = 8192};
    for (uint32_t i = 0; i < count; i++) /* the longest wave has the factor itself */
        r.factor = (double)divisors[i] > r.factor ? (double)divisors[i] : r.factor;
    for (uint32_t i = 0; i < count; i++) {
        double want = divisor(&r, i, count);
        if (!(fabs((double)divisors[i] - want) <= 1e-3 * want))
            return false;
    }
    *rope = r;
    return true;
}
