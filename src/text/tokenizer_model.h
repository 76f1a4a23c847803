/* tokenizer_model.h: what a Tokenizer is made of; for the files of src/text only.
 *
 * Invariants once tokenizer_model_finish has succeeded:
 *  1. spans[id].size == 0 exactly for ids without token; ids are below `vocab`.
 *  2. merges[rank] joins two tokens into one whose bytes are theirs in a row.
 *  3. pairs finds the rank of two ids; it is at most half full, so that a search ends.
 *  4. Nothing changes any more but the scratch list, which has its own lock.
 */
#pragma once
#include "text/pretoken.h"
#include "text/tokenizer.h"

#include <jansson.h>
#include <pthread.h>

enum {
    STAGES_MAX = 8,
    TOKENS_BYTES_MAX = 64 << 20, /* of all tokens together */
    SCRATCH_KEPT_MAX = 256,
    TEXT_TOKENS_MAX = 256, /* each is looked for where its first byte stands */
};
#define NO_RANK UINT32_MAX

/* In the model's vocabulary; never made from text. A token may be both. */
enum { TOKEN_MODEL = 1, TOKEN_SPECIAL = 2 };

typedef struct {
    uint32_t start, size;
} Span;

typedef struct {
    int32_t left, right, result;
} Merge;

typedef struct {
    uint64_t key; /* left << 32 | right */
    uint32_t rank; /* NO_RANK: an empty place */
    int32_t result;
} PairPlace;

/* A token of added_tokens. Those not special are cut out of the text before everything else. */
typedef struct {
    int32_t id;
    bool special, normalized, single_word, lstrip, rstrip;
} AddedToken;

/* One way of cutting; the pieces of a stage go through the next. */
typedef struct {
    SplitPattern *pattern; /* NULL: GPT-2's */
} SplitStage;

typedef struct Scratch Scratch;

struct Tokenizer {
    uint32_t vocab;
    Span *spans;      /* [vocab] */
    uint8_t *kinds;   /* [vocab] of TOKEN_SPECIAL | TOKEN_MODEL */
    Buf bytes;        /* of all tokens */
    int32_t byte_id[256]; /* -1: the vocabulary lacks this byte */

    Merge *merges;
    uint32_t merge_count;
    PairPlace *pairs;
    uint64_t pair_mask;

    int32_t *by_text; /* ids of model tokens not special, by their bytes; -1: empty */
    uint64_t by_text_mask;

    AddedToken *added;
    uint32_t added_count;
    int32_t text_tokens[TEXT_TOKENS_MAX]; /* those not special: they are cut out of text */
    uint32_t text_token_count;
    uint8_t text_token_first[256]; /* 1: such a token begins with this byte */

    SplitStage stages[STAGES_MAX];
    uint32_t stage_count;
    bool ignore_merges, add_prefix_space, nfc;

    /* Kept as they were read, to be written back: see tokenizer_save. */
    json_t *normalizer, *pre_tokenizer, *post_processor, *decoder, *unk_token;

    pthread_mutex_t lock;
    bool lock_made;
    Scratch *scratch; /* free ones */
    uint32_t scratch_count;
};

/* An empty tokenizer with room for ids below `vocab`. */
bool tokenizer_model_new(Tokenizer **out, uint32_t vocab, Error *err) MUST_CHECK;
/* Gives an id its bytes; size 1..TOKENIZER_TOKEN_BYTES_MAX; the id must have none yet. */
bool tokenizer_model_token(Tokenizer *t, int32_t id, const void *bytes, size_t size,
                           Error *err) MUST_CHECK;
/* Builds the tables from spans, kinds, merges and added. */
bool tokenizer_model_finish(Tokenizer *t, Error *err) MUST_CHECK;

static inline uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline uint64_t pair_hash(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    return key ^ key >> 32;
}

/* The merge of two ids: its rank and result, or NO_RANK. */
static inline uint32_t pair_find(const Tokenizer *t, int32_t left, int32_t right, int32_t *result)
{
    uint64_t key = pair_key(left, right);
    for (uint64_t at = pair_hash(key) & t->pair_mask;; at = (at + 1) & t->pair_mask) {
        const PairPlace *place = &t->pairs[at];
        if (place->rank == NO_RANK || place->key == key) {
            *result = place->result;
            return place->rank;
        }
    }
}

/* The ordinary token with exactly these bytes; -1: none. */
int32_t tokenizer_token_of(const Tokenizer *t, const uint8_t *bytes, size_t size);

/* ---- tokens.c ---- */
void tokens_append(Tokens *tokens, const int32_t *ids, size_t count);
/* False when an append failed: ERR_LIMIT or ERR_MEMORY; the list is cut back to `keep`. */
bool tokens_settle(Tokens *tokens, size_t keep, Error *err) MUST_CHECK;

/* ---- merge.c: the ids of one piece of text ---- */
/* Memory of one running encode: the cache of pieces and what merging needs. */
struct Scratch {
    Scratch *next;
    struct CachedPiece *cache;   /* [CACHE_PIECES] or NULL before the first use */
    struct Symbol *symbols;      /* [symbol_room] */
    struct HeapItem *heap;
    size_t symbol_room, heap_room;
    SplitMatch *matches[STAGES_MAX];
    Buf text; /* normalised */
};
Scratch *scratch_take(const Tokenizer *t, Error *err);
void scratch_give(const Tokenizer *t, Scratch *scratch);
void scratch_free(Scratch *scratch);
/* Appends the ids of one piece. Overflow latches in out; false: no memory, or a missing byte. */
bool merge_piece(const Tokenizer *t, Scratch *scratch, const uint8_t *text, size_t size,
                 Tokens *out, Error *err) MUST_CHECK;
