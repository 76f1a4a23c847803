/* tokenizer_train.c: byte-pair training from word counts (see tokenizer.h).
 *
 * Data: each distinct word is a run of ids with a count. `pairs` holds every pair of neighbours
 * seen, its count (of word occurrences) and a list of the words it may stand in. A heap holds pairs
 * by (count, then bytes). One step takes the best pair, and in each word of its list replaces it
 * from left to right, moving counts from the pairs that go to those that come.
 *
 * Invariants between steps:
 *  1. a pair's count is exact;
 *  2. a pair's list holds every word it stands in (and perhaps words it has left);
 *  3. a pair with a count > 0 is in the heap once, under a count not below its own: counts of
 *     old pairs only fall, for a new pair always contains the new token. So a popped pair whose
 *     count has fallen goes back under its count, and one whose count holds is the best.
 * The order of words has no influence on any of it, so the result depends on the counts alone.
 */
#include "base/mem.h"
#include "format/json.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_stages.h"
#include "text/utf8.h"
#include "text/word_count.h"

#include <string.h>

enum { TOKEN_BYTES_DEFAULT = 64, NO_NODE = UINT32_MAX - 1, FIRST_MERGE = 256 };

typedef struct {
    uint64_t count;
    int32_t left, right; /* train ids: 0..255 bytes, then merges */
    uint32_t first;      /* newest node of the list of words; NO_NODE: none */
    uint32_t last_word;  /* the word of that node */
} Pair;

typedef struct {
    uint32_t word, next;
} Node;

typedef struct {
    size_t start;
    uint32_t size; /* symbols now */
    uint64_t count;
} TrainWord;

typedef struct {
    uint64_t count;
    uint32_t pair;
} Best;

typedef struct {
    const TokenizerTraining *options;
    uint32_t token_bytes_max, tokens_max, tokens;
    Span *spans; /* [tokens_max] of train ids, in bytes */
    Buf bytes;
    Merge *merges; /* [tokens_max] by train id */

    TrainWord *words;
    size_t word_count;
    int32_t *symbols;

    Pair *pairs;
    uint32_t pair_count, pair_room;
    uint32_t *places; /* index into pairs by hash; UINT32_MAX: empty */
    uint64_t place_mask;
    Node *nodes;
    uint32_t node_count, node_room;
    Best *heap;
    uint32_t heap_count, heap_room;
} Train;

static void train_done(Train *s)
{
    buf_done(&s->bytes);
    mem_free(s->spans);
    mem_free(s->merges);
    mem_free(s->words);
    mem_free(s->symbols);
    mem_free(s->pairs);
    mem_free(s->places);
    mem_free(s->nodes);
    mem_free(s->heap);
}

/* Doubles an array when it is full. */
static bool grow(void **array, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room)
        return true;
    if (*room >= NO_NODE / 2)
        return false;
    uint32_t more = *room ? 2 * *room : 1024;
    void *bigger = mem_resize(*array, more, size);
    if (!bigger)
        return false;
    *array = bigger;
    *room = more;
    return true;
}

/* ---- pairs ---- */

static bool places_grow(Train *s)
{
    uint64_t size = s->places ? 2 * (s->place_mask + 1) : 1 << 16;
    uint32_t *places = mem_alloc(size, sizeof *places);
    if (!places)
        return false;
    memset(places, 0xff, size * sizeof *places);
    for (uint32_t i = 0; i < s->pair_count; i++) {
        uint64_t at = pair_hash(pair_key(s->pairs[i].left, s->pairs[i].right)) & (size - 1);
        while (places[at] != UINT32_MAX)
            at = (at + 1) & (size - 1);
        places[at] = i;
    }
    mem_free(s->places);
    s->places = places;
    s->place_mask = size - 1;
    return true;
}

/* The place of a pair in the table: of its index, or where it would stand. */
static uint32_t *pair_place(const Train *s, int32_t left, int32_t right)
{
    uint64_t at = pair_hash(pair_key(left, right)) & s->place_mask;
    for (;; at = (at + 1) & s->place_mask) {
        uint32_t i = s->places[at];
        if (i == UINT32_MAX || (s->pairs[i].left == left && s->pairs[i].right == right))
            return &s->places[at];
    }
}

/* `count` more of a pair, standing in `word`. */
static bool pair_more(Train *s, int32_t left, int32_t right, uint32_t word, uint64_t count)
{
    uint32_t *place = pair_place(s, left, right);
    if (*place == UINT32_MAX) {
        if (!grow((void **)&s->pairs, s->pair_count, &s->pair_room, sizeof *s->pairs))
            return false;
        *place = s->pair_count;
        s->pairs[s->pair_count++] = (Pair){.left = left, .right = right, .first = NO_NODE};
        if (2 * (uint64_t)s->pair_count > s->place_mask) {
            if (!places_grow(s))
                return false;
            place = pair_place(s, left, right);
        }
    }
    Pair *pair = &s->pairs[*place];
    pair->count += count;
    if (pair->first != NO_NODE && pair->last_word == word)
        return true;
    if (!grow((void **)&s->nodes, s->node_count, &s->node_room, sizeof *s->nodes))
        return false;
    s->nodes[s->node_count] = (Node){word, pair->first};
    pair->first = s->node_count++;
    pair->last_word = word;
    return true;
}

static void pair_less(Train *s, int32_t left, int32_t right, uint64_t count)
{
    s->pairs[*pair_place(s, left, right)].count -= count;
}

/* ---- the heap ---- */

/* < 0, 0, > 0 as the bytes of a stand before, with or after those of b. */
static int compare_tokens(const Train *s, int32_t a, int32_t b)
{
    Span x = s->spans[a], y = s->spans[b];
    int order = memcmp(s->bytes.data + x.start, s->bytes.data + y.start,
                       x.size < y.size ? x.size : y.size);
    return order ? order : (x.size > y.size) - (x.size < y.size);
}

static bool better(const Train *s, Best a, Best b)
{
    if (a.count != b.count)
        return a.count > b.count;
    const Pair *x = &s->pairs[a.pair], *y = &s->pairs[b.pair];
    int order = x->left == y->left ? 0 : compare_tokens(s, x->left, y->left);
    return (order ? order : compare_tokens(s, x->right, y->right)) > 0;
}

static bool heap_add(Train *s, uint32_t pair)
{
    const Pair *p = &s->pairs[pair];
    if (!p->count || s->spans[p->left].size + s->spans[p->right].size > s->token_bytes_max)
        return true;
    if (!grow((void **)&s->heap, s->heap_count, &s->heap_room, sizeof *s->heap))
        return false;
    Best item = {p->count, pair};
    uint32_t at = s->heap_count++;
    while (at && better(s, item, s->heap[(at - 1) / 2])) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = item;
    return true;
}

static void heap_sink(Train *s, Best item)
{
    uint32_t at = 0;
    for (uint32_t child; (child = 2 * at + 1) < s->heap_count; at = child) {
        if (child + 1 < s->heap_count && better(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!better(s, s->heap[child], item))
            break;
        s->heap[at] = s->heap[child];
    }
    s->heap[at] = item;
}

/* The best pair, out of the heap; UINT32_MAX: none is left. */
static uint32_t heap_best(Train *s)
{
    while (s->heap_count) {
        Best top = s->heap[0];
        uint64_t count = s->pairs[top.pair].count;
        if (count && count != top.count) {
            heap_sink(s, (Best){count, top.pair});
            continue;
        }
        Best last = s->heap[--s->heap_count];
        if (s->heap_count)
            heap_sink(s, last);
        if (count)
            return top.pair;
    }
    return UINT32_MAX;
}

/* ---- steps ---- */

static bool merge_in_word(Train *s, uint32_t w, int32_t left, int32_t right, int32_t made)
{
    TrainWord *word = &s->words[w];
    int32_t *symbols = s->symbols + word->start;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < word->size; i++) {
        if (symbols[i] != left || i + 1 == word->size || symbols[i + 1] != right) {
            symbols[kept++] = symbols[i];
            continue;
        }
        if (kept) {
            pair_less(s, symbols[kept - 1], left, word->count);
            if (!pair_more(s, symbols[kept - 1], made, w, word->count))
                return false;
        }
        if (i + 2 < word->size) {
            pair_less(s, right, symbols[i + 2], word->count);
            if (!pair_more(s, made, symbols[i + 2], w, word->count))
                return false;
        }
        pair_less(s, left, right, word->count);
        symbols[kept++] = made;
        i++;
    }
    word->size = kept;
    return true;
}

static bool add_token(Train *s, int32_t left, int32_t right)
{
    Span a = s->spans[left], b = s->spans[right];
    uint8_t joined[TOKENIZER_TOKEN_BYTES_MAX];
    memcpy(joined, s->bytes.data + a.start, a.size);
    memcpy(joined + a.size, s->bytes.data + b.start, b.size);
    int32_t made = (int32_t)s->tokens++;
    s->spans[made] = (Span){(uint32_t)s->bytes.size, a.size + b.size};
    s->merges[made] = (Merge){left, right, made, 0};
    buf_add(&s->bytes, joined, a.size + b.size);
    return !s->bytes.failed;
}

static bool step(Train *s, uint32_t best)
{
    Pair pair = s->pairs[best];
    int32_t made = (int32_t)s->tokens;
    if (!add_token(s, pair.left, pair.right))
        return false;
    uint32_t first_new = s->pair_count;
    for (uint32_t node = pair.first; node != NO_NODE; node = s->nodes[node].next)
        if (!merge_in_word(s, s->nodes[node].word, pair.left, pair.right, made))
            return false;
    for (uint32_t i = first_new; i < s->pair_count; i++)
        if (!heap_add(s, i))
            return false;
    return true;
}

/* A merge may not make a token that is written like a special one: in a file they would be one. */
static bool is_special_pair(const Train *s, const Pair *pair)
{
    char text[2 * TOKENIZER_TOKEN_BYTES_MAX];
    size_t size = 0;
    const int32_t ids[2] = {pair->left, pair->right};
    for (uint32_t i = 0; i < 2 && s->options->special_count; i++) {
        Span span = s->spans[ids[i]];
        size += bytelevel_text((const uint8_t *)s->bytes.data + span.start, span.size, text + size);
    }
    for (uint32_t i = 0; i < s->options->special_count; i++)
        if (strlen(s->options->special[i]) == size && !memcmp(s->options->special[i], text, size))
            return true;
    return false;
}

static bool read_words(Train *s, const WordCounts *counts)
{
    size_t symbols = 0;
    for (uint64_t i = 0; i <= counts->mask; i++)
        symbols += counts->places[i].size;
    s->words = mem_alloc(counts->used, sizeof *s->words);
    s->symbols = mem_alloc(symbols, sizeof *s->symbols);
    if (!s->words || !s->symbols || counts->used > NO_NODE || !places_grow(s))
        return false;
    size_t start = 0;
    for (uint64_t i = 0; i <= counts->mask; i++) {
        const Word *word = &counts->places[i];
        if (!word->count)
            continue;
        uint32_t w = (uint32_t)s->word_count++;
        s->words[w] = (TrainWord){start, word->size, word->count};
        for (uint32_t k = 0; k < word->size; k++) {
            s->symbols[start + k] = (uint8_t)counts->bytes[word->start + k];
            if (k && !pair_more(s, s->symbols[start + k - 1], s->symbols[start + k], w,
                                word->count))
                return false;
        }
        start += word->size;
    }
    for (uint32_t i = 0; i < s->pair_count; i++)
        if (!heap_add(s, i))
            return false;
    return true;
}

static bool train_run(Train *s, const WordCounts *counts)
{
    s->spans = mem_alloc(s->tokens_max, sizeof *s->spans);
    s->merges = mem_alloc(s->tokens_max, sizeof *s->merges);
    buf_init(&s->bytes, TOKENS_BYTES_MAX);
    if (!s->spans || !s->merges)
        return false;
    for (uint32_t byte = 0; byte < 256; byte++) {
        s->spans[byte] = (Span){byte, 1};
        buf_add_char(&s->bytes, (char)byte);
    }
    s->tokens = FIRST_MERGE;
    if (s->bytes.failed || !read_words(s, counts))
        return false;
    while (s->tokens < s->tokens_max) {
        uint32_t best = heap_best(s);
        if (best == UINT32_MAX)
            return true;
        if (is_special_pair(s, &s->pairs[best]))
            continue;
        if (!step(s, best))
            return false;
    }
    return true;
}

/* ---- from the merges to a tokenizer ---- */

/* What a new tokenizer.json says around the model: GPT-2's pattern, byte-level, nothing else. */
static json_t *new_parts(void)
{
    return json_pack("{s:n,s:n,s:{s:s,s:b,s:b,s:b},s:{s:s,s:b,s:b,s:b}}", "normalizer",
                     "post_processor", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", 1, "decoder", "type", "ByteLevel",
                     "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1);
}

static bool build_specials(Tokenizer *t, const TokenizerTraining *options, Error *err)
{
    t->added = mem_alloc(options->special_count, sizeof *t->added);
    if (!t->added)
        return fail(err, ERR_MEMORY, "no memory for a tokenizer");
    for (uint32_t i = 0; i < options->special_count; i++) {
        const char *text = options->special[i];
        if (!tokenizer_model_token(t, (int32_t)i, text, strlen(text), err))
            return false;
        t->kinds[i] = TOKEN_SPECIAL | TOKEN_MODEL;
        t->added[t->added_count++] = (AddedToken){.id = (int32_t)i, .special = true};
    }
    return true;
}

/* The byte that stands at `place` of the byte-level alphabet, where printable ones come first. */
static uint8_t byte_of_place(uint32_t place)
{
    uint32_t seen = 0;
    for (uint32_t character = 0;; character++)
        if (bytelevel_to_byte(character) >= 0 && seen++ == place)
            return (uint8_t)bytelevel_to_byte(character);
}

static bool build_tokens(Tokenizer *t, const Train *s, uint32_t specials, Error *err)
{
    int32_t byte_ids[256];
    for (uint32_t place = 0; place < 256; place++) {
        uint8_t byte = byte_of_place(place);
        byte_ids[byte] = (int32_t)(specials + place);
        if (!tokenizer_model_token(t, byte_ids[byte], &byte, 1, err))
            return false;
    }
    t->merges = mem_alloc(s->tokens - FIRST_MERGE, sizeof *t->merges);
    if (!t->merges)
        return fail(err, ERR_MEMORY, "no memory for a tokenizer");
    for (uint32_t i = FIRST_MERGE; i < s->tokens; i++) {
        int32_t ids[2] = {s->merges[i].left, s->merges[i].right};
        for (uint32_t k = 0; k < 2; k++)
            ids[k] = ids[k] < FIRST_MERGE ? byte_ids[ids[k]] : (int32_t)specials + ids[k];
        t->merges[t->merge_count] =
            (Merge){ids[0], ids[1], (int32_t)(specials + i), t->merge_count};
        t->merge_count++;
        if (!tokenizer_model_token(t, (int32_t)(specials + i), s->bytes.data + s->spans[i].start,
                                   s->spans[i].size, err))
            return false;
    }
    for (uint32_t id = specials; id < t->vocab; id++)
        t->kinds[id] = TOKEN_MODEL;
    return tokenizer_model_finish(t, err);
}

static bool build(Tokenizer **out, const Train *s, const TokenizerTraining *options, Error *err)
{
    auto_json json_t *parts = new_parts();
    Tokenizer *t = NULL;
    if (!parts)
        return fail(err, ERR_MEMORY, "no memory for a tokenizer");
    if (!tokenizer_model_new(&t, TOKENIZER_BYTES, options->special_count + s->tokens, err))
        return false;
    if (!tokenizer_stages_read(t, parts, "new tokenizer", err) ||
        !build_specials(t, options, err) || !build_tokens(t, s, options->special_count, err)) {
        tokenizer_free(t);
        return false;
    }
    *out = t;
    return true;
}

static bool check_specials(Train *s, Error *err)
{
    const TokenizerTraining *o = s->options;
    for (uint32_t i = 0; i < o->special_count; i++) {
        const char *text = o->special[i];
        size_t size = strlen(text);
        uint32_t length;
        if (!size || size > TOKENIZER_TOKEN_BYTES_MAX ||
            utf8_valid_prefix((const uint8_t *)text, size) != size)
            return fail(err, ERR_INPUT, "special token %u must be UTF-8 of 1 to %d bytes", i,
                        TOKENIZER_TOKEN_BYTES_MAX);
        if (bytelevel_to_byte(utf8_next((const uint8_t *)text, &length)) >= 0 && length == size)
            return fail(err, ERR_INPUT, "special token '%s' is the name of a byte: take a longer "
                        "one", text);
        for (uint32_t k = 0; k < i; k++)
            if (!strcmp(text, o->special[k]))
                return fail(err, ERR_INPUT, "special token '%s' is given twice", text);
    }
    return true;
}

static bool check_options(Train *s, Error *err)
{
    const TokenizerTraining *o = s->options;
    if (o->vocab > TOKENIZER_VOCAB_MAX || o->special_count > TOKENIZER_VOCAB_MAX - 256 ||
        o->vocab < o->special_count + 256)
        return fail(err, ERR_INPUT, "a vocabulary of %u is outside %u..%d: 256 bytes and %u "
                    "special tokens are in it", o->vocab, o->special_count + 256,
                    TOKENIZER_VOCAB_MAX, o->special_count);
    s->tokens_max = o->vocab - o->special_count;
    s->token_bytes_max = o->token_bytes_max ? o->token_bytes_max : TOKEN_BYTES_DEFAULT;
    if (s->token_bytes_max > TOKENIZER_TOKEN_BYTES_MAX / 4)
        return fail(err, ERR_INPUT, "tokens of %u bytes are asked for, %d is the most",
                    s->token_bytes_max, TOKENIZER_TOKEN_BYTES_MAX / 4);
    return check_specials(s, err);
}

bool tokenizer_train(Tokenizer **out, const TokenizerTraining *options, size_t count,
                     void (*each)(void *user, size_t i, const char **text, size_t *size),
                     void *user, Error *err)
{
    Train s = {.options = options};
    WordCounts counts = {0};
    Pool *pool = NULL;
    if (!check_options(&s, err) || !pool_new(&pool, options->threads, err))
        return false;
    bool done = word_counts_make(&counts, pool, count, each, user, err);
    pool_free(pool);
    if (done && !train_run(&s, &counts))
        done = fail(err, ERR_MEMORY, "no memory to train a tokenizer on %llu distinct words",
                    (unsigned long long)counts.used);
    word_counts_done(&counts);
    done = done && build(out, &s, options, err);
    train_done(&s);
    return done;
}
