/* normalize.c: the steps of a normaliser, one after the other (see normalize.h).
 *
 * A step reads one buffer and fills the other. Text may grow by GROWTH_MAX in all: a file can ask
 * for a page in place of each letter, eight times over.
 */
#include "text/normalize.h"

#include "base/mem.h"
#include "text/nfc.h"
#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

enum { GROWTH_MAX = 64, GROWTH_FREE = 1 << 16 };

static const char mark[] = "\xe2\x96\x81"; /* U+2581 */
enum { MARK_BYTES = 3 };

void normalizer_done(Normalizer *n)
{
    for (uint32_t i = 0; i < n->count; i++) {
        split_pattern_free(n->steps[i].pattern);
        charsmap_done(&n->steps[i].charsmap);
        mem_free(n->steps[i].from);
        mem_free(n->steps[i].to);
    }
    *n = (Normalizer){0};
}

bool normalizer_scratch_init(NormalizerScratch *scratch, const Normalizer *n, Error *err)
{
    *scratch = (NormalizerScratch){0};
    buf_init(&scratch->texts[0], SIZE_MAX);
    buf_init(&scratch->texts[1], SIZE_MAX);
    for (uint32_t i = 0; i < n->count; i++) {
        if (n->steps[i].pattern && !split_match_new(&scratch->matches[i], n->steps[i].pattern, err))
            return false;
    }
    return true;
}

void normalizer_scratch_done(NormalizerScratch *scratch)
{
    buf_done(&scratch->texts[0]);
    buf_done(&scratch->texts[1]);
    for (uint32_t i = 0; i < NORMAL_STEPS_MAX; i++)
        split_match_free(scratch->matches[i]);
}

/* What one step needs. */
typedef struct {
    const NormalStep *step;
    SplitMatch *match;
    const Trie *whole;
    const uint8_t *text;
    size_t size;
    bool first;
    Buf *out;
    Error *err;
} Step;

static bool step_nfc(const Step *s)
{
    return nfc_append((const char *)s->text, s->size, s->out, s->err);
}

static bool step_nfkc(const Step *s)
{
    return nfkc_append((const char *)s->text, s->size, s->out, s->err);
}

static bool step_prepend(const Step *s)
{
    if (s->size && s->first)
        buf_add(s->out, s->step->to, s->step->to_size);
    buf_add(s->out, s->text, s->size);
    return true;
}

static const uint8_t *find(const uint8_t *text, size_t size, const char *what, size_t what_size)
{
    while (size >= what_size) {
        const uint8_t *at = memchr(text, (uint8_t)what[0], size - what_size + 1);
        if (!at || !memcmp(at, what, what_size))
            return at;
        size -= (size_t)(at - text) + 1;
        text = at + 1;
    }
    return NULL;
}

static bool step_replace(const Step *s)
{
    size_t at = 0, start, end;
    while (at < s->size) {
        if (s->step->pattern) {
            if (!split_next(s->step->pattern, s->match, s->text, s->size, at, &start, &end, s->err))
                return false;
        } else {
            const uint8_t *found =
                find(s->text + at, s->size - at, s->step->from, s->step->from_size);
            start = found ? (size_t)(found - s->text) : s->size;
            end = found ? start + s->step->from_size : s->size;
        }
        buf_add(s->out, s->text + at, start - at);
        if (end > start)
            buf_add(s->out, s->step->to, s->step->to_size);
        at = end;
    }
    return true;
}

static bool is_white(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    utf8proc_category_t category = utf8proc_category((int32_t)c);
    return c == 0x85 || (category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP);
}

static bool step_strip(const Step *s)
{
    size_t from = 0, last = 0; /* last: after the last character that is no blank */
    uint32_t length;
    bool leading = true;
    for (size_t at = 0; at < s->size; at += length) {
        bool white = is_white(utf8_next(s->text + at, &length));
        if (white && leading)
            from = at + length;
        if (!white) {
            leading = false;
            last = at + length;
        }
    }
    if (!s->step->left)
        from = 0;
    size_t end = s->step->right ? (last > from ? last : from) : s->size;
    if (s->step->right && leading)
        end = from = 0;
    buf_add(s->out, s->text + from, end - from);
    return true;
}

static bool step_charsmap(const Step *s)
{
    return charsmap_append(&s->step->charsmap, s->text, s->size, s->out, s->err);
}

/* ---- SentencePiece's own way ---- */

/* What stands for the beginning of text, and how many bytes that beginning has. */
static size_t next_part(const Step *s, size_t at, const char **to, size_t *to_size)
{
    const uint8_t *text = s->text + at;
    size_t size = s->size - at, used;
    int32_t id;
    if (s->whole && (used = trie_longest(s->whole, text, size, &id)) > 0) {
        *to = (const char *)text;
        *to_size = used;
        return used;
    }
    if (s->step->charsmap.blob &&
        (used = charsmap_find(&s->step->charsmap, text, size, false, to, to_size)) > 0)
        return used;
    *to = (const char *)text;
    *to_size = utf8_length(text[0]);
    return *to_size;
}

static void add_blank(const Step *s)
{
    if (s->step->escape)
        buf_add(s->out, mark, MARK_BYTES);
    else
        buf_add_char(s->out, ' ');
}

static void add_escaped(const Step *s, const char *text, size_t size)
{
    const char *end = text + size;
    while (text < end) {
        const char *blank = s->step->escape ? memchr(text, ' ', (size_t)(end - text)) : NULL;
        buf_add(s->out, text, (size_t)((blank ? blank : end) - text));
        if (!blank)
            return;
        buf_add(s->out, mark, MARK_BYTES);
        text = blank + 1;
    }
}

static void strip_end(const Step *s)
{
    const char *blank = s->step->escape ? mark : " ";
    size_t size = s->step->escape ? MARK_BYTES : 1;
    Buf *out = s->out;
    while (out->size >= size && !memcmp(out->data + out->size - size, blank, size))
        out->size -= size;
    if (out->data)
        out->data[out->size] = 0;
}

static bool step_pieces(const Step *s)
{
    const NormalStep *step = s->step;
    const char *to;
    size_t to_size, at = 0;
    bool remove = step->remove_extra, after_blank = remove && s->first;
    while (after_blank && at < s->size) {
        size_t used = next_part(s, at, &to, &to_size);
        if (to_size != 1 || to[0] != ' ')
            break;
        at += used;
    }
    if (at == s->size)
        return true;
    if (step->dummy_prefix && !step->as_suffix && s->first)
        add_blank(s);
    if (!s->whole && !step->charsmap.blob && !remove) {
        add_escaped(s, (const char *)s->text + at, s->size - at);
        at = s->size;
    }
    while (at < s->size) {
        at += next_part(s, at, &to, &to_size);
        while (after_blank && to_size && to[0] == ' ') {
            to++;
            to_size--;
        }
        if (to_size) {
            add_escaped(s, to, to_size);
            after_blank = remove && to[to_size - 1] == ' ';
        }
    }
    if (remove)
        strip_end(s);
    if (step->dummy_prefix && step->as_suffix)
        add_blank(s);
    return true;
}

static bool (*const step_functions[])(const Step *s) = {
    [NORMAL_NFC] = step_nfc,         [NORMAL_NFKC] = step_nfkc,   [NORMAL_PREPEND] = step_prepend,
    [NORMAL_REPLACE] = step_replace, [NORMAL_STRIP] = step_strip, [NORMAL_CHARSMAP] = step_charsmap,
    [NORMAL_PIECES] = step_pieces,
};

bool normalize(const Normalizer *n, NormalizerScratch *scratch, const Trie *whole,
               const uint8_t *text, size_t size, bool first, const uint8_t **out, size_t *out_size,
               Error *err)
{
    size_t limit = size > (SIZE_MAX - GROWTH_FREE) / GROWTH_MAX ? SIZE_MAX
                                                                : size * GROWTH_MAX + GROWTH_FREE;
    for (uint32_t i = 0; i < n->count; i++) {
        Buf *made = &scratch->texts[i % 2];
        buf_reset(made);
        made->limit = limit;
        /* Most steps keep the size or nearly so: one request, however long the text is. */
        if (size < limit - size / 2 && !buf_reserve(made, size + size / 2))
            return buf_ok(made, "normalised text", err);
        Step step = {&n->steps[i], scratch->matches[i], whole, text, size, first, made, err};
        if (!step_functions[n->steps[i].kind](&step) || !buf_ok(made, "normalised text", err))
            return false;
        text = (const uint8_t *)(made->data ? made->data : "");
        size = made->size;
    }
    *out = text;
    *out_size = size;
    return true;
}
