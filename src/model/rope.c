/* rope.c: frequencies of stretched rotary embeddings.
 *
 * The models were trained with transformers' f32 tables, and far out a frequency's last bit is an
 * angle's third digit: every step here is rounded to f32 where transformers rounds (pow, division by
 * a scalar, blends of tensors), and is double where it uses Python's floats. */
#include "model/family.h"

#include <math.h>

#define TWO_PI 6.283185307179586477

/* base^(2i/E) */
static float power_of(const ModelConfig *c, uint32_t i)
{
    float exponent = (float)(2 * i) / (float)c->head_width;
    return (float)pow((double)c->theta, (double)exponent);
}

/* Long waves are divided by the factor, short ones kept, those between are blended. */
static float llama3_frequency(const RopeScaling *r, float turn)
{
    double low_wave = (double)r->original / (double)r->low;
    double high_wave = (double)r->original / (double)r->high;
    float wave = (float)TWO_PI / turn;
    if (wave > (float)low_wave)
        return turn / r->factor;
    if (wave < (float)high_wave)
        return turn;
    float smooth = ((float)r->original / wave - r->low) /
                   (float)((double)r->high - (double)r->low);
    return (1 - smooth) * turn / r->factor + smooth * turn;
}

/* The pair, as a real number, that turns so many times within the original context. */
static double pair_of(const ModelConfig *c, double turns)
{
    return c->head_width * log(c->rope.original / (turns * TWO_PI)) / (2 * log((double)c->theta));
}

static float yarn_frequency(const ModelConfig *c, uint32_t i)
{
    const RopeScaling *r = &c->rope;
    double low = pair_of(c, (double)r->beta_fast), high = pair_of(c, (double)r->beta_slow);
    if (!r->exact) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, c->head_width - 1);
    if (low == high)
        high += 0.001;
    float ramp = ((float)i - (float)low) / (float)(high - low);
    float kept = 1 - fminf(fmaxf(ramp, 0), 1), power = power_of(c, i);
    return 1 / (r->factor * power) * (1 - kept) + 1 / power * kept;
}

void rope_frequencies(const ModelConfig *c, float *out)
{
    for (uint32_t i = 0; i < c->head_width / 2; i++) {
        float turn = 1 / power_of(c, i);
        if (c->rope.kind == ROPE_LINEAR)
            turn /= c->rope.factor;
        else if (c->rope.kind == ROPE_LLAMA3)
            turn = llama3_frequency(&c->rope, turn);
        else if (c->rope.kind == ROPE_YARN)
            turn = yarn_frequency(c, i);
        out[i] = turn;
    }
}

static double stretch(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

double rope_yarn_attention(double factor, double mscale, double mscale_all)
{
    if (mscale != 0 && mscale_all != 0)
        return stretch(factor, mscale) / stretch(factor, mscale_all);
    return stretch(factor, 1);
}
