/* encode.c: from text to pieces to ids, and many documents at once.
 *
 * The way of a text, each step only where the tokenizer asks for it: added tokens that are not
 * special are cut out; invalid bytes become single ids; what is left is valid UTF-8, normalised,
 * rid of the added tokens "normalized", cut by each stage, and given to the model piece by piece.
 *
 * A model of characters has no stages in most files: its piece is the whole text. Where no token
 * reaches across the start of a run of marks (tokenizer.c looks at all of them), the words between
 * such places are merged one by one with the same result, so that the cache of pieces serves.
 */
#include "base/mem.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <string.h>

/* What one running encode needs at every step. */
typedef struct {
    const Tokenizer *t;
    Scratch *scratch;
    Tokens *out;
    Error *err;
    const uint8_t *segment; /* the text that the stages cut */
    bool text_begins;       /* with it; */
    bool after_stray;       /* it follows a byte that is no UTF-8: nothing is put in front */
} Encode;

static bool encode_stage(const Encode *e, uint32_t stage, const uint8_t *text, size_t size);

static bool encode_gpt2(const Encode *e, uint32_t stage, const uint8_t *text, size_t size)
{
    bool last = stage + 1 == e->t->stage_count && e->t->kind == TOKENIZER_BYTES;
    for (size_t at = 0; at < size;) {
        size_t piece = pretoken_gpt2(text + at, size - at);
        if (last ? !merge_piece(e->t, e->scratch, text + at, piece, e->out, e->err)
                 : !encode_stage(e, stage + 1, text + at, piece))
            return false;
        if (e->out->failed)
            return true; /* over the limit: tokenizer_encode says so */
        at += piece;
    }
    return true;
}

/* ---- Split ---- */

typedef struct {
    size_t start, end;
    bool match;
} Range;

/* Whether a range goes into one piece with the one before it. */
static bool joins(SplitBehavior behavior, bool before, bool now)
{
    return (behavior == SPLIT_CONTIGUOUS && before == now) ||
           (behavior == SPLIT_WITH_PREVIOUS && now && !before) ||
           (behavior == SPLIT_WITH_NEXT && before && !now);
}

static bool emit_range(const Encode *e, uint32_t stage, const uint8_t *text, const Range *range)
{
    bool removed = range->match && e->t->stages[stage].behavior == SPLIT_REMOVED;
    return range->start == range->end || removed || e->out->failed ||
           encode_stage(e, stage + 1, text + range->start, range->end - range->start);
}

static bool add_range(const Encode *e, uint32_t stage, const uint8_t *text, Range *pending,
                      Range next)
{
    const SplitStage *split = &e->t->stages[stage];
    if (next.start == next.end)
        return true;
    next.match ^= split->invert;
    bool joined = pending->end > pending->start &&
                  joins(split->behavior, pending->match, next.match);
    if (!joined && !emit_range(e, stage, text, pending))
        return false;
    if (joined)
        next.start = pending->start;
    *pending = next;
    return true;
}

/* The usual behaviour: matches and what is between them are pieces; inverting changes nothing. */
static bool encode_isolated(const Encode *e, uint32_t stage, const uint8_t *text, size_t size)
{
    const SplitPattern *pattern = e->t->stages[stage].pattern;
    for (size_t at = 0; at < size && !e->out->failed;) {
        size_t start, end;
        if (!split_next(pattern, e->scratch->matches[stage], text, size, at, &start, &end, e->err))
            return false;
        if (start > at && !encode_stage(e, stage + 1, text + at, start - at))
            return false;
        if (end > start && !encode_stage(e, stage + 1, text + start, end - start))
            return false;
        at = end;
    }
    return true;
}

static bool encode_split(const Encode *e, uint32_t stage, const uint8_t *text, size_t size)
{
    Range pending = {0};
    if (e->t->stages[stage].behavior == SPLIT_ISOLATED)
        return encode_isolated(e, stage, text, size);
    for (size_t at = 0; at < size && !e->out->failed;) {
        size_t start, end;
        if (!split_next(e->t->stages[stage].pattern, e->scratch->matches[stage], text, size, at,
                        &start, &end, e->err) ||
            !add_range(e, stage, text, &pending, (Range){at, start, false}) ||
            !add_range(e, stage, text, &pending, (Range){start, end, true}))
            return false;
        at = end;
    }
    return emit_range(e, stage, text, &pending);
}

/* ---- Metaspace ---- */

static void add_marked(Buf *out, const uint8_t *text, size_t size)
{
    const uint8_t *end = text + size;
    while (text < end) {
        const uint8_t *blank = memchr(text, ' ', (size_t)(end - text));
        buf_add(out, text, (size_t)((blank ? blank : end) - text));
        if (!blank)
            return;
        buf_add(out, MARK, MARK_BYTES);
        text = blank + 1;
    }
}

/* Where the piece that begins at `at` ends: before the next mark. */
static size_t marked_end(const uint8_t *text, size_t size, size_t at)
{
    for (at += utf8_length(text[at]); at < size && !mark_at(text + at, size - at);)
        at += utf8_length(text[at]);
    return at;
}

static bool encode_metaspace(const Encode *e, uint32_t stage, const uint8_t *text, size_t size)
{
    const SplitStage *meta = &e->t->stages[stage];
    bool segment = text == e->segment;
    bool prepend = meta->prepend == PREPEND_ALWAYS
                       ? !(segment && e->after_stray)
                       : meta->prepend == PREPEND_FIRST && segment && e->text_begins;
    Buf *marked = &e->scratch->marked;
    buf_reset(marked);
    if (prepend && text[0] != ' ' && !mark_at(text, size))
        buf_add(marked, MARK, MARK_BYTES);
    add_marked(marked, text, size);
    if (!buf_ok(marked, "text to encode", e->err))
        return false;
    const uint8_t *made = (const uint8_t *)marked->data;
    if (!meta->split)
        return encode_stage(e, stage + 1, made, marked->size);
    for (size_t at = 0, end; at < marked->size && !e->out->failed; at = end) {
        end = marked_end(made, marked->size, at);
        if (!encode_stage(e, stage + 1, made + at, end - at))
            return false;
    }
    return true;
}

/* ---- the model ---- */

/* Bytes up to the next run of marks, the one at the start passed over. */
static size_t word_end(const uint8_t *text, size_t size)
{
    size_t at = 0;
    while (mark_at(text + at, size - at))
        at += MARK_BYTES;
    while (at < size) {
        const uint8_t *next = memchr(text + at, MARK[0], size - at);
        if (!next)
            return size;
        at = (size_t)(next - text);
        if (mark_at(next, size - at))
            return at;
        at++;
    }
    return size;
}

static bool encode_words(const Encode *e, const uint8_t *text, size_t size)
{
    size_t begun = e->out->count, words;
    for (size_t at = 0; at < size && !e->out->failed; at += words) {
        size_t before = e->out->count;
        words = word_end(text + at, size - at);
        if (!merge_piece(e->t, e->scratch, text + at, words, e->out, e->err))
            return false;
        /* Unknown characters on both sides of a cut are still one unknown token. */
        const int32_t *ids = e->out->ids;
        if (e->t->fuse_unknown && before > begun && e->out->count > before &&
            ids[before] == e->t->unknown && ids[before - 1] == e->t->unknown) {
            memmove(e->out->ids + before, ids + before + 1,
                    (e->out->count - before - 1) * sizeof *ids);
            e->out->count--;
        }
    }
    return true;
}

static bool encode_model(const Encode *e, const uint8_t *text, size_t size)
{
    if (e->t->kind == TOKENIZER_UNIGRAM)
        return unigram_piece(e->t, e->scratch, text, size, e->out, e->err);
    return e->t->cut_before_marks
               ? encode_words(e, text, size)
               : merge_piece(e->t, e->scratch, text, size, e->out, e->err);
}

static bool (*const stage_functions[])(const Encode *e, uint32_t stage, const uint8_t *text,
                                       size_t size) = {
    [STAGE_GPT2] = encode_gpt2,
    [STAGE_SPLIT] = encode_split,
    [STAGE_METASPACE] = encode_metaspace,
};

static bool encode_stage(const Encode *e, uint32_t stage, const uint8_t *text, size_t size)
{
    if (stage == e->t->stage_count)
        return e->t->kind == TOKENIZER_BYTES
                   ? merge_piece(e->t, e->scratch, text, size, e->out, e->err)
                   : encode_model(e, text, size);
    return stage_functions[e->t->stages[stage].kind](e, stage, text, size);
}

/* ---- from any bytes to what the stages cut ---- */

static bool encode_segment(Encode *e, const uint8_t *text, size_t size)
{
    Buf *made = &e->scratch->marked;
    if (!size)
        return true;
    if (e->t->add_prefix_space && text[0] != ' ' && !e->after_stray) {
        buf_reset(made);
        buf_add_char(made, ' ');
        buf_add(made, text, size);
        if (!buf_ok(made, "text to encode", e->err))
            return false;
        text = (const uint8_t *)made->data;
        size = made->size;
    }
    e->segment = text;
    return encode_stage(e, 0, text, size);
}

/* Valid UTF-8; `first` when nothing of its text stands before it. */
static bool encode_valid(Encode *e, const uint8_t *text, size_t size, bool first)
{
    e->after_stray = !first;
    if (e->t->normalizer.count &&
        !normalize(&e->t->normalizer, &e->scratch->normal, e->t->whole, text, size, first, &text,
                   &size, e->err))
        return false;
    if (!e->t->normalized_added)
        return encode_segment(e, text, size);
    AddedMatch match = {0};
    for (size_t at = 0; at < size && !e->out->failed; at = match.end) {
        added_find(e->t, e->t->normalized_added, text, size, at, &match);
        if (!encode_segment(e, text + at, match.start - at))
            return false;
        e->text_begins &= match.start == at;
        if (match.id >= 0) {
            tokens_add(e->out, match.id);
            e->text_begins = e->after_stray = false;
        }
    }
    return true;
}

static bool encode_any(Encode *e, const uint8_t *text, size_t size)
{
    for (size_t at = 0; at < size && !e->out->failed;) {
        size_t valid = utf8_valid_prefix(text + at, size - at);
        if (valid && !encode_valid(e, text + at, valid, at == 0))
            return false;
        at += valid;
        if (at == size)
            break;
        if (!stray_byte(e->t, text[at], e->out, e->err))
            return false;
        e->text_begins = false;
        at++;
    }
    return true;
}

static bool encode_whole(Encode *e, const uint8_t *text, size_t size)
{
    e->text_begins = true;
    if (!e->t->raw_added)
        return encode_any(e, text, size);
    AddedMatch match = {0};
    for (size_t at = 0; at < size && !e->out->failed; at = match.end) {
        added_find(e->t, e->t->raw_added, text, size, at, &match);
        if (!encode_any(e, text + at, match.start - at))
            return false;
        if (match.id >= 0)
            tokens_add(e->out, match.id);
        e->text_begins = false;
    }
    return true;
}

bool tokenizer_encode(const Tokenizer *t, const char *text, size_t size, Tokens *out, Error *err)
{
    Scratch *scratch = scratch_take(t, err);
    if (!scratch)
        return false;
    size_t keep = out->count;
    Encode e = {.t = t, .scratch = scratch, .out = out, .err = err};
    bool done = encode_whole(&e, (const uint8_t *)text, size);
    scratch_give(t, scratch);
    if (!done) {
        out->count = keep;
        out->failed = false;
        return false;
    }
    return tokens_settle(out, keep, err);
}

bool tokenizer_encode_prompt(const Tokenizer *t, const char *text, size_t size, Tokens *out,
                             Error *err)
{
    size_t keep = out->count, before_count, after_count;
    const int32_t *before, *after;
    tokenizer_frame(t, &before, &before_count, &after, &after_count);
    for (size_t i = 0; i < before_count; i++)
        tokens_add(out, before[i]);
    if (tokens_settle(out, keep, err) && tokenizer_encode(t, text, size, out, err))
        return true;
    out->count = keep;
    return false;
}

/* ---- many documents ---- */

enum { PART_BYTES = 1 << 18, PARTS_MAX = 1 << 22 };

/* A part of a document: encoded alone it gives its share of the whole document's ids. */
typedef struct {
    size_t document, from, size;
    Tokens ids;
    bool done;
} Part;

typedef struct {
    const Tokenizer *t;
    void (*each)(void *user, size_t i, const char **text, size_t *size);
    void *user;
    Part *parts;
} Many;

static bool encode_part(const Many *many, Part *part, Error *err)
{
    const char *text;
    size_t size;
    many->each(many->user, part->document, &text, &size);
    return tokenizer_encode(many->t, text + part->from, part->size, &part->ids, err);
}

static void encode_task(void *context, uint32_t task, uint32_t worker)
{
    (void)worker;
    const Many *many = context;
    many->parts[task].done = encode_part(many, &many->parts[task], NULL);
}

/* Only GPT-2's pattern alone has places where a text can be cut without changing its ids. */
static bool can_cut(const Tokenizer *t)
{
    bool plain = !t->normalizer.count ||
                 (t->normalizer.count == 1 && t->normalizer.steps[0].kind == NORMAL_NFC);
    return t->kind == TOKENIZER_BYTES && t->stage_count == 1 && t->stages[0].kind == STAGE_GPT2 &&
           plain && !t->add_prefix_space && !t->raw_added && !t->normalized_added;
}

/* The parts of document i, of which `parts` (NULL: only count them) is filled. */
static size_t cut_document(const Many *many, size_t i, size_t limit, Part *parts)
{
    const char *text;
    size_t size, count = 0;
    many->each(many->user, i, &text, &size);
    for (size_t from = 0; from < size || count == 0; count++) {
        size_t end = size;
        if (can_cut(many->t) && size - from > PART_BYTES)
            end = pretoken_safe_cut((const uint8_t *)text, size, from + PART_BYTES);
        if (parts) {
            parts[count] = (Part){.document = i, .from = from, .size = end - from};
            tokens_init(&parts[count].ids, limit);
        }
        from = end;
        if (size == 0)
            return 1;
    }
    return count;
}

/* A part that failed is tried once more: the first in order gives the error, whatever the threads
 * did, and parts need not keep one each. */
static bool join_parts(const Many *many, size_t part_count, size_t count, Tokens *out,
                       size_t *offsets, Error *err)
{
    size_t keep = out->count, document = 0;
    for (size_t i = 0; i < part_count; i++) {
        Part *part = &many->parts[i];
        if (!part->done && !encode_part(many, part, err)) {
            out->count = keep;
            return fail_within(err, "document %zu", part->document);
        }
        for (; document <= part->document; document++)
            offsets[document] = out->count;
        tokens_append(out, part->ids.ids, part->ids.count);
    }
    for (; document <= count; document++)
        offsets[document] = out->count;
    return tokens_settle(out, keep, err);
}

bool tokenizer_encode_many(const Tokenizer *t, Pool *pool, size_t count,
                           void (*each)(void *user, size_t i, const char **text, size_t *size),
                           void *user, Tokens *out, size_t *offsets, Error *err)
{
    Many many = {t, each, user, NULL};
    size_t total = 0;
    for (size_t i = 0; i < count && total <= PARTS_MAX; i++)
        total += cut_document(&many, i, 0, NULL);
    if (total > PARTS_MAX)
        return fail(err, ERR_LIMIT, "%zu documents are too many to encode in one call, %d parts "
                    "are the most", count, PARTS_MAX);
    many.parts = mem_alloc(total, sizeof *many.parts);
    if (!many.parts)
        return fail(err, ERR_MEMORY, "no memory to encode %zu documents", count);
    size_t filled = 0;
    for (size_t i = 0; i < count; i++)
        filled += cut_document(&many, i, out->limit, many.parts + filled);
    if (pool)
        pool_for(pool, (uint32_t)total, encode_task, &many);
    else
        for (uint32_t i = 0; i < total; i++)
            encode_task(&many, i, 0);
    bool done = join_parts(&many, total, count, out, offsets, err);
    for (size_t i = 0; i < total; i++)
        tokens_done(&many.parts[i].ids);
    mem_free(many.parts);
    return done;
}
