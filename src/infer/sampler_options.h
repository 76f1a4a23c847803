/* sampler_options.h: the options of the sampler by name: what the API, the command line, the private
 * frames and docs/sampling.md know of them. One row is one option; nothing else lists them.
 * Threads: any.
 */
#pragma once
#include "base/mem.h"
#include "format/json.h"
#include "infer/sampler.h"

typedef enum {
    OPTION_NUMBER, /* float */
    OPTION_WHOLE,  /* int32_t */
    OPTION_SEED,   /* uint64_t; JSON: any whole number of 64 bits, taken without its sign */
    OPTION_BIAS,   /* JSON: an object of biases by token id */
    OPTION_TEXTS,  /* JSON: a list of texts */
} OptionKind;

typedef struct {
    const char *name, *alias; /* alias: another server's name of it, or NULL */
    OptionKind kind;
    size_t offset;         /* into SamplerOptions; of lists: of the pointer */
    double low, high;      /* what may be said */
    double initial;        /* what is taken when nothing is said */
    double least;          /* stored for an explicit 0, where 0 itself would be "unset" */
    const char *group;     /* the step of sampler.h it belongs to */
    const char *meaning;
} SamplerOption;

extern const SamplerOption sampler_options[];
extern const uint32_t sampler_options_count;
enum { SAMPLER_OPTIONS_MAX = 24 };

extern const char *const sampler_breakers_default[];
extern const uint32_t sampler_breakers_default_count;

/* A row by its name or alias; NULL: none. */
const SamplerOption *sampler_option_named(const char *name);
/* Every option as when nothing is said (temperature 1). */
void sampler_options_init(SamplerOptions *out);
/* Reads one value; label names it in the sentence ("field 'top_k'", "--top-k"). Lists are copied
 * into arena. ERR_INPUT, ERR_MEMORY. */
bool sampler_option_read(SamplerOptions *out, const SamplerOption *option, const json_t *value,
                         const char *label, Arena *arena, Error *err) MUST_CHECK;
/* Of options that did not come through sampler_option_read: each is unset (0) or in its range;
 * vocab 0: ids of biases are only checked for their sign. ERR_INPUT names the option. */
bool sampler_options_check(const SamplerOptions *options, uint32_t vocab, Error *err) MUST_CHECK;
/* Numbers as the table sees them. */
double sampler_option_value(const SamplerOptions *options, const SamplerOption *option);
/* Appends the page docs/sampling.md. */
void sampler_options_document(Buf *out);
