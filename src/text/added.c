/* added.c: added tokens that are not special, cut out of text as Hugging Face does.
 *
 * Of the tokens that begin at a place the longest is taken, and the search goes on behind it. One
 * that asks to be a single word and is none is passed over whole. lstrip and rstrip take the blanks
 * beside a token along. Tokens "normalized" are looked for after normalising, by their own
 * normalised text; the others before it.
 */
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <utf8proc.h>

/* ---- the search ---- */

static bool is_word(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_ND) ||
           category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_PC;
}

static bool is_white(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((int32_t)c);
    return (c >= '\t' && c <= '\r') || c == 0x85 ||
           (category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP);
}

/* Where the character before `at` begins; at > 0, in valid text. Stray bytes count alone. */
static size_t before(const uint8_t *text, size_t at)
{
    size_t start = at - 1;
    while (start && at - start < 4 && (text[start] & 0xc0) == 0x80)
        start--;
    return start;
}

static bool class_at(const uint8_t *text, size_t size, size_t at, bool (*class)(uint32_t c),
                     uint32_t *length)
{
    *length = 1;
    return at < size && utf8_inspect(text + at, size - at, length) &&
           class(utf8_next(text + at, length));
}

static bool stands_alone(const uint8_t *text, size_t size, size_t start, size_t end)
{
    uint32_t length;
    if (start && class_at(text, start, before(text, start), is_word, &length))
        return false;
    return !class_at(text, size, end, is_word, &length);
}

bool added_find(const Tokenizer *t, const Trie *trie, const uint8_t *text, size_t size, size_t from,
                AddedMatch *out)
{
    for (size_t at = from; at < size;) {
        int32_t index;
        size_t found = trie_longest(trie, text + at, size - at, &index);
        if (!found) {
            at++;
            continue;
        }
        const AddedToken *token = &t->added[index];
        size_t end = at + found, start = at;
        uint32_t length;
        if (token->single_word && !stands_alone(text, size, start, end)) {
            at = end;
            continue;
        }
        while (token->lstrip && start > from &&
               class_at(text, start, before(text, start), is_white, &length))
            start = before(text, start);
        while (token->rstrip && class_at(text, size, end, is_white, &length))
            end += length;
        *out = (AddedMatch){start < from ? from : start, end, token->id};
        return true;
    }
    *out = (AddedMatch){size, size, -1};
    return false;
}

/* ---- the tries ---- */

/* Adds one token under the text it is looked for by. */
static bool add_one(Tokenizer *t, uint32_t index, NormalizerScratch *scratch, Trie *trie, Error *err)
{
    const AddedToken *token = &t->added[index];
    const uint8_t *text = key_of(t, token->id);
    size_t size = t->keys[token->id].size;
    if (token->normalized &&
        !normalize(&t->normalizer, scratch, NULL, text, size, true, &text, &size, err))
        return false;
    if (size > TOKENIZER_TOKEN_BYTES_MAX)
        return fail(err, ERR_LIMIT, "added_tokens: id %d has %zu bytes when normalised", token->id,
                    size);
    if (trie)
        trie_add(trie, text, size, (int32_t)index);
    t->added_bytes += size;
    return true;
}

static bool add_all(Tokenizer *t, bool normalized, NormalizerScratch *scratch, Trie *trie,
                    Error *err)
{
    t->added_bytes = 0;
    for (uint32_t i = 0; i < t->added_count; i++) {
        const AddedToken *token = &t->added[i];
        if (!token->special && token->normalized == normalized &&
            !(t->kinds[token->id] & TOKEN_WHOLE) && !add_one(t, i, scratch, trie, err))
            return false;
    }
    return true;
}

static bool build(Tokenizer *t, bool normalized, NormalizerScratch *scratch, Trie **out, Error *err)
{
    if (!add_all(t, normalized, scratch, NULL, err)) /* how long they are */
        return false;
    return !t->added_bytes || (trie_new(out, t->added_bytes, err) &&
                               add_all(t, normalized, scratch, *out, err));
}

bool added_index(Tokenizer *t, Error *err)
{
    NormalizerScratch scratch;
    bool good = normalizer_scratch_init(&scratch, &t->normalizer, err) &&
                build(t, false, &scratch, &t->raw_added, err) &&
                build(t, true, &scratch, &t->normalized_added, err);
    normalizer_scratch_done(&scratch);
    return good;
}
