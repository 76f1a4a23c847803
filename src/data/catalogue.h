/* catalogue.h: the Debian package catalogue as a dataset: which section does a package belong to?
 *
 * The source is what `apt-cache dumpavail` prints: stanzas of "Key: value" lines separated by blank
 * lines; a line that begins with a space goes on with the value above. One record per package:
 *   id       Package
 *   group    Source without its version; Package when there is none: siblings of one source are
 *            near-copies, so they stay on one side of the split
 *   label    Section without its area ("contrib/net" is "net")
 *   text     "name: one-line description"
 *   context  one line "key: value" for each row of catalogue_fields that the stanza has
 *   messages user: CATALOGUE_QUESTION, assistant: the one-line description
 *
 * Of several stanzas of one package the highest Version (as dpkg orders them) is taken, of equal
 * versions the one whose bytes sort first; records are in byte order of names. So the dataset
 * depends on the set of stanzas alone, never on their order. A stanza without section or
 * description is counted in Dataset.skipped. Priority, Tag, Filename and sizes of archives are
 * never read: they are written by the people who also choose the section, after it.
 *
 * Errors: ERR_FORMAT "file:line: ..." for a line that is no field, a field twice, text that is not
 * UTF-8, a bad name or section; ERR_LIMIT for more than the maxima below.
 */
#pragma once
#include "base/buf.h"
#include "data/dataset.h"

enum {
    CATALOGUE_STANZA_BYTES_MAX = 1 << 20,
    CATALOGUE_NAME_BYTES_MAX = 128, /* of Package, Source, Section */
    CATALOGUE_SYNOPSIS_BYTES_MAX = 1024,
};

#define CATALOGUE_QUESTION "section: %s\nname: %s\nWrite the description."

typedef struct {
    const char *text; /* not NUL-terminated */
    size_t size;
} CatalogueSpan;

/* One row: a field of the stanza that goes into the context. `write` appends its form to out, whose
 * limit is bytes_max more than it holds; what no longer fits is left out at a word's end. */
typedef struct {
    const char *field; /* "Depends", matched without regard to case */
    const char *key;   /* "depends" */
    void (*write)(CatalogueSpan value, size_t bytes_max, Buf *out);
    size_t bytes_max;
} CatalogueField;

/* The one place that says what a model may know besides the text, in the order it is written. */
extern const CatalogueField catalogue_fields[];
extern const size_t catalogue_field_count;

/* As dataset_import_catalogue, of bytes. */
bool catalogue_parse(Dataset **out, const void *bytes, size_t size, const char *name, uint64_t seed,
                     Error *err) MUST_CHECK;

/* < 0, 0, > 0 as dpkg orders versions: [epoch:]upstream[-revision]. */
int catalogue_version_compare(CatalogueSpan a, CatalogueSpan b);
