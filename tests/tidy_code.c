/* tidy_code.c: rules for C: includes by layer, banned calls, length of functions, first lines.
 *
 * They read a copy in which comments and the insides of strings are blanks, so that words in prose
 * offend nobody. See tidy.h. */
#include "tidy.h"

#include "base/mem.h"

#include <ctype.h>
#include <string.h>

/* The end of a string or character constant that starts at text[i], or of the line if unclosed. */
static size_t end_of_quote(const char *text, size_t i)
{
    char quote = text[i++];
    while (text[i] && text[i] != '\n' && text[i] != quote)
        i += text[i] == '\\' && text[i + 1] ? 2 : 1;
    return i;
}

/* Where the comment or string at text[*i] ends, *i when there is none. Of a string the quotes stay,
 * so *i moves behind the first one and the end is the last one. */
static size_t end_of_prose(const char *text, size_t size, size_t *i)
{
    const char *here = text + *i;
    if (here[0] == '/' && here[1] == '*') {
        const char *close = strstr(here + 2, "*/");
        return close ? (size_t)(close - text) + 2 : size;
    }
    if (here[0] == '/' && here[1] == '/')
        return *i + strcspn(here, "\n");
    if (here[0] == '"' || here[0] == '\'')
        return end_of_quote(text, (*i)++);
    return *i;
}

/* A copy of the same length without comments and strings; newlines stay. NULL: no memory. */
static char *code_only(const char *text, size_t size)
{
    char *copy = mem_copy_text(text, size);
    size_t i = 0;
    while (copy && i < size) {
        size_t start = i, end = end_of_prose(text, size, &i);
        bool quote = i != start;
        for (; i < end; i++)
            copy[i] = text[i] == '\n' ? '\n' : ' ';
        if (quote || end == start)
            i++;
    }
    return copy;
}

static uint32_t line_of(const char *text, const char *at)
{
    uint32_t line = 1;
    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

/* ---- includes ---- */

static const TidyLayer *layer_of(const char *name, size_t length)
{
    for (size_t i = 0; tidy_layers[i].folder; i++)
        if (strlen(tidy_layers[i].folder) == length &&
            memcmp(tidy_layers[i].folder, name, length) == 0)
            return &tidy_layers[i];
    return NULL;
}

/* What stands between the quotes of an #include line, with room; "" when it is another line. */
static void include_target(const TidyLine *line, char *target, size_t room)
{
    static const char word[] = "#include \"";
    const char *from = line->start + sizeof word - 1;
    size_t length = 0;
    if (line->length > sizeof word - 1 && memcmp(line->start, word, sizeof word - 1) == 0)
        length = strcspn(from, "\"\n");
    if (length >= room)
        length = room - 1;
    memcpy(target, from, length);
    target[length] = 0;
}

static void check_include(Tidy *tidy, const TidyFile *file, uint32_t number, const char *target)
{
    const char *folder = file->path + strlen("src/");
    const TidyLayer *own = layer_of(folder, strcspn(folder, "/"));
    size_t length = strcspn(target, "/");
    char seen[64] = " ";
    if (strcmp(target, "bastide.h") == 0)
        return;
    if (tidy_starts(target, "base/test")) {
        if (!tidy_is_test(file->path) && !tidy_ends(file->path, "_test.h"))
            tidy_report(tidy, file->path, number, "%s is for tests only", target);
        return;
    }
    if (!target[length] || length + 3 > sizeof seen || strstr(target, "..")) {
        tidy_report(tidy, file->path, number, "\"%s\": an include names its folder: \"%.*s/x.h\"",
                    target, (int)strcspn(folder, "/"), folder);
        return;
    }
    memcpy(seen + 1, target, length);
    memcpy(seen + 1 + length, " ", 2);
    bool same = length == strlen(own->folder) && memcmp(own->folder, target, length) == 0;
    if (!same && !strstr(own->may_see, seen))
        tidy_report(tidy, file->path, number, "%s/ must not include \"%s\": it may see [%s]",
                    own->folder, target, own->may_see);
}

static void check_includes(Tidy *tidy, const TidyFile *file)
{
    const char *folder = file->path + strlen("src/");
    const char *at = file->text;
    TidyLine line = {0};
    if (!tidy_starts(file->path, "src/"))
        return;
    if (!layer_of(folder, strcspn(folder, "/"))) {
        tidy_report(tidy, file->path, 1, "folder \"%.*s\" has no row in the table of layers",
                    (int)strcspn(folder, "/"), folder);
        return;
    }
    while (tidy_next_line(&at, &line)) {
        char target[200];
        include_target(&line, target, sizeof target);
        if (target[0])
            check_include(tidy, file, line.number, target);
    }
}

/* ---- calls ---- */

static bool banned_here(TidyScope scope, const char *path)
{
    bool cli = tidy_starts(path, "src/cli/");
    bool product = tidy_starts(path, "src/") && !tidy_is_test(path);
    switch (scope) {
    case TIDY_EVERYWHERE:
        return true;
    case TIDY_PRODUCT:
        return product;
    case TIDY_LIBRARIES:
        return product && !cli;
    case TIDY_ABOVE_BASE:
        return product && !tidy_starts(path, "src/base/");
    }
    return true;
}

/* Is the name at code[i] called as a function, and not as a member of something? */
static bool is_call(const char *code, size_t i, size_t length)
{
    size_t before = i;
    while (before > 0 && code[before - 1] == ' ')
        before--;
    if (before > 0 && code[before - 1] == '.')
        return false;
    if (before > 1 && code[before - 1] == '>' && code[before - 2] == '-')
        return false;
    return code[i + length + strspn(code + i + length, " ")] == '(';
}

static void check_name(Tidy *tidy, const TidyFile *file, const char *code, size_t i, size_t length)
{
    for (const TidyBan *ban = tidy_bans; ban->call; ban++) {
        if (strlen(ban->call) != length || memcmp(ban->call, code + i, length) != 0)
            continue;
        if (banned_here(ban->scope, file->path) && is_call(code, i, length) &&
            !tidy_allowed(tidy, "call", file->path, ban->call))
            tidy_report(tidy, file->path, line_of(code, code + i), "%s() %s", ban->call,
                        ban->instead);
    }
}

static void check_calls(Tidy *tidy, const TidyFile *file, const char *code)
{
    for (size_t i = 0; code[i];) {
        if (!isalpha((unsigned char)code[i]) && code[i] != '_') {
            i++;
            continue;
        }
        size_t length = 1;
        while (isalnum((unsigned char)code[i + length]) || code[i + length] == '_')
            length++;
        check_name(tidy, file, code, i, length);
        i += length;
    }
}

/* ---- functions ---- */

typedef struct {
    char name[80];
    uint32_t first; /* line where the signature starts; 0: not in one */
} Signature;

/* The name before the first '(' of a line, if it holds one. */
static void signature_name(Signature *signature, const TidyLine *line)
{
    const char *paren = memchr(line->start, '(', line->length);
    size_t end = paren ? (size_t)(paren - line->start) : 0, begin = end;
    while (begin > 0 && (isalnum((unsigned char)line->start[begin - 1]) ||
                         line->start[begin - 1] == '_'))
        begin--;
    if (end - begin == 0 || end - begin >= sizeof signature->name || signature->name[0])
        return;
    memcpy(signature->name, line->start + begin, end - begin);
    signature->name[end - begin] = 0;
}

static void check_length(Tidy *tidy, const TidyFile *file, const Signature *signature,
                         uint32_t last)
{
    uint32_t lines = last - signature->first + 1;
    if (lines <= TIDY_FUNCTION_MAX)
        return;
    if (lines > TIDY_KERNEL_MAX)
        tidy_report(tidy, file->path, signature->first, "%s has %u lines, never over %d",
                    signature->name, lines, TIDY_KERNEL_MAX);
    else if (!tidy_allowed(tidy, "function", file->path, signature->name))
        tidy_report(tidy, file->path, signature->first, "%s has %u lines, at most %d",
                    signature->name, lines, TIDY_FUNCTION_MAX);
}

/* Leans on the house's braces: a function's stand alone at the left margin. */
static void check_functions(Tidy *tidy, const TidyFile *file, const char *code)
{
    const char *at = code;
    TidyLine line = {0};
    Signature signature = {0};
    bool inside = false;
    while (tidy_next_line(&at, &line)) {
        char first = line.length ? line.start[0] : 0;
        size_t end = line.length;
        while (end > 0 && line.start[end - 1] == ' ')
            end--;
        char last = end ? line.start[end - 1] : 0;
        if (inside) {
            if (first != '}')
                continue;
            check_length(tidy, file, &signature, line.number);
            inside = false;
            signature = (Signature){0};
        } else if (first == '{' && end == 1 && signature.first) {
            inside = true;
        } else if (!end || first == '#' || first == '}' || last == ';' || last == '=') {
            signature = (Signature){0};
        } else {
            if (last == '{' && end > 1 && line.start[end - 2] == ' ' && end > 2 &&
                line.start[end - 3] == ')' && first != ' ')
                tidy_report(tidy, file->path, line.number,
                            "the brace of a function stands alone on its line");
            if (!signature.first && first != ' ')
                signature.first = line.number;
            signature_name(&signature, &line);
        }
    }
}

/* ---- first lines ---- */

static void check_opening(Tidy *tidy, const TidyFile *file, const char *code)
{
    const char *name = tidy_base(file->path);
    if (!tidy_starts(file->path, "src/") || (tidy_is_test(file->path) && !tidy_ends(name, ".h")))
        return;
    size_t length = strlen(name);
    if (!tidy_starts(file->text, "/* ") || strncmp(file->text + 3, name, length) != 0 ||
        file->text[3 + length] != ':')
        tidy_report(tidy, file->path, 1,
                    "the first line starts with \"/* %s: \" and says what it is", name);
    if (tidy_ends(name, ".h") && !strstr(code, "#pragma once") &&
        !tidy_allowed(tidy, "pragma", file->path, NULL))
        tidy_report(tidy, file->path, 1, "a header has #pragma once");
}

void tidy_check_code(Tidy *tidy, const TidyFile *file)
{
    if (!file->text || !tidy_is_c(file->path) || tidy_is_data(file->path))
        return;
    auto_free char *code = code_only(file->text, file->size);
    if (!code) {
        tidy_report(tidy, file->path, 1, "no memory to read it");
        return;
    }
    check_includes(tidy, file);
    check_calls(tidy, file, code);
    check_functions(tidy, file, code);
    check_opening(tidy, file, code);
}
