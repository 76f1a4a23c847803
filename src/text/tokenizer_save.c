/* tokenizer_save.c: writing tokenizer.json so that Hugging Face's tokenizers reads the same.
 *
 * Merges are written as "a b", which every version reads, unless a token holds a blank: then all as
 * pairs. An ordinary token that is also an added one is written raw, as it was read.
 */
#include "base/mem.h"
#include "format/json.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <string.h>

/* The key of a token: added ones raw, others in the byte-level alphabet. */
static void write_key(const Tokenizer *t, int32_t id, bool raw, Buf *out)
{
    if (raw || t->kind != TOKENIZER_BYTES)
        buf_add(out, key_of(t, id), t->keys[id].size);
    else
        bytelevel_write(key_of(t, id), t->keys[id].size, out);
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
        Span span = t->keys[a->id];
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

static bool holds_blank(const Tokenizer *t, int32_t id)
{
    return t->kind != TOKENIZER_BYTES && memchr(key_of(t, id), ' ', t->keys[id].size);
}

static json_t *make_merge(const Tokenizer *t, const Merge *merge, const uint8_t *is_added,
                          bool pair, Buf *key)
{
    buf_reset(key);
    write_key(t, merge->left, is_added[merge->left], key);
    size_t left = key->size;
    if (!pair)
        buf_add_char(key, ' ');
    write_key(t, merge->right, is_added[merge->right], key);
    if (key->failed)
        return NULL;
    return pair ? json_pack("[s%,s%]", key->data, left, key->data + left, key->size - left)
                : json_stringn(key->data, key->size);
}

static json_t *make_merges(const Tokenizer *t, const uint8_t *is_added, Buf *key)
{
    json_t *merges = json_array();
    bool good = merges, pairs = false;
    for (uint32_t i = 0; i < t->merge_count; i++)
        pairs |= holds_blank(t, t->merges[i].left) || holds_blank(t, t->merges[i].right);
    for (uint32_t i = 0; i < t->merge_count && good; i++)
        good = json_array_append_new(merges, make_merge(t, &t->merges[i], is_added, pairs, key)) ==
               0;
    if (good)
        return merges;
    json_decref(merges);
    return NULL;
}

static json_t *make_unigram(const Tokenizer *t)
{
    json_t *vocab = json_array();
    bool good = vocab;
    for (uint32_t id = 0; id < t->vocab && good; id++) {
        if (!(t->kinds[id] & TOKEN_MODEL)) /* what is added lies behind the model's pieces */
            break;
        good = json_array_append_new(vocab, json_pack("[s%,f]", key_of(t, (int32_t)id),
                                                      (size_t)t->keys[id].size,
                                                      t->scores[id])) == 0;
    }
    if (good)
        return json_pack("{s:s,s:i,s:o,s:b}", "type", "Unigram", "unk_id", (int)t->unknown, "vocab",
                         vocab, "byte_fallback", t->byte_fallback);
    json_decref(vocab);
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
                     "end_of_word_suffix", "fuse_unk", t->fuse_unknown, "byte_fallback",
                     t->byte_fallback, "ignore_merges", t->ignore_merges, "vocab", vocab, "merges", merges);
}

bool tokenizer_save(const Tokenizer *t, const char *path, Error *err)
{
    const NormalStep *step = t->normalizer.steps;
    if (t->normalizer.count && step->kind == NORMAL_PIECES && step->as_suffix)
        return fail(err, ERR_INPUT, "%s: tokenizer.json has no words for a blank behind each word "
                    "(treat_whitespace_as_suffix)", t->source);
    json_t *model = t->kind == TOKENIZER_UNIGRAM ? make_unigram(t) : make_model(t);
    json_t *added = model ? make_added(t) : NULL;
    auto_json json_t *root = NULL;
    if (added)
        root = json_pack("{s:s,s:n,s:n,s:o,s:o,s:o,s:o,s:o,s:o}", "version", "1.0", "truncation",
                         "padding", "added_tokens", added, "normalizer",
                         kept_or_null(t->normalizer_json), "pre_tokenizer",
                         kept_or_null(t->pre_tokenizer), "post_processor",
                         kept_or_null(t->post_processor), "decoder", kept_or_null(t->decoder),
                         "model", model);
    else
        json_decref(model);
    if (!root)
        return fail(err, ERR_MEMORY, "no memory to write %s", path);
    return json_write(root, path, err);
}
