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

bool tokenizer_model_new(Tokenizer **out, TokenizerKind kind, uint32_t vocab, Error *err)
{
    Tokenizer *t = mem_alloc(1, sizeof *t);
    if (!t)
        return no_memory(err);
    t->lock_made = pthread_mutex_init(&t->lock, NULL) == 0;
    t->kind = kind;
    t->vocab = vocab;
    t->unknown = t->bos = t->eos = -1;
    t->keys = mem_alloc(vocab, sizeof *t->keys);
    t->spans = kind == TOKENIZER_BYTES ? t->keys : mem_alloc(vocab, sizeof *t->spans);
    t->kinds = mem_alloc(vocab, 1);
    buf_init(&t->bytes, TOKENS_BYTES_MAX);
    if (!t->lock_made || !t->keys || !t->spans || !t->kinds) {
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
    json_t *const kept[] = {t->normalizer_json, t->pre_tokenizer, t->post_processor, t->decoder,
                            t->unk_token};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        json_decref(kept[i]);
    if (t->lock_made)
        pthread_mutex_destroy(&t->lock);
    buf_done(&t->bytes);
    if (t->spans != t->keys)
        mem_free(t->spans);
    mem_free(t->keys);
    mem_free(t->kinds);
    mem_free(t->scores);
    trie_free(t->pieces);
    trie_free(t->whole);
    trie_free(t->raw_added);
    trie_free(t->normalized_added);
    normalizer_done(&t->normalizer);
    mem_free(t->merges);
    mem_free(t->pairs);
    mem_free(t->rank_results);
    mem_free(t->by_text);
    mem_free(t->added);
    mem_free(t);
}

int byte_of_key(const char *key, size_t size)
{
    int value = 0;
    if (size != 6 || memcmp(key, "<0x", 3) || key[5] != '>')
        return -1;
    for (size_t i = 3; i < 5; i++) {
        char c = key[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'F'))
            return -1;
        value = value * 16 + (c <= '9' ? c - '0' : c - 'A' + 10);
    }
    return value;
}

/* What a key means in text, appended to t->bytes. */
static void add_meaning(Tokenizer *t, int32_t id, const uint8_t *key, size_t size)
{
    size_t start = t->bytes.size;
    if (t->kinds[id] & TOKEN_BYTE) {
        buf_add_char(&t->bytes, (char)byte_of_key((const char *)key, size));
    } else {
        for (size_t at = 0; at < size;) {
            bool mark = mark_at(key + at, size - at);
            buf_add_char(&t->bytes, mark ? ' ' : (char)key[at]);
            at += mark ? MARK_BYTES : 1;
        }
    }
    t->spans[id] = (Span){(uint32_t)start, (uint32_t)(t->bytes.size - start)};
}

bool tokenizer_model_token(Tokenizer *t, int32_t id, const void *key, size_t size, Error *err)
{
    if (id < 0 || (uint32_t)id >= t->vocab)
        return fail(err, ERR_FORMAT, "id %d is outside 0..%u", id, t->vocab - 1);
    if (t->keys[id].size)
        return fail(err, ERR_FORMAT, "id %d is given to two tokens", id);
    if (size == 0 || size > TOKENIZER_TOKEN_BYTES_MAX)
        return fail(err, ERR_FORMAT, "the token of id %d has %zu bytes, 1..%d are allowed", id,
                    size, TOKENIZER_TOKEN_BYTES_MAX);
    t->keys[id] = t->spans[id] = (Span){(uint32_t)t->bytes.size, (uint32_t)size};
    buf_add(&t->bytes, key, size);
    bool marks = t->marks && !(t->kinds[id] & TOKEN_SPECIAL);
    if (t->kind != TOKENIZER_BYTES && (marks || (t->kinds[id] & TOKEN_BYTE)))
        add_meaning(t, id, key, size);
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
        t->pairs[at] = (PairPlace){key, merge->rank, merge->result};
    }
    return true;
}

static bool index_results(Tokenizer *t, Error *err)
{
    uint32_t ranks = t->merge_count ? t->merges[t->merge_count - 1].rank + 1 : 0;
    t->rank_results = mem_alloc(ranks, sizeof *t->rank_results);
    if (!t->rank_results)
        return no_memory(err);
    for (uint32_t i = 0; i < t->merge_count; i++) {
        const Merge *merge = &t->merges[i];
        bool first = !i || t->merges[i - 1].rank != merge->rank;
        bool same = first || t->rank_results[merge->rank] == merge->result;
        t->rank_results[merge->rank] = same ? merge->result : -1;
    }
    return true;
}

static uint64_t text_place(const Tokenizer *t, const uint8_t *bytes, size_t size)
{
    uint64_t hash = hash_fnv(bytes, size);
    return (hash ^ hash >> 32) & t->by_text_mask;
}

bool tokenizer_model_index(Tokenizer *t, Error *err)
{
    if (t->by_text)
        return true;
    uint64_t size = table_size(t->vocab);
    t->by_text = mem_alloc(size, sizeof *t->by_text);
    if (!t->by_text)
        return no_memory(err);
    t->by_text_mask = size - 1;
    memset(t->by_text, 0xff, size * sizeof *t->by_text);
    for (uint32_t id = 0; id < t->vocab; id++) {
        if ((t->kinds[id] & ~TOKEN_WHOLE) != TOKEN_MODEL || !t->keys[id].size)
            continue;
        uint64_t at = text_place(t, key_of(t, (int32_t)id), t->keys[id].size);
        while (t->by_text[at] >= 0)
            at = (at + 1) & t->by_text_mask;
        t->by_text[at] = (int32_t)id;
    }
    return true;
}

/* The keys of all ids that `wanted` chooses, as a trie of ids; NULL when there are none. */
static bool trie_of_keys(const Tokenizer *t, bool (*wanted)(const Tokenizer *t, int32_t id),
                         Trie **out, Error *err)
{
    size_t bytes = 0;
    for (uint32_t id = 0; id < t->vocab; id++)
        bytes += wanted(t, (int32_t)id) ? t->keys[id].size : 0;
    if (!bytes)
        return true;
    if (!trie_new(out, bytes, err))
        return false;
    for (uint32_t id = 0; id < t->vocab; id++)
        if (wanted(t, (int32_t)id))
            trie_add(*out, key_of(t, (int32_t)id), t->keys[id].size, (int32_t)id);
    return true;
}

static bool is_whole(const Tokenizer *t, int32_t id)
{
    return t->kinds[id] & TOKEN_WHOLE;
}

static bool is_text(const Tokenizer *t, int32_t id)
{
    return (t->kinds[id] & ~TOKEN_WHOLE) == TOKEN_MODEL;
}

/* True when a run of marks can begin inside the token. */
static bool holds_inner_mark(const Tokenizer *t, int32_t id)
{
    const uint8_t *key = key_of(t, id);
    size_t size = t->keys[id].size;
    bool after_mark = true;
    for (size_t at = 0; at < size;) {
        bool mark = mark_at(key + at, size - at);
        if (mark && !after_mark)
            return true;
        after_mark = mark;
        at += mark ? MARK_BYTES : 1;
    }
    return false;
}

/* Whether words can be merged one by one: see encode.c. */
static bool cuts_before_marks(const Tokenizer *t)
{
    if (t->kind != TOKENIZER_CHARS || t->ignore_merges)
        return false;
    for (uint32_t i = 0; i < t->merge_count; i++)
        if (holds_inner_mark(t, t->merges[i].result))
            return false;
    for (uint32_t id = 0; id < t->vocab && t->whole; id++)
        if (is_whole(t, (int32_t)id) && holds_inner_mark(t, (int32_t)id))
            return false;
    return true;
}

static void find_bytes(Tokenizer *t)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;
        t->byte_id[byte] = tokenizer_token_of(t, &one, 1);
        t->fallback[byte] = -1;
    }
    for (uint32_t id = 0; id < t->vocab; id++)
        if ((t->kinds[id] & TOKEN_BYTE) && t->keys[id].size)
            t->fallback[byte_of_key((const char *)key_of(t, (int32_t)id), t->keys[id].size)] =
                (int32_t)id;
}

bool tokenizer_model_finish(Tokenizer *t, Error *err)
{
    if (!tokenizer_model_index(t, err) || !index_merges(t, err) || !index_results(t, err) ||
        !trie_of_keys(t, is_whole, &t->whole, err) || !added_index(t, err))
        return false;
    if (t->kind == TOKENIZER_UNIGRAM && !trie_of_keys(t, is_text, &t->pieces, err))
        return false;
    if (t->kind == TOKENIZER_UNIGRAM && (t->unknown < 0 || !t->pieces))
        return fail(err, ERR_FORMAT, "a unigram model needs pieces and the unknown token");
    find_bytes(t);
    t->cut_before_marks = cuts_before_marks(t);
    return true;
}

int32_t tokenizer_token_of(const Tokenizer *t, const uint8_t *key, size_t size)
{
    uint64_t at = text_place(t, key, size);
    for (; t->by_text[at] >= 0; at = (at + 1) & t->by_text_mask) {
        int32_t id = t->by_text[at];
        if (t->keys[id].size == size && !memcmp(key_of(t, id), key, size))
            return id;
    }
    return -1;
}

uint32_t tokenizer_vocab(const Tokenizer *t)
{
    return t->vocab;
}

TokenizerKind tokenizer_kind(const Tokenizer *t)
{
    return t->kind;
}

const char *tokenizer_source(const Tokenizer *t)
{
    return t->source;
}

bool tokenizer_special(const Tokenizer *t, const char *text, int32_t *id)
{
    size_t size = strlen(text);
    for (uint32_t i = 0; i < t->added_count; i++) {
        const AddedToken *added = &t->added[i];
        if (added->special && t->keys[added->id].size == size &&
            !memcmp(key_of(t, added->id), text, size)) {
            *id = added->id;
            return true;
        }
    }
    return false;
}

int32_t tokenizer_bos(const Tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const Tokenizer *t)
{
    return t->eos;
}

void tokenizer_frame(const Tokenizer *t, const int32_t **before, size_t *before_count,
                     const int32_t **after, size_t *after_count)
{
    *before = t->before;
    *before_count = t->before_count;
    *after = t->after;
    *after_count = t->after_count;
}

bool tokenizer_is_special(const Tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab && (t->kinds[id] & TOKEN_SPECIAL);
}

const char *tokenizer_bytes(const Tokenizer *t, int32_t id, size_t *size)
{
    if (id < 0 || (uint32_t)id >= t->vocab || !t->keys[id].size)
        return NULL;
    *size = t->spans[id].size;
    return t->bytes.data + t->spans[id].start;
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
    for (uint32_t i = 0; i < t->added_count; i++) {
        if (t->added[i].id == id)
            return !t->added[i].special;
    }
    return false;
}

void tokenizer_spell(const Tokenizer *t, int32_t id, Buf *out)
{
    if (id < 0 || (uint32_t)id >= t->vocab || !t->keys[id].size)
        return;
    if (t->kind != TOKENIZER_BYTES || tokenizer_is_special(t, id) || tokenizer_is_added_text(t, id))
        buf_add(out, key_of(t, id), t->keys[id].size);
    else
        bytelevel_write(key_of(t, id), t->keys[id].size, out);
}

float tokenizer_score(const Tokenizer *t, int32_t id)
{
    return t->scores && id >= 0 && (uint32_t)id < t->vocab ? (float)t->scores[id] : 0;
}

bool tokenizer_is_byte(const Tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab && (t->kinds[id] & TOKEN_BYTE);
}

int32_t tokenizer_unknown(const Tokenizer *t)
{
    return t->unknown;
}

bool tokenizer_is_plain_gpt2(const Tokenizer *t)
{
    return t->kind == TOKENIZER_BYTES && t->stage_count == 1 && t->stages[0].kind == STAGE_GPT2 &&
           !t->normalizer.count && !t->add_prefix_space && !t->ignore_merges;
}

/* Takes the blanks off that stand at out->data[from..] because the model puts them there. */
static void strip_front(const Tokenizer *t, Buf *out, size_t from)
{
    size_t blanks = 0;
    while (blanks < t->strip && from + blanks < out->size && out->data[from + blanks] == ' ')
        blanks++;
    if (!blanks)
        return;
    memmove(out->data + from, out->data + from + blanks, out->size - from - blanks);
    out->size -= blanks;
    out->data[out->size] = 0;
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
    if (!buf_ok(out, "decoded text", err))
        return false;
    strip_front(t, out, keep);
    return true;
}
