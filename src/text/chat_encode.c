/* chat_encode.c: see chat_encode.h. Added tokens that are plain text are cut out here too, among the
 * markers, since the longest one that begins first wins, as in Hugging Face's. The candidates are
 * sorted by their bytes, so that those that stand at a place are found by narrowing a range, byte by
 * byte: a vocabulary with a thousand reserved tokens costs no more than one with five. */
#include "text/chat_encode.h"

#include "base/mem.h"
#include "text/jinja_strings.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *bytes;
    size_t size;
    AddedToken added;
    bool anywhere; /* text like any other: data may spell it too */
} Marker;

struct ChatMarkers {
    const Tokenizer *tokenizer;
    Marker *all; /* [count] sorted by bytes */
    size_t count;
    bool first[256]; /* a marker begins with this byte */
};

static int compare_markers(const void *x, const void *y)
{
    const Marker *a = x, *b = y;
    int way = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return way ? way : (a->size > b->size) - (a->size < b->size);
}

static bool all_blank(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!strchr(" \t\n\r", bytes[i]) || !bytes[i])
            return false;
    return true;
}

bool chat_markers_new(ChatMarkers **out, const Tokenizer *tokenizer, const JinjaTemplate *template,
                      Error *err)
{
    ChatMarkers *m = mem_alloc(1, sizeof *m);
    Marker *all = m ? mem_alloc(tokenizer->added_count, sizeof *all) : NULL;
    if (!all) {
        mem_free(m);
        return fail(err, ERR_MEMORY, "no memory for the markers of a chat");
    }
    m->tokenizer = tokenizer;
    m->all = all;
    for (uint32_t i = 0; i < tokenizer->added_count; i++) {
        Marker marker = {.added = tokenizer->added[i]};
        marker.bytes = tokenizer_bytes(tokenizer, marker.added.id, &marker.size);
        bool written = marker.bytes && template && !all_blank(marker.bytes, marker.size) &&
                       jinja_writes(template, marker.bytes, marker.size);
        marker.anywhere = !marker.added.special && !written;
        if (!marker.bytes || (marker.anywhere && marker.added.normalized))
            continue; /* the latter is looked for in normalised text, by tokenizer_encode */
        m->first[(uint8_t)marker.bytes[0]] = true;
        all[m->count++] = marker;
    }
    if (m->count)
        qsort(all, m->count, sizeof *all, compare_markers);
    *out = m;
    return true;
}

void chat_markers_free(ChatMarkers *markers)
{
    if (!markers)
        return;
    mem_free(markers->all);
    mem_free(markers);
}

/* ---- finding ---- */

/* Where the run that holds a byte ends, and whether it is trusted. at moves forward only. */
typedef struct {
    const JinjaText *text;
    size_t run;
} Runs;

static const JinjaRun *run_at(Runs *runs, size_t at)
{
    while (runs->run > 0 && runs->text->runs[runs->run - 1].end > at)
        runs->run--;
    while (runs->text->runs[runs->run].end <= at)
        runs->run++;
    return &runs->text->runs[runs->run];
}

/* Up to where the bytes from `at` on are trusted without a break. */
static size_t trusted_end(Runs runs, size_t at)
{
    const JinjaRun *run = run_at(&runs, at), *last = runs.text->runs + runs.text->run_count;
    size_t end = at;
    for (; run < last && run->trusted; run++)
        end = run->end;
    return end;
}

/* The first of all[low, high) whose byte i is c or above. */
static size_t first_from(const ChatMarkers *m, size_t low, size_t high, size_t i, uint32_t c)
{
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->all[middle].size <= i || (uint8_t)m->all[middle].bytes[i] < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token at `at` that may be there: a marker ends by `most`. *forged: one that is not
 * special goes beyond it. */
static const Marker *longest(const ChatMarkers *m, const char *text, size_t size, size_t at,
                             size_t most, bool *forged)
{
    const Marker *found = NULL;
    size_t low = 0, high = m->first[(uint8_t)text[at]] ? m->count : 0;
    *forged = false;
    for (size_t i = 0; low < high && at + i < size; i++) {
        uint8_t c = (uint8_t)text[at + i];
        size_t next = first_from(m, low, high, i, c);
        high = first_from(m, next, high, i, c + 1u);
        low = next;
        if (low < high && m->all[low].size == i + 1) {
            if (m->all[low].anywhere || at + i + 1 <= most)
                found = &m->all[low];
            else if (!m->all[low].added.special)
                *forged = true;
        }
    }
    return found;
}

static bool is_word(const char *text, size_t size, size_t at)
{
    if (at >= size)
        return false;
    uint32_t length;
    while (at && ((uint8_t)text[at] & 0xc0) == 0x80)
        at--;
    uint32_t c = utf8_next((const uint8_t *)text + at, &length);
    return c == '_' || char_is_alnum(c);
}

/* Hugging Face's rules for where an added token may stand. */
static bool stands_alone(const Marker *marker, const char *text, size_t size, size_t at)
{
    if (!marker->added.single_word)
        return true;
    return !(at && is_word(text, size, at - 1)) && !is_word(text, size, at + marker->size);
}

size_t chat_markers_special(const ChatMarkers *markers, const JinjaText *text, size_t at)
{
    bool forged;
    if (at >= text->text.size)
        return 0;
    size_t most = trusted_end((Runs){text, 0}, at);
    const Marker *marker = longest(markers, text->text.data, text->text.size, at, most, &forged);
    return marker && marker->added.special ? at + marker->size : 0;
}

/* ---- encoding ---- */

typedef struct {
    const ChatMarkers *m;
    const JinjaText *text;
    Runs runs, mark_runs;
    Tokens *ids, *trained;
    Error *err;
} Encoding;

static bool is_trained(Encoding *e, size_t at)
{
    return at < e->text->text.size && run_at(&e->mark_runs, at)->trained;
}

static bool add_text(Encoding *e, size_t from, size_t to)
{
    size_t first = e->ids->count, sum = 0, size;
    if (from >= to)
        return true;
    if (!tokenizer_encode(e->m->tokenizer, e->text->text.data + from, to - from, e->ids, e->err))
        return false;
    if (!e->trained)
        return true;
    for (size_t i = first; i < e->ids->count; i++)
        sum += tokenizer_bytes(e->m->tokenizer, e->ids->ids[i], &size) ? size : 0;
    size_t blank = sum == to - from + 1; /* the tokenizer put one before the text */
    sum = 0;
    for (size_t i = first; i < e->ids->count; i++) {
        size_t at = sum > blank ? sum - blank : 0;
        tokens_add(e->trained, is_trained(e, from + (at < to - from ? at : to - from - 1)));
        sum += tokenizer_bytes(e->m->tokenizer, e->ids->ids[i], &size) ? size : 0;
    }
    return true;
}

/* White space as Rust has it, which Hugging Face's tokens take from their sides. */
static bool is_blank(const char *text, size_t at, uint32_t *length)
{
    uint32_t c = utf8_next((const uint8_t *)text + at, length);
    return is_space(c) && !(c >= 28 && c <= 31);
}

static size_t before_blanks(const char *text, size_t from, size_t to)
{
    while (to > from) {
        size_t at = to - 1;
        uint32_t length;
        while (at > from && ((uint8_t)text[at] & 0xc0) == 0x80)
            at--;
        if (!is_blank(text, at, &length))
            break;
        to = at;
    }
    return to;
}

static size_t after_blanks(const char *text, size_t at, size_t size)
{
    uint32_t length;
    while (at < size && is_blank(text, at, &length))
        at += length;
    return at;
}

/* A token that was found at `at`, behind text that begins at *from. The search goes on at its end,
 * even where it takes the blanks that follow: a token of blanks is then found in them once more. */
static bool add_marker(Encoding *e, const Marker *marker, size_t *from, size_t at)
{
    const char *text = e->text->text.data;
    size_t end = at + marker->size, begin = at;
    if (marker->added.lstrip && at > *from)
        begin = before_blanks(text, *from, at);
    if (!add_text(e, *from, begin))
        return false;
    tokens_add(e->ids, marker->added.id);
    if (e->trained)
        tokens_add(e->trained, is_trained(e, at));
    *from = marker->added.rstrip ? after_blanks(text, end, e->text->text.size) : end;
    return true;
}

static bool encode_all(Encoding *e)
{
    const char *text = e->text->text.data;
    size_t size = e->text->text.size, from = 0, trusted = 0;
    for (size_t at = 0; at < size;) {
        bool forged;
        uint32_t length;
        if (at >= trusted) {
            (void)run_at(&e->runs, at);
            trusted = trusted_end(e->runs, at);
        }
        const Marker *marker = longest(e->m, text, size, at, trusted, &forged);
        if (marker) {
            if (stands_alone(marker, text, size, at) && !add_marker(e, marker, &from, at))
                return false;
            at += marker->size;
            continue;
        }
        (void)utf8_next((const uint8_t *)text + at, &length);
        at += length;
        if (forged && from < at) { /* cut in two, it is no token any more */
            if (!add_text(e, from, at))
                return false;
            from = at;
        }
    }
    return add_text(e, from, size);
}

bool chat_encode(const ChatMarkers *markers, const JinjaText *text, Tokens *ids, Tokens *trained,
                 Error *err)
{
    size_t keep = ids->count, keep_trained = trained ? trained->count : 0;
    Encoding e = {.m = markers, .text = text, .runs = {text, 0}, .mark_runs = {text, 0},
                  .ids = ids, .trained = trained, .err = err};
    bool good = !text->text.size || encode_all(&e);
    if (good && (ids->failed || (trained && trained->failed)))
        good = fail(err, ERR_LIMIT, "the chat has more than %zu tokens, or no memory is left",
                    ids->limit);
    if (good)
        return true;
    ids->count = keep;
    ids->failed = false;
    if (trained) {
        trained->count = keep_trained;
        trained->failed = false;
    }
    return false;
}
