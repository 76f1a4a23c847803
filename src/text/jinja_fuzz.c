/* A template of any bytes parses or is refused; rendered with hostile data it ends within its
 * limits, its runs cover its text, and no data is taken for the template's own words. */
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const JinjaText *text)
{
    size_t at = 0;
    for (size_t i = 0; i < text->run_count; i++) {
        if (text->runs[i].end <= at)
            abort();
        /* the secret stands in the data only */
        if (text->runs[i].trusted && memmem(text->text.data + at, text->runs[i].end - at,
                                            "\x01\x02\x03", 3))
            abort();
        at = text->runs[i].end;
    }
    if (at != text->text.size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error err;
    JinjaTemplate *t;
    if (memmem(data, size, "\x01", 1) || memmem(data, size, "\\", 1))
        return 0; /* the template could write the secret itself */
    if (!jinja_parse(&t, (const char *)data, size, "fuzz", &err))
        return 0;
    json_t *words = json_pack(
        "{s:[{s:s,s:s},{s:s,s:[{s:s,s:s}]},{s:s,s:n,s:[{s:{s:s,s:{s:f,s:b}}}]}],s:[{s:{}}],s:i,s:s}",
        "messages", "role", "user", "content", "\x01\x02\x03 a", "role", "\x01\x02\x03", "content",
        "type", "text", "text", "\x01\x02\x03", "role", "assistant", "content", "tool_calls",
        "function", "name", "f", "arguments", "x", 1.5, "y", 1, "tools", "function", "n", -3, "s",
        "\x01\x02\x03\xc3\xa9 b");
    JinjaVariable variables[] = {
        {"messages", json_object_get(words, "messages"), JINJA_MESSAGES},
        {"tools", json_object_get(words, "tools"), JINJA_DATA},
        {"n", json_object_get(words, "n"), JINJA_DATA},
        {"s", json_object_get(words, "s"), JINJA_DATA},
    };
    JinjaOptions options = {.steps_max = 200000, .memory_max = 16 << 20, .output_max = 1 << 20,
                            .now = 1764000000};
    JinjaText text;
    jinja_text_init(&text);
    if (words && jinja_render(t, variables, 4, &options, &text, &err))
        check(&text);
    jinja_text_done(&text);
    json_decref(words);
    jinja_free(t);
    return 0;
}
