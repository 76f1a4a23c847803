/* mistral_check.c: which requests mistral-common accepts: order of roles, ends, calls and results,
 * names and ids. The sentence names the message. */
#include "text/mistral_turns.h"

#include <ctype.h>
#include <string.h>

static bool wrong(const Turn *turn, Error *err, const char *what)
{
    return fail(err, ERR_INPUT, "message %zu: %s", turn->number, what);
}

static bool is_word(const char *text, const char *also)
{
    for (; *text; text++)
        if ((uint8_t)*text > 127 || (!isalnum((uint8_t)*text) && !strchr(also, *text)))
            return false;
    return true;
}

static bool check_name(const Turn *turn, const char *name, Error *err)
{
    size_t size = strlen(name);
    return (size > 0 && size <= 64 && is_word(name, "_-")) ||
           wrong(turn, err, "a tool's name has 1 to 64 letters, digits, _ and -");
}

/* v3 to v11: nine letters and digits; from v13 on anything. */
static bool check_id(const Turn *turn, const char *id, MistralVersion version, bool may_lack,
                     Error *err)
{
    if (version < MISTRAL_V3 || (!id && may_lack && version < MISTRAL_V13))
        return true;
    if (!id || !*id)
        return wrong(turn, err, "a call or result of a tool has no id");
    return version >= MISTRAL_V13 || (strlen(id) == 9 && is_word(id, "")) ||
           wrong(turn, err, "the id of a call has nine letters and digits");
}

static bool has_content(const Turn *turn)
{
    for (size_t i = 0; i < turn->part_count; i++)
        if (turn->parts[i].size || turn->parts[i].think)
            return true;
    return false;
}

static bool check_thinking(const Turn *turn, MistralVersion version, Error *err)
{
    bool may = (turn->role == TURN_SYSTEM && version == MISTRAL_V13) ||
               (turn->role == TURN_ASSISTANT && version >= MISTRAL_V13);
    for (size_t i = 0; i < turn->part_count; i++)
        if (turn->parts[i].think && !may)
            return wrong(turn, err, "thinking is not allowed here in this version");
    return true;
}

static bool check_answer(const Turn *turn, MistralVersion version, MistralMode mode, bool last,
                         Error *err)
{
    if (version < MISTRAL_V7 && has_content(turn) == (turn->call_count > 0))
        return wrong(turn, err, "an assistant either says something or calls tools");
    bool may_lack = last && mode != MISTRAL_SERVING;
    for (size_t i = 0; i < turn->call_count; i++)
        if (!check_name(turn, turn->calls[i].name, err) ||
            !check_id(turn, turn->calls[i].id, version, may_lack, err))
            return false;
    if (turn->weight != 0 && turn->weight != 1)
        return wrong(turn, err, "the weight of an answer is 0 or 1");
    return !turn->prefix || last || wrong(turn, err, "only the last message can be a prefix");
}

static bool check_order(const Turn *before, const Turn *turn, Error *err)
{
    static const char *const after[] = {
        [TURN_SYSTEM] = "sua", [TURN_USER] = "asu", [TURN_ASSISTANT] = "aut", [TURN_TOOL] = "atu"};
    return !before || strchr(after[before->role], "suat"[turn->role]) ||
           wrong(turn, err, "its role cannot follow the one before it");
}

/* Results and calls in balance: ids from v11 on, their number before. */
typedef struct {
    const Turn *answer;
    size_t results;
} Balance;

static bool check_result(Balance *b, const Turn *turn, MistralVersion version, const Turns *turns,
                         Error *err)
{
    bool known = false;
    b->results++;
    if (version < MISTRAL_V11)
        return true;
    for (size_t i = 0; b->answer && i < b->answer->call_count; i++)
        known = known || (b->answer->calls[i].id && turn->call_id &&
                          !strcmp(b->answer->calls[i].id, turn->call_id));
    if (!known)
        return wrong(turn, err, "it answers no call of the assistant before it");
    for (const Turn *other = turn - 1; other >= turns->all && other->role == TURN_TOOL; other--)
        if (other->call_id && !strcmp(other->call_id, turn->call_id))
            return wrong(turn, err, "it answers a call for the second time");
    return true;
}

/* At the end calls without results are fine, but for serving; results without calls too, where
 * nothing is known of what comes next and there are no ids to tell (before v11). */
static bool check_balance(const Balance *b, const Turn *turn, bool end, MistralVersion version,
                          MistralMode mode, Error *err)
{
    size_t calls = b->answer ? b->answer->call_count : 0;
    if (calls == b->results || (end && mode != MISTRAL_SERVING && b->results < calls) ||
        (end && mode == MISTRAL_ANY && version < MISTRAL_V11))
        return true;
    return wrong(turn, err, "there are not as many results as calls of tools before its end");
}

static bool check_end(const Turns *turns, MistralMode mode, Error *err)
{
    const Turn *last = &turns->all[turns->count - 1];
    if (turns->count == 1 && last->role != TURN_USER && last->role != TURN_SYSTEM)
        return wrong(last, err, "a single message is one of the user or the system");
    if (mode == MISTRAL_FINETUNING && (last->role != TURN_ASSISTANT || last->prefix))
        return wrong(last, err, "training needs an answer of the assistant at the end");
    if (mode == MISTRAL_SERVING && turns->count > 1 && last->role == TURN_ASSISTANT &&
        !last->prefix)
        return wrong(last, err, "the last message is one of the user or a tool, or a prefix");
    return true;
}

static bool check_turn(const Turns *turns, size_t i, MistralVersion version, MistralMode mode,
                       Error *err)
{
    const Turn *turn = &turns->all[i];
    if (!check_order(i ? turn - 1 : NULL, turn, err) || !check_thinking(turn, version, err))
        return false;
    if (turn->role == TURN_ASSISTANT)
        return check_answer(turn, version, mode, i + 1 == turns->count, err);
    if (turn->role == TURN_TOOL)
        return (!turn->name || check_name(turn, turn->name, err)) &&
               check_id(turn, turn->call_id, version, false, err);
    return true;
}

/* Before v11 mistral-common passes over the first message when it counts. */
bool mistral_check(const Turns *turns, MistralVersion version, MistralMode mode, Error *err)
{
    Balance b = {NULL, 0};
    if (!turns->count)
        return fail(err, ERR_INPUT, "message 1: there is no message");
    if (!check_end(turns, mode, err))
        return false;
    for (size_t i = 0; i < turns->count; i++) {
        const Turn *turn = &turns->all[i];
        if (!check_turn(turns, i, version, mode, err))
            return false;
        if (i == 0)
            continue;
        if (turn->role == TURN_TOOL && !check_result(&b, turn, version, turns, err))
            return false;
        if (turn->role == TURN_ASSISTANT) {
            if (!check_balance(&b, turn, false, version, mode, err))
                return false;
            b = (Balance){turn, 0};
        }
    }
    return check_balance(&b, &turns->all[turns->count - 1], true, version, mode, err);
}
