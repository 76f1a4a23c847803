/* tokenizer_ranks.c: byte-level vocabularies given as ranks: Mistral's tekken.json and tiktoken's
 * rank files. Two neighbours are merged when their bytes joined are a token, the lowest rank first;
 * a piece of text that is a token whole is that token. */
#include "base/mem.h"
#include "format/json.h"
#include "text/base64.h"
#include "text/tokenizer_formats.h"
#include "text/tokenizer_stages.h"
#include "text/utf8.h"

#include <stdio.h>
#include <string.h>

/* A special token and its id. */
typedef struct {
    const char *text;
    int32_t id;
} Special;

/* Ranked tokens have ids in order of rank. */
static bool finish_ranks(Tokenizer *t, const char *pattern, const char *name, Error *err)
{
    auto_free uint32_t *ranks = mem_alloc(t->vocab, sizeof *ranks);
    if (!ranks)
        return fail(err, ERR_MEMORY, "no memory for a tokenizer");
    for (uint32_t id = 0; id < t->vocab; id++)
        ranks[id] = (t->kinds[id] & TOKEN_MODEL) && t->keys[id].size > 1 ? id : NO_RANK;
    t->ignore_merges = true;
    if (!tokenizer_stages_add(t, pattern, name, err) || !tokenizer_model_index(t, err) ||
        !tokenizer_derive_merges(t, ranks, err))
        return fail_within(err, "%s", name);
    if (!tokenizer_model_finish(t, err))
        return fail_within(err, "%s", name);
    for (uint32_t byte = 0; byte < 256; byte++)
        if (t->byte_id[byte] < 0)
            return fail(err, ERR_FORMAT, "%s: byte 0x%02X has no rank", name, byte);
    tokenizer_describe(t, name);
    return true;
}

static bool add_special(Tokenizer *t, const char *text, size_t size, int32_t id, const char *name,
                        Error *err)
{
    if (id >= 0 && (uint32_t)id < t->vocab)
        t->kinds[id] = TOKEN_SPECIAL;
    if (!tokenizer_model_token(t, id, text, size, err))
        return fail_within(err, "%s: special token '%.60s'", name, text);
    tokenizer_add_special(t, id);
    return true;
}

static bool add_ranked(Tokenizer *t, int32_t id, const char *base64, size_t size, Error *err)
{
    if (size / 4 * 3 > TOKENIZER_TOKEN_BYTES_MAX)
        return fail(err, ERR_FORMAT, "the token of id %d is longer than %d bytes", id,
                    TOKENIZER_TOKEN_BYTES_MAX);
    uint8_t small[300];
    auto_free uint8_t *large = size > 400 ? mem_alloc(size, 1) : NULL;
    uint8_t *bytes = size > 400 ? large : small;
    if (!bytes)
        return fail(err, ERR_MEMORY, "no memory for a tokenizer");
    if (!base64_read(base64, size, bytes, &size))
        return fail(err, ERR_FORMAT, "the token of id %d is no base64", id);
    t->kinds[id] = TOKEN_MODEL;
    return tokenizer_model_token(t, id, bytes, size, err);
}

/* ---- tekken.json ---- */

typedef struct {
    const char *name;
    const json_t *root, *vocab, *specials;
    const char *pattern;
    uint32_t special_count, ranked; /* ids before the first rank; tokens that are kept */
    Tokenizer *t;
    Error *err;
} TekkenReading;

/* What files without special_tokens mean: mistral-common's list up to version 3. */
static const char *const tekken_specials[] = {
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]",
    "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};

static bool open_tekken(TekkenReading *r)
{
    const json_t *config = json_object_get(r->root, "config");
    uint32_t size;
    if (!json_is_object(config))
        return fail(r->err, ERR_FORMAT, "%s: config: missing, or not an object", r->name);
    if (!json_get_text(config, "pattern", "", &r->pattern, r->name, r->err) ||
        !json_need_u32(config, "default_vocab_size", 1, TOKENIZER_VOCAB_MAX, &size, r->name,
                       r->err) ||
        !json_need_u32(config, "default_num_special_tokens", 0, size, &r->special_count, r->name,
                       r->err))
        return fail_within(r->err, "config");
    r->vocab = json_object_get(r->root, "vocab");
    r->specials = json_object_get(r->root, "special_tokens");
    if (!json_is_array(r->vocab))
        return fail(r->err, ERR_FORMAT, "%s: vocab: missing, or not a list", r->name);
    if (r->specials && !json_is_null(r->specials) && !json_is_array(r->specials))
        return fail(r->err, ERR_FORMAT, "%s: special_tokens: not a list", r->name);
    r->ranked = size - r->special_count;
    if (json_array_size(r->vocab) < r->ranked)
        return fail(r->err, ERR_FORMAT, "%s: vocab: %zu tokens, config asks for %u", r->name,
                    json_array_size(r->vocab), r->ranked);
    if (!tokenizer_model_new(&r->t, TOKENIZER_BYTES, size, r->err))
        return false;
    r->t->added = mem_alloc(r->special_count, sizeof *r->t->added);
    return r->t->added || fail(r->err, ERR_MEMORY, "no memory for a tokenizer");
}

static bool read_tekken_special(TekkenReading *r, const json_t *entry, size_t i)
{
    uint32_t rank;
    const json_t *text = json_object_get(entry, "token_str");
    if (!json_is_string(text))
        return fail(r->err, ERR_FORMAT, "%s: special_tokens: entry %zu has no token_str", r->name,
                    i);
    if (!r->special_count)
        return fail(r->err, ERR_FORMAT, "%s: special_tokens: config says there are none", r->name);
    return json_need_u32(entry, "rank", 0, r->special_count - 1, &rank, r->name, r->err) &&
           add_special(r->t, json_string_value(text), json_string_length(text), (int32_t)rank,
                       r->name, r->err);
}

static bool read_tekken_specials(TekkenReading *r)
{
    enum { USUAL = sizeof tekken_specials / sizeof *tekken_specials };
    size_t i, usual = r->specials && !json_is_null(r->specials) ? 0 : USUAL;
    json_t *entry;
    json_array_foreach(r->specials, i, entry)
        if (!read_tekken_special(r, entry, i))
            return false;
    for (uint32_t id = 0; id < r->special_count; id++) {
        char filler[32];
        snprintf(filler, sizeof filler, "<SPECIAL_%u>", id);
        const char *text = id < usual ? tekken_specials[id] : filler;
        if (!r->t->keys[id].size &&
            !add_special(r->t, text, strlen(text), (int32_t)id, r->name, r->err))
            return false;
    }
    return true;
}

static bool read_tekken_vocab(TekkenReading *r)
{
    for (uint32_t i = 0; i < r->ranked; i++) {
        const json_t *entry = json_array_get(r->vocab, i);
        const json_t *bytes = json_object_get(entry, "token_bytes");
        uint32_t rank;
        if (!json_need_u32(entry, "rank", i, i, &rank, r->name, r->err) || !json_is_string(bytes))
            return fail(r->err, ERR_FORMAT, "%s: vocab: entry %u must have rank %u and "
                        "token_bytes", r->name, i, i);
        if (!add_ranked(r->t, (int32_t)(r->special_count + i), json_string_value(bytes),
                        json_string_length(bytes), r->err))
            return fail_within(r->err, "%s: vocab", r->name);
    }
    return true;
}

bool tokenizer_tekken_read(Tokenizer **out, const json_t *root, const char *name, Error *err)
{
    TekkenReading r = {.name = name, .root = root, .err = err};
    if (!open_tekken(&r) || !read_tekken_specials(&r) || !read_tekken_vocab(&r) ||
        !finish_ranks(r.t, r.pattern, name, err)) {
        tokenizer_free(r.t);
        return false;
    }
    if (!tokenizer_special(r.t, "<s>", &r.t->bos))
        r.t->bos = -1;
    if (!tokenizer_special(r.t, "</s>", &r.t->eos))
        r.t->eos = -1;
    if (r.t->bos >= 0)
        r.t->before[r.t->before_count++] = r.t->bos;
    if (!tokenizer_export(r.t, err)) {
        tokenizer_free(r.t);
        return false;
    }
    *out = r.t;
    return true;
}

/* ---- tiktoken ---- */

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CL100K CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" \
               "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTION "?|[^\\r\\n\\p{L}\\p{N}]?"    \
              UPPER "+" LOWER "*" CONTRACTION "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"       \
              "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *name;    /* somewhere in the file's */
    const char *pattern; /* NULL: GPT-2's */
    Special specials[6];
} encodings[] = {
    {"r50k_base", NULL, {{"<|endoftext|>", 50256}}},
    {"p50k_base", NULL, {{"<|endoftext|>", 50256}}},
    {"cl100k_base", CL100K, {{"<|endoftext|>", 100257}, {"<|fim_prefix|>", 100258},
                             {"<|fim_middle|>", 100259}, {"<|fim_suffix|>", 100260},
                             {"<|endofprompt|>", 100276}}},
    {"o200k_base", O200K, {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}},
};
enum { ENCODINGS = sizeof encodings / sizeof *encodings };

/* One line "base64 rank". */
static bool read_rank_line(Tokenizer *t, const char *line, size_t size, Error *err)
{
    const char *blank = memchr(line, ' ', size);
    if (!blank || blank == line || blank + 1 == line + size)
        return fail(err, ERR_FORMAT, "it is not \"base64 rank\"");
    uint32_t rank = 0;
    for (const char *digit = blank + 1; digit < line + size; digit++) {
        if (*digit < '0' || *digit > '9' || rank >= TOKENIZER_VOCAB_MAX)
            return fail(err, ERR_FORMAT, "its rank is no number below %d", TOKENIZER_VOCAB_MAX);
        rank = rank * 10 + (uint32_t)(*digit - '0');
    }
    if (rank >= t->vocab)
        return fail(err, ERR_FORMAT, "rank %u is outside 0..%u", rank, t->vocab - 1);
    return add_ranked(t, (int32_t)rank, line, (size_t)(blank - line), err);
}

static bool read_rank_lines(Tokenizer *t, const char *text, size_t size, const char *name,
                            Error *err)
{
    const char *end = text + size;
    for (uint32_t number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((stop ? stop : end) - text);
        size_t kept = length && text[length - 1] == '\r' ? length - 1 : length;
        if (kept && !read_rank_line(t, text, kept, err))
            return fail_within(err, "%s:%u", name, number);
        text += length + (stop != NULL);
    }
    return true;
}

/* Ids there may be: lines, and special tokens. */
static size_t most_ids(const char *text, size_t size, const Special *specials)
{
    size_t count = 1;
    for (size_t i = 0; i < size; i++)
        count += text[i] == '\n';
    for (size_t i = 0; specials[i].text; i++)
        if ((size_t)specials[i].id >= count)
            count = (size_t)specials[i].id + 1;
    return count;
}

bool tokenizer_tiktoken_read(Tokenizer **out, const char *text, size_t size, const char *name,
                             Error *err)
{
    size_t which = 0;
    while (which < ENCODINGS && !strstr(name, encodings[which].name))
        which++;
    if (which == ENCODINGS)
        return fail(err, ERR_INPUT, "%s: a rank file does not say how text is cut: name it after "
                    "r50k_base, p50k_base, cl100k_base or o200k_base, or use the model's "
                    "tokenizer.json", name);
    const Special *specials = encodings[which].specials;
    const char *pattern = encodings[which].pattern;
    size_t ids = most_ids(text, size, specials);
    Tokenizer *t = NULL;
    if (ids > TOKENIZER_VOCAB_MAX)
        return fail(err, ERR_LIMIT, "%s: %zu lines, %d are the most", name, ids,
                    TOKENIZER_VOCAB_MAX);
    if (!tokenizer_model_new(&t, TOKENIZER_BYTES, (uint32_t)ids, err))
        return false;
    enum { SPECIALS = sizeof encodings[0].specials / sizeof *encodings[0].specials };
    t->added = mem_alloc(SPECIALS, sizeof *t->added);
    bool done = t->added || fail(err, ERR_MEMORY, "no memory for a tokenizer");
    done = done && read_rank_lines(t, text, size, name, err);
    for (size_t i = 0; done && specials[i].text; i++)
        done = add_special(t, specials[i].text, strlen(specials[i].text), specials[i].id, name, err);
    if (!done || !finish_ranks(t, pattern ? pattern : pretoken_gpt2_pattern, name, err)) {
        tokenizer_free(t);
        return false;
    }
    (void)tokenizer_special(t, "<|endoftext|>", &t->eos);
    if (!tokenizer_export(t, err)) {
        tokenizer_free(t);
        return false;
    }
    *out = t;
    return true;
}
