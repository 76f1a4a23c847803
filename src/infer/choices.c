/* choices.c: see choices.h. */
#include "infer/choices.h"

#include "base/mem.h"

#include <string.h>

static uint32_t child_of(const ChoiceSet *set, uint32_t node, int32_t id)
{
    uint32_t child = set->nodes[node].first_child;
    while (child && set->nodes[child].id != id)
        child = set->nodes[child].next;
    return child;
}

static uint32_t add_child(ChoiceSet *set, uint32_t node, int32_t id)
{
    uint32_t child = set->node_count++, *link = &set->nodes[node].first_child;
    while (*link)
        link = &set->nodes[*link].next;
    *link = child;
    set->nodes[node].children++;
    set->nodes[child] = (ChoiceNode){.id = id, .parent = node, .depth = set->nodes[node].depth + 1};
    if (set->nodes[child].depth > set->depth_max)
        set->depth_max = set->nodes[child].depth;
    return child;
}

static bool add_candidate(ChoiceSet *set, const Tokens *ids, uint32_t candidate, const char *text,
                          Error *err)
{
    uint32_t node = 0;
    bool fresh = false;
    for (size_t i = 0; i < ids->count; i++) {
        uint32_t child = child_of(set, node, ids->ids[i]);
        fresh = !child;
        node = child ? child : add_child(set, node, ids->ids[i]);
    }
    if (!fresh)
        return fail(err, ERR_INPUT, "two candidates are the same text, '%.80s'", text);
    set->nodes[node].candidate = candidate;
    return true;
}

/* Ids of one candidate: what the template trains of an assistant's turn that says it, so its text
 * (encoded where it stands) and the end marker. */
static bool encode(const Engine *engine, const char *text, Tokens *out, Error *err)
{
    const ChatTemplate *chat = engine_template(engine);
    ChatMessage messages[] = {{.role = CHAT_USER, .content = "?", .size = 1},
                              {.role = CHAT_ASSISTANT, .content = text, .size = strlen(text)}};
    auto_tokens Tokens ids, trained;
    tokens_init(&ids, 1 << 16);
    tokens_init(&trained, 1 << 16);
    if (!chat)
        return fail(err, ERR_INPUT, "the model has no template to choose answers with");
    if (!chat_render(chat, engine_tokenizer(engine), messages, 2, false, &ids, &trained, err))
        return false;
    out->count = 0;
    for (size_t i = 0; i < ids.count; i++) {
        if (trained.ids[i])
            tokens_add(out, ids.ids[i]);
    }
    return !out->failed || fail(err, ERR_LIMIT, "candidate '%.80s' has over %d tokens", text,
                                CHOICE_TOKENS_MAX);
}

static void list_branching(ChoiceSet *set)
{
    for (uint32_t i = 0; i < set->node_count; i++) { /* a parent always has the lower index */
        if (set->nodes[i].children > 1)
            set->branching[set->branching_count++] = i;
    }
}

static bool fill(ChoiceSet *set, const Engine *engine, const char *const *texts, Error *err)
{
    auto_tokens Tokens ids;
    tokens_init(&ids, CHOICE_TOKENS_MAX);
    uint32_t room = 1;
    set->node_count = 1;
    for (uint32_t i = 0; i < set->count; i++) {
        if (!encode(engine, texts[i], &ids, err))
            return false;
        if (set->node_count + ids.count > room) {
            uint32_t wanted = 2 * (set->node_count + (uint32_t)ids.count);
            ChoiceNode *nodes = mem_resize(set->nodes, wanted, sizeof *nodes);
            if (!nodes)
                return fail(err, ERR_MEMORY, "no memory for %u candidates", set->count);
            if (!set->nodes)
                memset(nodes, 0, sizeof *nodes);
            set->nodes = nodes;
            room = wanted;
        }
        if (!add_candidate(set, &ids, i, texts[i], err))
            return false;
    }
    set->branching = mem_alloc(set->node_count, sizeof *set->branching);
    if (!set->branching)
        return fail(err, ERR_MEMORY, "no memory for %u candidates", set->count);
    list_branching(set);
    return true;
}

bool choices_new(ChoiceSet **out, const Engine *engine, const char *const *texts, uint32_t count,
                 Error *err)
{
    if (count == 0 || count > CHOICES_MAX)
        return fail(err, ERR_INPUT, "%u candidates given; 1 to %d are allowed", count, CHOICES_MAX);
    ChoiceSet *set = mem_alloc(1, sizeof *set);
    if (!set)
        return fail(err, ERR_MEMORY, "no memory for candidates");
    set->count = count;
    if (!fill(set, engine, texts, err)) {
        choices_free(set);
        return false;
    }
    *out = set;
    return true;
}

void choices_free(ChoiceSet *set)
{
    if (!set)
        return;
    mem_free(set->nodes);
    mem_free(set->branching);
    mem_free(set);
}

uint32_t choices_tokens_max(const ChoiceSet *set)
{
    return set->depth_max;
}
