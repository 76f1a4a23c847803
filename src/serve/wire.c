/* wire.c: see wire.h. */
#include "serve/wire.h"

#include "infer/sampler_options.h"

#include <assert.h>
#include <math.h>
#include <string.h>

typedef struct {
    const char *name;
    WireSide from;
    uint32_t body_min, body_max;
} KindRow;

static const KindRow kind_rows[WIRE_KIND_COUNT] = {
    [WIRE_SUBMIT] = {"submit", WIRE_GATEWAY, 96, WIRE_BODY_MAX},
    [WIRE_CANCEL] = {"cancel", WIRE_GATEWAY, 0, 0},
    [WIRE_READY] = {"ready", WIRE_WORKER, 28, 28},
    [WIRE_BEAT] = {"beat", WIRE_WORKER, 20, 20},
    [WIRE_START] = {"start", WIRE_WORKER, 8, 8},
    [WIRE_TOKEN] = {"token", WIRE_WORKER, 24, 2 << 20},
    [WIRE_END] = {"end", WIRE_WORKER, 20, 1 << 20},
    [WIRE_ERROR] = {"error", WIRE_WORKER, 12, 4096},
};

/* ---- frames ---- */

void wire_reader_init(WireReader *reader, WireSide from)
{
    *reader = (WireReader){.from = from};
    /* One frame beyond the largest, since reads do not end at a frame's end. */
    buf_init(&reader->in, 2 * (size_t)(WIRE_BODY_MAX + WIRE_HEADER_BYTES));
}

void wire_reader_done(WireReader *reader)
{
    buf_done(&reader->in);
}

bool wire_reader_add(WireReader *reader, const void *bytes, size_t size, Error *err)
{
    Buf *in = &reader->in;
    if (reader->at) {
        memmove(in->data, in->data + reader->at, in->size - reader->at);
        in->size -= reader->at;
        reader->at = 0;
    }
    buf_add(in, bytes, size);
    return buf_ok(in, "frames between gateway and worker", err);
}

bool wire_reader_next(WireReader *reader, WireFrame *frame, bool *got, Error *err)
{
    size_t held = reader->in.size - reader->at;
    *got = false;
    if (held < WIRE_HEADER_BYTES)
        return true;
    const uint8_t *at = (const uint8_t *)reader->in.data + reader->at;
    uint32_t size;
    uint16_t kind, flags;
    memcpy(&size, at, 4);
    memcpy(&kind, at + 4, 2);
    memcpy(&flags, at + 6, 2);
    if (kind >= WIRE_KIND_COUNT || kind_rows[kind].from != reader->from || flags)
        return fail(err, ERR_FORMAT, "frame of kind %d and flags %d is not expected here", kind,
                    flags);
    if (size < kind_rows[kind].body_min || size > kind_rows[kind].body_max)
        return fail(err, ERR_FORMAT, "%s frame of %u bytes, expected %u to %u",
                    kind_rows[kind].name, size, kind_rows[kind].body_min, kind_rows[kind].body_max);
    if (held - WIRE_HEADER_BYTES < size)
        return true;
    *frame = (WireFrame){.kind = kind, .body = at + WIRE_HEADER_BYTES, .size = size};
    memcpy(&frame->request, at + 8, 8);
    reader->at += WIRE_HEADER_BYTES + size;
    *got = true;
    return true;
}

/* ---- writing ---- */

static size_t frame_begin(Buf *out, WireKind kind, uint64_t request)
{
    size_t start = out->size;
    uint32_t size = 0;
    uint16_t words[2] = {(uint16_t)kind, 0};
    buf_add(out, &size, 4);
    buf_add(out, words, 4);
    buf_add(out, &request, 8);
    return start;
}

/* Writes the size into the header. A body over its limit is our bug in the worker, and latched as
 * a failure everywhere: nothing half-written may leave. */
static void frame_end(Buf *out, size_t start, WireKind kind)
{
    if (out->failed)
        return;
    size_t body = out->size - start - WIRE_HEADER_BYTES;
    if (body > kind_rows[kind].body_max) {
        out->failed = true;
        return;
    }
    uint32_t size = (uint32_t)body;
    memcpy(out->data + start, &size, 4);
}

static void put_u32(Buf *out, uint32_t value)
{
    buf_add(out, &value, 4);
}

static void put_u64(Buf *out, uint64_t value)
{
    buf_add(out, &value, 8);
}

static void put_f32(Buf *out, float value)
{
    buf_add(out, &value, 4);
}

static void put_text(Buf *out, WireText text)
{
    put_u32(out, text.size);
    if (text.size)
        buf_add(out, text.text, text.size);
}

/* Every option in the order of the sampler's table. */
static void put_sampling(Buf *out, const SamplerOptions *options)
{
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        const SamplerOption *o = &sampler_options[i];
        switch (o->kind) {
        case OPTION_NUMBER:
            put_f32(out, (float)sampler_option_value(options, o));
            break;
        case OPTION_WHOLE:
            put_u32(out, (uint32_t)(int32_t)sampler_option_value(options, o));
            break;
        case OPTION_SEED:
            put_u64(out, options->seed);
            break;
        case OPTION_BIAS:
            put_u32(out, options->bias_count);
            if (options->bias_count)
                buf_add(out, options->bias, options->bias_count * sizeof *options->bias);
            break;
        case OPTION_TEXTS:
            put_u32(out, options->breaker_count);
            for (uint32_t k = 0; k < options->breaker_count; k++)
                put_text(out, (WireText){options->breakers[k],
                                         (uint32_t)strlen(options->breakers[k])});
            break;
        }
    }
}

void wire_add_submit(Buf *out, uint64_t request, const WireSubmit *submit)
{
    size_t start = frame_begin(out, WIRE_SUBMIT, request);
    put_u32(out, submit->n);
    put_u32(out, submit->tokens_max);
    put_sampling(out, &submit->sampling);
    put_u32(out, submit->logprobs ? submit->alternatives + 1 : 0);
    put_u32(out, submit->stop_count);
    for (uint32_t i = 0; i < submit->stop_count; i++)
        put_text(out, submit->stops[i]);
    put_u32(out, submit->part_count);
    for (uint32_t i = 0; i < submit->part_count; i++) {
        const WirePart *part = &submit->parts[i];
        put_u32(out, part->kind);
        if (part->kind != PART_IDS) {
            put_text(out, part->text);
            continue;
        }
        put_u32(out, part->count);
        buf_add(out, part->ids, (size_t)part->count * sizeof *part->ids);
    }
    frame_end(out, start, WIRE_SUBMIT);
}

void wire_add_cancel(Buf *out, uint64_t request)
{
    frame_end(out, frame_begin(out, WIRE_CANCEL, request), WIRE_CANCEL);
}

void wire_add_ready(Buf *out, const WireReady *ready)
{
    size_t start = frame_begin(out, WIRE_READY, 0);
    put_u32(out, ready->context);
    put_u32(out, ready->vocab);
    put_u64(out, ready->parameters);
    put_u64(out, ready->bytes_planned);
    put_u32(out, ready->chat);
    frame_end(out, start, WIRE_READY);
}

void wire_add_beat(Buf *out, const WireBeat *beat)
{
    size_t start = frame_begin(out, WIRE_BEAT, 0);
    put_u64(out, beat->steps);
    put_u64(out, beat->tokens);
    put_u32(out, beat->choices);
    frame_end(out, start, WIRE_BEAT);
}

void wire_add_start(Buf *out, uint64_t request, const WireStart *start)
{
    size_t at = frame_begin(out, WIRE_START, request);
    put_u32(out, start->choice);
    put_u32(out, start->prompt_tokens);
    frame_end(out, at, WIRE_START);
}

static void put_chance(Buf *out, const WireChance *chance)
{
    put_u32(out, (uint32_t)chance->id);
    put_f32(out, chance->logprob);
    put_text(out, chance->bytes);
}

void wire_add_token(Buf *out, uint64_t request, const WireToken *token)
{
    size_t start = frame_begin(out, WIRE_TOKEN, request);
    put_u32(out, token->choice);
    put_text(out, token->text);
    put_chance(out, &token->chosen);
    put_u32(out, token->count);
    for (uint32_t i = 0; i < token->count; i++)
        put_chance(out, &token->alternatives[i]);
    frame_end(out, start, WIRE_TOKEN);
}

void wire_add_end(Buf *out, uint64_t request, const WireEnd *end)
{
    size_t start = frame_begin(out, WIRE_END, request);
    put_u32(out, end->choice);
    put_u32(out, end->end);
    put_u32(out, end->prompt_tokens);
    put_u32(out, end->answer_tokens);
    put_text(out, end->text);
    frame_end(out, start, WIRE_END);
}

void wire_add_error(Buf *out, uint64_t request, const WireError *error)
{
    size_t start = frame_begin(out, WIRE_ERROR, request);
    put_u32(out, error->cause);
    put_u32(out, error->code);
    put_text(out, error->text);
    frame_end(out, start, WIRE_ERROR);
}

/* ---- reading: a cursor that, once it has run out, gives zeros and remembers ---- */

typedef struct {
    const uint8_t *at, *end;
    bool bad;
} Cursor;

static Cursor cursor_of(const WireFrame *frame)
{
    return (Cursor){frame->body, frame->body + frame->size, false};
}

static const uint8_t *take(Cursor *c, size_t size)
{
    if (c->bad || (size_t)(c->end - c->at) < size) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *bytes = c->at;
    c->at += size;
    return bytes;
}

static uint32_t take_u32(Cursor *c)
{
    uint32_t value = 0;
    const uint8_t *bytes = take(c, 4);
    if (bytes)
        memcpy(&value, bytes, 4);
    return value;
}

static uint64_t take_u64(Cursor *c)
{
    uint64_t value = 0;
    const uint8_t *bytes = take(c, 8);
    if (bytes)
        memcpy(&value, bytes, 8);
    return value;
}

static float take_f32(Cursor *c)
{
    float value = 0;
    const uint8_t *bytes = take(c, 4);
    if (bytes)
        memcpy(&value, bytes, 4);
    return value;
}

static WireText take_text(Cursor *c)
{
    uint32_t size = take_u32(c);
    const uint8_t *bytes = take(c, size);
    return bytes ? (WireText){(const char *)bytes, size} : (WireText){"", 0};
}

/* A number that must be in [low, high]. */
static uint32_t take_range(Cursor *c, uint32_t low, uint32_t high)
{
    uint32_t value = take_u32(c);
    if (value < low || value > high)
        c->bad = true;
    return c->bad ? low : value;
}

static bool finish(const Cursor *c, WireKind kind, Error *err)
{
    if (!c->bad && c->at == c->end)
        return true;
    return fail(err, ERR_FORMAT, "%s frame does not hold what it says", kind_rows[kind].name);
}

static bool read_parts(Cursor *c, WireSubmit *submit, Arena *arena, Error *err)
{
    /* The count is believed only as far as the bytes go: a part takes 8 at least. */
    uint32_t count = take_range(c, 1, WIRE_PARTS_MAX);
    if (c->bad || (size_t)(c->end - c->at) / 8 < count)
        return fail(err, ERR_FORMAT, "submit frame has too few bytes for its parts");
    WirePart *parts = arena_alloc(arena, count, sizeof *parts);
    if (!parts)
        return fail(err, ERR_MEMORY, "no memory for a request of %u parts", count);
    bool chat = false;
    for (uint32_t i = 0; i < count; i++) {
        WirePart *part = &parts[i];
        part->kind = take_range(c, 0, PART_KINDS - 1);
        if (i == 0)
            chat = part->kind <= PART_ASSISTANT;
        if (chat != (part->kind <= PART_ASSISTANT))
            return fail(err, ERR_FORMAT, "submit frame mixes messages and prompts");
        if (part->kind == PART_IDS) {
            part->count = take_range(c, 0, WIRE_BODY_MAX / sizeof(int32_t));
            part->ids = (const int32_t *)(const void *)take(c, part->count * sizeof(int32_t));
        } else {
            part->text = take_text(c);
        }
    }
    submit->part_count = count;
    submit->parts = parts;
    return true;
}

static bool no_list(Error *err)
{
    return fail(err, ERR_MEMORY, "no memory for the options of a request");
}

static bool take_bias(Cursor *c, SamplerOptions *out, Arena *arena, Error *err)
{
    uint32_t count = take_range(c, 0, SAMPLER_BIAS_MAX);
    const uint8_t *bytes = take(c, count * sizeof *out->bias);
    SamplerBias *list = arena_alloc(arena, bytes ? count : 0, sizeof *list);
    if (!list)
        return no_list(err);
    if (bytes && count)
        memcpy(list, bytes, count * sizeof *list);
    out->bias = list;
    out->bias_count = bytes ? count : 0;
    return true;
}

static bool take_breakers(Cursor *c, SamplerOptions *out, Arena *arena, Error *err)
{
    uint32_t count = take_range(c, 0, SAMPLER_BREAKERS_MAX);
    const char **list = arena_alloc(arena, count, sizeof *list);
    if (!list)
        return no_list(err);
    for (uint32_t i = 0; i < count; i++) {
        WireText text = take_text(c);
        c->bad |= text.size == 0 || text.size > SAMPLER_BREAKER_BYTES_MAX ||
                  memchr(text.text, 0, text.size);
        list[i] = arena_copy_text(arena, text.text, c->bad ? 0 : text.size);
        if (!list[i])
            return no_list(err);
    }
    out->breakers = list;
    out->breaker_count = count;
    return true;
}

/* False: no memory. What is out of range makes the cursor bad. */
static bool take_sampling(Cursor *c, SamplerOptions *out, Arena *arena, Error *err)
{
    Error range;
    for (uint32_t i = 0; i < sampler_options_count; i++) {
        const SamplerOption *o = &sampler_options[i];
        char *at = (char *)out + o->offset;
        uint32_t bits;
        switch (o->kind) {
        case OPTION_NUMBER: /* as it travels: the bits of a float or of an int32_t */
        case OPTION_WHOLE:
            bits = take_u32(c);
            memcpy(at, &bits, sizeof bits);
            break;
        case OPTION_SEED:
            out->seed = take_u64(c);
            break;
        case OPTION_BIAS:
            if (!take_bias(c, out, arena, err))
                return false;
            break;
        case OPTION_TEXTS:
            if (!take_breakers(c, out, arena, err))
                return false;
            break;
        }
    }
    c->bad |= !sampler_options_check(out, 0, &range);
    return true;
}

bool wire_read_submit(const WireFrame *frame, WireSubmit *out, Arena *arena, Error *err)
{
    assert(frame->kind == WIRE_SUBMIT);
    Cursor c = cursor_of(frame);
    WireSubmit submit = {0};
    submit.n = take_range(&c, 1, WIRE_CHOICES_MAX);
    submit.tokens_max = take_u32(&c);
    if (!take_sampling(&c, &submit.sampling, arena, err))
        return false;
    uint32_t logprobs = take_range(&c, 0, WIRE_ALTERNATIVES_MAX + 1);
    submit.logprobs = logprobs > 0;
    submit.alternatives = logprobs ? logprobs - 1 : 0;
    submit.stop_count = take_range(&c, 0, WIRE_STOPS_MAX);
    for (uint32_t i = 0; i < submit.stop_count; i++) {
        submit.stops[i] = take_text(&c);
        c.bad |= submit.stops[i].size == 0 || submit.stops[i].size > WIRE_STOP_BYTES_MAX ||
                 memchr(submit.stops[i].text, 0, submit.stops[i].size);
    }
    if (c.bad)
        return finish(&c, WIRE_SUBMIT, err);
    if (!read_parts(&c, &submit, arena, err))
        return false;
    c.bad |= wire_prompts(&submit) * submit.n > WIRE_CHOICES_MAX;
    if (!finish(&c, WIRE_SUBMIT, err))
        return false;
    *out = submit;
    return true;
}

uint32_t wire_prompts(const WireSubmit *submit)
{
    return submit->parts[0].kind <= PART_ASSISTANT ? 1 : submit->part_count;
}

bool wire_read_ready(const WireFrame *frame, WireReady *out, Error *err)
{
    assert(frame->kind == WIRE_READY);
    Cursor c = cursor_of(frame);
    WireReady ready = {0};
    ready.context = take_range(&c, 1, 1u << 30);
    ready.vocab = take_range(&c, 1, 1u << 24);
    ready.parameters = take_u64(&c);
    ready.bytes_planned = take_u64(&c);
    ready.chat = take_range(&c, 0, 1);
    if (!finish(&c, WIRE_READY, err))
        return false;
    *out = ready;
    return true;
}

bool wire_read_beat(const WireFrame *frame, WireBeat *out, Error *err)
{
    assert(frame->kind == WIRE_BEAT);
    Cursor c = cursor_of(frame);
    WireBeat beat = {.steps = take_u64(&c), .tokens = take_u64(&c)};
    beat.choices = take_u32(&c);
    if (!finish(&c, WIRE_BEAT, err))
        return false;
    *out = beat;
    return true;
}

bool wire_read_start(const WireFrame *frame, WireStart *out, Error *err)
{
    assert(frame->kind == WIRE_START);
    Cursor c = cursor_of(frame);
    WireStart start = {.choice = take_range(&c, 0, WIRE_CHOICES_MAX - 1)};
    start.prompt_tokens = take_range(&c, 1, 1u << 30);
    if (!finish(&c, WIRE_START, err))
        return false;
    *out = start;
    return true;
}

static WireChance take_chance(Cursor *c)
{
    WireChance chance = {.id = (int32_t)take_u32(c), .logprob = take_f32(c)};
    chance.bytes = take_text(c);
    c->bad |= isnan(chance.logprob);
    return chance;
}

bool wire_read_token(const WireFrame *frame, WireToken *out, Error *err)
{
    assert(frame->kind == WIRE_TOKEN);
    Cursor c = cursor_of(frame);
    WireToken token = {.choice = take_range(&c, 0, WIRE_CHOICES_MAX - 1)};
    token.text = take_text(&c);
    token.chosen = take_chance(&c);
    token.count = take_range(&c, 0, WIRE_ALTERNATIVES_MAX);
    for (uint32_t i = 0; i < token.count; i++)
        token.alternatives[i] = take_chance(&c);
    if (!finish(&c, WIRE_TOKEN, err))
        return false;
    *out = token;
    return true;
}

bool wire_read_end(const WireFrame *frame, WireEnd *out, Error *err)
{
    assert(frame->kind == WIRE_END);
    Cursor c = cursor_of(frame);
    WireEnd end = {.choice = take_range(&c, 0, WIRE_CHOICES_MAX - 1)};
    end.end = take_range(&c, 0, WIRE_ENDS - 1);
    end.prompt_tokens = take_range(&c, 0, 1u << 30);
    end.answer_tokens = take_range(&c, 0, 1u << 30);
    end.text = take_text(&c);
    if (!finish(&c, WIRE_END, err))
        return false;
    *out = end;
    return true;
}

bool wire_read_error(const WireFrame *frame, WireError *out, Error *err)
{
    assert(frame->kind == WIRE_ERROR);
    Cursor c = cursor_of(frame);
    WireError error = {.cause = take_range(&c, 0, CAUSE_COUNT - 1)};
    error.code = take_range(&c, 1, ERR_COUNT - 1);
    error.text = take_text(&c);
    if (!finish(&c, WIRE_ERROR, err))
        return false;
    *out = error;
    return true;
}
