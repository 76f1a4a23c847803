/* tokenizer.c: the tables of a tokenizer, its tokens by id and by text, and decoding. */
#include "base/mem.h"
#include "base/hash.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <assert.h>
#include <string.h>

static bool no_memory(Error *err)
{
    return fail(err, ERR_MEMORY, "no memory for a tokenizer");
}

bool tokenizer_model_new(Tokenizer **out, uint32_t vocab, Error *err)
{
    Tokenizer *t = mem_alloc(1, sizeof *t);
    if (!t)
        return no_memory(err);
    t->lock_made = pthread_mutex_init(&t->lock, NULL) == 0;
    t->vocab = vocab;
    t->spans = mem_alloc(vocab, sizeof *t->spans);
    t->kinds = mem_alloc(vocab, 1);
    buf_init(&t->bytes, TOKENS_BYTES_MAX);
    if (!t->lock_made || !t->spans || !t->kinds) {
        tokenizer_free(t);
        return no_memory(err);
    }
    *out = t;
    return true;
}

void tokenizer_free(Tokenizer *t)
{
    if (!t)
        return;
    for (Scratch *s = t->scratch, *next; s; s = next) {
        next = s->next;
        scratch_free(s);
    }
    for (uint32_t i = 0; i < t->stage_count; i++)
        split_pattern_free(t->stages[i].pattern);
    json_t *const kept[] = {t->normalizer, t->pre_tokenizer, t->post_processor, t->decoder,
                            t->unk_token};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        json_decref(kept[i]);
    if (t->lock_made)
        pthread_mutex_destroy(&t->lock);
    buf_done(&t->bytes);
    mem_free(t->spans);
    mem_free(t->kinds);
    mem_free(t->merges);
    mem_free(t->pairs);
    mem_free(t->by_text);
    mem_free(t->added);
    mem_free(t);
}

bool tokenizer_model_token(Tokenizer *t, int32_t id, const void *bytes, size_t size, Error *err)
{
    if (id < 0 || (uint32_t)id >= t->vocab)
        return fail(err, ERR_FORMAT, "id %d is outside 0..%u", id, t->vocab - 1);
    if (t->spans[id].size)
        return fail(err, ERR_FORMAT, "id %d is given to two tokens", id);
    if (size == 0 || size > TOKENIZER_TOKEN_BYTES_MAX)
        return fail(err, ERR_FORMAT, "the token of id %d has %zu bytes, 1..%d are allowed", id,
                    size, TOKENIZER_TOKEN_BYTES_MAX);
    t->spans[id] = (Span){(uint32_t)t->bytes.size, (uint32_t)size};
    buf_add(&t->bytes, bytes, size);
    return buf_ok(&t->bytes, "the tokens", err);
}

/* A power of two at least twice `count`, so that open addressing always finds an empty place. */
static uint64_t table_size(uint64_t count)
{
    uint64_t size = 16;
    while (size < 2 * count)
        size *= 2;
    return size;
}

static const uint8_t *token_bytes(const Tokenizer *t, int32_t id)
{
    return (const uint8_t *)t->bytes.data + t->spans[id].start;
}

static bool index_merges(Tokenizer *t, Error *err)
{
    uint64_t size = table_size(t->merge_count);
    t->pairs = mem_alloc(size, sizeof *t->pairs);
    if (!t->pairs)
        return no_memory(err);
    t->pair_mask = size - 1;
    for (uint64_t i = 0; i < size; i++)
        t->pairs[i].rank = NO_RANK;
    for (uint32_t rank = 0; rank < t->merge_count; rank++) {
        const Merge *merge = &t->merges[rank];
        uint64_t key = pair_key(merge->left, merge->right);
        uint64_t at = pair_hash(key) & t->pair_mask;
        for (; t->pairs[at].rank != NO_RANK; at = (at + 1) & t->pair_mask)
            if (t->pairs[at].key == key)
                return fail(err, ERR_FORMAT, "model.merges: merge %u repeats merge %u", rank,
                            t->pairs[at].rank);
        t->pairs[at] = (PairPlace){key, rank, merge->result};
    }
    return true;
}

static uint64_t text_place(const Tokenizer *t, const uint8_t *bytes, size_t size)
{
    uint64_t hash = hash_fnv(bytes, size);
    return (hash ^ hash >> 32) & t->by_text_mask;
}

static bool index_texts(Tokenizer *t, Error *err)
{
    uint64_t size = table_size(t->vocab);
    t->by_text = mem_alloc(size, sizeof *t->by_text);
    if (!t->by_text)
        return no_memory(err);
    t->by_text_mask = size - 1;
    memset(t->by_text, 0xff, size * sizeof *t->by_text);
    for (uint32_t id = 0; id < t->vocab; id++) {
        Span span = t->spans[id];
        if (t->kinds[id] != TOKEN_MODEL)
            continue;
        uint64_t at = text_place(t, token_bytes(t, (int32_t)id), span.size);
        while (t->by_text[at] >= 0)
            at = (at + 1) & t->by_text_mask;
        t->by_text[at] = (int32_t)id;
    }
    return true;
}

bool tokenizer_model_finish(Tokenizer *t, Error *err)
{
    if (!index_merges(t, err) || !index_texts(t, err))
        return false;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;
        t->byte_id[byte] = tokenizer_token_of(t, &one, 1);
    }
    for (uint32_t i = 0; i < t->added_count; i++) {
        const AddedToken *added = &t->added[i];
        if (added->special)
            continue;
        if (t->text_token_count == TEXT_TOKENS_MAX)
            return fail(err, ERR_LIMIT, "added_tokens: more than %d are not special",
                        TEXT_TOKENS_MAX);
        t->text_tokens[t->text_token_count++] = added->id;
        t->text_token_first[token_bytes(t, added->id)[0]] = 1;
    }
    return true;
}

int32_t tokenizer_token_of(const Tokenizer *t, const uint8_t *bytes, size_t size)
{
    uint64_t at = text_place(t, bytes, size);
    for (; t->by_text[at] >= 0; at = (at + 1) & t->by_text_mask) {
        int32_t id = t->by_text[at];
        if (t->spans[id].size == size && !memcmp(token_bytes(t, id), bytes, size))
            return id;
    }
    return -1;
}

uint32_t tokenizer_vocab(const Tokenizer *t)
{
    return t->vocab;
}

bool tokenizer_special(const Tokenizer *t, const char *text, int32_t *id)
{
    size_t size = strlen(text);
    for (uint32_t i = 0; i < t->added_count; i++) {
        const AddedToken *added = &t->added[i];
        if (added->special && t->spans[added->id].size == size &&
            !memcmp(token_bytes(t, added->id), text, size)) {
            *id = added->id;
            return true;
        }
    }
    return false;
}

bool tokenizer_is_special(const Tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab && (t->kinds[id] & TOKEN_SPECIAL);
}

const char *tokenizer_bytes(const Tokenizer *t, int32_t id, size_t *size)
{
    if (id < 0 || (uint32_t)id >= t->vocab || !t->spans[id].size)
        return NULL;
    *size = t->spans[id].size;
    return (const char *)token_bytes(t, id);
}

/* ---- for writers of other formats ---- */

uint32_t tokenizer_merges(const Tokenizer *t)
{
    return t->merge_count;
}

void tokenizer_merge_at(const Tokenizer *t, uint32_t rank, int32_t *left, int32_t *right)
{
    assert(rank < t->merge_count);
    *left = t->merges[rank].left;
    *right = t->merges[rank].right;
}

bool tokenizer_is_added_text(const Tokenizer *t, int32_t id)
{
    for (uint32_t i = 0; i < t->text_token_count; i++) {
        if (t->text_tokens[i] == id)
            return true;
    }
    return false;
}

void tokenizer_spell(const Tokenizer *t, int32_t id, Buf *out)
{
    size_t size;
    const char *bytes = tokenizer_bytes(t, id, &size);
    if (bytes && (tokenizer_is_special(t, id) || tokenizer_is_added_text(t, id)))
        buf_add(out, bytes, size);
    else if (bytes)
        bytelevel_write((const uint8_t *)bytes, size, out);
}

bool tokenizer_is_plain_gpt2(const Tokenizer *t)
{
    return t->stage_count == 1 && !t->stages[0].pattern && !t->nfc && !t->add_prefix_space &&
           !t->ignore_merges;
}

bool tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t count, bool with_special,
                      Buf *out, Error *err)
{
    size_t keep = out->size;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *bytes = tokenizer_bytes(t, ids[i], &size);
        if (!bytes) {
            out->size = keep;
            if (out->data)
                out->data[keep] = 0;
            return fail(err, ERR_INPUT, "id %d at place %zu is no token of this vocabulary (%u)",
                        ids[i], i, t->vocab);
        }
        if (with_special || !(t->kinds[ids[i]] & TOKEN_SPECIAL))
            buf_add(out, bytes, size);
    }
    return buf_ok(out, "decoded text", err);
}
