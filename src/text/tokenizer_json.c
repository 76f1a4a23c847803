/* tokenizer_json.c: reading Hugging Face's tokenizer.json (format: tokenizers 0.13 to 0.22).
 *
 * Every key is either understood or refused by name. Order of work: sizes of everything, then the
 * added tokens (their text is raw), then the vocabulary (its text is the byte-level alphabet), then
 * merges, which may only join ordinary tokens into the ordinary token with their bytes: so no
 * merge cycle and no way from text to a special token can be written down.
 */
#include "base/mem.h"
#include "format/json.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_stages.h"
#include "text/utf8.h"

#include <string.h>

enum { ADDED_MAX = 1 << 16 };

typedef struct {
    const char *name; /* of the file, for errors */
    const json_t *root, *model, *vocab, *merges, *added;
    Tokenizer *t;
    Error *err;
} Reading;

static bool empty_or_null(const json_t *value)
{
    return !value || json_is_null(value) || (json_is_string(value) && !json_string_length(value));
}

static bool open_root(Reading *r)
{
    static const char *const keys[] = {"version", "truncation", "padding", "added_tokens",
                                       "normalizer", "pre_tokenizer", "post_processor", "decoder",
                                       "model", NULL};
    static const char *const must_be_null[] = {"truncation", "padding", NULL};
    if (!json_is_object(r->root))
        return fail(r->err, ERR_FORMAT, "%s: not an object", r->name);
    if (!json_only_keys(r->root, keys, r->name, r->err))
        return false;
    for (size_t i = 0; must_be_null[i]; i++)
        if (!empty_or_null(json_object_get(r->root, must_be_null[i])))
            return fail(r->err, ERR_FORMAT, "%s: %s: only null is supported", r->name,
                        must_be_null[i]);
    r->added = json_object_get(r->root, "added_tokens");
    if (r->added && !json_is_null(r->added) && !json_is_array(r->added))
        return fail(r->err, ERR_FORMAT, "%s: added_tokens: not a list", r->name);
    if (json_array_size(r->added) > ADDED_MAX)
        return fail(r->err, ERR_LIMIT, "%s: added_tokens: %zu tokens, %d are the most", r->name,
                    json_array_size(r->added), ADDED_MAX);
    return true;
}

static bool open_model(Reading *r)
{
    static const char *const keys[] = {"type", "dropout", "unk_token", "continuing_subword_prefix",
                                       "end_of_word_suffix", "fuse_unk", "byte_fallback",
                                       "ignore_merges", "vocab", "merges", NULL};
    static const char *const must_be_empty[] = {"continuing_subword_prefix", "end_of_word_suffix",
                                                NULL};
    r->model = json_object_get(r->root, "model");
    if (!json_is_object(r->model))
        return fail(r->err, ERR_FORMAT, "%s: model: missing, or not an object", r->name);
    const char *type;
    if (!json_get_text(r->model, "type", "BPE", &type, r->name, r->err))
        return false;
    if (strcmp(type, "BPE"))
        return fail(r->err, ERR_FORMAT, "%s: model.type: '%.40s' is not supported, BPE is",
                    r->name, type);
    if (!json_only_keys(r->model, keys, r->name, r->err))
        return fail_within(r->err, "model");
    for (size_t i = 0; must_be_empty[i]; i++)
        if (!empty_or_null(json_object_get(r->model, must_be_empty[i])))
            return fail(r->err, ERR_FORMAT, "%s: model.%s: only null is supported", r->name,
                        must_be_empty[i]);
    const json_t *dropout = json_object_get(r->model, "dropout");
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return fail(r->err, ERR_FORMAT, "%s: model.dropout: only null is supported", r->name);
    const json_t *unknown = json_object_get(r->model, "unk_token");
    if (unknown && !json_is_null(unknown) && !json_is_string(unknown))
        return fail(r->err, ERR_FORMAT, "%s: model.unk_token: not a text", r->name);
    if (json_is_true(json_object_get(r->model, "byte_fallback")))
        return fail(r->err, ERR_FORMAT, "%s: model.byte_fallback: true is not supported", r->name);
    r->vocab = json_object_get(r->model, "vocab");
    r->merges = json_object_get(r->model, "merges");
    if (!json_is_object(r->vocab))
        return fail(r->err, ERR_FORMAT, "%s: model.vocab: missing, or not an object", r->name);
    if (!json_is_array(r->merges))
        return fail(r->err, ERR_FORMAT, "%s: model.merges: missing, or not a list", r->name);
    return true;
}

/* An id out of a JSON value, against the most there may be. */
static bool read_id(const Reading *r, const json_t *value, const char *where, const char *token,
                    uint32_t *highest)
{
    if (!json_is_integer(value))
        return fail(r->err, ERR_FORMAT, "%s: %s: the id of '%.40s' is not a whole number", r->name,
                    where, token);
    json_int_t id = json_integer_value(value);
    if (id < 0 || id >= TOKENIZER_VOCAB_MAX)
        return fail(r->err, ERR_FORMAT, "%s: %s: id %lld of '%.40s' is outside 0..%d", r->name,
                    where, (long long)id, token, TOKENIZER_VOCAB_MAX - 1);
    if ((uint32_t)id > *highest)
        *highest = (uint32_t)id;
    return true;
}

static bool make_model(Reading *r)
{
    uint32_t highest = 0;
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach((json_t *)r->vocab, key, value)
        if (!read_id(r, value, "model.vocab", key, &highest))
            return false;
    json_array_foreach(r->added, i, value) {
        const json_t *content = json_object_get(value, "content");
        if (!json_is_string(content) || !json_string_length(content))
            return fail(r->err, ERR_FORMAT, "%s: added_tokens: entry %zu has no content", r->name,
                        i);
        if (!read_id(r, json_object_get(value, "id"), "added_tokens", json_string_value(content),
                     &highest))
            return false;
    }
    if (json_array_size(r->merges) >= TOKENIZER_VOCAB_MAX)
        return fail(r->err, ERR_LIMIT, "%s: model.merges: %zu merges, %d are the most", r->name,
                    json_array_size(r->merges), TOKENIZER_VOCAB_MAX - 1);
    if (!tokenizer_model_new(&r->t, highest + 1, r->err))
        return false;
    r->t->merges = mem_alloc(json_array_size(r->merges), sizeof *r->t->merges);
    r->t->added = mem_alloc(json_array_size(r->added), sizeof *r->t->added);
    if (!r->t->merges || !r->t->added)
        return fail(r->err, ERR_MEMORY, "no memory for a tokenizer");
    return json_get_bool(r->model, "ignore_merges", false, &r->t->ignore_merges, r->name, r->err);
}

static bool read_added(Reading *r, const json_t *value)
{
    static const char *const keys[] = {"id", "content", "single_word", "lstrip", "rstrip",
                                       "normalized", "special", NULL};
    AddedToken token = {0};
    const json_t *content = json_object_get(value, "content");
    const char *text = json_string_value(content);
    size_t size = json_string_length(content);
    if (!json_only_keys(value, keys, r->name, r->err) ||
        !json_get_bool(value, "special", false, &token.special, r->name, r->err) ||
        !json_get_bool(value, "normalized", !token.special, &token.normalized, r->name, r->err) ||
        !json_get_bool(value, "single_word", false, &token.single_word, r->name, r->err) ||
        !json_get_bool(value, "lstrip", false, &token.lstrip, r->name, r->err) ||
        !json_get_bool(value, "rstrip", false, &token.rstrip, r->name, r->err))
        return fail_within(r->err, "added_tokens");
    token.id = (int32_t)json_integer_value(json_object_get(value, "id"));
    /* Special tokens never meet text here, so that the rules of their search have no effect. */
    if (!token.special && (token.single_word || token.lstrip || token.rstrip))
        return fail(r->err, ERR_FORMAT, "%s: added_tokens: '%.40s' is not special: single_word, "
                    "lstrip and rstrip are not supported", r->name, text);
    if (!token.special && token.normalized && r->t->nfc)
        return fail(r->err, ERR_FORMAT, "%s: added_tokens: '%.40s' is not special: normalized is "
                    "not supported with normalizer NFC", r->name, text);
    const json_t *model_id = json_object_getn(r->vocab, text, size);
    if (model_id && json_integer_value(model_id) != token.id)
        return fail(r->err, ERR_FORMAT, "%s: added_tokens: '%.40s' has id %d, in model.vocab %lld",
                    r->name, text, token.id, (long long)json_integer_value(model_id));
    if (!tokenizer_model_token(r->t, token.id, text, size, r->err))
        return fail_within(r->err, "%s: added_tokens", r->name);
    r->t->kinds[token.id] = token.special ? TOKEN_SPECIAL : 0;
    r->t->added[r->t->added_count++] = token;
    return true;
}

static bool read_added_all(Reading *r)
{
    size_t i;
    json_t *value;
    json_array_foreach(r->added, i, value)
        if (!read_added(r, value))
            return false;
    return true;
}

static bool read_vocab(Reading *r)
{
    Tokenizer *t = r->t;
    uint8_t *bytes = mem_alloc(TOKENIZER_TOKEN_BYTES_MAX, 1);
    if (!bytes)
        return fail(r->err, ERR_MEMORY, "no memory for a tokenizer");
    bool good = true;
    for (void *it = json_object_iter((json_t *)r->vocab); it && good;
         it = json_object_iter_next((json_t *)r->vocab, it)) {
        const char *key = json_object_iter_key(it);
        size_t key_size = json_object_iter_key_len(it), size = 0;
        int32_t id = (int32_t)json_integer_value(json_object_iter_value(it));
        Span span = t->spans[id];
        if (span.size == key_size && span.size && !(t->kinds[id] & TOKEN_MODEL) &&
            !memcmp(t->bytes.data + span.start, key, key_size)) {
            t->kinds[id] |= TOKEN_MODEL; /* an added token that the model has too */
            continue;
        }
        if (key_size > TOKENIZER_TOKEN_BYTES_MAX)
            good = fail(r->err, ERR_FORMAT, "token '%.40s...' is longer than %d bytes", key,
                        TOKENIZER_TOKEN_BYTES_MAX);
        else if (!bytelevel_read(key, key_size, bytes, &size))
            good = fail(r->err, ERR_FORMAT, "token '%.40s' is not in the byte-level alphabet", key);
        else
            good = tokenizer_model_token(t, id, bytes, size, r->err);
        t->kinds[id] |= TOKEN_MODEL;
    }
    mem_free(bytes);
    return good || fail_within(r->err, "%s: model.vocab", r->name);
}

/* The two texts of a merge, given as ["a", "b"] or "a b". */
static bool merge_texts(const json_t *value, const char *texts[2], size_t sizes[2])
{
    if (json_is_array(value) && json_array_size(value) == 2) {
        for (size_t i = 0; i < 2; i++) {
            const json_t *part = json_array_get(value, i);
            if (!json_is_string(part))
                return false;
            texts[i] = json_string_value(part);
            sizes[i] = json_string_length(part);
        }
        return sizes[0] && sizes[1];
    }
    if (!json_is_string(value))
        return false;
    size_t size = json_string_length(value);
    const char *text = json_string_value(value), *blank = memchr(text, ' ', size);
    if (!blank || blank == text || blank + 1 == text + size)
        return false;
    texts[0] = text;
    sizes[0] = (size_t)(blank - text);
    texts[1] = blank + 1;
    sizes[1] = size - sizes[0] - 1;
    return !memchr(texts[1], ' ', sizes[1]);
}

/* True when `result` is an ordinary token with the bytes of `left` and `right`, ordinary too. */
static bool merge_sound(const Tokenizer *t, int32_t left, int32_t right, int32_t result)
{
    Span a = t->spans[left], b = t->spans[right], c = t->spans[result];
    const char *bytes = t->bytes.data;
    return !((t->kinds[left] | t->kinds[right] | t->kinds[result]) & TOKEN_SPECIAL) &&
           c.size == a.size + b.size && !memcmp(bytes + c.start, bytes + a.start, a.size) &&
           !memcmp(bytes + c.start + a.size, bytes + b.start, b.size);
}

static bool read_merge(Reading *r, uint32_t rank, const json_t *value, Buf *joined)
{
    const char *texts[2];
    size_t sizes[2];
    if (!merge_texts(value, texts, sizes))
        return fail(r->err, ERR_FORMAT, "merge %u is neither \"a b\" nor [\"a\", \"b\"]", rank);
    int32_t ids[3];
    buf_reset(joined);
    for (size_t i = 0; i < 3; i++) {
        const char *text = i < 2 ? texts[i] : joined->data;
        size_t size = i < 2 ? sizes[i] : joined->size;
        const json_t *id = json_object_getn(r->vocab, text, size);
        if (!id)
            return fail(r->err, ERR_FORMAT, "merge %u: model.vocab has no token '%.*s'", rank,
                        size > 60 ? 60 : (int)size, text);
        ids[i] = (int32_t)json_integer_value(id);
        if (i < 2)
            buf_add(joined, text, size);
        if (!buf_ok(joined, "a merge", r->err))
            return false;
    }
    if (!merge_sound(r->t, ids[0], ids[1], ids[2]))
        return fail(r->err, ERR_FORMAT, "merge %u: '%.60s' is a special token or is made of one",
                    rank, joined->data);
    r->t->merges[r->t->merge_count++] = (Merge){ids[0], ids[1], ids[2]};
    return true;
}

static bool read_merges(Reading *r)
{
    auto_buf Buf joined;
    buf_init(&joined, 4 * (size_t)TOKENIZER_TOKEN_BYTES_MAX);
    size_t i;
    json_t *value;
    json_array_foreach(r->merges, i, value)
        if (!read_merge(r, (uint32_t)i, value, &joined))
            return fail_within(r->err, "%s: model.merges", r->name);
    return true;
}

static bool read_all(Reading *r)
{
    if (!open_root(r) || !open_model(r) || !make_model(r) ||
        !tokenizer_stages_read(r->t, r->root, r->name, r->err) || !read_added_all(r) ||
        !read_vocab(r) || !read_merges(r))
        return false;
    const json_t *unknown = json_object_get(r->model, "unk_token");
    r->t->unk_token = unknown ? json_incref((json_t *)unknown) : NULL;
    return tokenizer_model_finish(r->t, r->err) || fail_within(r->err, "%s", r->name);
}

bool tokenizer_parse(Tokenizer **out, const char *json, size_t size, const char *name, Error *err)
{
    auto_json json_t *root = NULL;
    if (!json_parse(&root, json, size, name, err))
        return false;
    Reading reading = {.name = name, .root = root, .err = err};
    if (!read_all(&reading)) {
        tokenizer_free(reading.t);
        return false;
    }
    *out = reading.t;
    return true;
}

bool tokenizer_load(Tokenizer **out, const char *path, Error *err)
{
    auto_json json_t *root = NULL;
    if (!json_read(&root, path, JSON_BYTES_MAX, err))
        return false;
    const char *slash = strrchr(path, '/');
    Reading reading = {.name = slash ? slash + 1 : path, .root = root, .err = err};
    if (!read_all(&reading)) {
        tokenizer_free(reading.t);
        return false;
    }
    *out = reading.t;
    return true;
}
