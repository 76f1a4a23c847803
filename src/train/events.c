/* events.c: see events.h. */
#include "train/events.h"

#include "base/clock.h"
#include "base/mem.h"
#include "format/jsonl.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const event_kind_names[EVENT_KIND_COUNT] = {"step", "eval", "checkpoint", "warning",
                                                        "end"};

static bool log_path(char path[1024], const char *run_folder, Error *err)
{
    return fs_join(path, 1024, run_folder, "events.jsonl", err);
}

/* ---- writing ---- */

bool events_open(Events *events, const char *run_folder, Error *err)
{
    char path[1024];
    *events = (Events){.log.fd = -1};
    if (!log_path(path, run_folder, err))
        return false;
    buf_init(&events->line, EVENT_LINE_MAX);
    if (!buf_reserve(&events->line, EVENT_LINE_MAX)) /* all it will ever need */
        return fail(err, ERR_MEMORY, "no memory for the log of events");
    if (jsonl_log_open(&events->log, path, err))
        return true;
    buf_done(&events->line);
    return false;
}

void events_close(Events *events)
{
    fs_log_close(&events->log);
    buf_done(&events->line);
}

/* The fewest digits that read back to the same bits. */
static void add_number(Buf *line, const char *name, double value)
{
    buf_format(line, ",\"%s\":", name);
    if (!isfinite(value)) {
        buf_add_text(line, "null");
        return;
    }
    char text[40];
    bool whole = fabs(value) < 1e15 && value == floor(value);
    snprintf(text, sizeof text, "%.0f", value);
    for (int digits = 6; !whole && digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_add_text(line, text);
}

static bool add_sentence(Buf *line, const char *text, Error *err)
{
    auto_json json_t *value = json_string(text);
    if (!value)
        return fail(err, ERR_INPUT, "the text of an event is not UTF-8, or there is no memory");
    buf_add_text(line, ",\"text\":");
    return json_dump(value, line, err);
}

bool events_add(Events *events, EventKind kind, uint64_t step, const EventNumber *numbers,
                uint32_t count, const char *text, Error *err)
{
    assert((unsigned)kind < EVENT_KIND_COUNT);
    Buf *line = &events->line;
    buf_reset(line);
    if (events->torn) /* ends what a failed write left; a blank line is passed over by readers */
        buf_add_char(line, '\n');
    buf_format(line, "{\"t\":%" PRId64 ",\"step\":%" PRIu64 ",\"kind\":\"%s\"", clock_unix(), step,
               event_kind_names[kind]);
    for (uint32_t i = 0; i < count; i++)
        add_number(line, numbers[i].name, numbers[i].value);
    if (text && !add_sentence(line, text, err))
        return false;
    buf_add_text(line, "}\n");
    if (!buf_ok(line, "event", err))
        return false;
    events->torn = true;
    if (!fs_log_append(&events->log, line->data, line->size, kind != EVENT_STEP, err))
        return false;
    events->torn = false;
    return true;
}

/* ---- reading ---- */

typedef struct {
    uint64_t step;
    const char *kind; /* in value */
    json_t *value;    /* the caller's; NULL: the end of the log */
} Line;

/* The next line that is an event; others are counted. False only when reading itself fails. */
static bool next_event(JsonlReader *reader, Line *line, uint64_t *damaged, Error *err)
{
    for (;;) {
        json_t *value = NULL;
        if (!jsonl_next(reader, &value, err)) {
            if (err->code != ERR_FORMAT && err->code != ERR_LIMIT)
                return false;
            ++*damaged;
            continue;
        }
        const json_t *step = json_object_get(value, "step");
        const char *kind = json_string_value(json_object_get(value, "kind"));
        if (!value || (kind && json_is_integer(step) && json_integer_value(step) >= 0)) {
            *line = (Line){(uint64_t)json_integer_value(step), kind, value};
            return true;
        }
        json_decref(value);
        ++*damaged;
    }
}

static bool open_log(JsonlReader *reader, const char *path, Error *err)
{
    if (fs_size(path) > EVENTS_BYTES_MAX)
        return fail(err, ERR_LIMIT, "'%s' is larger than %d MiB", path, EVENTS_BYTES_MAX >> 20);
    return jsonl_open(reader, path, EVENT_LINE_MAX, err);
}

/* Copies the lines to keep. */
static bool keep_lines(JsonlReader *reader, FsWriter *writer, int64_t last_step, Error *err)
{
    uint64_t damaged = 0;
    Line line;
    for (;;) {
        if (!next_event(reader, &line, &damaged, err)) {
            fs_writer_abandon(writer);
            return false;
        }
        if (!line.value)
            return true;
        bool keep = (int64_t)line.step <= last_step &&
                    strcmp(line.kind, event_kind_names[EVENT_END]) != 0;
        size_t size = reader->next - reader->offset - !reader->cut; /* without the newline */
        json_decref(line.value);
        if (keep && (!fs_writer_add(writer, reader->bytes + reader->offset, size, err) ||
                     !fs_writer_add(writer, "\n", 1, err)))
            return false;
    }
}

bool events_resume(const char *run_folder, int64_t step, Error *err)
{
    char path[1024];
    if (!log_path(path, run_folder, err))
        return false;
    if (!fs_exists(path))
        return true;
    JsonlReader reader;
    if (!open_log(&reader, path, err))
        return false;
    FsWriter *writer = mem_alloc(1, sizeof *writer);
    bool ok = writer ? fs_writer_open(writer, path, err) &&
                           keep_lines(&reader, writer, step, err) && fs_writer_commit(writer, err)
                     : fail(err, ERR_MEMORY, "no memory to resume '%s'", path);
    mem_free(writer);
    jsonl_close(&reader);
    return ok;
}

/* ---- curves ---- */

static bool add_point(Curve *curve, const Line *line, const char *const *names, Error *err)
{
    if (curve->count == curve->room) {
        size_t room = curve->room ? 2 * curve->room : 256;
        uint64_t *steps = mem_resize(curve->steps, room, sizeof *steps);
        if (steps)
            curve->steps = steps;
        double *values = steps ? mem_resize(curve->values, room * curve->columns, sizeof *values)
                               : NULL;
        if (!values)
            return fail(err, ERR_MEMORY, "no memory for %zu points of a curve", room);
        curve->values = values;
        curve->room = room;
    }
    curve->steps[curve->count] = line->step;
    for (uint32_t c = 0; c < curve->columns; c++) {
        const json_t *number = json_object_get(line->value, names[c]);
        curve->values[curve->count * curve->columns + c] =
            json_is_number(number) ? json_number_value(number) : NAN;
    }
    curve->count++;
    return true;
}

bool events_read(Curve *out, const char *run_folder, EventKind kind, const char *const *names,
                 uint32_t columns, Error *err)
{
    char path[1024];
    JsonlReader reader;
    if (!log_path(path, run_folder, err) || !open_log(&reader, path, err))
        return false;
    Curve curve = {.columns = columns};
    Line line = {0};
    bool ok;
    while ((ok = next_event(&reader, &line, &curve.damaged, err)) && line.value) {
        bool wanted = strcmp(line.kind, event_kind_names[kind]) == 0;
        ok = !wanted || add_point(&curve, &line, names, err);
        json_decref(line.value);
        if (!ok)
            break;
    }
    jsonl_close(&reader);
    if (ok)
        *out = curve;
    else
        curve_done(&curve);
    return ok;
}

void curve_done(Curve *curve)
{
    mem_free(curve->steps);
    mem_free(curve->values);
    *curve = (Curve){0};
}
