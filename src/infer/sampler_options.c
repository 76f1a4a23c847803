/* sampler_options.c: see sampler_options.h. */
#include "infer/sampler_options.h"

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(SamplerOptions, member)
enum { LAST_MAX = 1 << 24 };

/* In the order in which they act. */
const SamplerOption sampler_options[] = {
    {"logit_bias", NULL, OPTION_BIAS, AT(bias), -100, 100, 0, 0, "bias",
     "added to the logits of the ids it names, at most 1024 of them"},
    {"repetition_penalty", "repeat_penalty", OPTION_NUMBER, AT(repetition_penalty), 0.01, 10, 1, 0,
     "repetition", "r, once for each token of the prompt or the answer: x > 0 ? x / r : x r"},
    {"frequency_penalty", NULL, OPTION_NUMBER, AT(frequency_penalty), -2, 2, 0, 0, "frequency",
     "taken from x as many times as the token stands in the answer"},
    {"presence_penalty", NULL, OPTION_NUMBER, AT(presence_penalty), -2, 2, 0, 0, "presence",
     "taken from x once if the token stands in the answer"},
    {"repeat_last_n", NULL, OPTION_WHOLE, AT(repeat_last_n), -1, LAST_MAX, -1, 0, "",
     "how many last tokens of prompt and answer the three penalties above see; -1: all; 0: none"},
    {"dry_multiplier", NULL, OPTION_NUMBER, AT(dry_multiplier), 0, 100, 0, 0, "DRY",
     "m; 0: no DRY"},
    {"dry_base", NULL, OPTION_NUMBER, AT(dry_base), 1, 100, 1.75, 0, "", "b"},
    {"dry_allowed_length", NULL, OPTION_WHOLE, AT(dry_allowed_length), 1, LAST_MAX, 2, 0, "",
     "a: repeats shorter than this cost nothing"},
    {"dry_penalty_last_n", NULL, OPTION_WHOLE, AT(dry_penalty_last_n), -1, LAST_MAX, -1, 0, "",
     "how many last tokens DRY sees; -1: all; 0: none"},
    {"dry_sequence_breakers", NULL, OPTION_TEXTS, AT(breakers), 1, SAMPLER_BREAKER_BYTES_MAX, 0, 0,
     "", "texts that no repeat reaches over, 1 to 16 of at most 64 bytes"},
    {"temperature", NULL, OPTION_NUMBER, AT(temperature), 0, 2, 1, 0, "temperature",
     "t: p = softmax(x / t); 0: the largest x, the lowest id of equals, and nothing below"},
    {"top_k", NULL, OPTION_WHOLE, AT(top_k), -1, LAST_MAX, 0, 0, "top_k",
     "the k most probable, exactly; of equals the lowest ids; 0 or -1, or over the vocabulary: all"},
    {"typical_p", NULL, OPTION_NUMBER, AT(typical_p), 0, 1, 1, (double)FLT_MIN, "typical_p",
     "the tokens whose -log p is nearest to the entropy, until their mass reaches it"},
    {"top_p", NULL, OPTION_NUMBER, AT(top_p), 0, 1, 1, (double)FLT_MIN, "top_p",
     "the fewest most probable tokens whose mass reaches it; at least one"},
    {"min_p", NULL, OPTION_NUMBER, AT(min_p), 0, 1, 0, 0, "min_p",
     "the tokens at least min_p times as probable as the best one"},
    {"seed", "random_seed", OPTION_SEED, AT(seed), 0, 0, 0, 0, "draw",
     "of the draw; with the token's position in the answer it decides it"},
};
const uint32_t sampler_options_count = sizeof sampler_options / sizeof *sampler_options;
static_assert(sizeof sampler_options / sizeof *sampler_options <= SAMPLER_OPTIONS_MAX,
              "names fit the lists that others make of them");

const char *const sampler_breakers_default[] = {"\n", ":", "\"", "*"};
const uint32_t sampler_breakers_default_count = 4;

const SamplerOption *sampler_option_named(const char *name)
{
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        const SamplerOption *o = &sampler_options[i];
        if (strcmp(o->name, name) == 0 || (o->alias && strcmp(o->alias, name) == 0))
            return o;
    }
    return NULL;
}

/* ---- plain values ---- */

static void store(SamplerOptions *out, const SamplerOption *option, double value)
{
    char *at = (char *)out + option->offset;
    float number = (float)(value == 0 ? option->least : value);
    int32_t whole = (int32_t)value;
    if (option->kind == OPTION_NUMBER)
        memcpy(at, &number, sizeof number);
    else if (option->kind == OPTION_WHOLE)
        memcpy(at, &whole, sizeof whole);
}

double sampler_option_value(const SamplerOptions *options, const SamplerOption *option)
{
    const char *at = (const char *)options + option->offset;
    float number;
    int32_t whole;
    if (option->kind == OPTION_WHOLE) {
        memcpy(&whole, at, sizeof whole);
        return (double)whole;
    }
    assert(option->kind == OPTION_NUMBER);
    memcpy(&number, at, sizeof number);
    return (double)number;
}

void sampler_options_init(SamplerOptions *out)
{
    *out = (SamplerOptions){0};
    for (uint32_t i = 0; i < sampler_options_count; i++)
        store(out, &sampler_options[i], sampler_options[i].initial);
}

static bool read_plain(SamplerOptions *out, const SamplerOption *option, const json_t *value,
                       const char *label, Error *err)
{
    double number = json_number_value(value);
    bool whole = option->kind == OPTION_WHOLE;
    if (!(whole ? json_is_integer(value) : json_is_number(value)) ||
        !(number >= option->low && number <= option->high))
        return fail(err, ERR_INPUT, "%s must be a %s from %.10g to %.10g", label,
                    whole ? "whole number" : "number", option->low, option->high);
    store(out, option, number);
    return true;
}

static bool read_seed(SamplerOptions *out, const json_t *value, const char *label, Error *err)
{
    if (!json_is_integer(value))
        return fail(err, ERR_INPUT, "%s must be a whole number of 64 bits", label);
    out->seed = (uint64_t)json_integer_value(value);
    return true;
}

/* ---- lists ---- */

/* A token id written as the name of a member: decimal digits without a leading zero. */
static bool read_id(const char *name, int32_t *out)
{
    char *end;
    errno = 0;
    long id = strtol(name, &end, 10);
    *out = (int32_t)id;
    return *name >= '0' && *name <= '9' && !*end && !errno && id <= INT32_MAX &&
           (*name != '0' || !name[1]);
}

static bool read_bias(SamplerOptions *out, const SamplerOption *option, const json_t *value,
                      const char *label, Arena *arena, Error *err)
{
    size_t count = json_object_size(value);
    if (!json_is_object(value) || count > SAMPLER_BIAS_MAX)
        return fail(err, ERR_INPUT, "%s must be an object of at most %d biases by token id", label,
                    SAMPLER_BIAS_MAX);
    SamplerBias *list = arena_alloc(arena, count, sizeof *list);
    if (!list)
        return fail(err, ERR_MEMORY, "no memory for %zu biases", count);
    const char *name;
    json_t *member;
    uint32_t i = 0;
    json_object_foreach((json_t *)(uintptr_t)value, name, member) {
        double bias = json_number_value(member);
        if (!read_id(name, &list[i].id))
            return fail(err, ERR_INPUT, "%s: '%.40s' is no token id", label, name);
        if (!json_is_number(member) || !(bias >= option->low && bias <= option->high))
            return fail(err, ERR_INPUT, "%s: the bias of '%.40s' must be a number from %g to %g",
                        label, name, option->low, option->high);
        list[i++].bias = (float)bias;
    }
    out->bias = list;
    out->bias_count = i;
    return true;
}

static bool read_breakers(SamplerOptions *out, const json_t *value, const char *label, Arena *arena,
                          Error *err)
{
    size_t count = json_array_size(value);
    bool ok = count >= 1 && count <= SAMPLER_BREAKERS_MAX; /* of what is no list: 0 */
    const char **list = arena_alloc(arena, SAMPLER_BREAKERS_MAX, sizeof *list);
    if (!list)
        return fail(err, ERR_MEMORY, "no memory for %zu sequence breakers", count);
    for (size_t i = 0; ok && i < count; i++) {
        const json_t *item = json_array_get(value, i);
        size_t size = json_string_length(item);
        ok = size >= 1 && size <= SAMPLER_BREAKER_BYTES_MAX &&
             !memchr(json_string_value(item), 0, size);
        list[i] = ok ? arena_copy_text(arena, json_string_value(item), size) : "";
        if (!list[i])
            return fail(err, ERR_MEMORY, "no memory for %zu sequence breakers", count);
    }
    if (!ok)
        return fail(err, ERR_INPUT, "%s must be a list of 1 to %d texts of 1 to %d bytes without "
                                    "NUL", label, SAMPLER_BREAKERS_MAX, SAMPLER_BREAKER_BYTES_MAX);
    out->breakers = list;
    out->breaker_count = (uint32_t)count;
    return true;
}

bool sampler_option_read(SamplerOptions *out, const SamplerOption *option, const json_t *value,
                         const char *label, Arena *arena, Error *err)
{
    switch (option->kind) {
    case OPTION_SEED:
        return read_seed(out, value, label, err);
    case OPTION_BIAS:
        return read_bias(out, option, value, label, arena, err);
    case OPTION_TEXTS:
        return read_breakers(out, value, label, arena, err);
    default:
        return read_plain(out, option, value, label, err);
    }
}

/* ---- options made by hand, or by the other end of a socket ---- */

static bool check_lists(const SamplerOptions *o, uint32_t vocab, Error *err)
{
    if (o->bias_count > SAMPLER_BIAS_MAX || o->breaker_count > SAMPLER_BREAKERS_MAX)
        return fail(err, ERR_INPUT, "logit_bias names %u tokens and dry_sequence_breakers has %u "
                                    "texts; %d and %d are the most",
                    o->bias_count, o->breaker_count, SAMPLER_BIAS_MAX, SAMPLER_BREAKERS_MAX);
    for (uint32_t i = 0; i < o->bias_count; i++) {
        double bias = (double)o->bias[i].bias;
        if (o->bias[i].id < 0 || (vocab && (uint32_t)o->bias[i].id >= vocab))
            return fail(err, ERR_INPUT, "logit_bias names token %d, the vocabulary has %u",
                        o->bias[i].id, vocab);
        if (!(bias >= -100 && bias <= 100))
            return fail(err, ERR_INPUT, "logit_bias of token %d must be from -100 to 100",
                        o->bias[i].id);
    }
    return true;
}

bool sampler_options_check(const SamplerOptions *options, uint32_t vocab, Error *err)
{
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        const SamplerOption *o = &sampler_options[i];
        if (o->kind != OPTION_NUMBER && o->kind != OPTION_WHOLE)
            continue;
        float value = (float)sampler_option_value(options, o); /* limits as they were stored */
        if (value != 0 && !(value >= (float)o->low && value <= (float)o->high))
            return fail(err, ERR_INPUT, "%s must be from %.10g to %.10g", o->name, o->low, o->high);
    }
    return check_lists(options, vocab, err);
}

/* ---- the page ---- */

static const char before_table[] =
    "# Sampling\n\n"
    "How a token is taken from the model's logits. This page is made from the table in\n"
    "src/infer/sampler_options.c, and a test holds it to that. The names are fields of the HTTP API\n"
    "and, with dashes for underscores, flags of `bastide generate` (whose temperature is 0 unless\n"
    "said); a list is written as in JSON in both.\n\n"
    "x is a token's logit, p its probability. The rows act in this order, each upon what the one\n"
    "before left:\n\n"
    "| option | other name | value | default | step | meaning |\n"
    "|---|---|---|---|---|---|\n";

static const char after_table[] =
    "\n"
    "Before all of them stands the grammar hook: ids that it does not allow are masked.\n\n"
    "- Every cut is of the distribution that the one before left, renormalised. A cut keeps at\n"
    "  least one token.\n"
    "- DRY: n is the length of the longest end of the sequence that also stands earlier in it,\n"
    "  followed there by the token in question. If n >= a, the token loses m b^(n - a). A repeat\n"
    "  does not reach over a token in which a sequence breaker ends (it may begin in earlier\n"
    "  tokens) nor over a special token, and a place where such a token followed does not count.\n"
    "- Penalties depend on the sequence's own tokens alone, so an answer is the same alone or among\n"
    "  others. Their time grows with the window they see, not with the vocabulary.\n"
    "- The draw: u is the number that (seed, position in the answer) gives; tokens are walked from\n"
    "  the most probable down, equals by their ids, and the first at which their summed share\n"
    "  passes u is taken.\n"
    "- NaN counts as -infinity and is never taken, +infinity as the largest float. If nothing is\n"
    "  left that can be taken, the answer ends as failed.\n"
    "- Without a seed the server draws one at random; `bastide generate` takes 0.\n"
    "- Log-probabilities that are reported are the model's own, before all of this.\n"
    "- `stop` texts end an answer wherever they appear in its text, across tokens too, and are not\n"
    "  part of it.\n";

static void add_value(Buf *out, const SamplerOption *o)
{
    switch (o->kind) {
    case OPTION_NUMBER:
        buf_format(out, "number, %g to %g | `%g`", o->low, o->high, o->initial);
        break;
    case OPTION_WHOLE:
        buf_format(out, "whole number, %.0f to %.0f | `%.0f`", o->low, o->high, o->initial);
        break;
    case OPTION_SEED:
        buf_add_text(out, "whole number of 64 bits | ");
        break;
    case OPTION_BIAS:
        buf_format(out, "{\"id\": number, %g to %g} | `{}`", o->low, o->high);
        break;
    case OPTION_TEXTS:
        buf_add_text(out, "list of texts | `[\"\\n\", \":\", \"\\\"\", \"*\"]`");
        break;
    }
}

void sampler_options_document(Buf *out)
{
    buf_add_text(out, before_table);
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        const SamplerOption *o = &sampler_options[i];
        buf_format(out, "| `%s` | %s%s%s | ", o->name, o->alias ? "`" : "", o->alias ? o->alias : "",
                   o->alias ? "`" : "");
        add_value(out, o);
        buf_format(out, " | %s | %s |\n", o->group, o->meaning);
    }
    buf_add_text(out, after_table);
}
