/* catalogue.c: see catalogue.h.
 *
 * Two passes over the mapped bytes: the first notes where each stanza lies and what its package and
 * version are (64 bytes a stanza), then the notes are sorted and the survivors are read in full. */
#include "data/catalogue.h"

#include "base/fs.h"
#include "data/builder.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Fields that are read besides the context's. */
enum { PACKAGE, VERSION, SOURCE, SECTION, DESCRIPTION, FIXED_COUNT, CONTEXT_MAX = 24 };
static const char *const fixed_fields[FIXED_COUNT] = {
    [PACKAGE] = "Package", [VERSION] = "Version", [SOURCE] = "Source",
    [SECTION] = "Section", [DESCRIPTION] = "Description"};

typedef struct {
    CatalogueSpan fixed[FIXED_COUNT]; /* text NULL: absent */
    CatalogueSpan context[CONTEXT_MAX];
} Stanza;

typedef struct {
    CatalogueSpan name, version, bytes; /* bytes: the whole stanza */
    uint64_t line;                      /* of its first line */
} Note;

typedef struct {
    const char *name; /* of the file */
    CatalogueSpan rest;
    uint64_t line; /* of the next line */
    Note *notes;
    size_t count, room;
} Scan;

/* ---- versions ---- */

static int order_of(CatalogueSpan v, size_t i)
{
    unsigned char c = i < v.size ? (unsigned char)v.text[i] : 0;
    if (c == '~')
        return -1; /* before even the end */
    if (i >= v.size || (c >= '0' && c <= '9'))
        return 0;
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter ? c : c + 256;
}

static bool is_digit(CatalogueSpan v, size_t i)
{
    return i < v.size && v.text[i] >= '0' && v.text[i] <= '9';
}

/* The runs of non-digits compare by order_of, the runs of digits as numbers of any length. */
static int compare_part(CatalogueSpan a, CatalogueSpan b)
{
    size_t i = 0, j = 0;
    while (i < a.size || j < b.size) {
        while ((i < a.size && !is_digit(a, i)) || (j < b.size && !is_digit(b, j))) {
            int left = order_of(a, i), right = order_of(b, j);
            if (left != right)
                return left - right;
            i += i < a.size;
            j += j < b.size;
        }
        while (i < a.size && a.text[i] == '0')
            i++;
        while (j < b.size && b.text[j] == '0')
            j++;
        int first = 0;
        for (; is_digit(a, i) && is_digit(b, j); i++, j++)
            first = first ? first : a.text[i] - b.text[j];
        if (is_digit(a, i) || is_digit(b, j))
            return is_digit(a, i) ? 1 : -1;
        if (first)
            return first;
    }
    return 0;
}

static void split_version(CatalogueSpan v, CatalogueSpan parts[3])
{
    if (!v.text) /* a stanza without version: no arithmetic on a null pointer */
        v = (CatalogueSpan){"", 0};
    const char *colon = v.size ? memchr(v.text, ':', v.size) : NULL;
    size_t epoch = colon ? (size_t)(colon - v.text) : 0;
    size_t start = colon ? epoch + 1 : 0, end = v.size;
    while (end > start && v.text[end - 1] != '-')
        end--;
    bool revised = end > start;
    parts[0] = (CatalogueSpan){v.text, epoch};
    parts[1] = (CatalogueSpan){v.text + start, (revised ? end - 1 : v.size) - start};
    parts[2] = (CatalogueSpan){v.text + end, revised ? v.size - end : 0};
}

int catalogue_version_compare(CatalogueSpan a, CatalogueSpan b)
{
    CatalogueSpan left[3], right[3];
    split_version(a, left);
    split_version(b, right);
    for (int i = 0; i < 3; i++) {
        int order = compare_part(left[i], right[i]);
        if (order)
            return order;
    }
    return 0;
}

/* ---- lines and stanzas ---- */

static bool fail_line(Error *err, ErrCode code, const char *name, uint64_t line, const char *what)
{
    return fail(err, code, "%s:%" PRIu64 ": %s", name, line, what);
}

/* Cuts the next line, without its end, off *rest. */
static CatalogueSpan take_line(CatalogueSpan *rest)
{
    const char *end = memchr(rest->text, '\n', rest->size);
    size_t length = end ? (size_t)(end - rest->text) : rest->size;
    CatalogueSpan line = {rest->text, length};
    rest->text += length + (end != NULL);
    rest->size -= length + (end != NULL);
    if (line.size && line.text[line.size - 1] == '\r')
        line.size--;
    return line;
}

static bool is_blank(CatalogueSpan line)
{
    for (size_t i = 0; i < line.size; i++) {
        if (line.text[i] != ' ' && line.text[i] != '\t')
            return false;
    }
    return true;
}

/* Where the value of a field of this name belongs, or NULL: a field that is not read. */
static CatalogueSpan *place_of(Stanza *stanza, CatalogueSpan field)
{
    for (size_t i = 0; i < FIXED_COUNT; i++) {
        if (strlen(fixed_fields[i]) == field.size &&
            strncasecmp(fixed_fields[i], field.text, field.size) == 0)
            return &stanza->fixed[i];
    }
    for (size_t i = 0; i < catalogue_field_count; i++) {
        if (strlen(catalogue_fields[i].field) == field.size &&
            strncasecmp(catalogue_fields[i].field, field.text, field.size) == 0)
            return &stanza->context[i];
    }
    return NULL;
}

/* Takes "Key: value" apart into *place (NULL: not read). */
static bool read_field(Stanza *stanza, CatalogueSpan line, CatalogueSpan **place, const char *name,
                       uint64_t number, Error *err)
{
    const char *colon = memchr(line.text, ':', line.size);
    if (!colon || colon == line.text)
        return fail_line(err, ERR_FORMAT, name, number, "a line must be 'Key: value'");
    CatalogueSpan value = {colon + 1, line.size - (size_t)(colon + 1 - line.text)};
    while (value.size && (*value.text == ' ' || *value.text == '\t')) {
        value.text++;
        value.size--;
    }
    *place = place_of(stanza, (CatalogueSpan){line.text, (size_t)(colon - line.text)});
    if (*place && (*place)->text)
        return fail_line(err, ERR_FORMAT, name, number, "the stanza has this field already");
    if (*place)
        **place = value;
    return true;
}

/* Reads the stanza that *rest begins with, up to a blank line or the end. */
static bool read_stanza(Stanza *stanza, CatalogueSpan *rest, uint64_t *number, const char *name,
                        Error *err)
{
    *stanza = (Stanza){0};
    CatalogueSpan *place = NULL;
    bool first = true;
    for (; rest->size; first = false) {
        CatalogueSpan line = take_line(rest);
        uint64_t at = (*number)++;
        if (is_blank(line))
            return true;
        bool goes_on = line.text[0] == ' ' || line.text[0] == '\t';
        if (goes_on && first)
            return fail_line(err, ERR_FORMAT, name, at, "a stanza begins with 'Key: value'");
        if (goes_on && place) /* values and what continues them lie together in the file */
            place->size = (size_t)(line.text + line.size - place->text);
        if (!goes_on && !read_field(stanza, line, &place, name, at, err))
            return false;
    }
    return true;
}

/* ---- first pass ---- */

static bool note(Scan *scan, const Stanza *stanza, CatalogueSpan bytes, uint64_t line, Error *err)
{
    CatalogueSpan name = stanza->fixed[PACKAGE];
    if (!name.text || name.size == 0 || name.size > CATALOGUE_NAME_BYTES_MAX ||
        memchr(name.text, '\n', name.size))
        return fail_line(err, ERR_FORMAT, scan->name, line,
                         "the stanza has no Package, or one that is no name of 1 to 128 bytes");
    if (bytes.size > CATALOGUE_STANZA_BYTES_MAX)
        return fail_line(err, ERR_LIMIT, scan->name, line, "the stanza is larger than 1 MiB");
    if (!builder_is_text(bytes.text, bytes.size))
        return fail_line(err, ERR_FORMAT, scan->name, line, "the stanza is not UTF-8 text");
    if (scan->count == DATASET_RECORDS_MAX)
        return fail_line(err, ERR_LIMIT, scan->name, line, "more than 50000000 stanzas");
    if (scan->count == scan->room) {
        size_t room = scan->room ? scan->room + scan->room / 2 : 1024;
        Note *notes = mem_resize(scan->notes, room, sizeof *notes);
        if (!notes)
            return fail(err, ERR_MEMORY, "no memory for %zu stanzas of '%s'", room, scan->name);
        scan->notes = notes;
        scan->room = room;
    }
    scan->notes[scan->count++] =
        (Note){.name = name, .version = stanza->fixed[VERSION], .bytes = bytes, .line = line};
    return true;
}

static bool scan_all(Scan *scan, Error *err)
{
    while (scan->rest.size) {
        CatalogueSpan peek = scan->rest;
        if (is_blank(take_line(&peek))) {
            scan->rest = peek;
            scan->line++;
            continue;
        }
        Stanza stanza;
        uint64_t line = scan->line;
        const char *start = scan->rest.text;
        if (!read_stanza(&stanza, &scan->rest, &scan->line, scan->name, err))
            return false;
        CatalogueSpan bytes = {start, (size_t)(scan->rest.text - start)};
        while (bytes.size && bytes.text[bytes.size - 1] == '\n') /* whether or not one follows */
            bytes.size--;
        if (!note(scan, &stanza, bytes, line, err))
            return false;
    }
    return true;
}

static int by_span(CatalogueSpan a, CatalogueSpan b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.text, b.text, common) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* By name; of one name the stanza to take comes first. */
static int by_name(const void *left, const void *right)
{
    const Note *a = left, *b = right;
    int order = by_span(a->name, b->name);
    if (!order)
        order = catalogue_version_compare(b->version, a->version);
    return order ? order : by_span(a->bytes, b->bytes);
}

/* ---- second pass ---- */

/* The part of a value up to the first byte that is among `ends`, trailing spaces cut. */
static CatalogueSpan until(CatalogueSpan value, const char *ends)
{
    size_t length = 0;
    while (length < value.size && !strchr(ends, value.text[length]))
        length++;
    while (length && (value.text[length - 1] == ' ' || value.text[length - 1] == '\t'))
        length--;
    return (CatalogueSpan){value.text, length};
}

static CatalogueSpan section_of(const Stanza *stanza)
{
    CatalogueSpan section = until(stanza->fixed[SECTION], "\r\n");
    for (size_t i = section.size; i > 0; i--) {
        if (section.text[i - 1] == '/')
            return (CatalogueSpan){section.text + i, section.size - i};
    }
    return section;
}

static void write_context(const Stanza *stanza, Buf *out)
{
    for (size_t i = 0; i < catalogue_field_count; i++) {
        const CatalogueField *field = &catalogue_fields[i];
        if (!stanza->context[i].text)
            continue;
        size_t before = out->size;
        buf_format(out, "%s%s: ", before ? "\n" : "", field->key);
        size_t empty = out->size;
        field->write(stanza->context[i], field->bytes_max, out);
        if (out->size == empty && !out->failed) { /* nothing was worth writing */
            out->size = before;
            out->data[before] = 0;
        }
    }
}

/* The texts of one record, each in a buffer that is used again for the next. */
typedef struct {
    Buf name, group, label, text, context, question, synopsis;
} Draft;

static void set_span(Buf *buf, CatalogueSpan span)
{
    buf_reset(buf);
    buf_add(buf, span.text, span.size);
}

static bool fill_draft(Draft *draft, const Stanza *stanza)
{
    CatalogueSpan source = until(stanza->fixed[SOURCE], " (\r\n\t");
    CatalogueSpan name = stanza->fixed[PACKAGE];
    set_span(&draft->name, name);
    set_span(&draft->group, source.size ? source : name);
    set_span(&draft->label, section_of(stanza));
    set_span(&draft->synopsis, until(stanza->fixed[DESCRIPTION], "\r\n"));
    buf_reset(&draft->text);
    buf_reset(&draft->context);
    buf_reset(&draft->question);
    if (draft->name.failed || draft->group.failed || draft->label.failed || draft->synopsis.failed)
        return false;
    buf_format(&draft->text, "%s: %s", draft->name.data, draft->synopsis.data);
    buf_format(&draft->question, CATALOGUE_QUESTION, draft->label.data, draft->name.data);
    buf_add_text(&draft->context, "");
    write_context(stanza, &draft->context);
    return !draft->text.failed && !draft->question.failed && !draft->context.failed;
}

static bool add_stanza(Builder *builder, Draft *draft, const Note *taken, const char *name,
                       Error *err)
{
    Stanza stanza;
    CatalogueSpan bytes = taken->bytes;
    uint64_t line = taken->line;
    if (!read_stanza(&stanza, &bytes, &line, name, err))
        return false;
    if (section_of(&stanza).size == 0 || until(stanza.fixed[DESCRIPTION], "\r\n").size == 0) {
        builder_skip(builder);
        return true;
    }
    if (!fill_draft(draft, &stanza))
        return fail_line(err, ERR_LIMIT, name, taken->line,
                         "Source or Section over 128 bytes, Description over 1024, or no memory");
    ChatMessage messages[2] = {
        {.role = CHAT_USER, .content = draft->question.data, .size = draft->question.size},
        {.role = CHAT_ASSISTANT, .content = draft->synopsis.data, .size = draft->synopsis.size}};
    Record record = {.text = draft->text.data, .context = draft->context.data,
                     .label = draft->label.data, .group = draft->group.data,
                     .id = draft->name.data, .messages = messages, .message_count = 2};
    return builder_add(builder, &record, err) || fail_within(err, "%s:%" PRIu64, name, taken->line);
}

static bool add_all(Builder *builder, const Scan *scan, Error *err)
{
    Draft draft;
    Buf *const buffers[] = {&draft.name, &draft.group, &draft.label, &draft.text,
                            &draft.context, &draft.question, &draft.synopsis};
    const size_t limits[] = {CATALOGUE_NAME_BYTES_MAX, CATALOGUE_NAME_BYTES_MAX,
                             CATALOGUE_NAME_BYTES_MAX, 4096, 8192, 4096,
                             CATALOGUE_SYNOPSIS_BYTES_MAX};
    static_assert(sizeof buffers / sizeof *buffers == sizeof limits / sizeof *limits, "one each");
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buf_init(buffers[i], limits[i]);
    bool ok = true;
    for (size_t i = 0; ok && i < scan->count; i++) {
        if (i == 0 || by_span(scan->notes[i - 1].name, scan->notes[i].name) != 0)
            ok = add_stanza(builder, &draft, &scan->notes[i], scan->name, err);
    }
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buf_done(buffers[i]);
    return ok;
}

bool catalogue_parse(Dataset **out, const void *bytes, size_t size, const char *name, uint64_t seed,
                     Error *err)
{
    assert(catalogue_field_count <= CONTEXT_MAX);
    Scan scan = {.name = name, .rest = {bytes, size}, .line = 1};
    Builder *builder = NULL;
    bool ok = scan_all(&scan, err) && builder_new(&builder, "debian-catalogue", err);
    if (ok) {
        if (scan.count)
            qsort(scan.notes, scan.count, sizeof *scan.notes, by_name);
        ok = add_all(builder, &scan, err);
        if (ok && !builder_finish(builder, seed, out, err))
            ok = fail_within(err, "%s", name);
        if (!ok)
            builder_free(builder);
    }
    mem_free(scan.notes);
    return ok;
}

bool dataset_import_catalogue(Dataset **out, const char *path, uint64_t seed, Error *err)
{
    FsMap map;
    if (!fs_map(path, &map, err))
        return false;
    bool ok = catalogue_parse(out, map.data, map.size, path, seed, err);
    fs_unmap(&map);
    return ok;
}
