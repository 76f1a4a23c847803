/* choose.c: the probabilities of candidate answers, for many prompts in batches; see engine.h.
 *
 * Prompts take the sequences in groups. After a prompt its last logits give the root's branches;
 * each deeper branching node is then reached by feeding its path behind the prompt (stepping back
 * over the cache), for all prompts of the group at once. A node that a prompt reaches with less
 * than MASS_LEAST is not worth a step: its mass is divided evenly.
 */
#include "infer/choices.h"
#include "infer/engine_parts.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static const double MASS_LEAST = 1e-4;

typedef struct {
    Engine *engine;
    const ChoiceSet *set;
    const int32_t **prompt; /* [group] */
    const uint32_t *length; /* [group] */
    uint32_t group;
    double *mass; /* [group, nodes] */
} Group;

static double *mass_of(const Group *g, uint32_t prompt, uint32_t node)
{
    return &g->mass[(size_t)prompt * g->set->node_count + node];
}

/* Divides a node's mass over its children by the softmax of their logits, or evenly without. */
static void split(const Group *g, uint32_t prompt, uint32_t node, const float *logits)
{
    const ChoiceNode *nodes = g->set->nodes;
    double most = -INFINITY, total = 0, mass = *mass_of(g, prompt, node);
    for (uint32_t c = nodes[node].first_child; c; c = nodes[c].next)
        most = logits && (double)logits[nodes[c].id] > most ? (double)logits[nodes[c].id] : most;
    for (uint32_t c = nodes[node].first_child; c; c = nodes[c].next)
        total += logits ? exp((double)logits[nodes[c].id] - most) : 1;
    for (uint32_t c = nodes[node].first_child; c; c = nodes[c].next) {
        double share = logits ? exp((double)logits[nodes[c].id] - most) : 1;
        *mass_of(g, prompt, c) = mass * share / total;
    }
}

/* Runs gathered entries; every one that wants logits divides its prompt's mass at `node`. */
static bool run_entries(const Group *g, uint32_t count, uint32_t node, Error *err)
{
    const float *logits;
    if (count == 0)
        return true;
    if (!stepper_run(g->engine->stepper, g->engine->entries, count, &logits, err))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!g->engine->entries[i].wants_logits)
            continue;
        split(g, (uint32_t)g->engine->entries[i].sequence, node, logits);
        logits += g->engine->info.vocab;
    }
    return true;
}

static bool run_prompts(const Group *g, Error *err)
{
    uint32_t count = 0, most = g->engine->options.batch_tokens;
    for (uint32_t p = 0; p < g->group; p++) {
        *mass_of(g, p, 0) = 1;
        for (uint32_t i = 0; i < g->length[p]; i++) {
            g->engine->entries[count++] = (StepEntry){(int32_t)p, (int32_t)i, g->prompt[p][i],
                                                      i + 1 == g->length[p]};
            if (count == most) {
                if (!run_entries(g, count, 0, err))
                    return false;
                count = 0;
            }
        }
    }
    return run_entries(g, count, 0, err);
}

/* ids of the path from the root to a node, in order. */
static void path_to(const ChoiceSet *set, uint32_t node, int32_t path[CHOICE_TOKENS_MAX])
{
    for (uint32_t n = node, at = set->nodes[node].depth; n; n = set->nodes[n].parent)
        path[--at] = set->nodes[n].id;
}

/* Feeds a node's path behind one prompt; a path that does not fit goes on in the next step. */
static bool feed_path(const Group *g, uint32_t prompt, uint32_t node, const int32_t *path,
                      uint32_t *count, Error *err)
{
    uint32_t depth = g->set->nodes[node].depth;
    for (uint32_t i = 0; i < depth; i++) {
        g->engine->entries[(*count)++] =
            (StepEntry){(int32_t)prompt, (int32_t)(g->length[prompt] + i), path[i], i + 1 == depth};
        if (*count < g->engine->options.batch_tokens)
            continue;
        if (!run_entries(g, *count, node, err))
            return false;
        *count = 0;
    }
    return true;
}

static bool run_branch(const Group *g, uint32_t node, Error *err)
{
    int32_t path[CHOICE_TOKENS_MAX];
    uint32_t count = 0;
    path_to(g->set, node, path);
    for (uint32_t p = 0; p < g->group; p++) {
        if (*mass_of(g, p, node) < MASS_LEAST)
            split(g, p, node, NULL);
        else if (!feed_path(g, p, node, path, &count, err))
            return false;
    }
    return run_entries(g, count, node, err);
}

static bool run_group(const Group *g, double *probability, Error *err)
{
    const ChoiceSet *set = g->set;
    if (!run_prompts(g, err))
        return false;
    for (uint32_t node = 1, next = 0; node < set->node_count; node++) {
        while (next < set->branching_count && set->branching[next] < node)
            next++;
        if (next < set->branching_count && set->branching[next] == node) {
            if (!run_branch(g, node, err))
                return false;
            continue;
        }
        for (uint32_t p = 0; p < g->group && set->nodes[node].children == 1; p++)
            *mass_of(g, p, set->nodes[node].first_child) = *mass_of(g, p, node);
    }
    for (uint32_t p = 0; p < g->group; p++) {
        for (uint32_t node = 1; node < set->node_count; node++) {
            if (set->nodes[node].children == 0)
                probability[(size_t)p * set->count + set->nodes[node].candidate] =
                    *mass_of(g, p, node);
        }
    }
    return true;
}

bool engine_choose(Engine *engine, const ChoiceSet *set, const int32_t *ids,
                   const uint32_t *lengths, uint32_t prompts, double *probability, Error *err)
{
    if (engine_busy(engine))
        return fail(err, ERR_CONFLICT, "the engine is answering requests: choose before or after");
    uint32_t sequences = engine->options.sequences_max;
    auto_free double *mass = mem_alloc(sequences, set->node_count * sizeof *mass);
    auto_free const int32_t **prompt = mem_alloc(sequences, sizeof *prompt);
    if (!mass || !prompt)
        return fail(err, ERR_MEMORY, "no memory to score %u candidates", set->count);
    for (uint32_t done = 0; done < prompts;) {
        Group g = {engine, set, prompt, lengths + done, 0, mass};
        for (; g.group < sequences && done + g.group < prompts; g.group++) {
            uint32_t length = g.length[g.group];
            if (length == 0 || length + set->depth_max > engine->options.context)
                return fail(err, ERR_LIMIT, "prompt %u has %u tokens; with an answer of %u it "
                                            "does not fit the context of %u",
                            done + g.group, length, set->depth_max, engine->options.context);
            prompt[g.group] = ids;
            ids += length;
        }
        if (!run_group(&g, probability + (size_t)done * set->count, err))
            return false;
        done += g.group;
    }
    return true;
}
