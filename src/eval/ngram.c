/* ngram.c: see ngram.h. One open table holds both kinds of count: n(context, byte), and under the
 * pseudo-byte TOTAL n(context) together with t(context). Keys are 64-bit hashes; a collision among
 * 2^24 of them is less likely than 1 in 100,000. */
#include "eval/ngram.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>

enum { TOTAL = 256, SLOTS_MIN = 1 << 12 };

typedef struct {
    uint64_t key; /* 0: free */
    uint32_t count, kinds;
} Slot;

struct Ngram {
    Slot *slots;
    size_t slot_count, used; /* slot_count: a power of two, at most half used */
    uint32_t order;
    bool is_full;
};

static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

/* context: up to 8 bytes before, the nearest lowest; those beyond `order` are masked off. */
static uint64_t key_of(uint64_t context, uint32_t order, uint32_t byte)
{
    uint64_t kept = order == 0 ? 0 : order >= 8 ? context : context & ((1ull << 8 * order) - 1);
    return mix(mix(kept) + (uint64_t)order * 0x9e3779b97f4a7c15u + byte) | 1;
}

/* The slot of the key, or the free one where it belongs. */
static Slot *find(const Ngram *ngram, uint64_t key)
{
    size_t at = (key >> 1) & (ngram->slot_count - 1);
    while (ngram->slots[at].key && ngram->slots[at].key != key)
        at = (at + 1) & (ngram->slot_count - 1);
    return &ngram->slots[at];
}

bool ngram_new(Ngram **out, uint32_t order, Error *err)
{
    assert(order <= NGRAM_ORDER_MAX);
    Ngram *ngram = mem_alloc(1, sizeof *ngram);
    Slot *slots = mem_alloc(SLOTS_MIN, sizeof *slots);
    if (!ngram || !slots) {
        mem_free(ngram);
        mem_free(slots);
        return fail(err, ERR_MEMORY, "no memory for a baseline of order %u", order);
    }
    *ngram = (Ngram){.slots = slots, .slot_count = SLOTS_MIN, .order = order};
    *out = ngram;
    return true;
}

void ngram_free(Ngram *ngram)
{
    if (!ngram)
        return;
    mem_free(ngram->slots);
    mem_free(ngram);
}

bool ngram_is_full(const Ngram *ngram)
{
    return ngram->is_full;
}

static bool grow(Ngram *ngram, Error *err)
{
    Ngram wider = *ngram;
    wider.slot_count *= 2;
    wider.slots = mem_alloc(wider.slot_count, sizeof *wider.slots);
    if (!wider.slots)
        return fail(err, ERR_MEMORY, "no memory for %zu contexts of the baseline", ngram->used);
    for (size_t i = 0; i < ngram->slot_count; i++) {
        if (ngram->slots[i].key)
            *find(&wider, ngram->slots[i].key) = ngram->slots[i];
    }
    mem_free(ngram->slots);
    *ngram = wider;
    return true;
}

/* Takes a key in unless the table is full; NULL then. */
static Slot *take(Ngram *ngram, uint64_t key)
{
    Slot *slot = find(ngram, key);
    if (slot->key)
        return slot;
    if (ngram->used == NGRAM_ENTRIES_MAX) {
        ngram->is_full = true;
        return NULL;
    }
    slot->key = key;
    ngram->used++;
    return slot;
}

static void count_byte(Ngram *ngram, uint64_t context, uint32_t order, uint8_t byte)
{
    Slot *pair = take(ngram, key_of(context, order, byte));
    bool is_new = pair && pair->count == 0;
    if (!pair || pair->count == UINT32_MAX)
        return;
    Slot *total = take(ngram, key_of(context, order, TOTAL));
    if (!total || total->count == UINT32_MAX)
        return;
    pair->count++;
    total->count++;
    total->kinds += is_new;
}

bool ngram_train(Ngram *ngram, const void *bytes, size_t size, Error *err)
{
    const uint8_t *at = bytes;
    uint64_t context = 0;
    for (size_t i = 0; i < size; i++) {
        while (ngram->used + 2 * (NGRAM_ORDER_MAX + 1) > ngram->slot_count / 2 &&
               ngram->slot_count < 2 * (size_t)NGRAM_ENTRIES_MAX) {
            if (!grow(ngram, err))
                return false;
        }
        for (uint32_t k = 0; k <= ngram->order && k <= i; k++)
            count_byte(ngram, context, k, at[i]);
        context = context << 8 | at[i];
    }
    return true;
}

double ngram_bits(const Ngram *ngram, uint32_t order, const void *bytes, size_t size)
{
    assert(order <= ngram->order);
    const uint8_t *at = bytes;
    uint64_t context = 0;
    double bits = 0;
    for (size_t i = 0; i < size; i++) {
        double probability = 1.0 / 256;
        for (uint32_t k = 0; k <= order && k <= i; k++) {
            const Slot *total = find(ngram, key_of(context, k, TOTAL));
            if (!total->key || !total->count)
                break; /* a longer context was not seen either */
            const Slot *pair = find(ngram, key_of(context, k, at[i]));
            double seen = pair->key ? pair->count : 0;
            double weight = total->kinds;
            probability = (seen + weight * probability) / (total->count + weight);
        }
        bits -= log2(probability);
        context = context << 8 | at[i];
    }
    return bits;
}
