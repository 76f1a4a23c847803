/* catalogue_fields.c: what of a stanza becomes context, and how it is written; see catalogue.h. */
#include "data/catalogue.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static CatalogueSpan trim(CatalogueSpan span)
{
    while (span.size && is_space(span.text[0])) {
        span.text++;
        span.size--;
    }
    while (span.size && is_space(span.text[span.size - 1]))
        span.size--;
    return span;
}

/* Cuts the part before the next of the separators off *rest; false at the end. */
static bool next_part(CatalogueSpan *rest, const char *separators, CatalogueSpan *part)
{
    if (!rest->text)
        return false;
    size_t length = 0;
    while (length < rest->size && !strchr(separators, rest->text[length]))
        length++;
    *part = trim((CatalogueSpan){rest->text, length});
    bool last = length == rest->size;
    rest->text = last ? NULL : rest->text + length + 1;
    rest->size = last ? 0 : rest->size - length - 1;
    return true;
}

/* Appends a word and a space before it unless it is the first; false when it does not fit. */
static bool add_word(Buf *out, size_t start, size_t bytes_max, CatalogueSpan word)
{
    size_t used = out->size - start, space = used > 0;
    if (word.size + space > bytes_max - used)
        return false;
    if (space)
        buf_add_char(out, ' ');
    buf_add(out, word.text, word.size);
    return true;
}

/* Words as they are, white space made single. */
static void write_words(CatalogueSpan value, size_t bytes_max, Buf *out)
{
    size_t start = out->size;
    CatalogueSpan part;
    while (next_part(&value, " \t\n", &part)) {
        if (part.size && !add_word(out, start, bytes_max, part))
            return;
    }
}

/* "Debian Perl Group <x@lists.debian.org>" -> "Debian Perl Group". */
static void write_person(CatalogueSpan value, size_t bytes_max, Buf *out)
{
    CatalogueSpan name;
    if (next_part(&value, "<", &name))
        write_words(name, bytes_max, out);
}

/* "openssl (3.0.11-1)" -> "openssl". */
static void write_first_word(CatalogueSpan value, size_t bytes_max, Buf *out)
{
    CatalogueSpan word;
    size_t start = out->size;
    value = trim(value);
    if (next_part(&value, " \t\n(", &word) && word.size)
        (void)add_word(out, start, bytes_max, word);
}

/* True when word is among the space-separated ones from `start` on. */
static bool has_word(const Buf *out, size_t start, CatalogueSpan word)
{
    for (size_t at = start; at < out->size;) {
        const char *space = memchr(out->data + at, ' ', out->size - at);
        size_t length = space ? (size_t)(space - out->data) - at : out->size - at;
        if (length == word.size && memcmp(out->data + at, word.text, length) == 0)
            return true;
        at += length + 1;
    }
    return false;
}

/* What nearly every compiled package needs says nothing about any of them. */
static bool is_everywhere(CatalogueSpan name)
{
    static const char *const names[] = {"libc6", "libgcc-s1", "libstdc++6"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i]) == name.size && memcmp(names[i], name.text, name.size) == 0)
            return true;
    }
    return false;
}

/* "libc6 (>= 2.34), a:any | b" -> "a": names only, of alternatives the first, each once. The search
 * for repeats looks at no more than bytes_max bytes, so its cost is bounded. */
static void write_packages(CatalogueSpan value, size_t bytes_max, Buf *out)
{
    size_t start = out->size;
    CatalogueSpan relation, name;
    while (next_part(&value, ",", &relation)) {
        if (!next_part(&relation, " \t\n(|:[<", &name) || !name.size ||
            is_everywhere(name) || has_word(out, start, name))
            continue;
        if (!add_word(out, start, bytes_max, name))
            return;
    }
}

/* "https://Example.org:8080/x" -> "example.org". */
static void write_host(CatalogueSpan value, size_t bytes_max, Buf *out)
{
    size_t at = 0;
    for (size_t i = 0; i + 3 <= value.size && !at; i++) {
        if (memcmp(value.text + i, "://", 3) == 0)
            at = i + 3;
    }
    for (size_t used = 0; at < value.size && used < bytes_max; at++, used++) {
        char c = value.text[at];
        if (c == '/' || c == ':' || c == '?' || c == '#' || is_space(c) || (c & 0x80))
            break;
        buf_add_char(out, c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c);
    }
}

/* Kibibytes -> their power of two, "2^13": a magnitude, not a fingerprint of the package. */
static void write_magnitude(CatalogueSpan value, size_t bytes_max, Buf *out)
{
    uint64_t number = 0;
    value = trim(value);
    (void)bytes_max; /* at most four bytes */
    for (size_t i = 0; i < value.size && i < 15; i++) {
        if (value.text[i] < '0' || value.text[i] > '9')
            return;
        number = number * 10 + (uint64_t)(value.text[i] - '0');
    }
    int power = 0;
    while (number >>= 1)
        power++;
    buf_format(out, "2^%d", power);
}

const CatalogueField catalogue_fields[] = {
    {"Source", "source", write_first_word, 48},
    {"Maintainer", "maintainer", write_person, 80},
    {"Depends", "depends", write_packages, 140},
    {"Homepage", "homepage", write_host, 60},
    {"Architecture", "architecture", write_words, 12},
    {"Multi-Arch", "multi-arch", write_words, 12},
    {"Installed-Size", "size", write_magnitude, 8},
};
const size_t catalogue_field_count = sizeof catalogue_fields / sizeof *catalogue_fields;
