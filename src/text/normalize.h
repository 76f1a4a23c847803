/* normalize.h: the ways in which text is changed before it is cut into tokens.
 *
 * A Normalizer is a list of steps. Those of tokenizer.json are the file's, in its order; a
 * SentencePiece model has one step that does what its normalizer_spec says. Text is valid UTF-8
 * before and after. Time is linear in the text but for NFC and NFKC (size log size).
 * Threads: a Normalizer is immutable once made; a NormalizerScratch belongs to one thread.
 */
#pragma once
#include "base/buf.h"
#include "text/pretoken.h"
#include "text/trie.h"

enum { NORMAL_STEPS_MAX = 8, CHARSMAP_BYTES_MAX = 8 << 20 };

/* ---- charsmap.c: precompiled_charsmap of SentencePiece ---- */

/* u32 bytes of the trie; the trie (a Darts double array of u32); texts, each ended by NUL. All
 * little-endian and copied as they are; every index is checked when it is followed. */
typedef struct {
    uint8_t *blob; /* NULL: no map */
    size_t size;
    uint32_t units; /* of the trie */
} Charsmap;
bool charsmap_read(Charsmap *out, const void *blob, size_t size, Error *err) MUST_CHECK;
void charsmap_done(Charsmap *map);
/* The longest (or with `shortest` the shortest) entry that begins text: its bytes, and what stands
 * for it. 0: no entry. */
size_t charsmap_find(const Charsmap *map, const uint8_t *text, size_t size, bool shortest,
                     const char **to, size_t *to_size);
/* As Hugging Face applies it: to each grapheme of less than 6 bytes, else to each character. */
bool charsmap_append(const Charsmap *map, const uint8_t *text, size_t size, Buf *out,
                     Error *err) MUST_CHECK;

/* ---- steps ---- */

typedef enum { NORMAL_NFC, NORMAL_NFKC, NORMAL_PREPEND, NORMAL_REPLACE, NORMAL_STRIP,
               NORMAL_CHARSMAP, NORMAL_PIECES } NormalKind;

typedef struct {
    NormalKind kind;
    SplitPattern *pattern; /* REPLACE by pattern; NULL: of the text `from` */
    char *from, *to;       /* REPLACE; PREPEND: to */
    size_t from_size, to_size;
    bool left, right;      /* STRIP */
    Charsmap charsmap;     /* CHARSMAP, PIECES */
    /* PIECES: normalizer_spec of SentencePiece. */
    bool dummy_prefix, as_suffix, remove_extra, escape;
} NormalStep;

typedef struct {
    NormalStep steps[NORMAL_STEPS_MAX];
    uint32_t count;
} Normalizer;

typedef struct {
    Buf texts[2];
    SplitMatch *matches[NORMAL_STEPS_MAX];
} NormalizerScratch;

void normalizer_done(Normalizer *normalizer);
bool normalizer_scratch_init(NormalizerScratch *scratch, const Normalizer *normalizer,
                             Error *err) MUST_CHECK;
void normalizer_scratch_done(NormalizerScratch *scratch);

/* Changes text: *out and *out_size lie in scratch (or are the text itself) until the next call.
 * first: nothing of its text stands before it. whole: texts that PIECES leaves as they are, or
 * NULL. */
bool normalize(const Normalizer *normalizer, NormalizerScratch *scratch, const Trie *whole,
               const uint8_t *text, size_t size, bool first, const uint8_t **out,
               size_t *out_size, Error *err) MUST_CHECK;
