/* Vectors of WIDTH bytes of one real type (DOUBLE) at one level (LEVEL): types, primitives (simd.h)
 * and elementary functions. Everything defined here or named by FN() belongs to this level, width
 * and type; vector_end.h undefines the macros. */

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

/* x + SHIFT rounds x, far below SHIFT, to an integer n, held in the lowest bits of the sum. */
#define SHIFT C(12582912.0f, 6755399441055744.0)

#include "simd.h"

/* ----------------------------------------------------------------------------- vector functions */

/* e^r = 1 + r + r^2 / 2 + c[0] r^3 + c[1] r^4 + ... for |r| <= 1.002 ln2 / 2, near-minimax: the
 * error relative to e^r is 6e-18 (float: 3.7e-9). */
static const real FN(exp_c)[] = {
#if DOUBLE
    0.1666666666666643,     0.041666666666602986,  0.008333333333502614,   0.0013888888927236758,
    0.00019841269461886386, 2.480150807475989e-05, 2.7557643331285453e-06, 2.7625448736907674e-07,
    2.4978101398654087e-08
#else
    0.166665330529212952f, 0.0416672416031360626f, 0.00836761109530925751f, 0.0013863688800483942f
#endif
};

/* (e^r - 1 - r) / r^2, r2 = r^2, by Estrin's scheme, with half the latency of Horner's. */
static INLINE V FN(exp_tail)(V r, V r2) {
    const real *c = FN(exp_c);
    V q0 = r * c[0] + (real)0.5, q2 = r * c[2] + c[1];
#if DOUBLE
    V r4 = r2 * r2, q4 = r * c[4] + c[3], q6 = r * c[6] + c[5], q8 = r * c[8] + c[7];
    return ((q6 * r2 + q4) + q8 * r4) * r4 + (q2 * r2 + q0);
#else
    return (r2 * c[3] + q2) * r2 + q0;
#endif
}

/* (e^r - 1 - r - r^2 / 2) / r^3 */
static INLINE V FN(exp_rest)(V r, V r2) {
    const real *c = FN(exp_c);
    V q0 = r * c[1] + c[0], q2 = r * c[3] + c[2];
#if DOUBLE
    V r4 = r2 * r2, q4 = r * c[5] + c[4], q6 = r * c[7] + c[6];
    return ((q6 * r2 + q4) + r4 * c[8]) * r4 + (q2 * r2 + q0);
#else
    return q2 * r2 + q0;
#endif
}

/* x = n ln2 + r with integer n, |r| <= ln2 / 2. ln2 is split into two parts; n times the first is
 * exact (Cody and Waite). Returns r; *shifted = n + SHIFT. */
static INLINE V FN(exp_reduce)(V x, V *shifted) {
    *shifted = x * (real)1.44269504088896340736 + SHIFT;
    V n = *shifted - SHIFT;
    return (x - n * C(0.693115234375f, 0.6931471805592082)) -
           n * C(3.1946184945309417232e-5f, 7.3710025651677989018e-13);
}

/* e^(high - low) - 1 for a tiny low, with r = high - low rounded. Adding low to the small terms
 * instead of to r leaves one significant rounding, that of the last sum. */
static INLINE V FN(exp_less_one)(V high, V low, V r) {
    V r2 = r * r;
    return ((r2 * r) * FN(exp_rest)(r, r2) + (r2 * (real)0.5 - low)) + high;
}

/* e^x = 2^n (1 + e). Returns e, |e| < 0.42; *shifted = n + SHIFT. x = n ln2 + (high - low), with
 * ln2 split as in exp_reduce, so that high is exact. */
static INLINE V FN(exp_parts)(V x, V *shifted) {
    *shifted = x * (real)1.44269504088896340736 + SHIFT;
    V n = *shifted - SHIFT, low = n * C(3.1946184945309417232e-5f, 7.3710025651677989018e-13);
    V high = x - n * C(0.693115234375f, 0.6931471805592082);
    return FN(exp_less_one)(high, low, high - low);
}

/* 2^n, a normal number, from n + SHIFT. */
static INLINE V FN(power_of)(V shifted) {
    return (V)((U)FN(set)(1) + ((U)shifted << MANTISSA_BITS));
}

/* e^x for x that are not NaN and far from overflow and underflow: n is added to the exponent. 1 + r
 * is computed in parallel with the polynomial, which shortens the latency chain. */
static INLINE V FN(exp_within)(V x) {
    V shifted, r = FN(exp_reduce)(x, &shifted), r2 = r * r, y = r2 * FN(exp_tail)(r, r2) + (1 + r);
    return (V)((U)y + ((U)shifted << MANTISSA_BITS));
}

#if HAS_MASKS && WIDTH == 64 && !DOUBLE
/* e^x for x <= 0, flushed to 0 below the least normal number. x = n ln2 / 16 + r, |r| <= ln2 / 32,
 * so three terms of e^r suffice; 2^(n / 16) comes from a table of 16 entries, from each of which
 * the k 2^19 that n 2^19 adds for entry k is subtracted. ln2 / 16 is not split: its relative error
 * of 2^-28.4 adds 0.023 |x| ulp, which is harmless in sums with a largest term e^0. Takes three
 * operations less than without the table. */
static INLINE V FN(exp_negative)(V x) {
    const __m512 table =
        (__m512)(I){0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
                    0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
                    0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
    const __mmask16 normal =
        _mm512_cmp_ps_mask((__m512)x, (__m512)FN(set)(-87.33f), _CMP_NLT_UQ); /* NaN, too */
    V shifted = x * (16 * 1.44269504088896340736f) + SHIFT;
    V r = (V)_mm512_fnmadd_ps((__m512)(shifted - SHIFT),
                              (__m512)FN(set)(0.693147180559945309417f / 16), (__m512)x);
    V power = (V)((U)_mm512_permutexvar_ps((__m512i)shifted, table) + ((U)shifted << 19));
    V sum = (r * 0.166666672f + 0.5f) * r + 1;
    return (V)_mm512_maskz_fmadd_ps(normal, (__m512)(power * r), (__m512)sum, (__m512)power);
}
#else
/* The same without a table, clamped beyond underflow; max propagates NaN. */
static INLINE V FN(exp_negative)(V x) {
    V shifted, r = FN(exp_reduce)(FN(max)(FN(set)(C(-105.0f, -750.0)), x), &shifted), r2 = r * r;
    V y = 1 + (r2 * FN(exp_tail)(r, r2) + r);
#if HAS_MASKS
    return FN(scale)(y, shifted);
#else /* two powers as in scale, one of them constant */
    const V power = (V)(((U)shifted + (EXPONENT_BIAS + C(64, 512))) << MANTISSA_BITS);
    return y * power * C(0x1p-64f, 0x1p-512);
#endif
}
#endif

/* e^x; error at most 0.88 ulp if the result is normal. */
static INLINE V FN(exp)(V x) {
    x = -FN(max)(FN(set)(C(-90.0f, -711.0)), -FN(max)(FN(set)(C(-105.0f, -750.0)), x));
    V shifted, e = FN(exp_parts)(x, &shifted);
    return FN(scale)(1 + e, shifted);
}

/* tanh |x| = -t / (t + 2), t = e^(-2|x|) - 1 = 2^n e + (2^n - 1); both terms are accurate if the
 * result is small. ln2 is its rounded value, n times which is exact for the n whose 2^n is
 * significant, plus a correction. The sign is copied back, so tanh(-0) = -0. Error at most 1.99
 * ulp. */
static INLINE V FN(tanh)(V x) {
    I sign = (I)FN(set)((real)-0.0), bits = (I)x & sign;
    V m = FN(max)(FN(set)(C(-10.0f, -20.0)), (V)((I)x | sign));
    V shifted = m * (real)(2 * 1.44269504088896340736) + SHIFT, n = shifted - SHIFT,
      power = FN(power_of)(shifted);
    V r = (m + m) - n * (real)0.693147180559945309417,
      e = FN(exp_less_one)(r, n * C(-1.90465433e-9f, 2.3190468138462996e-17), r);
    V y = ((1 - power) - power * e) / (power * e + (power + 1));
    return (V)((I)y | bits);
}

/* 1 / (1 + e^-x), e^-x = 2^n (1 + e): 2^n e + (2^n + 1) rounds once, as 2^n + 1 is exact. For low
 * x, for which it is inexact and e^-x may overflow, q - q^2 with q = e^x. Error at most 1.67
 * ulp. */
static INLINE V FN(sigmoid)(V x) {
    const I low = x < C(-16.0f, -36.0);
    V shifted, e = FN(exp_parts)(FN(max)(FN(set)(C(-20.0f, -40.0)), -x), &shifted),
               power = FN(power_of)(shifted);
    V y = 1 / (power * e + (power + 1));
    if (__builtin_expect(FN(any)(low), 0)) {
        V q = FN(exp)(x);
        y = FN(select)(low, q - q * q, y);
    }
    return y;
}

/* log x = k ln2 + log(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2/2 + s (f^2/2
 * + s^2 P(s^2)), s = f / (2 + f), the form of fdlibm's log, P a Chebyshev fit of (log((1+s)/(1-s))
 * - 2s) / s^3. */
static INLINE V FN(log)(V x) {
#if DOUBLE
    static const double c[] = {0.146300313641228605, 0.153306173067433049, 0.181829225135159416,
                               0.222222106742385152, 0.285714286288109956, 0.399999999998932218,
                               0.666666666666666991};
#else
    static const float c[] = {0.233419433887145609f, 0.285503969596180136f, 0.400001255945543671f,
                              0.666666665498831766f};
#endif
    const real tiny = C(1.17549435e-38f, 2.2250738585072014e-308),
               up = C(33554432.0f, 18014398509481984.0);
    I subnormal = x < tiny;
    V y = FN(select)(subnormal, x * up, x);
    V k0 = FN(select)(subnormal, FN(set)(C(-25, -54)), (V){0});
    const FN(int) root_half = C(0x3f3504f3, 0x3fe6a09e667f3bcd);
    /* the exponent field counts from sqrt(1/2); unsigned, as it wraps around for x < 0 */
    I bits = (I)((U)y - (FN(unsigned))root_half);
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
    /* infinity and NaN are their own logarithms */
    return FN(select)((x == infinite) | (x != x), x, result);
}

/* log(1 + x) for x >= -1: log u with u = 1 + x rounded, corrected for the rounding. */
static INLINE V FN(log1p)(V x) {
    V u = x + 1;
    V y = FN(log)(u) + (x - (u - 1)) / u;
    y = FN(select)((u == 0) | (u == (real)INFINITY), FN(log)(u), y);
    return FN(select)(x == 0, x, y);
}

/* The standard normal distribution at -t for t >= 0, e^(-t^2/2) R(t), and its density. (1 + 0.8 t)
 * R(t) is a Chebyshev fit in y = (t - 4) / (t + 4) of relative error 2e-9, in double 6e-17. t^2 / 2
 * is split so that its rounding costs no digits: the upper half h of t's bits has an exact
 * square. */
static INLINE V FN(normal_tail)(V t, V *density) {
#if DOUBLE
    static const double c[] = {
        4.71610575765799306e-11, 3.10708289956711213e-9, 9.29240497863948189e-9,
        -1.26054381897630067e-8, -7.91905354055607037e-8, -8.58366553842823461e-9,
        4.15772467884895224e-7, 3.63118242027626195e-7, -1.95408137182582487e-6,
        -2.91044628233205748e-6, 0.0000100393471977508235, 0.0000179258814983947468,
        -0.0000645525391787323276, -0.000084655072962133859, 0.000518480779460575513,
        -0.000100735722759693531, -0.00390039045341657769, 0.0126504588883871697,
        -0.0195853091214066146, 0.00853880977525809512, 0.0360755588473966801,
        -0.111442326170911395, 0.396524693468269521};
#else
    static const float c[] = {
        -5.8345415e-5f, -6.51442258e-5f, 0.00051791565f, -0.000109681888f, -0.0039006342f,
        0.0126524263f, -0.0195852932f, 0.00853862118f, 0.0360755633f, -0.111442321f,
        0.396524693f};
#endif
    t = -FN(max)(FN(set)(C(-16.0f, -40.0)), -t); /* both results are 0 there */
    const V h = (V)((I)t & ~(((FN(int))1 << C(12, 27)) - 1));
    const V e = FN(exp)(h * h * (real)-0.5) * FN(exp)((t - h) * (t + h) * (real)-0.5);
    const V y = (t - 4) / (t + 4);
    V p = FN(set)(c[0]);
    UNROLLED
    for (unsigned i = 1; i < sizeof c / sizeof c[0]; i++) p = p * y + c[i];
    *density = e * (real)0.398942280401432678;
    return e * p / (t * (real)0.8 + 1);
}
