/* block_nf4.c: NF4 of bitsandbytes, to f32; see block.h. The steps are those of QLoRA (Dettmers et
 * al. 2023, appendix E), as the library writes them. */
#include "tensor/block.h"

static const float steps[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

void block_dequantise_nf4(const uint8_t *codes, const float *most, const float *map,
                          uint32_t block, uint64_t count, float *x)
{
    const float *step = map ? map : steps;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t pair = codes[i / 2];
        x[i] = step[i % 2 ? pair & 15 : pair >> 4] * most[i / block];
    }
}

void block_dequantise_nf4_scales(const uint8_t *codes, const float map[256], const float *outer,
                                 float offset, uint32_t block, uint64_t count, float *most)
{
    for (uint64_t i = 0; i < count; i++)
        most[i] = map[codes[i]] * outer[i / block] + offset;
}
