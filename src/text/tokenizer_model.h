/* tokenizer_model.h: what a Tokenizer is made of; for the files of src/text only.
 *
 * A token has two texts. Its key is what the model matches: bytes for a byte-level model, UTF-8 with
 * U+2581 for a blank for the others ("\u2581the", "<0x0A>"). Its bytes are what it means in text
 * (" the", a newline). A byte-level model has one array for both.
 *
 * Invariants once tokenizer_model_finish has succeeded:
 *  1. keys[id].size == 0 exactly for ids without token; ids are below `vocab`.
 *  2. A merge joins two tokens into one whose key is theirs in a row; merges are in order of rank.
 *  3. pairs finds the rank of two ids; it is at most half full, so that a search ends.
 *  4. Nothing changes any more but the scratch list, which has its own lock.
 */
#pragma once
#include "text/normalize.h"
#include "text/pretoken.h"
#include "text/tokenizer.h"
#include "text/trie.h"

#include <jansson.h>
#include <pthread.h>

enum {
    STAGES_MAX = 8,
    TOKENS_BYTES_MAX = 64 << 20, /* of all tokens together */
    SCRATCH_KEPT_MAX = 256,
    TOKENIZER_MERGES_MAX = 1 << 22,
    FRAME_MAX = 4,
    SOURCE_ROOM = 200,
};
#define NO_RANK UINT32_MAX

/* In the model's vocabulary; never made from text; stands for one byte that has no other token;
 * in the vocabulary and out of use; matched in text as a whole before all merging (SentencePiece's
 * user-defined pieces). A token may be several. */
enum { TOKEN_MODEL = 1, TOKEN_SPECIAL = 2, TOKEN_BYTE = 4, TOKEN_UNUSED = 8, TOKEN_WHOLE = 16 };

typedef struct {
    uint32_t start, size;
} Span;

typedef struct {
    int32_t left, right, result;
    uint32_t rank; /* merges of one rank happen from left to right */
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
typedef enum { STAGE_GPT2, STAGE_SPLIT, STAGE_METASPACE } StageKind;
typedef enum { SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_WITH_PREVIOUS, SPLIT_WITH_NEXT,
               SPLIT_CONTIGUOUS } SplitBehavior;
typedef enum { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } PrependScheme;
typedef struct {
    StageKind kind;
    SplitPattern *pattern;  /* SPLIT */
    SplitBehavior behavior; /* SPLIT */
    bool invert;            /* SPLIT: the matches are what is between the pattern's */
    PrependScheme prepend;  /* METASPACE */
    bool split;             /* METASPACE: before every mark */
} SplitStage;

typedef struct Scratch Scratch;

struct Tokenizer {
    TokenizerKind kind;
    uint32_t vocab;
    Span *keys, *spans; /* [vocab]; one array when the kind is TOKENIZER_BYTES */
    uint8_t *kinds;     /* [vocab] of TOKEN_* */
    Buf bytes;          /* of all tokens */
    int32_t byte_id[256];  /* the ordinary token of one byte; -1: the vocabulary lacks it */
    int32_t fallback[256]; /* the TOKEN_BYTE of one; -1: none */

    Merge *merges;
    uint32_t merge_count;
    PairPlace *pairs;
    uint64_t pair_mask;
    int32_t *rank_results; /* what merges of a rank give; -1: not all the same */

    int32_t *by_text; /* ids of tokens that text can give, by their keys; -1: empty */
    uint64_t by_text_mask;

    double *scores;  /* [vocab]; NULL: the file has none */
    Trie *pieces;    /* TOKENIZER_UNIGRAM: keys of all tokens that text can give */
    double unknown_score, whole_score; /* TOKENIZER_UNIGRAM: of what has no token; per byte */
    bool single_floats; /* paths are added up in float, as SentencePiece does, not in double */
    Trie *whole;     /* keys of TOKEN_WHOLE; NULL: none */

    AddedToken *added;
    uint32_t added_count;
    size_t added_bytes; /* while the tries are built */
    Trie *raw_added;        /* not special, looked for before normalising; NULL: none */
    Trie *normalized_added; /* and after it; values are indices of `added` */

    Normalizer normalizer;
    SplitStage stages[STAGES_MAX];
    uint32_t stage_count;
    bool ignore_merges, add_prefix_space;
    bool byte_fallback, fuse_unknown;
    bool marks; /* U+2581 in keys is a blank in text */
    bool cut_before_marks; /* no token of the model reaches across the start of a run of marks */
    uint32_t strip; /* blanks taken off the front of decoded text at most */
    int32_t unknown; /* id for what has no token; -1: none */
    int32_t bos, eos; /* -1: not known */
    int32_t before[FRAME_MAX], after[FRAME_MAX]; /* ids that --special puts around a text */
    uint32_t before_count, after_count;
    char source[SOURCE_ROOM];

    /* Kept as they were read, to be written back by tokenizer_save; from other formats than
     * tokenizer.json made by tokenizer_export.c. */
    json_t *normalizer_json, *pre_tokenizer, *post_processor, *decoder, *unk_token;

    pthread_mutex_t lock;
    bool lock_made;
    Scratch *scratch; /* free ones */
    uint32_t scratch_count;
};

/* An empty tokenizer with room for ids below `vocab`. */
bool tokenizer_model_new(Tokenizer **out, TokenizerKind kind, uint32_t vocab,
                         Error *err) MUST_CHECK;
/* Gives an id its key; size 1..TOKENIZER_TOKEN_BYTES_MAX; the id must have none yet. Its kinds are
 * set before: they say what its bytes are. */
bool tokenizer_model_token(Tokenizer *t, int32_t id, const void *key, size_t size,
                           Error *err) MUST_CHECK;
/* Finds tokens by key from now on (tokenizer_token_of); keys and kinds stay as they are. */
bool tokenizer_model_index(Tokenizer *t, Error *err) MUST_CHECK;
/* Builds all tables from keys, kinds, merges and added. */
bool tokenizer_model_finish(Tokenizer *t, Error *err) MUST_CHECK;
/* derive.c: all merges of two tokens into a third; ranks[id] (NO_RANK: no merge gives it) orders
 * them. Needs tokenizer_model_index; gives t->merges. */
bool tokenizer_derive_merges(Tokenizer *t, const uint32_t *ranks, Error *err) MUST_CHECK;

/* "<0x0A>": its byte, or -1. */
int byte_of_key(const char *key, size_t size);

static inline const uint8_t *key_of(const Tokenizer *t, int32_t id)
{
    return (const uint8_t *)t->bytes.data + t->keys[id].start;
}

/* U+2581, which stands for a blank, as UTF-8. */
#define MARK "\xe2\x96\x81"
enum { MARK_BYTES = 3 };
static inline bool mark_at(const uint8_t *text, size_t size)
{
    return size >= MARK_BYTES && text[0] == 0xe2 && text[1] == 0x96 && text[2] == 0x81;
}

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

/* ---- added.c ---- */
typedef struct {
    size_t start, end; /* with the blanks the token takes along; both `size`: none */
    int32_t id;
} AddedMatch;
/* The first added token of this trie at or after `from`. */
bool added_find(const Tokenizer *t, const Trie *trie, const uint8_t *text, size_t size, size_t from,
                AddedMatch *out);
bool added_index(Tokenizer *t, Error *err) MUST_CHECK; /* builds both tries */

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
    int32_t *ids; /* [symbol_room] */
    size_t symbol_room, heap_room;
    SplitMatch *matches[STAGES_MAX];
    NormalizerScratch normal;
    Buf marked; /* with marks for blanks */
    struct PathNode *path; /* unigram.c */
    size_t path_room;
};
Scratch *scratch_take(const Tokenizer *t, Error *err);
void scratch_give(const Tokenizer *t, Scratch *scratch);
void scratch_free(Scratch *scratch);
/* Appends the ids of one piece. Overflow latches in out; false: no memory, or a missing byte. */
bool merge_piece(const Tokenizer *t, Scratch *scratch, const uint8_t *text, size_t size,
                 Tokens *out, Error *err) MUST_CHECK;

/* ---- chars.c: what merging starts from, for a model of characters ---- */
/* Writes the ids of text's characters, whole pieces and fallback bytes, at most `size`, and their
 * number. A whole piece, which takes no part in merging, is written as WHOLE_ID(id).
 * ERR_INPUT: a character has no token and nothing stands for it. */
bool chars_read(const Tokenizer *t, const uint8_t *text, size_t size, int32_t *ids, size_t *count,
                Error *err) MUST_CHECK;
#define WHOLE_ID(id) (-2 - (id))
/* A byte that belongs to no character: its id, or that of the unknown token. */
bool stray_byte(const Tokenizer *t, uint8_t byte, Tokens *out, Error *err) MUST_CHECK;

/* ---- unigram.c ---- */
/* Appends the ids of the best path through text. */
bool unigram_piece(const Tokenizer *t, Scratch *scratch, const uint8_t *text, size_t size,
                   Tokens *out, Error *err) MUST_CHECK;
