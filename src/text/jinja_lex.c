/* jinja_lex.c: template text to tokens, as jinja2's lexer does it with trim_blocks and
 * lstrip_blocks.
 *
 * The white space rules, which decide what a model reads:
 *  - line ends become "\n", and one at the very end is dropped;
 *  - a "\n" right after %} or #} goes (not after +%}); a minus on the inside of a tag takes all white
 *    space on its outside;
 *  - blanks between the beginning of a line and {% or {# go (not before {%+); never before {{.
 */
#include "text/jinja_model.h"
#include "text/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool jinja_syntax(const JinjaTemplate *t, uint32_t line, Error *err, const char *format, ...)
{
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(err, ERR_FORMAT, "%s: line %u: %s", t->name, line, text);
}

enum { BRACKETS_MAX = 256, TOKENS_MAX = 1 << 20 };

typedef struct {
    JinjaTemplate *t;
    const char *text;
    size_t size, at;
    uint32_t line;
    bool line_begins; /* what was read last ended a line, or nothing was read yet */
    char brackets[BRACKETS_MAX];
    uint32_t bracket_count;
    JinjaTokens *out;
    Error *err;
} Lexer;

static bool no_memory(Lexer *x)
{
    return fail(x->err, ERR_MEMORY, "%s: no memory to parse it", x->t->name);
}

static bool add_token(Lexer *x, JinjaToken token)
{
    JinjaTokens *out = x->out;
    if (out->count == TOKENS_MAX)
        return jinja_syntax(x->t, x->line, x->err, "the template has over %d words", TOKENS_MAX);
    if (out->count == out->room) {
        uint32_t room = out->room ? 2 * out->room : 256;
        JinjaToken *more = mem_resize(out->tokens, room, sizeof *more);
        if (!more)
            return no_memory(x);
        out->tokens = more;
        out->room = room;
    }
    token.line = x->line;
    out->tokens[out->count++] = token;
    return true;
}

/* Moves on to `to`, counting lines. */
static void pass(Lexer *x, size_t to)
{
    for (size_t i = x->at; i < to; i++)
        x->line += x->text[i] == '\n';
    if (to > x->at)
        x->line_begins = x->text[to - 1] == '\n';
    x->at = to;
}

static bool starts(const Lexer *x, size_t at, const char *word)
{
    size_t size = strlen(word);
    return x->size - at >= size && !memcmp(x->text + at, word, size);
}

static size_t after_spaces(const Lexer *x, size_t at)
{
    uint32_t length;
    while (at < x->size && is_space(utf8_next((const uint8_t *)x->text + at, &length)))
        at += length;
    return at;
}

/* The end of text[from, to) without the white space at its end. */
static size_t before_spaces(const Lexer *x, size_t from, size_t to)
{
    while (to > from) {
        size_t at = to - 1;
        uint32_t length;
        while (at > from && ((uint8_t)x->text[at] & 0xc0) == 0x80)
            at--;
        if (!is_space(utf8_next((const uint8_t *)x->text + at, &length)))
            break;
        to = at;
    }
    return to;
}

/* Adds the text from `from` up to a tag at `to`, cut as the tag's sign and kind ask. */
static bool add_data(Lexer *x, size_t from, size_t to, char sign, bool lstrip, bool line_begins)
{
    size_t end = to;
    if (sign == '-')
        end = before_spaces(x, from, to);
    else if (lstrip && sign != '+') {
        size_t begin = to;
        while (begin > from && x->text[begin - 1] != '\n')
            begin--;
        if ((begin > from || line_begins) && begin < to && before_spaces(x, begin, to) == begin)
            end = begin;
    }
    if (end == from)
        return true;
    return add_token(x, (JinjaToken){.kind = T_DATA, .bytes = x->text + from, .size = end - from});
}

/* Passes the end of a block tag or comment: the closing mark at x->at with its sign. */
static void pass_close(Lexer *x, char sign, size_t close)
{
    size_t to = close + 2;
    if (sign == '-')
        to = after_spaces(x, to);
    else if (sign != '+' && to < x->size && x->text[to] == '\n')
        to++;
    pass(x, to);
}

static bool lex_comment(Lexer *x)
{
    size_t from = x->at;
    for (size_t at = from; at + 1 < x->size; at++) {
        if (x->text[at] != '#' || x->text[at + 1] != '}')
            continue;
        char sign = at > from && (x->text[at - 1] == '-' || x->text[at - 1] == '+')
                        ? x->text[at - 1] : 0;
        pass_close(x, sign, at);
        return true;
    }
    return from == x->size || /* nothing follows: jinja2 lets that pass */
           jinja_syntax(x->t, x->line, x->err, "a comment is not closed by #}");
}

/* At "{%": true when it is {% raw %}; *to is where its contents begin. */
static bool is_raw(const Lexer *x, size_t at, size_t *to)
{
    at += 2;
    if (at < x->size && (x->text[at] == '-' || x->text[at] == '+'))
        at++;
    at = after_spaces(x, at);
    if (!starts(x, at, "raw"))
        return false;
    at = after_spaces(x, at + 3);
    bool minus = starts(x, at, "-%}");
    if (!minus && !starts(x, at, "%}"))
        return false;
    *to = minus ? after_spaces(x, at + 3) : at + 2;
    return true;
}

static bool lex_raw(Lexer *x, size_t from)
{
    pass(x, from);
    bool line_begins = x->line_begins;
    for (size_t at = from; at + 1 < x->size; at++) {
        if (!starts(x, at, "{%"))
            continue;
        size_t word = at + 2;
        char sign = word < x->size && (x->text[word] == '-' || x->text[word] == '+')
                        ? x->text[word++] : 0;
        word = after_spaces(x, word);
        if (!starts(x, word, "endraw"))
            continue;
        size_t close = after_spaces(x, word + 6);
        char close_sign = close < x->size && (x->text[close] == '-' || x->text[close] == '+')
                              ? x->text[close++] : 0;
        if (!starts(x, close, "%}"))
            continue;
        if (!add_data(x, from, at, sign, true, line_begins))
            return false;
        pass_close(x, close_sign, close);
        return true;
    }
    return from == x->size ||
           jinja_syntax(x->t, x->line, x->err, "raw is not closed by endraw");
}

/* ---- inside of tags ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (uint8_t)c >= 0x80;
}

static size_t pass_digits(const Lexer *x, size_t at)
{
    while (at < x->size && (is_digit(x->text[at]) ||
                            (x->text[at] == '_' && at + 1 < x->size && is_digit(x->text[at + 1]))))
        at++;
    return at;
}

/* Where a number that has a fraction or an exponent ends; 0: it has none. */
static size_t end_of_real(const Lexer *x, size_t at)
{
    size_t end = pass_digits(x, at), best = 0;
    if (end + 1 < x->size && x->text[end] == '.' && is_digit(x->text[end + 1]))
        best = end = pass_digits(x, end + 1);
    if (end < x->size && (x->text[end] == 'e' || x->text[end] == 'E')) {
        size_t power = end + 1;
        if (power < x->size && (x->text[power] == '+' || x->text[power] == '-'))
            power++;
        if (power < x->size && is_digit(x->text[power]))
            best = pass_digits(x, power);
    }
    return best;
}

/* The digits of a number without its underscores. */
static bool plain_number(Lexer *x, size_t from, size_t to, char out[64])
{
    size_t size = 0;
    for (size_t i = from; i < to; i++) {
        if (x->text[i] == '_')
            continue;
        if (size == 63)
            return jinja_syntax(x->t, x->line, x->err, "a number has over 63 digits");
        out[size++] = x->text[i];
    }
    out[size] = 0;
    return true;
}

static bool lex_number(Lexer *x)
{
    char digits[64];
    size_t end = end_of_real(x, x->at);
    JinjaToken token = {.kind = T_NUMBER};
    if (end) {
        if (!plain_number(x, x->at, end, digits))
            return false;
        token.value = value_real(strtod(digits, NULL), 0);
    } else {
        int base = 10;
        size_t from = x->at;
        if (x->text[from] == '0' && from + 1 < x->size) {
            char kind = x->text[from + 1] | 32;
            base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
            from += base == 10 ? 0 : 2;
        }
        for (end = from; end < x->size && (is_digit(x->text[end]) || x->text[end] == '_' ||
                                           (base == 16 && is_word(x->text[end])));)
            end++;
        if (!plain_number(x, from, end, digits))
            return false;
        char *stop;
        errno = 0;
        long long whole = strtoll(digits, &stop, base);
        if (errno || *stop || stop == digits || (base == 10 && digits[0] == '0' && whole))
            return jinja_syntax(x->t, x->line, x->err, "'%.20s' is no whole number of 64 bits",
                                digits);
        token.value = value_int(whole, 0);
    }
    pass(x, end);
    return add_token(x, token);
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* A number of up to `most` digits in a base at text[*at]; returns how many there were. */
static size_t take_digits(const Lexer *x, size_t *at, size_t end, uint32_t base, size_t most,
                          uint32_t *out)
{
    size_t count = 0;
    *out = 0;
    for (; count < most && *at < end; count++, (*at)++) {
        char c = x->text[*at];
        uint32_t digit = is_digit(c) ? (uint32_t)(c - '0')
                         : (c | 32) >= 'a' && (c | 32) <= 'f' ? (uint32_t)((c | 32) - 'a' + 10)
                                                              : 99;
        if (digit >= base)
            break;
        *out = *out * base + digit;
    }
    return count;
}

/* The escape whose letter stands at text[*at]; writes at most 4 bytes. */
static bool decode_escape(Lexer *x, size_t *at, size_t end, char *out, size_t *size)
{
    static const char letters[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    char c = x->text[*at];
    const char *found = memchr(letters, c, sizeof letters - 1);
    size_t wanted = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t code;
    if (found) {
        out[(*size)++] = values[found - letters];
        (*at)++;
    } else if (c == '\n') {
        (*at)++;
    } else if (c >= '0' && c <= '7') {
        take_digits(x, at, end, 8, 3, &code);
        *size += put_utf8(out + *size, code);
    } else if (wanted) {
        (*at)++;
        if (take_digits(x, at, end, 16, wanted, &code) != wanted || code > 0x10ffff ||
            (code >= 0xd800 && code < 0xe000))
            return jinja_syntax(x->t, x->line, x->err, "\\%c in a text names no character", c);
        *size += put_utf8(out + *size, code);
    } else if (c == 'N') {
        return jinja_syntax(x->t, x->line, x->err, "\\N in a text is not supported");
    } else {
        out[(*size)++] = '\\';
    }
    return true;
}

static bool lex_text(Lexer *x)
{
    char quote = x->text[x->at];
    size_t from = x->at + 1, end = from;
    while (end < x->size && x->text[end] != quote)
        end += x->text[end] == '\\' && end + 1 < x->size ? 2 : 1;
    if (end >= x->size)
        return jinja_syntax(x->t, x->line, x->err, "a text is not closed by %c", quote);
    /* an escape never gets longer than it was written, but \x80 to \xff and octal ones come near */
    char *copy = arena_alloc(&x->t->arena, end - from + 4, 1);
    if (!copy)
        return no_memory(x);
    size_t size = 0;
    for (size_t at = from; at < end;) {
        if (x->text[at] != '\\') {
            copy[size++] = x->text[at++];
            continue;
        }
        at++;
        if (!decode_escape(x, &at, end, copy, &size))
            return false;
    }
    if (!add_token(x, (JinjaToken){.kind = T_TEXT, .bytes = copy, .size = size}))
        return false;
    pass(x, end + 1);
    return true;
}

static bool lex_sign(Lexer *x)
{
    static const char pairs[] = "**//==!=>=<=";
    static const char singles[] = "+-/*%~[](){}<>=.:|,;";
    char c = x->text[x->at];
    uint16_t sign = 0;
    for (size_t i = 0; i + 1 < sizeof pairs && x->at + 1 < x->size; i += 2)
        if (pairs[i] == c && pairs[i + 1] == x->text[x->at + 1])
            sign = SIGN2(c, pairs[i + 1]);
    if (!sign && memchr(singles, c, sizeof singles - 1))
        sign = (uint16_t)c;
    if (!sign)
        return jinja_syntax(x->t, x->line, x->err, "'%c' is not expected here",
                            c > 32 && c < 127 ? c : '?');
    if (strchr("([{", c)) {
        if (x->bracket_count == BRACKETS_MAX)
            return jinja_syntax(x->t, x->line, x->err, "over %d brackets are open", BRACKETS_MAX);
        x->brackets[x->bracket_count++] = (char)(c == '(' ? ')' : c + 2);
    } else if (strchr(")]}", c) && (!x->bracket_count ||
                                    x->brackets[--x->bracket_count] != c)) {
        return jinja_syntax(x->t, x->line, x->err, "'%c' closes nothing", c);
    }
    if (!add_token(x, (JinjaToken){.kind = T_SIGN, .sign = sign}))
        return false;
    pass(x, x->at + (sign > 255 ? 2 : 1));
    return true;
}

static bool lex_word(Lexer *x)
{
    size_t end = x->at;
    while (end < x->size && is_word(x->text[end]))
        end++;
    if (!add_token(x, (JinjaToken){.kind = T_NAME, .bytes = x->text + x->at,
                                   .size = end - x->at}))
        return false;
    pass(x, end);
    return true;
}

/* True when the tag ends here, which is then passed. */
static bool tag_ends(Lexer *x, bool block)
{
    const char *close = block ? "%}" : "}}";
    if (x->bracket_count)
        return false;
    bool minus = x->text[x->at] == '-' && starts(x, x->at + 1, close);
    bool plus = block && x->text[x->at] == '+' && starts(x, x->at + 1, close);
    if (!minus && !plus && !starts(x, x->at, close))
        return false;
    size_t at = x->at + (minus || plus);
    if (block || minus)
        pass_close(x, minus ? '-' : plus ? '+' : 0, at);
    else
        pass(x, at + 2);
    return true;
}

static bool lex_tag(Lexer *x, bool block)
{
    uint32_t line = x->line;
    if (!add_token(x, (JinjaToken){.kind = block ? T_BLOCK_BEGIN : T_OUTPUT_BEGIN}))
        return false;
    x->bracket_count = 0;
    for (;;) {
        pass(x, after_spaces(x, x->at));
        if (x->at == x->size)
            return jinja_syntax(x->t, line, x->err, "a tag is not closed by %s",
                                block ? "%}" : "}}");
        if (tag_ends(x, block))
            return add_token(x, (JinjaToken){.kind = block ? T_BLOCK_END : T_OUTPUT_END});
        char c = x->text[x->at];
        if (!(is_digit(c) ? lex_number(x) : is_word(c) ? lex_word(x)
              : c == '"' || c == '\'' ? lex_text(x) : lex_sign(x)))
            return false;
    }
}

/* One stretch of text and the tag after it. */
static bool lex_part(Lexer *x)
{
    size_t from = x->at, at = from, contents;
    bool line_begins = x->line_begins;
    while (at < x->size && !(x->text[at] == '{' && at + 1 < x->size &&
                             strchr("{%#", x->text[at + 1]) && x->text[at + 1]))
        at++;
    if (at == x->size) {
        bool good = add_data(x, from, at, 0, false, false);
        pass(x, at);
        return good;
    }
    char kind = x->text[at + 1];
    char sign = at + 2 < x->size && (x->text[at + 2] == '-' || x->text[at + 2] == '+')
                    ? x->text[at + 2] : 0;
    if (!add_data(x, from, at, sign, kind != '{', line_begins))
        return false;
    if (kind == '%' && is_raw(x, at, &contents))
        return lex_raw(x, contents);
    pass(x, at + 2 + (sign != 0));
    return kind == '#' ? lex_comment(x) : lex_tag(x, kind == '%');
}

bool jinja_lex(JinjaTemplate *t, const char *text, size_t size, JinjaTokens *out, Error *err)
{
    char *copy = arena_alloc(&t->arena, size + 1, 1);
    if (!copy)
        return fail(err, ERR_MEMORY, "%s: no memory to parse it", t->name);
    size_t kept = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n')
            continue;
        copy[kept++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (kept && copy[kept - 1] == '\n')
        kept--;
    copy[kept] = 0;
    Lexer x = {.t = t, .text = copy, .size = kept, .line = 1, .line_begins = true, .out = out,
               .err = err};
    while (x.at < x.size)
        if (!lex_part(&x))
            return false;
    return add_token(&x, (JinjaToken){.kind = T_END});
}
