/* tokenizer_pieces.c: a Tokenizer from pieces with scores, which is what SentencePiece files and
 * most GGUF files hold. See tokenizer_formats.h.
 *
 * A BPE model of this kind has no merges but scores: two neighbours are merged when a piece has
 * their texts, the highest score first. Scores become ranks, equal ones an equal rank.
 */
#include "base/mem.h"
#include "text/tokenizer_formats.h"
#include "text/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0f /* SentencePiece's kUnkPenalty */

static const uint8_t kinds_of[] = {
    [0] = 0,
    [PIECE_NORMAL] = TOKEN_MODEL,
    [PIECE_UNKNOWN] = TOKEN_MODEL | TOKEN_SPECIAL,
    [PIECE_CONTROL] = TOKEN_MODEL | TOKEN_SPECIAL,
    [PIECE_WHOLE] = TOKEN_MODEL | TOKEN_WHOLE,
    [PIECE_UNUSED] = TOKEN_MODEL | TOKEN_UNUSED,
    [PIECE_BYTE] = TOKEN_MODEL | TOKEN_BYTE,
};

void tokenizer_describe(Tokenizer *t, const char *name)
{
    static const char *const kinds[] = {
        [TOKENIZER_BYTES] = "byte-level BPE",
        [TOKENIZER_CHARS] = "BPE",
        [TOKENIZER_UNIGRAM] = "unigram",
    };
    snprintf(t->source, sizeof t->source, "%.120s: %s, %u tokens", name, kinds[t->kind], t->vocab);
}

void tokenizer_add_special(Tokenizer *t, int32_t id)
{
    t->added[t->added_count++] = (AddedToken){.id = id, .special = true};
}

static bool read_piece(Tokenizer *t, const PieceModel *m, uint32_t id, Error *err)
{
    const Piece *piece = &m->pieces[id];
    if (piece->type < PIECE_NORMAL || piece->type > PIECE_BYTE)
        return fail(err, ERR_FORMAT, "%s: piece %u has the unknown type %d", m->name, id,
                    (int)piece->type);
    if (!piece->size && piece->type == PIECE_UNUSED)
        return true;
    if (utf8_valid_prefix((const uint8_t *)piece->text, piece->size) != piece->size)
        return fail(err, ERR_FORMAT, "%s: piece %u is no UTF-8", m->name, id);
    if (piece->type == PIECE_BYTE && byte_of_key(piece->text, piece->size) < 0)
        return fail(err, ERR_FORMAT, "%s: piece %u '%.*s' should name a byte as <0x0A> does",
                    m->name, id, piece->size > 40 ? 40 : (int)piece->size, piece->text);
    if (!isfinite(piece->score))
        return fail(err, ERR_FORMAT, "%s: the score of piece %u is no number", m->name, id);
    t->kinds[id] = kinds_of[piece->type];
    t->scores[id] = piece->score;
    if (!tokenizer_model_token(t, (int32_t)id, piece->text, piece->size, err))
        return fail_within(err, "%s", m->name);
    if (piece->type == PIECE_UNKNOWN && t->unknown < 0)
        t->unknown = (int32_t)id;
    if (piece->type == PIECE_WHOLE)
        t->added[t->added_count++] = (AddedToken){.id = (int32_t)id};
    else if (t->kinds[id] & TOKEN_SPECIAL)
        tokenizer_add_special(t, (int32_t)id);
    return true;
}

typedef struct {
    double score;
    uint32_t id;
} Scored;

static int higher_first(const void *a, const void *b)
{
    const Scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool derive(Tokenizer *t, Error *err)
{
    auto_free Scored *order = mem_alloc(t->vocab, sizeof *order);
    auto_free uint32_t *ranks = mem_alloc(t->vocab, sizeof *ranks);
    uint32_t count = 0, rank = 0;
    if (!order || !ranks)
        return fail(err, ERR_MEMORY, "no memory for a tokenizer");
    for (uint32_t id = 0; id < t->vocab; id++) {
        ranks[id] = NO_RANK;
        if ((t->kinds[id] & ~TOKEN_WHOLE) == TOKEN_MODEL)
            order[count++] = (Scored){t->scores[id], id};
    }
    qsort(order, count, sizeof *order, higher_first);
    for (uint32_t i = 0; i < count; i++) {
        rank += i && order[i].score != order[i - 1].score;
        ranks[order[i].id] = rank;
    }
    return tokenizer_model_index(t, err) && tokenizer_derive_merges(t, ranks, err);
}

/* Scores of what is no piece, as SentencePiece sets them: from normal pieces alone. */
static void set_unigram_scores(Tokenizer *t)
{
    bool any = false;
    float lowest = 0, highest = 0;
    for (uint32_t id = 0; id < t->vocab; id++) {
        float score = (float)t->scores[id];
        if (t->kinds[id] != TOKEN_MODEL)
            continue;
        lowest = !any || score < lowest ? score : lowest;
        highest = !any || score > highest ? score : highest;
        any = true;
    }
    t->single_floats = true;
    t->unknown_score = lowest - UNKNOWN_PENALTY;
    t->whole_score = highest;
}

static bool set_frame(Tokenizer *t, const PieceModel *m, Error *err)
{
    const int32_t ids[] = {m->bos, m->eos};
    for (size_t i = 0; i < 2; i++)
        if (ids[i] >= (int32_t)t->vocab)
            return fail(err, ERR_FORMAT, "%s: the begin or end token %d is outside 0..%u", m->name,
                        ids[i], t->vocab - 1);
    t->bos = m->bos;
    t->eos = m->eos;
    if (m->add_bos && m->bos >= 0)
        t->before[t->before_count++] = m->bos;
    if (m->add_eos && m->eos >= 0)
        t->after[t->after_count++] = m->eos;
    return true;
}

static bool set_normalizer(Tokenizer *t, const PieceModel *m, Error *err)
{
    NormalStep *step = &t->normalizer.steps[t->normalizer.count++];
    *step = (NormalStep){.kind = NORMAL_PIECES, .dummy_prefix = m->dummy_prefix,
                         .as_suffix = m->as_suffix, .remove_extra = m->remove_extra,
                         .escape = m->escape};
    bool prefix = m->dummy_prefix && !m->as_suffix;
    t->strip = m->remove_extra ? UINT32_MAX : prefix;
    return charsmap_read(&step->charsmap, m->charsmap, m->charsmap_size, err) ||
           fail_within(err, "%s", m->name);
}

static bool build(Tokenizer *t, const PieceModel *m, Error *err)
{
    t->marks = m->escape;
    t->byte_fallback = m->byte_fallback;
    t->fuse_unknown = true;
    t->scores = mem_alloc(t->vocab, sizeof *t->scores);
    t->added = mem_alloc(t->vocab, sizeof *t->added);
    if (!t->scores || !t->added)
        return fail(err, ERR_MEMORY, "no memory for a tokenizer");
    if (!set_normalizer(t, m, err))
        return false;
    for (uint32_t id = 0; id < m->count; id++)
        if (!read_piece(t, m, id, err))
            return false;
    set_unigram_scores(t);
    if (!set_frame(t, m, err))
        return false;
    if ((!m->unigram && !derive(t, err)) || !tokenizer_model_finish(t, err))
        return fail_within(err, "%s", m->name);
    tokenizer_describe(t, m->name);
    return tokenizer_export(t, err);
}

bool tokenizer_from_pieces(Tokenizer **out, const PieceModel *m, Error *err)
{
    Tokenizer *t = NULL;
    if (!m->count || m->count > TOKENIZER_VOCAB_MAX)
        return fail(err, ERR_FORMAT, "%s: %u pieces, 1 to %d are allowed", m->name, m->count,
                    TOKENIZER_VOCAB_MAX);
    if (!tokenizer_model_new(&t, m->unigram ? TOKENIZER_UNIGRAM : TOKENIZER_CHARS, m->count, err))
        return false;
    if (!build(t, m, err)) {
        tokenizer_free(t);
        return false;
    }
    *out = t;
    return true;
}
