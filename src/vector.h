/* Vectors of WIDTH bytes of one real type (DOUBLE) at one level (LEVEL): types, words (simd.h) and functions. Everything that is
 * defined here or named by FN() belongs to this (level, width, type); vector_end.h takes the macros back. */

#if DOUBLE
#define real double
#define FN(x) PASTE(x, LEVEL, WIDTH, double)
#define LANES (WIDTH / 8)
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define C(single, double_) double_
typedef int64_t FN(int);
typedef uint64_t FN(unsigned);
#else
#define real float
#define FN(x) PASTE(x, LEVEL, WIDTH, float)
#define LANES (WIDTH / 4)
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define C(single, double_) single
typedef int32_t FN(int);
typedef uint32_t FN(unsigned);
#endif
typedef real FN(vector) __attribute__((vector_size(WIDTH), may_alias));
typedef FN(int) FN(ivector) __attribute__((vector_size(WIDTH), may_alias));
typedef FN(unsigned) FN(uvector) __attribute__((vector_size(WIDTH), may_alias));
#define V FN(vector)
#define I FN(ivector)
#define U FN(uvector)

#include "simd.h"

/* ------------------------------------------------------------------------------------------------ vector functions */

/* (e^r - 1 - r) / r^2 for |r| <= 1.002 ln2 / 2: near-minimax (Chebyshev) coefficients, lowest power first, in Estrin's order, whose
 * chain is half as long as Horner's. r2 = r^2. */
static INLINE V FN(exp_tail)(V r, V r2) {
#if DOUBLE
    V r4 = r2 * r2;
    V q0 = r * 0.166666666666666675 + 0.500000000000000104, q2 = r * 0.00833333333333001176 + 0.0416666666666234768;
    V q4 = r * 0.000198412698632033232 + 0.00138888889175382958, q6 = r * 2.75572680728900983e-6 + 0.0000248015207925726928;
    V q8 = r * 2.51005692758136826e-8 + 2.76203274282682382e-7;
    return ((q6 * r2 + q4) + q8 * r4) * r4 + (q2 * r2 + q0);
#else
    V q0 = r * 0.166665763055606383f + 0.5f, q2 = r * 0.00836329275303060231f + 0.0416665537625676384f;
    return (r2 * 0.00139263256181334621f + q2) * r2 + q0;
#endif
}

/* Added to a number far below it, it rounds to whole numbers, which are left in the lowest bits of the sum. */
#define SHIFT C(12582912.0f, 6755399441055744.0)

/* x = n ln2 + r with n whole, |r| <= ln2 / 2, ln2 in two parts of which n times the first is exact (Cody and Waite). Returns r; shifted:
 * n + SHIFT. */
static INLINE V FN(exp_reduce)(V x, V *shifted) {
    *shifted = x * (real)1.44269504088896340736 + SHIFT;
    V n = *shifted - SHIFT;
    return (x - n * C(0.693115234375f, 0.6931471805592082)) - n * C(3.1946184945309417232e-5f, 7.3710025651677989018e-13);
}

/* e^x where neither it nor what leads to it overflows or underflows, for x that are not NaN: n is added to the exponent. 1 + r is rounded
 * beside the polynomial, which shortens the chain of operations that wait for each other. */
static INLINE V FN(exp_within)(V x) {
    V shifted, r = FN(exp_reduce)(x, &shifted), r2 = r * r, y = r2 * FN(exp_tail)(r, r2) + (1 + r);
    return (V)((U)y + ((U)shifted << MANTISSA_BITS));
}

#if WIDTH == 64 && !DOUBLE
/* e^x for x <= 0, 0 where it is less than the least normal number. x = n ln2 / 16 + r, |r| <= ln2 / 32, and 2^(n / 16) from a table of 16,
 * less k 2^19 for its entry k, which n 2^19 brings along: three terms of e^r do. ln2 / 16 is taken in one part, whose error of 2^-28.4
 * of it adds 0.023 |x| units in the last place: for sums with a largest term e^0. Three operations less than without the table. */
static INLINE V FN(exp_negative)(V x) {
    const __m512 table = (__m512)(I){0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
                                     0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
    const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, (__m512)FN(set)(-87.33f), _CMP_NLT_UQ); /* NaN, too */
    V shifted = x * (16 * 1.44269504088896340736f) + SHIFT;
    V r = (V)_mm512_fnmadd_ps((__m512)(shifted - SHIFT), (__m512)FN(set)(0.693147180559945309417f / 16), (__m512)x);
    V power = (V)((U)_mm512_permutexvar_ps((__m512i)shifted, table) + ((U)shifted << 19));
    V sum = (r * 0.166666672f + 0.5f) * r + 1;
    return (V)_mm512_maskz_fmadd_ps(normal, (__m512)(power * r), (__m512)sum, (__m512)power);
}
#else
/* The same without a table, clamped beyond underflow, the constant first so that NaN passes. */
static INLINE V FN(exp_negative)(V x) {
    V shifted, r = FN(exp_reduce)(FN(max)(FN(set)(C(-105.0f, -750.0)), x), &shifted), r2 = r * r;
    V y = 1 + (r2 * FN(exp_tail)(r, r2) + r);
#if LEVEL_BYTES == 64
    return FN(scale)(y, shifted - SHIFT);
#else /* in two powers as scale does, of which one is always the same */
    const V power = (V)(((U)shifted + (EXPONENT_BIAS + C(64, 512))) << MANTISSA_BITS);
    return y * power * C(0x1p-64f, 0x1p-512);
#endif
}
#endif

static INLINE V FN(exp)(V x) {
    x = -FN(max)(FN(set)(C(-90.0f, -711.0)), -FN(max)(FN(set)(C(-105.0f, -750.0)), x));
    V shifted, r = FN(exp_reduce)(x, &shifted), r2 = r * r, y = 1 + (r2 * FN(exp_tail)(r, r2) + r);
    return FN(scale)(y, shifted - SHIFT);
}

/* tanh x = -t / (t + 2), t = e^(-2|x|) - 1 = 2^n (e^r - 1) + (2^n - 1), where both parts are accurate where the result is small. One
 * constant does for ln2: its error in r counts 2^n n times, and n <= 0. The sign is copied back, so tanh(-0) = -0. (Shorter chains, with
 * r or 2^n r + (2^n - 1) rounded beside the polynomial, cost the monotony.) */
static INLINE V FN(tanh)(V x) {
    I sign = (I)FN(set)((real)-0.0), bits = (I)x & sign;
    V m = FN(max)(FN(set)(C(-10.0f, -20.0)), (V)((I)x | sign));
    V n = (m * (real)(2 * 1.44269504088896340736) + SHIFT) - SHIFT, power = FN(scale)(FN(set)(1), n);
    V r = (m + m) - n * (real)0.693147180559945309417, r2 = r * r;
    V e = r2 * FN(exp_tail)(r, r2) + r, y = -(power * e + (power - 1)) / (power * e + (power + 1));
    return (V)(((I)y & ~sign) | bits);
}

/* 1 / (1 + e^-x), every operation of which is monotone; below -C, where 1 + e^x rounds to 1, e^x itself, which does not overflow. */
static INLINE V FN(sigmoid)(V x) {
    I low = x < C(-18.0f, -38.0);
    V e = FN(exp)(FN(select)(low, x, -x));
    return FN(select)(low, e, 1 / (e + 1));
}

/* log x = k ln2 + log(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2/2 + s (f^2/2 + s^2 P(s^2)), s = f / (2 + f),
 * the form of fdlibm's log, P a Chebyshev fit of (log((1+s)/(1-s)) - 2s) / s^3. */
static INLINE V FN(log)(V x) {
#if DOUBLE
    static const double c[] = {0.146300313641228605, 0.153306173067433049, 0.181829225135159416, 0.222222106742385152,
                               0.285714286288109956, 0.399999999998932218, 0.666666666666666991};
#else
    static const float c[] = {0.233419433887145609f, 0.285503969596180136f, 0.400001255945543671f, 0.666666665498831766f};
#endif
    const real tiny = C(1.17549435e-38f, 2.2250738585072014e-308), up = C(33554432.0f, 18014398509481984.0);
    I small = x < tiny;
    V y = FN(select)(small, x * up, x);
    V k0 = FN(select)(small, FN(set)(C(-25, -54)), (V){0});
    const FN(int) root_half = C(0x3f3504f3, 0x3fe6a09e667f3bcd);
    I bits = (I)((U)y - (FN(unsigned))root_half); /* the exponent field now counts from sqrt(1/2); unsigned, as it wraps round for x < 0 */
    I exponent = bits >> MANTISSA_BITS;
    V f = (V)((bits & (((FN(int))1 << MANTISSA_BITS) - 1)) + root_half) - 1;
    V k = __builtin_convertvector(exponent, V) + k0;
    V s = f / (f + 2), z = s * s, p = FN(set)(c[0]);
    UNROLLED
    for (unsigned i = 1; i < sizeof c / sizeof c[0]; i++) p = p * z + c[i];
    V half = f * f * (real)0.5;
    V tail = s * (half + z * p) + k * C(3.1946184945309417232e-5f, 7.3710025651677989018e-13);
    V result = k * C(0.693115234375f, 0.6931471805592082) - ((half - tail) - f);
    const real infinite = (real)INFINITY;
    result = FN(select)(x == 0, FN(set)(-infinite), result);
    result = FN(select)(x < 0, FN(set)((real)NAN), result);
    return FN(select)((x == infinite) | (x != x), x, result); /* inf and NaN are their own logarithms */
}

/* log(1 + x) for x >= -1: log u, u = 1 + x rounded, plus what the rounding lost. */
static INLINE V FN(log1p)(V x) {
    V u = x + 1;
    V y = FN(log)(u) + (x - (u - 1)) / u;
    y = FN(select)((u == 0) | (u == (real)INFINITY), FN(log)(u), y);
    return FN(select)(x == 0, x, y);
}

static INLINE V FN(activation)(V z, const int kind) {
    switch (kind) {
    case NN_TANH: return FN(tanh)(z);
    case NN_RELU: return FN(max)((V){0}, z);
    case NN_SIGMOID: return FN(sigmoid)(z);
    default: return z;
    }
}

/* da * f'(z), f' in terms of a = f(z) */
static INLINE V FN(derivative)(V da, V a, const int kind) {
    switch (kind) {
    case NN_TANH: return da * (1 - a * a);
    case NN_RELU: return (V)((I)da & (a > 0));
    case NN_SIGMOID: return da * (a * (1 - a));
    default: return da;
    }
}

