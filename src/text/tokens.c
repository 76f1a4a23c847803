/* tokens.c: the growing list of ids of tokenizer.h. */
#include "base/mem.h"
#include "text/tokenizer_model.h"

#include <string.h>

void tokens_init(Tokens *tokens, size_t limit)
{
    size_t most = SIZE_MAX / 2 / sizeof(int32_t);
    *tokens = (Tokens){.limit = limit < most ? limit : most};
}

void tokens_done(Tokens *tokens)
{
    mem_free(tokens->ids);
    *tokens = (Tokens){.limit = tokens->limit};
}

static bool make_room(Tokens *tokens, size_t more)
{
    if (tokens->failed || more > tokens->limit || tokens->count > tokens->limit - more) {
        tokens->failed = true;
        return false;
    }
    size_t need = tokens->count + more;
    if (need <= tokens->room)
        return true;
    size_t room = tokens->room < 64 ? 64 : tokens->room;
    while (room < need)
        room += room / 2;
    if (room > tokens->limit)
        room = tokens->limit;
    int32_t *ids = mem_resize(tokens->ids, room, sizeof *ids);
    if (!ids) {
        tokens->failed = true;
        return false;
    }
    tokens->ids = ids;
    tokens->room = room;
    return true;
}

void tokens_append(Tokens *tokens, const int32_t *ids, size_t count)
{
    if ((tokens->failed || tokens->room - tokens->count < count) && !make_room(tokens, count))
        return;
    if (count)
        memcpy(tokens->ids + tokens->count, ids, count * sizeof *ids);
    tokens->count += count;
}

void tokens_add(Tokens *tokens, int32_t id)
{
    tokens_append(tokens, &id, 1);
}

bool tokens_settle(Tokens *tokens, size_t keep, Error *err)
{
    if (!tokens->failed)
        return true;
    /* The only two reasons: the list could not grow to a size it may have, or it may not. */
    bool full = tokens->room >= tokens->limit || tokens->count == tokens->limit;
    tokens->count = keep;
    tokens->failed = false;
    if (full)
        return fail(err, ERR_LIMIT, "the text has more than %zu tokens", tokens->limit - keep);
    return fail(err, ERR_MEMORY, "no memory for the tokens of a text");
}
