/* jinja.h: the chat template a checkpoint carries, parsed once and rendered many times.
 *
 * The language is Jinja as Hugging Face's apply_chat_template sets it up: trim_blocks and
 * lstrip_blocks, an immutable sandbox, loop controls, {% generation %}, raise_exception,
 * strftime_now, tojson as json.dumps(ensure_ascii=False). Rendering gives the same text as Python's
 * jinja2 there, or it fails. Not here, and refused by name: extends, block, include, import,
 * autoescape; the filters random, urlize, pprint, wordwrap, xmlattr, striptags, filesizeformat;
 * whole numbers over 64 bits. Beyond it: the filter from_json, which some templates expect.
 *
 * A template is a program of a stranger, and its data are words of strangers. So:
 *  - it reads what it is given and nothing else; nothing it does changes the data;
 *  - steps, memory, output and nesting have limits; a failure is one sentence that names the line;
 *  - every byte of the output knows where it came from. `trusted` bytes were written in the template
 *    itself, or in a variable that the caller vouches for; every byte that an operation derived from
 *    data is data. Markers are looked for in trusted bytes only (chat_encode.h), so a user who
 *    writes "<|im_end|>" has written ten characters and not the end of his turn.
 *
 * Slices, concatenation, join, strip, split, %, changes of case and escaping keep the origin byte by
 * byte; replace, tojson and everything else that mixes give data as soon as any part is data.
 * Threads: a parsed template is immutable; jinja_render may run on many threads at once, as long as
 * each has its own data.
 */
#pragma once
#include "base/buf.h"

#include <jansson.h>
#include <stdint.h>

typedef struct JinjaTemplate JinjaTemplate;

enum { JINJA_BYTES_MAX = 1 << 20 };

/* Parses text (UTF-8, at most JINJA_BYTES_MAX), which is copied. `name` begins the sentence of every
 * failure. ERR_FORMAT: "chat template: line 12: ...". */
bool jinja_parse(JinjaTemplate **out, const char *text, size_t size, const char *name,
                 Error *err) MUST_CHECK;
void jinja_free(JinjaTemplate *template); /* NULL is a no-op */

/* True when the text stands in one piece in some literal of the template. */
bool jinja_writes(const JinjaTemplate *template, const char *text, size_t size);
bool jinja_has_generation(const JinjaTemplate *template); /* {% generation %} is in it */

typedef enum {
    JINJA_DATA,     /* words of strangers */
    JINJA_TRUSTED,  /* the caller vouches for every string in it: bos_token, eos_token */
    JINJA_MESSAGES, /* data, but "role" of each element is trusted when jinja_is_role knows it */
} JinjaTrust;

/* A variable of the template. Objects keep their order. A string must be UTF-8. */
typedef struct {
    const char *name;
    json_t *value;
    JinjaTrust trust;
} JinjaVariable;

/* "system", "user", "assistant", "tool", "developer", "function", "ipython": words that templates
 * put into their markers ('<|' + message.role + '|>'). */
bool jinja_is_role(const char *text, size_t size);

/* Zeros are the defaults. */
typedef struct {
    uint64_t steps_max; /* 0: 20 million; a node is a step, 16 bytes of a string too */
    size_t memory_max;  /* 0: 256 MiB */
    size_t output_max;  /* 0: 64 MiB */
    uint32_t depth_max; /* 0: 600 nested nodes and values */
    int64_t now;        /* for strftime_now, in seconds since 1970; 0: the clock. Local time */
} JinjaOptions;

/* A stretch of the output. */
typedef struct {
    size_t end;   /* it begins where the one before ended */
    bool trusted; /* written by the template or by a trusted variable */
    bool trained; /* within {% generation %} */
} JinjaRun;

typedef struct {
    Buf text;
    JinjaRun *runs; /* neighbours differ; the last one ends with the text */
    size_t run_count, run_room;
} JinjaText;
void jinja_text_init(JinjaText *text);
void jinja_text_done(JinjaText *text);
#define auto_jinja_text __attribute__((cleanup(jinja_text_done)))

/* Replaces what is in *out by the rendering. ERR_INPUT: raise_exception with its own words, or an
 * operation that its values do not allow; ERR_LIMIT, ERR_MEMORY. Then *out is empty. options may be
 * NULL. */
bool jinja_render(const JinjaTemplate *template, const JinjaVariable *variables, size_t count,
                  const JinjaOptions *options, JinjaText *out, Error *err) MUST_CHECK;
