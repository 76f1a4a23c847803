/* encode.c: from text to pieces to ids, and many documents at once.
 *
 * The way of a text, each step only where the tokenizer asks for it: added tokens that are not
 * special are cut out; invalid bytes become single ids; what is left is valid UTF-8, normalised,
 * given a first blank, cut by each stage, and merged piece by piece (merge.c).
 */
#include "base/mem.h"
#include "text/nfc.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <string.h>

/* What one running encode needs at every step. */
typedef struct {
    const Tokenizer *t;
    Scratch *scratch;
    Tokens *out;
    Error *err;
} Encode;

static bool encode_stage(const Encode *e, uint32_t stage, const uint8_t *text, size_t size);

static bool encode_gpt2(const Encode *e, uint32_t stage, const uint8_t *text, size_t size)
{
    bool last = stage + 1 == e->t->stage_count;
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

static bool encode_pattern(const Encode *e, uint32_t stage, const uint8_t *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t start, end;
        if (!split_next(e->t->stages[stage].pattern, e->scratch->matches[stage], text, size, at,
                        &start, &end, e->err))
            return false;
        if (start > at && !encode_stage(e, stage + 1, text + at, start - at))
            return false;
        if (end > start && !encode_stage(e, stage + 1, text + start, end - start))
            return false;
        if (e->out->failed)
            return true;
        at = end;
    }
    return true;
}

static bool encode_stage(const Encode *e, uint32_t stage, const uint8_t *text, size_t size)
{
    if (stage == e->t->stage_count)
        return merge_piece(e->t, e->scratch, text, size, e->out, e->err);
    return e->t->stages[stage].pattern ? encode_pattern(e, stage, text, size)
                                       : encode_gpt2(e, stage, text, size);
}

/* Valid UTF-8; `first` when nothing of its text stands before it. */
static bool encode_valid(const Encode *e, const uint8_t *text, size_t size, bool first)
{
    bool prefix = e->t->add_prefix_space && first && text[0] != ' ';
    if (!e->t->nfc && !prefix)
        return encode_stage(e, 0, text, size);
    Buf *made = &e->scratch->text;
    buf_reset(made);
    if (prefix)
        buf_add_char(made, ' ');
    if (!e->t->nfc)
        buf_add(made, text, size);
    else if (!nfc_append((const char *)text, size, made, e->err))
        return false;
    if (!buf_ok(made, "text to encode", e->err))
        return false;
    return encode_stage(e, 0, (const uint8_t *)made->data, made->size);
}

static bool encode_any(const Encode *e, const uint8_t *text, size_t size)
{
    for (size_t at = 0; at < size && !e->out->failed;) {
        size_t valid = utf8_valid_prefix(text + at, size - at);
        if (valid && !encode_valid(e, text + at, valid, at == 0))
            return false;
        at += valid;
        if (at == size)
            break;
        int32_t id = e->t->byte_id[text[at]];
        if (id < 0)
            return fail(e->err, ERR_INPUT,
                        "the tokenizer's vocabulary has no token for byte 0x%02X", text[at]);
        tokens_add(e->out, id);
        at++;
    }
    return true;
}

/* The longest added token that stands at text; -1: none. */
static int32_t text_token_at(const Tokenizer *t, const uint8_t *text, size_t size)
{
    int32_t best = -1;
    if (!t->text_token_first[text[0]])
        return best;
    for (uint32_t i = 0; i < t->text_token_count; i++) {
        Span span = t->spans[t->text_tokens[i]];
        if (span.size <= size && (best < 0 || span.size > t->spans[best].size) &&
            !memcmp(t->bytes.data + span.start, text, span.size))
            best = t->text_tokens[i];
    }
    return best;
}

static bool encode_whole(const Encode *e, const uint8_t *text, size_t size)
{
    if (!e->t->text_token_count)
        return encode_any(e, text, size);
    size_t done = 0;
    for (size_t at = 0; at < size;) {
        int32_t id = text_token_at(e->t, text + at, size - at);
        if (id < 0) {
            at++;
            continue;
        }
        if (!encode_any(e, text + done, at - done))
            return false;
        tokens_add(e->out, id);
        at += e->t->spans[id].size;
        done = at;
    }
    return encode_any(e, text + done, size - done);
}

bool tokenizer_encode(const Tokenizer *t, const char *text, size_t size, Tokens *out, Error *err)
{
    Scratch *scratch = scratch_take(t, err);
    if (!scratch)
        return false;
    size_t keep = out->count;
    Encode e = {t, scratch, out, err};
    bool done = encode_whole(&e, (const uint8_t *)text, size);
    scratch_give(t, scratch);
    if (!done) {
        out->count = keep;
        out->failed = false;
        return false;
    }
    return tokens_settle(out, keep, err);
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
    return t->stage_count == 1 && !t->stages[0].pattern && !t->add_prefix_space &&
           !t->text_token_count;
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
