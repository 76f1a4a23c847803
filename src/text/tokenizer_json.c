/* tokenizer_json.c: reading Hugging Face's tokenizer.json (format: tokenizers 0.13 to 0.22).
 *
 * Every key is either understood or refused by name. Order of work: sizes of everything, then the
 * stages around the model, then the added tokens (their text is raw), then the vocabulary (of a
 * byte-level model in the byte-level alphabet), then merges, which may only join ordinary tokens
 * into the ordinary token with their keys: so no merge cycle and no way from text to a special token
 * can be written down.
 */
#include "base/mem.h"
#include "format/json.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_formats.h"
#include "text/tokenizer_stages.h"
#include "text/utf8.h"

#include <string.h>

enum { ADDED_MAX = 1 << 16 };

typedef struct {
    const char *name; /* of the file, for errors */
    const json_t *root, *model, *vocab, *merges, *added;
    TokenizerKind kind;
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

/* What a BPE model may say, and its vocabulary and merges. */
static bool open_bpe(Reading *r)
{
    static const char *const keys[] = {"type", "dropout", "unk_token", "continuing_subword_prefix",
                                       "end_of_word_suffix", "fuse_unk", "byte_fallback",
                                       "ignore_merges", "vocab", "merges", NULL};
    static const char *const must_be_empty[] = {"continuing_subword_prefix", "end_of_word_suffix",
                                                NULL};
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
    if (r->kind == TOKENIZER_BYTES && json_is_true(json_object_get(r->model, "byte_fallback")))
        return fail(r->err, ERR_FORMAT, "%s: model.byte_fallback: true is not supported in a "
                    "byte-level model", r->name);
    r->merges = json_object_get(r->model, "merges");
    if (!json_is_object(r->vocab))
        return fail(r->err, ERR_FORMAT, "%s: model.vocab: missing, or not an object", r->name);
    if (!json_is_array(r->merges))
        return fail(r->err, ERR_FORMAT, "%s: model.merges: missing, or not a list", r->name);
    return true;
}

static bool open_model(Reading *r)
{
    r->model = json_object_get(r->root, "model");
    if (!json_is_object(r->model))
        return fail(r->err, ERR_FORMAT, "%s: model: missing, or not an object", r->name);
    const char *type;
    if (!json_get_text(r->model, "type", "BPE", &type, r->name, r->err))
        return false;
    bool unigram = !strcmp(type, "Unigram");
    if (!unigram && strcmp(type, "BPE"))
        return fail(r->err, ERR_FORMAT, "%s: model.type: '%.40s' is not supported, BPE and Unigram "
                    "are", r->name, type);
    r->kind = unigram ? TOKENIZER_UNIGRAM
                      : tokenizer_stages_bytes(r->root) ? TOKENIZER_BYTES : TOKENIZER_CHARS;
    r->vocab = json_object_get(r->model, "vocab");
    return unigram ? unigram_open(r->model, r->name, r->err) : open_bpe(r);
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
    if (json_array_size(r->vocab))
        highest = (uint32_t)json_array_size(r->vocab) - 1;
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
    if (!tokenizer_model_new(&r->t, r->kind, highest + 1, r->err))
        return false;

    r->t->merges = mem_alloc(json_array_size(r->merges), sizeof *r->t->merges);
    r->t->added = mem_alloc(json_array_size(r->added), sizeof *r->t->added);
    if (!r->t->merges || !r->t->added)
        return fail(r->err, ERR_MEMORY, "no memory for a tokenizer");
    return json_get_bool(r->model, "ignore_merges", false, &r->t->ignore_merges, r->name, r->err) &&
           json_get_bool(r->model, "byte_fallback", false, &r->t->byte_fallback, r->name, r->err) &&
           json_get_bool(r->model, "fuse_unk", false, &r->t->fuse_unknown, r->name, r->err);
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
    const json_t *model_id = json_object_getn(r->vocab, text, size);
    if (model_id && json_integer_value(model_id) != token.id)
        return fail(r->err, ERR_FORMAT, "%s: added_tokens: '%.40s' has id %d, in model.vocab %lld",
                    r->name, text, token.id, (long long)json_integer_value(model_id));
    if (!r->t->keys[token.id].size)
        r->t->kinds[token.id] = token.special ? TOKEN_SPECIAL : 0;
    if (!tokenizer_model_token(r->t, token.id, text, size, r->err))
        return fail_within(r->err, "%s: added_tokens", r->name);
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

/* One token of the model; `bytes` is room for the longest. */
static bool read_token(Reading *r, int32_t id, const char *key, size_t size, uint8_t *bytes)
{
    Tokenizer *t = r->t;
    Span span = t->keys[id];
    if (span.size == size && span.size && !(t->kinds[id] & TOKEN_MODEL) &&
        !memcmp(t->bytes.data + span.start, key, size)) {
        t->kinds[id] |= TOKEN_MODEL; /* an added token that the model has too */
        return true;
    }
    if (span.size)
        return fail(r->err, ERR_FORMAT, "id %d is given to two tokens", id);
    if (size > TOKENIZER_TOKEN_BYTES_MAX)
        return fail(r->err, ERR_FORMAT, "token '%.40s...' is longer than %d bytes", key,
                    TOKENIZER_TOKEN_BYTES_MAX);
    bool one_byte = t->byte_fallback && byte_of_key(key, size) >= 0;
    t->kinds[id] |= one_byte ? TOKEN_MODEL | TOKEN_BYTE : TOKEN_MODEL;
    if (t->kind != TOKENIZER_BYTES)
        return tokenizer_model_token(t, id, key, size, r->err);
    if (!bytelevel_read(key, size, bytes, &size))
        return fail(r->err, ERR_FORMAT, "token '%.40s' is not in the byte-level alphabet", key);
    return tokenizer_model_token(t, id, bytes, size, r->err);
}

static bool read_vocab(Reading *r)
{
    auto_free uint8_t *bytes = mem_alloc(TOKENIZER_TOKEN_BYTES_MAX, 1);
    if (!bytes)
        return fail(r->err, ERR_MEMORY, "no memory for a tokenizer");
    bool good = true;
    for (void *it = json_object_iter((json_t *)r->vocab); it && good;
         it = json_object_iter_next((json_t *)r->vocab, it))
        good = read_token(r, (int32_t)json_integer_value(json_object_iter_value(it)),
                          json_object_iter_key(it), json_object_iter_key_len(it), bytes);
    for (size_t i = 0; i < json_array_size(r->vocab) && good; i++) {
        const json_t *piece = json_array_get(json_array_get(r->vocab, i), 0);
        good = read_token(r, (int32_t)i, json_string_value(piece), json_string_length(piece),
                          bytes);
    }
    return good || fail_within(r->err, "%s: model.vocab", r->name);
}

/* Which token stands for what the vocabulary lacks. A byte-level model has all bytes, or says which
 * one it lacks. */
static bool read_unknown(Reading *r)
{
    const json_t *unknown = json_object_get(r->model, "unk_token");
    r->t->unk_token = unknown ? json_incref((json_t *)unknown) : NULL;
    if (r->kind == TOKENIZER_UNIGRAM)
        return unigram_read(r->t, r->model, r->name, r->err);
    if (r->kind == TOKENIZER_BYTES || !json_is_string(unknown))
        return true;
    const json_t *id =
        json_object_getn(r->vocab, json_string_value(unknown), json_string_length(unknown));
    if (!id)
        return fail(r->err, ERR_FORMAT, "%s: model.unk_token: '%.40s' is not in model.vocab",
                    r->name, json_string_value(unknown));
    r->t->unknown = (int32_t)json_integer_value(id);
    return true;
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

/* True when the key of `result` is those of `left` and `right` in a row. */
static bool merge_sound(const Tokenizer *t, int32_t left, int32_t right, int32_t result)
{
    Span a = t->keys[left], b = t->keys[right], c = t->keys[result];
    const char *bytes = t->bytes.data;
    return c.size == a.size + b.size && !memcmp(bytes + c.start, bytes + a.start, a.size) &&
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
    const uint8_t *kinds = r->t->kinds;
    bool special = (kinds[ids[0]] | kinds[ids[1]] | kinds[ids[2]]) & TOKEN_SPECIAL;
    /* A converter that writes all pairs of pieces also writes "</" "s>": such a merge is left out. */
    if (special && r->kind != TOKENIZER_BYTES)
        return true;
    if (special || !merge_sound(r->t, ids[0], ids[1], ids[2]))
        return fail(r->err, ERR_FORMAT, "merge %u: '%.60s' is a special token or is made of one",
                    rank, joined->data);
    r->t->merges[r->t->merge_count] = (Merge){ids[0], ids[1], ids[2], r->t->merge_count};
    r->t->merge_count++;
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
        !read_vocab(r) || !read_merges(r) || !read_unknown(r))
        return false;
    return tokenizer_model_finish(r->t, r->err) || fail_within(r->err, "%s", r->name);
}

bool tokenizer_json_read(Tokenizer **out, const json_t *root, const char *name, Error *err)
{
    Reading reading = {.name = name, .root = root, .err = err};
    if (!read_all(&reading)) {
        tokenizer_free(reading.t);
        return false;
    }
    tokenizer_describe(reading.t, name);
    *out = reading.t;
    return true;
}

bool tokenizer_parse(Tokenizer **out, const char *json, size_t size, const char *name, Error *err)
{
    auto_json json_t *root = NULL;
    return json_parse(&root, json, size, name, err) && tokenizer_json_read(out, root, name, err);
}

bool tokenizer_load(Tokenizer **out, const char *path, Error *err)
{
    auto_json json_t *root = NULL;
    const char *slash = strrchr(path, '/');
    return json_read(&root, path, JSON_BYTES_MAX, err) &&
           tokenizer_json_read(out, root, slash ? slash + 1 : path, err);
}
