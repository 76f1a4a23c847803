/* tidy.h: the rules of the house as functions over texts, so that they can be tested on examples.
 *
 * A file is a path from the root of the tree and its bytes. A check appends one line to `report`
 * for each offence: "path:line: sentence". Files of data (corpora, golden vectors, results) are
 * only held to their size. All tables that people edit are in tidy_tables.c.
 */
#pragma once
#include "base/buf.h"

#include <stdint.h>

enum { TIDY_LINES_MAX = 800, TIDY_FUNCTION_MAX = 70, TIDY_KERNEL_MAX = 120, TIDY_COLUMNS_MAX = 110,
       TIDY_README_LINES_MAX = 80, TIDY_FILE_BYTES_MAX = 1 << 20, TIDY_ALLOWANCES_MAX = 256 };

typedef struct {
    const char *path; /* "src/base/buf.c" */
    const char *text; /* NUL-terminated; NULL when too large to be read */
    size_t size;
} TidyFile;

typedef struct {
    Buf report;
    uint32_t offences;
    bool used[TIDY_ALLOWANCES_MAX]; /* allowances that an offence needed */
} Tidy;

void tidy_init(Tidy *tidy);
void tidy_done(Tidy *tidy);
void tidy_report(Tidy *tidy, const char *path, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- tables (tidy_tables.c); each ends with a row of NULL ---- */

typedef struct {
    const char *folder;   /* below src/ */
    const char *may_see;  /* " base format ": folders it may include besides itself */
} TidyLayer;
extern const TidyLayer tidy_layers[];

/* What is refused unless a row here gives the reason. A row that nothing needs any more is an
 * offence itself, unless its path ends with '*' (a standing rule for all paths that start so).
 *   "lines"     more than 800 lines                        what: NULL
 *   "function"  71 to 120 lines: kernels, parser machines  what: the function
 *   "call"      a call banned there                        what: the called function
 *   "test"      a unit without a test of its own           what: NULL
 *   "pragma"    a header that is read more than once       what: NULL  */
typedef struct {
    const char *rule, *path, *what, *reason;
} TidyAllowance;
extern const TidyAllowance tidy_allowances[];
bool tidy_allowed(Tidy *tidy, const char *rule, const char *path, const char *what);

typedef enum {
    TIDY_EVERYWHERE,
    TIDY_PRODUCT,    /* src/ but its tests */
    TIDY_LIBRARIES,  /* the same but cli/ */
    TIDY_ABOVE_BASE, /* the same but base/ */
} TidyScope;
typedef struct {
    const char *call;
    TidyScope scope;      /* where it is banned */
    const char *instead;  /* ends the sentence */
} TidyBan;
extern const TidyBan tidy_bans[];

extern const char *const tidy_words[];  /* whole words banned in every text */
extern const char *const tidy_places[]; /* pieces of text that name a machine or a package host */

/* A table in the source that a table in a page must match, name for name. In the source: the lines
 * from the one that holds `from` to one that starts with "};", the first string of each line that
 * starts with `open` (blanks skipped). In the page: the lines of the section under `heading` that
 * start with "| `"; the name is what stands last between those backticks, after any blank. */
typedef struct {
    const char *what;     /* "command" */
    const char *source, *from, *open;
    const char *page, *heading;
} TidyDoc;
extern const TidyDoc tidy_docs[];

/* ---- checks ---- */

void tidy_check_text(Tidy *tidy, const TidyFile *file); /* size, columns, blanks, words, places */
void tidy_check_code(Tidy *tidy, const TidyFile *file); /* includes, calls, functions, first line */
void tidy_check_tree(Tidy *tidy, const TidyFile *files, size_t count); /* names, tests, READMEs */
void tidy_check_docs(Tidy *tidy, const TidyFile *files, size_t count, const TidyDoc *docs);
void tidy_check_unused(Tidy *tidy); /* last: allowances that nothing needed */

/* ---- helpers shared by the checks ---- */

bool tidy_starts(const char *text, const char *start);
bool tidy_ends(const char *text, const char *end);
bool tidy_is_data(const char *path);
bool tidy_is_c(const char *path);    /* .c .h .cu */
bool tidy_is_test(const char *path); /* x_test.c x_fuzz.c test.h, and tests/ fuzz/ bench/ */
const char *tidy_base(const char *path); /* what follows the last '/' */

/* One line of a text: from *at to its newline. False at the end. Moves *at behind it. */
typedef struct {
    const char *start;
    size_t length; /* without newline */
    uint32_t number;
} TidyLine;
bool tidy_next_line(const char **at, TidyLine *line);
