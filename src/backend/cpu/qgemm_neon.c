/* qgemm_neon.c: the row of qgemm's table for every arm64, without the dot product extension: products
 * of 8 bits in 16, added in pairs to 32. */
#include <arm_neon.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define QGEMM_LANES 4
#define QGEMM_PASS 4
#define QGEMM_SIGNED_EIGHTS /* dots of 8 bits takes 128 off itself */

typedef uint8x16_t Bytes;
typedef int32x4_t Ints;
typedef float32x4_t Floats;

INLINE Bytes bytes_load(const uint8_t *from) { return vld1q_u8(from); }
INLINE void bytes_store(uint8_t *to, Bytes x) { vst1q_u8(to, x); }
INLINE Bytes bytes_and(Bytes x, uint8_t mask) { return vandq_u8(x, vdupq_n_u8(mask)); }
INLINE Bytes bytes_or(Bytes x, Bytes y) { return vorrq_u8(x, y); }
INLINE Bytes bytes_left(Bytes x, uint32_t by) { return vshlq_u8(x, vdupq_n_s8((int8_t)by)); }
INLINE Bytes bytes_right(Bytes x, uint32_t by) { return vshlq_u8(x, vdupq_n_s8(-(int8_t)by)); }

INLINE Ints ints_zero(void) { return vdupq_n_s32(0); }
INLINE Ints ints_splat(const int32_t *x) { return vdupq_n_s32(*x); }
INLINE Ints ints_add(Ints x, Ints y) { return vaddq_s32(x, y); }
INLINE Ints ints_mul(Ints x, Ints y) { return vmulq_s32(x, y); }
INLINE uint8x8_t load4(const uint8_t *x)
{
    uint32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    return vcreate_u8(four);
}
INLINE Ints ints_of_bytes(const uint8_t *x)
{
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load4(x)))));
}
INLINE Ints ints_of_signed_bytes(const uint8_t *x)
{
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load4(x)))));
}
INLINE Ints ints_pairs(Ints sum, const uint8_t *pairs, const int32_t *two)
{
    int16x8_t x = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(pairs)));
    int16x8_t y = vreinterpretq_s16_s32(vdupq_n_s32(*two));
    Ints low = vmull_s16(vget_low_s16(x), vget_low_s16(y)), high = vmull_high_s16(x, y);
    return vaddq_s32(sum, vpaddq_s32(low, high));
}

INLINE Floats ints_float(Ints x) { return vcvtq_f32_s32(x); }
INLINE Floats floats_zero(void) { return vdupq_n_f32(0); }
INLINE Floats floats_splat(const float *x) { return vdupq_n_f32(*x); }
INLINE Floats floats_mul(Floats x, Floats y) { return vmulq_f32(x, y); }
INLINE Floats floats_fma(Floats x, Floats y, Floats z) { return vfmaq_f32(z, x, y); }
INLINE Floats floats_fms(Floats x, Floats y, Floats z) { return vfmaq_f32(vnegq_f32(z), x, y); }
INLINE Floats floats_of_halves(const uint8_t *x)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(x)));
}
INLINE void floats_store(float *to, Floats x) { vst1q_f32(to, x); }

/* A product is at most 128 127, and the sum of two, in 16 bits, never formed. */
INLINE void dots(Ints *sum, uint32_t rows, const Bytes *w, const int8_t *q, uint32_t quads,
                 uint32_t bits)
{
#pragma GCC unroll 4
    for (uint32_t row = 0; row < rows; row++) {
        Ints low = ints_zero(), high = ints_zero();
#pragma GCC unroll 8
        for (uint32_t i = 0; i < quads; i++) {
            int32_t four;
            __builtin_memcpy(&four, q + row * 64 + 4 * i, sizeof four);
            int8x16_t quad = vreinterpretq_s8_s32(vdupq_n_s32(four));
            int8x16_t weight =
                vreinterpretq_s8_u8(bits == 8 ? veorq_u8(w[i], vdupq_n_u8(0x80)) : w[i]);
            low = vpadalq_s16(low, vmull_s8(vget_low_s8(weight), vget_low_s8(quad)));
            high = vpadalq_s16(high, vmull_high_s8(weight, quad));
        }
        sum[row] = vaddq_s32(sum[row], vpaddq_s32(low, high));
    }
}

INLINE uint32_t magnitude32(const float *x)
{
    uint32x4_t most = vdupq_n_u32(0);
    for (uint32_t i = 0; i < 32; i += 4) {
        uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(x + i));
        most = vmaxq_u32(most, vandq_u32(bits, vdupq_n_u32(0x7fffffff)));
    }
    return vmaxvq_u32(most);
}

INLINE int32x4_t whole4(const float *x, float by)
{
    return vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), by));
}

INLINE void round32(int8_t *q, const float *x, float by, int32_t sum[2])
{
#pragma GCC unroll 2
    for (uint32_t i = 0; i < 32; i += 16) {
        int32x4_t a = whole4(x + i, by), b = whole4(x + i + 4, by);
        int32x4_t c = whole4(x + i + 8, by), d = whole4(x + i + 12, by);
        int16x8_t low = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
        int16x8_t high = vcombine_s16(vmovn_s32(c), vmovn_s32(d));
        sum[i / 16] = vaddvq_s32(vaddq_s32(vaddq_s32(a, b), vaddq_s32(c, d)));
        vst1q_s8(q + i, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    }
}

#include "backend/cpu/qgemm_body.h"

static bool neon_supported(void)
{
    return true; /* part of every arm64 */
}

const QgemmIsa qgemm_isa_neon = {
    .name = "neon",
    .supported = neon_supported,
    .rows = QGEMM_PASS,
    .quantise = quantise,
    .pass = PASSES,
};
