/* block_form.h: a block taken apart, and the facts of each layout. Private to tensor/block*.c.
 *
 * Every layout here is one of two formulas over parts of `part` elements:
 *     ladder:  y = (d scale) v          v = book[code], or low + code without a book
 *     affine:  y = (d scale) code - (e min)
 * so that one search serves each formula, and a type adds only where its bits lie. Where a type
 * has no scales of parts, the block is one part with scale (and min) 1.
 */
#pragma once
#include "tensor/dtype.h"

enum { BLOCK_ELEMS_MAX = 256, BLOCK_PARTS_MAX = 16, BLOCK_PART_MAX = 32, BLOCK_BOOK = 16 };

typedef struct {
    uint8_t code[BLOCK_ELEMS_MAX];
    int scale[BLOCK_PARTS_MAX], min[BLOCK_PARTS_MAX];
    uint16_t d, e; /* halves; e counts for affine forms alone */
} BlockParts;

typedef struct {
    uint16_t elems, part;
    uint8_t codes;              /* how many there are */
    int8_t low;                 /* value of code 0 */
    const int8_t *book;         /* [BLOCK_BOOK] values, ascending; NULL: low + code */
    int16_t scale_low, scale_high;
    bool affine;                /* min lies in the range of scale too */
    bool signed_min;            /* affine: e may have either sign */
    void (*pack)(const BlockParts *parts, uint8_t *block);
    void (*unpack)(const uint8_t *block, BlockParts *parts);
} BlockForm;

extern const BlockForm block_forms[DT_COUNT]; /* elems 0: not a block type of this kind */

/* Fills parts with the best found for x[elems] and weights w[elems], both finite, w > 0. */
void block_fit_ladder(const BlockForm *form, const float *x, const float *w, BlockParts *parts);
void block_fit_affine(const BlockForm *form, const float *x, const float *w, BlockParts *parts);
