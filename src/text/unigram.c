/* unigram.c: the most probable way through a text, of all ways to write it as pieces.
 *
 * The best score of a path that ends at each byte is kept, from left to right; only starts of
 * characters are left again. A character that no piece covers alone costs the unknown score. Of two
 * equal paths the first found stays: that is the one whose last piece begins earlier.
 * Scores are added in double and kept in float where SentencePiece does so: in long texts the
 * rounding decides between near-equal paths, and ids are to be the same.
 */
#include "base/mem.h"
#include "text/tokenizer_model.h"
#include "text/utf8.h"

#include <assert.h>

typedef struct PathNode {
    double score;
    uint32_t from; /* where the last piece begins */
    int32_t id;    /* of it; -1: nothing ends here */
} PathNode;

enum { KEPT_NODES_MAX = 1 << 18 };

static bool path_room(Scratch *scratch, size_t nodes, Error *err)
{
    if (nodes >= UINT32_MAX)
        return fail(err, ERR_LIMIT, "a text of %zu bytes is too long to encode", nodes);
    if (nodes <= scratch->path_room)
        return true;
    PathNode *path = mem_resize(scratch->path, nodes, sizeof *path);
    if (!path)
        return fail(err, ERR_MEMORY, "no memory to encode a text of %zu bytes", nodes);
    scratch->path = path;
    scratch->path_room = nodes;
    return true;
}

static void offer(const Tokenizer *t, PathNode *node, double score, uint32_t from, int32_t id)
{
    if (t->single_floats)
        score = (float)score;
    if (node->id < 0 || score > node->score)
        *node = (PathNode){score, from, id};
}

static double score_of(const Tokenizer *t, int32_t id, size_t bytes)
{
    if (t->kinds[id] & TOKEN_WHOLE)
        return (double)((float)bytes * (float)t->whole_score) - 0.1;
    return t->scores[id];
}

/* All pieces that begin at `at`. */
static void leave(const Tokenizer *t, PathNode *path, const uint8_t *text, size_t size, size_t at)
{
    size_t length = utf8_length(text[at]);
    double here = path[at].score;
    bool single = false;
    uint32_t node = TRIE_ROOT;
    for (size_t end = at; end < size;) {
        node = trie_step(t->pieces, node, text[end++]);
        if (node == TRIE_NONE)
            break;
        int32_t id = trie_value(t->pieces, node);
        if (id < 0)
            continue;
        offer(t, &path[end], score_of(t, id, end - at) + here, (uint32_t)at, id);
        single |= end - at == length;
    }
    if (!single)
        offer(t, &path[at + length], t->unknown_score + here, (uint32_t)at, t->unknown);
}

static void append_piece(const Tokenizer *t, const uint8_t *text, const PathNode *node, size_t end,
                         Tokens *out)
{
    bool bytes = node->id == t->unknown && t->byte_fallback;
    for (size_t i = node->from; i < end && bytes; i++)
        bytes = t->fallback[text[i]] >= 0;
    if (!bytes) {
        tokens_add(out, node->id);
        return;
    }
    for (size_t i = node->from; i < end; i++)
        tokens_add(out, t->fallback[text[i]]);
}

bool unigram_piece(const Tokenizer *t, Scratch *scratch, const uint8_t *text, size_t size,
                   Tokens *out, Error *err)
{
    if (!path_room(scratch, size + 1, err))
        return false;
    PathNode *path = scratch->path;
    for (size_t i = 0; i <= size; i++)
        path[i] = (PathNode){0, 0, -1};
    for (size_t at = 0; at < size; at += utf8_length(text[at]))
        leave(t, path, text, size, at);
    /* The path is known from its end: a score that is done with becomes the way forward. */
    for (uint32_t at = (uint32_t)size; at;) {
        assert(path[at].id >= 0 && path[at].from < at);
        path[path[at].from].score = at;
        at = path[at].from;
    }
    bool after_unknown = false;
    for (size_t at = 0; at < size;) {
        size_t end = (size_t)path[at].score;
        bool unknown = path[end].id == t->unknown;
        if (!(unknown && after_unknown && t->fuse_unknown && !t->byte_fallback))
            append_piece(t, text, &path[end], end, out);
        after_unknown = unknown;
        at = end;
    }
    if (scratch->path_room > KEPT_NODES_MAX) {
        mem_free(scratch->path);
        scratch->path = NULL;
        scratch->path_room = 0;
    }
    return true;
}
