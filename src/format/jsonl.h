/* jsonl.h: JSON Lines: a file of one JSON value per line, read by mapping, appended as a log.
 *
 * Lines end in LF or CRLF; the last one may lack its end. Blank lines are passed over but counted,
 * so that numbers are those of an editor. A byte order mark before the first line is passed over.
 * Errors: ERR_FORMAT "file:12:7: what" (line, column) for text that is not UTF-8 or not JSON,
 * ERR_LIMIT "file:12: ..." for a line over the limit. After an error the reader stands behind the
 * bad line: a validator goes on with the next call and sees every bad line of a file.
 * Threads: a reader belongs to one thread.
 */
#pragma once
#include "base/fs.h"
#include "format/json.h"

typedef struct {
    const char *name;     /* for messages; the caller's, or `path` */
    const uint8_t *bytes; /* the whole file */
    size_t size, next;    /* its size; where the next line begins */
    size_t line_max;
    uint64_t line;        /* number of the line last returned or refused, from 1 */
    size_t offset;        /* where that line begins: for an index of the file */
    bool cut;             /* that line lacks its newline: a log whose writer was stopped */
    FsMap map;            /* zeroed when the bytes are the caller's */
    char path[1024];
} JsonlReader;

/* line_max: the longest line taken, in bytes, without its end; at most JSON_BYTES_MAX. */
bool jsonl_open(JsonlReader *reader, const char *path, size_t line_max, Error *err) MUST_CHECK;
/* Reads bytes that outlive the reader; nothing is to be closed. */
void jsonl_init(JsonlReader *reader, const void *bytes, size_t size, const char *name,
                size_t line_max);
void jsonl_close(JsonlReader *reader);

/* The next line that is not blank, checked to be UTF-8; *text is not NUL-terminated, lies in the
 * file, and is NULL at its end (returning true). */
bool jsonl_next_text(JsonlReader *reader, const char **text, size_t *size, Error *err) MUST_CHECK;

/* The next value; *out is NULL at the end of the file (returning true). */
bool jsonl_next(JsonlReader *reader, json_t **out, Error *err) MUST_CHECK;

/* Opens an event log for appending. A last line that was cut by a crash is ended first, so that it
 * spoils itself alone. */
bool jsonl_log_open(FsLog *log, const char *path, Error *err) MUST_CHECK;
/* Appends one compact line by one write; durable on return when `sync`. */
bool jsonl_log_append(FsLog *log, const json_t *event, bool sync, Error *err) MUST_CHECK;
