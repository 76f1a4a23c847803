/* chars.c: a text as the characters that merging starts from (see tokenizer_model.h).
 *
 * For each place: a whole piece (the longest, in no merge), or the token of the character, or the
 * tokens of its bytes, or the unknown token; of several unknown ones in a row one is kept when the
 * model asks for it.
 */
#include "text/tokenizer_model.h"

#include "text/utf8.h"

static bool no_token(const uint8_t *text, uint32_t length, Error *err)
{
    return fail(err, ERR_INPUT, "the tokenizer's vocabulary has no token for '%.*s', and neither "
                "for its bytes nor for the unknown", (int)length, (const char *)text);
}

static bool all_bytes_known(const Tokenizer *t, const uint8_t *text, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (t->fallback[text[i]] < 0)
            return false;
    return t->byte_fallback;
}

static int32_t token_of_char(const Tokenizer *t, const uint8_t *text, uint32_t length)
{
    return length == 1 ? t->byte_id[text[0]] : tokenizer_token_of(t, text, length);
}

bool chars_read(const Tokenizer *t, const uint8_t *text, size_t size, int32_t *ids, size_t *count,
                Error *err)
{
    size_t made = 0;
    for (size_t at = 0; at < size;) {
        int32_t id;
        size_t whole = t->whole ? trie_longest(t->whole, text + at, size - at, &id) : 0;
        if (whole) {
            ids[made++] = WHOLE_ID(id);
            at += whole;
            continue;
        }
        uint32_t length = utf8_length(text[at]);
        id = token_of_char(t, text + at, length);
        if (id >= 0) {
            ids[made++] = id;
        } else if (all_bytes_known(t, text + at, length)) {
            for (uint32_t i = 0; i < length; i++)
                ids[made++] = t->fallback[text[at + i]];
        } else if (t->unknown < 0) {
            return no_token(text + at, length, err);
        } else if (!t->fuse_unknown || !made || ids[made - 1] != t->unknown) {
            ids[made++] = t->unknown;
        }
        at += length;
    }
    *count = made;
    return true;
}

bool stray_byte(const Tokenizer *t, uint8_t byte, Tokens *out, Error *err)
{
    int32_t id = t->kind == TOKENIZER_BYTES ? t->byte_id[byte] : t->fallback[byte];
    if (id < 0)
        id = t->unknown;
    if (id < 0)
        return fail(err, ERR_INPUT, "the tokenizer's vocabulary has no token for byte 0x%02X",
                    byte);
    tokens_add(out, id);
    return true;
}
