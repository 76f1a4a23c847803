/* What binds prints, and what was printed binds to the same text. */
#include "format/recipe.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const char *text;
    uint32_t whole, choice;
    double real;
    bool yes;
    RecipeTexts texts;
} Row;
static const char *const choices[] = {"one", "two", NULL};
static const RecipeField fields[] = {
    {"text", RECIPE_TEXT, offsetof(Row, text)},
    {"s.whole", RECIPE_U32, offsetof(Row, whole), 0, 1e9},
    {"s.choice", RECIPE_CHOICE, offsetof(Row, choice), .choices = choices},
    {"s.t.real", RECIPE_F64, offsetof(Row, real), -1e300, 1e300},
    {"s.yes", RECIPE_BOOL, offsetof(Row, yes)},
    {"texts", RECIPE_TEXTS, offsetof(Row, texts)},
};
static const RecipeTable rows = RECIPE_TABLE(fields, Row, NULL);

typedef struct {
    Row row;
    RecipeRows rows;
} All;
static const RecipeField all_fields[] = {
    {"text", RECIPE_TEXT, offsetof(All, row.text)},
    {"real", RECIPE_F64, offsetof(All, row.real), -1e300, 1e300},
    {"rows", RECIPE_ROWS, offsetof(All, rows), .rows = &rows},
};
static const RecipeTable all = RECIPE_TABLE(all_fields, All, NULL);

/* Parses, binds and prints; the text is appended to out. */
static bool pass(const char *text, size_t size, Buf *out)
{
    Error err;
    Recipe recipe;
    All bound;
    bool ok = recipe_parse(&recipe, text, size, "fuzz", &err) &&
              recipe_bind(&recipe, &all, &bound, &err) && recipe_print(&all, &bound, out, &err);
    recipe_done(&recipe);
    return ok && out->size; /* all defaults and no text print as nothing */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_buf Buf once, twice;
    buf_init(&once, RECIPE_BYTES_MAX);
    buf_init(&twice, RECIPE_BYTES_MAX);
    if (pass((const char *)data, size, &once) &&
        (!pass(once.data, once.size, &twice) || strcmp(once.data, twice.data) != 0))
        abort();
    return 0;
}
