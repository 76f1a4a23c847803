/* tokenizer_save.c: writing tokenizer.json so that Hugging Face's tokenizers reads the same.
 *
 * Merges are written as "a b": tokens of the byte-level alphabet hold no blank, and every version
 * reads this form. An ordinary token that is also an added one is written raw, as it was read.
 */
#include "base/mem.h"
#include "format/json.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

/* The key of a token: added ones raw, others in the byte-level alphabet. */
static void write_key(const Tokenizer *t, int32_t id, bool raw, Buf *out)
{
    Span span = t->spans[id];
    const char *bytes = t->bytes.data + span.start;
    if (raw)
        buf_add(out, bytes, span.size);
    else
        bytelevel_write((const uint8_t *)bytes, span.size, out);
}

/* jansson's _new functions take over `value` and fail on NULL: one check at the end is enough. */
static json_t *kept_or_null(json_t *value)
{
    return value ? json_incref(value) : json_null();
}

static json_t *make_added(const Tokenizer *t)
{
    json_t *list = json_array();
    bool good = list;
    for (uint32_t i = 0; i < t->added_count && good; i++) {
        const AddedToken *a = &t->added[i];
        Span span = t->spans[a->id];
        json_t *token = json_pack("{s:i,s:s%,s:b,s:b,s:b,s:b,s:b}", "id", (int)a->id, "content",
                                  t->bytes.data + span.start, (size_t)span.size, "single_word",
                                  a->single_word, "lstrip", a->lstrip, "rstrip", a->rstrip,
                                  "normalized", a->normalized, "special", a->special);
        good = json_array_append_new(list, token) == 0;
    }
    if (good)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *make_vocab(const Tokenizer *t, const uint8_t *is_added, Buf *key)
{
    json_t *vocab = json_object();
    bool good = vocab;
    for (uint32_t id = 0; id < t->vocab && good; id++) {
        if (!(t->kinds[id] & TOKEN_MODEL))
            continue;
        buf_reset(key);
        write_key(t, (int32_t)id, is_added[id], key);
        good = !key->failed &&
               json_object_setn_new(vocab, key->data, key->size, json_integer(id)) == 0;
    }
    if (good)
        return vocab;
    json_decref(vocab);
    return NULL;
}

static json_t *make_merges(const Tokenizer *t, const uint8_t *is_added, Buf *key)
{
    json_t *merges = json_array();
    bool good = merges;
    for (uint32_t i = 0; i < t->merge_count && good; i++) {
        const Merge *merge = &t->merges[i];
        buf_reset(key);
        write_key(t, merge->left, is_added[merge->left], key);
        buf_add_char(key, ' ');
        write_key(t, merge->right, is_added[merge->right], key);
        good = !key->failed &&
               json_array_append_new(merges, json_stringn(key->data, key->size)) == 0;
    }
    if (good)
        return merges;
    json_decref(merges);
    return NULL;
}

static json_t *make_model(const Tokenizer *t)
{
    auto_buf Buf key;
    buf_init(&key, 4 * (size_t)TOKENIZER_TOKEN_BYTES_MAX + 1);
    auto_free uint8_t *is_added = mem_alloc(t->vocab, 1);
    if (!is_added)
        return NULL;
    for (uint32_t i = 0; i < t->added_count; i++)
        is_added[t->added[i].id] = 1;
    json_t *vocab = make_vocab(t, is_added, &key);
    json_t *merges = vocab ? make_merges(t, is_added, &key) : NULL;
    if (!merges) {
        json_decref(vocab);
        return NULL;
    }
    return json_pack("{s:s,s:n,s:o,s:n,s:n,s:b,s:b,s:b,s:o,s:o}", "type", "BPE", "dropout",
                     "unk_token", kept_or_null(t->unk_token), "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges",
                     t->ignore_merges, "vocab", vocab, "merges", merges);
}

bool tokenizer_save(const Tokenizer *t, const char *path, Error *err)
{
    json_t *model = make_model(t);
    json_t *added = model ? make_added(t) : NULL;
    auto_json json_t *root = NULL;
    if (added)
        root = json_pack("{s:s,s:n,s:n,s:o,s:o,s:o,s:o,s:o,s:o}", "version", "1.0", "truncation",
                         "padding", "added_tokens", added, "normalizer",
                         kept_or_null(t->normalizer), "pre_tokenizer",
                         kept_or_null(t->pre_tokenizer), "post_processor",
                         kept_or_null(t->post_processor), "decoder", kept_or_null(t->decoder),
                         "model", model);
    else
        json_decref(model);
    if (!root)
        return fail(err, ERR_MEMORY, "no memory to write %s", path);
    return json_write(root, path, err);
}
