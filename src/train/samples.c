/* samples.c: see samples.h. */
#include "train/samples.h"

#include "base/mem.h"

#include <inttypes.h>

void sample_set_init(SampleSet *set, uint64_t token_limit)
{
    *set = (SampleSet){.limit = token_limit};
}

void sample_set_done(SampleSet *set)
{
    mem_free(set->tokens);
    mem_free(set->starts);
    *set = (SampleSet){.limit = set->limit};
}

static bool reserve(SampleSet *set, uint64_t more, Error *err)
{
    if (more > set->limit - set->used || set->count == UINT32_MAX - 1)
        return fail(err, ERR_LIMIT, "sample %" PRIu32 " of %" PRIu64 " tokens goes beyond %" PRIu64
                                    " tokens in all", set->count + 1, more, set->limit);
    if (set->used + more > set->room) {
        uint64_t room = set->room + set->room / 2 + more;
        room = room < set->limit ? room : set->limit;
        uint32_t *tokens = mem_resize(set->tokens, room, sizeof *tokens);
        if (!tokens)
            return fail(err, ERR_MEMORY, "no memory for %" PRIu64 " tokens", room);
        set->tokens = tokens;
        set->room = room;
    }
    if (set->count + 2 > set->starts_room) {
        uint64_t room = 2 * (uint64_t)set->starts_room + 64;
        room = room < UINT32_MAX ? room : UINT32_MAX;
        uint64_t *starts = mem_resize(set->starts, room, sizeof *starts);
        if (!starts)
            return fail(err, ERR_MEMORY, "no memory for %" PRIu64 " samples", room);
        set->starts = starts;
        set->starts_room = (uint32_t)room;
        set->starts[0] = 0;
    }
    return true;
}

bool sample_set_add(SampleSet *set, const int32_t *ids, const int32_t *trained, uint64_t count,
                    Error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        if ((uint32_t)ids[i] >= SAMPLE_TRAINED)
            return fail(err, ERR_INPUT, "sample %" PRIu32 ": token %" PRIu64 " has id %" PRId32,
                        set->count + 1, i, ids[i]);
    }
    if (!reserve(set, count, err))
        return false;
    for (uint64_t i = 0; i < count; i++)
        set->tokens[set->used + i] =
            (uint32_t)ids[i] | (!trained || trained[i] ? SAMPLE_TRAINED : 0);
    set->used += count;
    set->starts[++set->count] = set->used;
    return true;
}
