/* split_pattern.c: patterns of tokenizer files through PCRE2 (see pretoken.h).
 *
 * translate() copies the pattern, refusing what Oniguruma (as Hugging Face uses it) and PCRE2 read
 * differently, and writes \s and \S as Unicode's White_Space: PCRE2's \s has U+180E besides.
 * Bounds: pattern bytes, nesting and match steps; memory of a match is one JIT stack.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretoken.h"

#include "base/buf.h"
#include "base/mem.h"

#include <pcre2.h>
#include <string.h>

enum {
    NESTING_MAX = 50,
    STEPS_MAX = 10000000,
    JIT_STACK_START = 32 << 10,
    JIT_STACK_MAX = 8 << 20,
};

struct SplitPattern {
    pcre2_general_context *memory;
    pcre2_code *code;
    bool jit;
};

struct SplitMatch {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static void *memory_get(size_t size, void *user)
{
    (void)user;
    return mem_alloc(size, 1);
}

static void memory_put(void *block, void *user)
{
    (void)user;
    mem_free(block);
}

static bool refuse(const char *pattern, size_t at, size_t length, Error *err)
{
    return fail(err, ERR_FORMAT, "pattern: '%.*s' at byte %zu is not supported", (int)length,
                pattern + at, at);
}

/* One escape at pattern[at]; *used is its length. */
static bool translate_escape(const char *pattern, size_t size, size_t at, bool in_class, Buf *out,
                             size_t *used, Error *err)
{
    char c = at + 1 < size ? pattern[at + 1] : 0;
    *used = 2;
    if (c == 's') {
        buf_add_text(out, in_class ? "\\t-\\r\\x{85}\\p{Z}" : "[\\t-\\r\\x{85}\\p{Z}]");
        return true;
    }
    if (c == 'S' && !in_class) {
        buf_add_text(out, "[^\\t-\\r\\x{85}\\p{Z}]");
        return true;
    }
    if (c == 'A' && !in_class) { /* the beginning of the text, in both */
        buf_add_text(out, "\\A");
        return true;
    }
    if (c == 'p' || c == 'P') {
        const char *close = at + 2 < size ? memchr(pattern + at, '}', size - at) : NULL;
        if (!close || pattern[at + 2] != '{')
            return refuse(pattern, at, 2, err);
        *used = (size_t)(close - (pattern + at)) + 1;
    } else if (!c || (unsigned char)c >= 0x80 || (!strchr("rntfvd", c) && ((c >= '0' && c <= '9') ||
               (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))) {
        return refuse(pattern, at, c ? 2 : 1, err);
    }
    if (c == 'v') /* a vertical tab there, any vertical space here */
        buf_add_text(out, "\\x0b");
    else
        buf_add(out, pattern + at, *used);
    return true;
}

static bool group_known(const char *pattern, size_t size, size_t at)
{
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", NULL};
    if (at + 1 < size && pattern[at + 1] == '*')
        return false;
    if (at + 1 >= size || pattern[at + 1] != '?')
        return true;
    for (size_t i = 0; known[i]; i++) {
        size_t length = strlen(known[i]);
        if (size - at >= length && !memcmp(pattern + at, known[i], length))
            return true;
    }
    return false;
}

static bool translate(const char *pattern, size_t size, Buf *out, Error *err)
{
    bool in_class = false;
    for (size_t at = 0, used; at < size; at += used) {
        char c = pattern[at], next = at + 1 < size ? pattern[at + 1] : 0;
        used = 1;
        if (c == '\\') {
            if (!translate_escape(pattern, size, at, in_class, out, &used, err))
                return false;
            continue;
        }
        if (in_class) {
            if (c == '[' || (c == '&' && next == '&'))
                return refuse(pattern, at, 2, err);
            if (c == ']')
                in_class = false;
        } else if (c == '[') {
            in_class = true;
            used = next == '^' ? 2 : 1;
            if (at + used < size && pattern[at + used] == ']')
                return refuse(pattern, at, used + 1, err);
        } else if (c == '.') { /* said so that no engine's idea of a newline counts */
            buf_add_text(out, "[^\\n]");
            continue;
        } else if (c == '^' || c == '$' || (c == '}' && next == '+') ||
                   (c == '(' && !group_known(pattern, size, at))) {
            return refuse(pattern, at, next ? 2 : 1, err);
        }
        buf_add(out, pattern + at, used);
    }
    return buf_ok(out, "pattern", err);
}

static bool compile(SplitPattern *made, const Buf *text, Error *err)
{
    made->memory = pcre2_general_context_create(memory_get, memory_put, NULL);
    pcre2_compile_context *context =
        made->memory ? pcre2_compile_context_create(made->memory) : NULL;
    if (!context)
        return fail(err, ERR_MEMORY, "no memory for a pattern");
    pcre2_set_parens_nest_limit(context, NESTING_MAX);
    int code;
    size_t place;
    made->code = pcre2_compile((PCRE2_SPTR)(text->data ? text->data : ""), text->size,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &place,
                               context);
    pcre2_compile_context_free(context);
    if (!made->code) {
        char reason[120] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        bool memory = code == 121; /* PCRE2's "failed to allocate heap memory" */
        return fail(err, memory ? ERR_MEMORY : ERR_FORMAT, "pattern: %s", reason);
    }
    uint32_t matches_empty = 1;
    pcre2_pattern_info(made->code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty)
        return fail(err, ERR_FORMAT, "pattern: it matches the empty text, so it splits nothing");
    /* Without JIT (no memory, no support) matching is slower and the same. */
    made->jit = pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE) == 0;
    return true;
}

bool split_pattern_new(SplitPattern **out, const char *pattern, size_t size, Error *err)
{
    if (size > SPLIT_PATTERN_BYTES_MAX)
        return fail(err, ERR_FORMAT, "pattern: %zu bytes, %d is the most", size,
                    SPLIT_PATTERN_BYTES_MAX);
    auto_buf Buf text;
    buf_init(&text, (size_t)SPLIT_PATTERN_BYTES_MAX * 16);
    if (!translate(pattern, size, &text, err))
        return false;
    SplitPattern *made = mem_alloc(1, sizeof *made);
    if (!made)
        return fail(err, ERR_MEMORY, "no memory for a pattern");
    if (!compile(made, &text, err)) {
        split_pattern_free(made);
        return false;
    }
    *out = made;
    return true;
}

void split_pattern_free(SplitPattern *pattern)
{
    if (!pattern)
        return;
    pcre2_code_free(pattern->code);
    pcre2_general_context_free(pattern->memory);
    mem_free(pattern);
}

bool split_match_new(SplitMatch **out, const SplitPattern *pattern, Error *err)
{
    SplitMatch *match = mem_alloc(1, sizeof *match);
    if (match) {
        match->data = pcre2_match_data_create(1, pattern->memory);
        match->context = pcre2_match_context_create(pattern->memory);
        match->stack = pattern->jit ? pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX,
                                                             pattern->memory)
                                    : NULL;
    }
    if (!match || !match->data || !match->context) {
        split_match_free(match);
        return fail(err, ERR_MEMORY, "no memory to match a pattern");
    }
    pcre2_set_match_limit(match->context, STEPS_MAX);
    if (match->stack)
        pcre2_jit_stack_assign(match->context, NULL, match->stack);
    *out = match;
    return true;
}

void split_match_free(SplitMatch *match)
{
    if (!match)
        return;
    pcre2_match_data_free(match->data);
    pcre2_match_context_free(match->context);
    pcre2_jit_stack_free(match->stack);
    mem_free(match);
}

bool split_next(const SplitPattern *pattern, SplitMatch *match, const uint8_t *text, size_t size,
                size_t from, size_t *start, size_t *end, Error *err)
{
    int found = pcre2_match(pattern->code, text, size, from, PCRE2_NO_UTF_CHECK, match->data,
                            match->context);
    if (found == PCRE2_ERROR_NOMATCH) {
        *start = *end = size;
        return true;
    }
    if (found < 0)
        return fail(err, found == PCRE2_ERROR_NOMEMORY ? ERR_MEMORY : ERR_LIMIT,
                    "the tokenizer's pattern needs too many steps at byte %zu (PCRE2 code %d)",
                    from, found);
    const size_t *bounds = pcre2_get_ovector_pointer(match->data);
    *start = bounds[0];
    *end = bounds[1];
    /* A lookbehind can start before `from`, and \K is refused: an empty match cannot come. */
    if (*start < from || *end <= *start)
        return fail(err, ERR_INTERNAL, "the tokenizer's pattern matched nothing at byte %zu", from);
    return true;
}
