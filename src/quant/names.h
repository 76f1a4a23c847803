/* names.h: one table of the tensors of decoder models, by their names in each layout.
 *
 * Hugging Face's names are the ones everything else here speaks of. A row knows for every layout the
 * name (with the layer and the expert left open), the shape in terms of the model, and whether its
 * rows are turned by rotary positions: those are the rows that Meta, Mistral, llama2.c and the GGUF
 * architectures "llama" and "mistral3" keep as neighbours (2i, 2i + 1) of a head, Hugging Face as
 * halves (i, i + E/2). In GGUF the experts of a layer are one tensor [experts, rows, columns].
 *
 * Threads: any; the table is constant.
 */
#pragma once
#include "base/error.h"

#include <stdint.h>

enum { NAME_ROOM = 256 };

typedef enum { NAMES_HF, NAMES_NATIVE, NAMES_GGUF, NAMES_COUNT } NameStyle;

/* What a dimension is: see Outline. */
typedef enum { DIM_NONE, DIM_WIDTH, DIM_Q, DIM_KV, DIM_HEAD, DIM_FF, DIM_EXPERT_FF, DIM_EXPERTS,
               DIM_VOCAB } NameDim;

typedef enum { TURNED_NOT, TURNED_Q, TURNED_K } NameTurn;

/* Families of mixtures write the same tensor under different names in Hugging Face's layout. */
typedef enum { MIX_ANY, MIX_MIXTRAL, MIX_QWEN } NameMix;

typedef struct {
    const char *name[NAMES_COUNT]; /* "%l": the layer, "%e": the expert; NULL: has no such name */
    NameDim rows, columns;         /* columns DIM_NONE: a vector of `rows` */
    NameTurn turn;
    NameMix mix;
} NameRow;

typedef struct {
    const NameRow *row;
    uint32_t layer, expert; /* 0 where the row has none */
} Name;

/* False: no row has it. With NAMES_GGUF, `mix` chooses among the families of mixtures. */
bool name_parse(NameStyle style, const char *text, NameMix mix, Name *out);
/* Into text; false: the row has no name in that style. */
bool name_write(NameStyle style, const Name *name, char text[NAME_ROOM]);
bool name_has_experts(const NameRow *row);
/* Row `index` of the table; NULL behind the last. */
const NameRow *name_row(uint32_t index);
/* Every decoder has a tensor of this row, in each layer if it is of layers: norms, projections. The
 * head (may be the embedding), biases, norms of heads and the feed-forward parts are not of them. */
bool name_is_needed(const NameRow *row);

/* A text model inside of one for text and pictures: writes the name its tensor has alone and
 * returns true ("language_model.model.norm.weight" or "model.language_model.norm.weight" become
 * "model.norm.weight"); false for the tensors of the rest, and for names without such a prefix. */
bool name_unwrap(const char *text, char out[NAME_ROOM]);
