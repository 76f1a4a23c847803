/* choices.h: candidate answers as a tree of token ids. Private to infer/; see engine.h. */
#pragma once
#include "infer/engine.h"

typedef struct {
    int32_t id;
    uint32_t parent, depth;
    uint32_t first_child, next, children; /* indices; 0: none */
    uint32_t candidate;                   /* of a leaf */
} ChoiceNode;

struct ChoiceSet {
    ChoiceNode *nodes; /* nodes[0] is the root */
    uint32_t node_count, count, depth_max;
    uint32_t *branching; /* nodes with several children, parents before children */
    uint32_t branching_count;
};

enum { CHOICES_MAX = 4096, CHOICE_TOKENS_MAX = 256 };
