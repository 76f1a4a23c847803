/* block_fit.c: which scales, minima and codes say a block best; see block.h and block_form.h.
 *
 * Three steps by the exact criterion, sum of w (x - y)^2, and a fourth:
 *   1. each part alone, with a real scale (and minimum): from a row of trial scales, codes are the
 *      nearest, and for these codes the best scale is a regression; the best trial is polished by
 *      repeating the two;
 *   2. the block's d (and e): a row of trials, judged by how far whole scales come from the real
 *      ones, weighted by how much each part suffers;
 *   3. descent: each part tries its neighbouring whole scales (and minima) with codes chosen anew,
 *      then d and e are regressed over the block, as long as the error falls.
 *   4. size: least squares shrinks. Its y are too small by as much as is lost, all in one direction,
 *      and a sum over many inputs does not average that out as it does the rest. So d and e grow until
 *      sum of w x y is sum of w x^2: the squared error rises a little (of 2 bits 5 %, of 4 under
 *      1 %), the divergence of the model falls (of 2 bits by 17 %, of 4 by 1 %: docs/quantisation.md).
 * Steps 3 and 4 are what ggml's own search lacks. d and e are halves at every step, so that their
 * rounding is part of what is judged.
 */
#include "tensor/block_form.h"

#include <math.h>
#include <string.h>

enum { LANES = 8, ROUNDS = 3, POLISH = 3 };
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding and taking it away rounds to a whole number */

typedef struct {
    float xv, vv, v; /* sums of w x v, w v^2, w v */
} Sums;

typedef struct {
    double x, w; /* sums of w x and of w over a part: the same for every trial */
} Fixed;

/* v[n]: for each x the step of the ladder nearest to x inverse + shift. */
static void nearest(const BlockForm *f, const float *x, uint32_t n, float inverse, float shift,
                    float *v)
{
    if (!f->book) {
        float low = f->low, high = (float)(f->low + f->codes - 1);
        for (uint32_t i = 0; i < n; i++) {
            float t = x[i] * inverse + shift;
            t = t < low ? low : t;
            t = t > high ? high : t;
            v[i] = (t + ROUNDER) - ROUNDER;
        }
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        v[i] = f->book[0];
    for (int k = 1; k < BLOCK_BOOK; k++) {
        float step = (float)(f->book[k] - f->book[k - 1]);
        float middle = (float)(f->book[k] + f->book[k - 1]) * 0.5f;
        for (uint32_t i = 0; i < n; i++)
            v[i] += x[i] * inverse > middle ? step : 0;
    }
}

/* Lanes are summed apart, so that the order is the same with and without vector units. */
static Sums measure(const float *x, const float *w, const float *v, uint32_t n)
{
    float xv[LANES] = {0}, vv[LANES] = {0}, one[LANES] = {0};
    Sums sums = {0};
    for (uint32_t i = 0; i < n; i += LANES) {
        for (uint32_t k = 0; k < LANES; k++) {
            float wv = w[i + k] * v[i + k];
            xv[k] += wv * x[i + k];
            vv[k] += wv * v[i + k];
            one[k] += wv;
        }
    }
    for (uint32_t k = 0; k < LANES; k++) {
        sums.xv += xv[k];
        sums.vv += vv[k];
        sums.v += one[k];
    }
    return sums;
}

/* Sum of w (x - (scale v - min))^2. */
static float misfit(const float *x, const float *w, const float *v, uint32_t n, float scale,
                    float min)
{
    float sum[LANES] = {0}, total = 0;
    for (uint32_t i = 0; i < n; i += LANES) {
        for (uint32_t k = 0; k < LANES; k++) {
            float miss = x[i + k] - (scale * v[i + k] - min);
            sum[k] += w[i + k] * miss * miss;
        }
    }
    for (uint32_t k = 0; k < LANES; k++)
        total += sum[k];
    return total;
}

static float inverse_of(float scale)
{
    return scale != 0 ? 1 / scale : 0;
}

static uint16_t half_in_range(double value)
{
    double most = 65504;
    return dtype_f16_of_f32((float)(value > most ? most : value < -most ? -most : value));
}

static int whole_in_range(const BlockForm *f, float value)
{
    float low = f->scale_low, high = f->scale_high;
    return (int)rintf(value < low ? low : value > high ? high : value == value ? value : low);
}

/* ---- d: one real number so that whole multiples of it come near to given ones ---- */

static double distance(const BlockForm *f, const float *want, const float *weight, uint32_t parts,
                       float d)
{
    double sum = 0;
    float inverse = inverse_of(d);
    for (uint32_t i = 0; i < parts; i++) {
        double miss = (double)want[i] - (double)d * whole_in_range(f, want[i] * inverse);
        sum += (double)weight[i] * miss * miss;
    }
    return sum;
}

/* The largest of `want` is made the end of the range, or a little less, from either end. */
static uint16_t choose_unit(const BlockForm *f, const float *want, const float *weight,
                            uint32_t parts)
{
    float most = 0;
    uint16_t best = 0;
    for (uint32_t i = 0; i < parts; i++)
        most = fabsf(want[i]) > fabsf(most) ? want[i] : most;
    double least = distance(f, want, weight, parts, 0);
    for (int side = 0; side < 2; side++) {
        float end = side ? f->scale_low : f->scale_high;
        for (int trial = 0; trial < 24 && end != 0; trial++) {
            float at = end * (1 - (float)trial * (1.0f / 64));
            uint16_t half = half_in_range((double)(most / at));
            for (uint16_t up = 0; up < 2; up++) {
                double miss = distance(f, want, weight, parts, dtype_f32_of_f16(half + up));
                if (miss < least && ((half + up) & 0x7fff) < 0x7c00) {
                    least = miss;
                    best = half + up;
                }
            }
        }
    }
    return best;
}

/* ---- ladder: y = (d scale) v ---- */

typedef struct {
    const BlockForm *form;
    const float *x, *w;
    BlockParts *parts;
    float v[BLOCK_ELEMS_MAX];
} Search;

/* The best real scale of one part; *weight: how the error grows with the square of a miss. */
static float fit_scale(const BlockForm *f, const float *x, const float *w, float *weight)
{
    float v[BLOCK_PART_MAX], most = 0, best = 0, gain = 0;
    float low = f->book ? f->book[0] : f->low;
    float high = f->book ? f->book[BLOCK_BOOK - 1] : f->low + f->codes - 1;
    float step = f->codes > 32 ? 0.005f : f->codes > 16 ? 0.01f : 0.025f;
    for (uint32_t i = 0; i < f->part; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    *weight = 0;
    if (most == 0)
        return 0;
    for (int trial = 0; trial < 40 + POLISH; trial++) {
        float end = trial % 2 ? high : low;
        float inverse = trial < 40 ? end * (1 + step * (float)(trial / 2 - 4)) / most
                                   : inverse_of(best);
        nearest(f, x, f->part, inverse, 0, v);
        Sums sums = measure(x, w, v, f->part);
        if (sums.vv > 0 && sums.xv * sums.xv > gain * sums.vv) {
            gain = sums.xv * sums.xv / sums.vv;
            best = sums.xv / sums.vv;
            *weight = sums.vv;
        } else if (trial >= 40) {
            break;
        }
    }
    return best;
}

/* The best whole scale of a part for this d, near the present one; leaves its v. */
static float settle_scale(Search *s, float d, uint32_t part)
{
    const BlockForm *f = s->form;
    uint32_t at = part * f->part, n = f->part;
    int middle = s->parts->scale[part];
    float least = INFINITY, v[BLOCK_PART_MAX];
    for (int k = 0; k < 3; k++) {
        int whole = middle + (k == 2 ? -1 : k);
        if (whole < f->scale_low || whole > f->scale_high)
            continue;
        float scale = d * (float)whole;
        nearest(f, s->x + at, n, inverse_of(scale), 0, v);
        float miss = misfit(s->x + at, s->w + at, v, n, scale, 0);
        if (miss < least) {
            least = miss;
            s->parts->scale[part] = whole;
            memcpy(s->v + at, v, n * sizeof *v);
        }
    }
    return least;
}

static double settle_ladder(Search *s)
{
    double sum = 0;
    for (uint32_t part = 0; part * s->form->part < s->form->elems; part++)
        sum += (double)settle_scale(s, dtype_f32_of_f16(s->parts->d), part);
    return sum;
}

/* The d that is best for the present whole scales and v. */
static uint16_t regress_ladder(const Search *s)
{
    const BlockForm *f = s->form;
    double xv = 0, vv = 0;
    for (uint32_t part = 0; part * f->part < f->elems; part++) {
        uint32_t at = part * f->part;
        Sums sums = measure(s->x + at, s->w + at, s->v + at, f->part);
        double scale = s->parts->scale[part];
        xv += scale * (double)sums.xv;
        vv += scale * scale * (double)sums.vv;
    }
    return vv > 0 ? half_in_range(xv / vv) : 0;
}

static void write_codes(const BlockForm *f, const float *v, uint8_t *code)
{
    for (uint32_t i = 0; i < f->elems; i++) {
        int value = (int)v[i], index = 0;
        while (f->book && f->book[index] < value)
            index++;
        code[i] = (uint8_t)(f->book ? index : value - f->low);
    }
}

/* Settles and regresses in turn while that helps; the best state ends in s. */
static void descend(Search *s, double (*settle)(Search *), void (*regress)(Search *))
{
    double least = settle(s);
    for (int round = 0; round < ROUNDS; round++) {
        Search next = *s;
        BlockParts parts = *s->parts;
        next.parts = &parts;
        regress(&next);
        if (parts.d == s->parts->d && parts.e == s->parts->e)
            return;
        double miss = settle(&next);
        if (!(miss < least))
            return;
        least = miss;
        *s->parts = parts;
        memcpy(s->v, next.v, sizeof s->v);
    }
}

/* Step 4. A block that is said so badly that it would grow by over a quarter is left alone. */
static void restore_size(Search *s)
{
    const BlockForm *f = s->form;
    BlockParts *p = s->parts;
    double d = (double)dtype_f32_of_f16(p->d), e = (double)dtype_f32_of_f16(p->e), xx = 0, xy = 0;
    for (uint32_t i = 0; i < f->elems; i++) {
        uint32_t part = i / f->part;
        double y = d * p->scale[part] * (double)s->v[i] - (f->affine ? e * p->min[part] : 0);
        xx += (double)s->w[i] * (double)s->x[i] * (double)s->x[i];
        xy += (double)s->w[i] * (double)s->x[i] * y;
    }
    if (!(xy > 0) || xx > 1.25 * xy)
        return;
    p->d = half_in_range(d * xx / xy);
    p->e = half_in_range(e * xx / xy);
}

static void move_ladder(Search *s)
{
    s->parts->d = regress_ladder(s);
}

void block_fit_ladder(const BlockForm *form, const float *x, const float *w, BlockParts *parts)
{
    Search s = {.form = form, .x = x, .w = w, .parts = parts};
    float want[BLOCK_PARTS_MAX] = {0}, weight[BLOCK_PARTS_MAX] = {0};
    uint32_t count = form->elems / form->part;
    memset(parts, 0, sizeof *parts);
    for (uint32_t i = 0; i < count; i++)
        want[i] = fit_scale(form, x + i * form->part, w + i * form->part, &weight[i]);
    parts->d = choose_unit(form, want, weight, count);
    float inverse = inverse_of(dtype_f32_of_f16(parts->d));
    for (uint32_t i = 0; i < count; i++)
        parts->scale[i] = whole_in_range(form, want[i] * inverse);
    descend(&s, settle_ladder, move_ladder);
    restore_size(&s);
    write_codes(form, s.v, parts->code);
}

/* ---- affine: y = (d scale) v - (e min) ---- */

typedef struct {
    float scale, min, weight; /* of a part, real; min >= 0 unless the form has signed minima */
} Line;

/* The best line for given codes. Returns how much of sum w x^2 it explains. */
static double regress_line(const BlockForm *f, Sums sums, Fixed fixed, Line *line)
{
    double det = fixed.w * (double)sums.vv - (double)sums.v * (double)sums.v;
    double scale = 0, min = 0;
    if (det > 0) {
        scale = (fixed.w * (double)sums.xv - fixed.x * (double)sums.v) / det;
        min = -((double)sums.vv * fixed.x - (double)sums.v * (double)sums.xv) / det;
    }
    if ((min < 0 && !f->signed_min) || det <= 0) {
        min = 0;
        scale = sums.vv > 0 ? (double)sums.xv / (double)sums.vv : 0;
    }
    scale = scale > 0 ? scale : 0;
    *line = (Line){(float)scale, (float)min, sums.vv};
    return 2 * scale * (double)sums.xv - 2 * min * fixed.x - scale * scale * (double)sums.vv +
           2 * scale * min * (double)sums.v - min * min * fixed.w;
}

static Line fit_line(const BlockForm *f, const float *x, const float *w, Fixed *fixed)
{
    float v[BLOCK_PART_MAX], low = x[0], high = x[0], top = (float)(f->codes - 1);
    *fixed = (Fixed){0};
    for (uint32_t i = 0; i < f->part; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        fixed->x += (double)w[i] * (double)x[i];
        fixed->w += (double)w[i];
    }
    low = low > 0 && !f->signed_min ? 0 : low;
    if (!(high > low)) /* all alike */
        return (Line){0, -low, 0};
    Line best = {(high - low) / top, -low, 1};
    double gain = -INFINITY;
    for (int trial = 0; trial < 24 + POLISH; trial++) {
        Line line;
        float inverse = (top + 0.1f * (float)(trial - 8)) / (high - low), shift = -low * inverse;
        if (trial >= 24) {
            inverse = inverse_of(best.scale);
            shift = best.min * inverse;
        }
        nearest(f, x, f->part, inverse, shift, v);
        double here = regress_line(f, measure(x, w, v, f->part), *fixed, &line);
        if (here > gain) {
            gain = here;
            best = line;
        } else if (trial >= 24) {
            break;
        }
    }
    return best;
}

static float settle_line(Search *s, float d, float e, uint32_t part)
{
    const BlockForm *f = s->form;
    uint32_t at = part * f->part, n = f->part;
    int scale_at = s->parts->scale[part], min_at = s->parts->min[part];
    float least = INFINITY, v[BLOCK_PART_MAX];
    for (int k = 0; k < 9; k++) {
        int scale = scale_at + (k % 3 == 2 ? -1 : k % 3), min = min_at + (k / 3 == 2 ? -1 : k / 3);
        if (scale < f->scale_low || scale > f->scale_high || min < f->scale_low ||
            min > f->scale_high)
            continue;
        float slope = d * (float)scale, below = e * (float)min, inverse = inverse_of(slope);
        nearest(f, s->x + at, n, inverse, below * inverse, v);
        float miss = misfit(s->x + at, s->w + at, v, n, slope, below);
        if (miss < least) {
            least = miss;
            s->parts->scale[part] = scale;
            s->parts->min[part] = min;
            memcpy(s->v + at, v, n * sizeof *v);
        }
    }
    return least;
}

static double settle_affine(Search *s)
{
    double sum = 0;
    float d = dtype_f32_of_f16(s->parts->d), e = dtype_f32_of_f16(s->parts->e);
    for (uint32_t part = 0; part * s->form->part < s->form->elems; part++)
        sum += (double)settle_line(s, d, e, part);
    return sum;
}

/* Over the block, with a = scale v and m = min: least squares of x = d a - e m. */
static void move_affine(Search *s)
{
    const BlockForm *f = s->form;
    double aa = 0, am = 0, mm = 0, xa = 0, xm = 0;
    for (uint32_t part = 0; part * f->part < f->elems; part++) {
        uint32_t at = part * f->part;
        Sums sums = measure(s->x + at, s->w + at, s->v + at, f->part);
        double scale = s->parts->scale[part], min = s->parts->min[part], wx = 0, w = 0;
        for (uint32_t i = 0; i < f->part; i++) {
            wx += (double)s->w[at + i] * (double)s->x[at + i];
            w += (double)s->w[at + i];
        }
        aa += scale * scale * (double)sums.vv;
        am += scale * min * (double)sums.v;
        mm += min * min * w;
        xa += scale * (double)sums.xv;
        xm += min * wx;
    }
    double det = aa * mm - am * am;
    if (!(det > 1e-9 * aa * mm))
        return;
    double d = (xa * mm - xm * am) / det, e = (xa * am - xm * aa) / det;
    if (d <= 0 || (e < 0 && !f->signed_min))
        return;
    s->parts->d = half_in_range(d);
    s->parts->e = half_in_range(e);
}

void block_fit_affine(const BlockForm *form, const float *x, const float *w, BlockParts *parts)
{
    Search s = {.form = form, .x = x, .w = w, .parts = parts};
    float scale[BLOCK_PARTS_MAX] = {0}, min[BLOCK_PARTS_MAX] = {0};
    float weight[BLOCK_PARTS_MAX] = {0}, total[BLOCK_PARTS_MAX] = {0};
    uint32_t count = form->elems / form->part;
    memset(parts, 0, sizeof *parts);
    for (uint32_t i = 0; i < count; i++) {
        Fixed fixed;
        Line line = fit_line(form, x + i * form->part, w + i * form->part, &fixed);
        scale[i] = line.scale;
        min[i] = line.min;
        weight[i] = line.weight;
        total[i] = (float)fixed.w;
    }
    parts->d = choose_unit(form, scale, weight, count);
    parts->e = choose_unit(form, min, total, count);
    float per_d = inverse_of(dtype_f32_of_f16(parts->d));
    float per_e = inverse_of(dtype_f32_of_f16(parts->e));
    for (uint32_t i = 0; i < count; i++) {
        parts->scale[i] = whole_in_range(form, scale[i] * per_d);
        parts->min[i] = whole_in_range(form, min[i] * per_e);
    }
    descend(&s, settle_affine, move_affine);
    restore_size(&s);
    write_codes(form, s.v, parts->code);
}
