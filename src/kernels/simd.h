/* Vector primitives of one level, width and real type: load, store, partial vectors, maximum,
 * scaling by 2^n, reductions. Included by vector.h, which defines real, V, I, FN, LANES and DOUBLE.
 * Everything else is written in the operators of gcc's and clang's vector extensions. */

/* x - 0 is x for every x, so this folds to a plain broadcast; x + 0 would not (-0). */
static INLINE V FN(set)(real x) { V zero = {0}; return x - zero; }
static INLINE I FN(seti)(FN(int) x) { I zero = {0}; return x - zero; }
static INLINE V FN(load)(const real *p) { V v; __builtin_memcpy(&v, p, sizeof v); return v; }
static INLINE void FN(store)(real *p, V v) { __builtin_memcpy(p, &v, sizeof v); }
static INLINE V FN(select)(I mask, V yes, V no) { return (V)(((I)yes & mask) | ((I)no & ~mask)); }
/* Prevents contraction of v, a product, into a fused multiply-add. With -ffp-contract=fast the
 * compiler contracts or not from one use of an expression to the next, so results that must have
 * equal bits need this. */
static INLINE V FN(rounded)(V v) {
#if HAS_MASKS
    __asm__("" : "+v"(v));
#elif defined(__x86_64__)
    __asm__("" : "+x"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
    return v;
}
static INLINE I FN(iota)(void) { I v; for (int i = 0; i < LANES; i++) v[i] = i; return v; }
static INLINE I FN(first)(nn_index n) { return FN(iota)() < FN(seti)((FN(int))n); }

#if HAS_COMPRESS
/* The number of bits of a mask of lanes. gcc 12 may spill the one or two bytes of it and read four
 * (seen at -O1 with -fsanitize=thread), so the others are cleared where it cannot know them. */
static INLINE nn_index FN(count_bits)(unsigned mask) {
    __asm__("" : "+r"(mask));
    return __builtin_popcount(mask & (DOUBLE ? 0xffu : 0xffffu));
}
#endif

/* load_part, store_part: the first n lanes, 0 <= n <= LANES; memory beyond them is not accessed,
 * lanes beyond them are 0. max(a, b) is a > b ? a : b, which propagates a NaN in b. scale(x, n +
 * SHIFT) is x 2^n for integers n in [-2044, 2046], for float in [-252, 254]. */
#if WIDTH == 64 && !DOUBLE
#define PART ((__mmask16)_bzhi_u32(0xffff, (unsigned)n))
static INLINE V FN(load_part)(const real *p, nn_index n) {
    return (V)_mm512_maskz_loadu_ps(PART, p);
}
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    _mm512_mask_storeu_ps(p, PART, (__m512)v);
}
static INLINE V FN(max)(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
static INLINE V FN(scale)(V x, V shifted) {
    return (V)_mm512_scalef_ps((__m512)x, (__m512)(shifted - SHIFT));
}
#undef PART
#elif WIDTH == 64 && DOUBLE
#define PART ((__mmask8)_bzhi_u32(0xff, (unsigned)n))
static INLINE V FN(load_part)(const real *p, nn_index n) {
    return (V)_mm512_maskz_loadu_pd(PART, p);
}
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    _mm512_mask_storeu_pd(p, PART, (__m512d)v);
}
static INLINE V FN(max)(V a, V b) { return (V)_mm512_max_pd((__m512d)a, (__m512d)b); }
static INLINE V FN(scale)(V x, V shifted) {
    return (V)_mm512_scalef_pd((__m512d)x, (__m512d)(shifted - SHIFT));
}
#undef PART
#elif HAS_MASKS
#define PART ((__mmask8)_bzhi_u32(0xff, (unsigned)n))
#if WIDTH == 32 && !DOUBLE
static INLINE V FN(load_part)(const real *p, nn_index n) {
    return (V)_mm256_maskz_loadu_ps(PART, p);
}
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    _mm256_mask_storeu_ps(p, PART, (__m256)v);
}
static INLINE V FN(max)(V a, V b) { return (V)_mm256_max_ps((__m256)a, (__m256)b); }
static INLINE V FN(scale)(V x, V shifted) {
    return (V)_mm256_scalef_ps((__m256)x, (__m256)(shifted - SHIFT));
}
#elif WIDTH == 32
static INLINE V FN(load_part)(const real *p, nn_index n) {
    return (V)_mm256_maskz_loadu_pd(PART, p);
}
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    _mm256_mask_storeu_pd(p, PART, (__m256d)v);
}
static INLINE V FN(max)(V a, V b) { return (V)_mm256_max_pd((__m256d)a, (__m256d)b); }
static INLINE V FN(scale)(V x, V shifted) {
    return (V)_mm256_scalef_pd((__m256d)x, (__m256d)(shifted - SHIFT));
}
#elif !DOUBLE
static INLINE V FN(load_part)(const real *p, nn_index n) { return (V)_mm_maskz_loadu_ps(PART, p); }
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    _mm_mask_storeu_ps(p, PART, (__m128)v);
}
static INLINE V FN(max)(V a, V b) { return (V)_mm_max_ps((__m128)a, (__m128)b); }
static INLINE V FN(scale)(V x, V shifted) {
    return (V)_mm_scalef_ps((__m128)x, (__m128)(shifted - SHIFT));
}
#else
static INLINE V FN(load_part)(const real *p, nn_index n) { return (V)_mm_maskz_loadu_pd(PART, p); }
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    _mm_mask_storeu_pd(p, PART, (__m128d)v);
}
static INLINE V FN(max)(V a, V b) { return (V)_mm_max_pd((__m128d)a, (__m128d)b); }
static INLINE V FN(scale)(V x, V shifted) {
    return (V)_mm_scalef_pd((__m128d)x, (__m128d)(shifted - SHIFT));
}
#endif
#undef PART
#else
#if WIDTH == 32 && !DOUBLE
static INLINE V FN(load_part)(const real *p, nn_index n) {
    return (V)_mm256_maskload_ps(p, (__m256i)FN(first)(n));
}
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    _mm256_maskstore_ps(p, (__m256i)FN(first)(n), (__m256)v);
}
static INLINE V FN(max)(V a, V b) { return (V)_mm256_max_ps((__m256)a, (__m256)b); }
#elif WIDTH == 32 && DOUBLE
static INLINE V FN(load_part)(const real *p, nn_index n) {
    return (V)_mm256_maskload_pd(p, (__m256i)FN(first)(n));
}
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    _mm256_maskstore_pd(p, (__m256i)FN(first)(n), (__m256d)v);
}
static INLINE V FN(max)(V a, V b) { return (V)_mm256_max_pd((__m256d)a, (__m256d)b); }
#else
static INLINE V FN(load_part)(const real *p, nn_index n) {
    V v = {0};
    for (int i = 0; i < LANES; i++) if (i < n) v[i] = p[i];
    return v;
}
static INLINE void FN(store_part)(real *p, V v, nn_index n) {
    for (int i = 0; i < LANES; i++) if (i < n) p[i] = v[i];
}
static INLINE V FN(max)(V a, V b) { return FN(select)(a > b, a, b); }
#endif
/* x times 2^n as two normal powers: exact, with one rounding if the result is subnormal. n may be
 * NaN. A positive number is halved, as SSE2 and AVX2 cannot shift signed 64-bit integers. */
static INLINE V FN(scale)(V x, V shifted) {
    const U n = (U)shifted - (U)FN(set)(SHIFT), half = (n + 4 * EXPONENT_BIAS) >> 1;
    V low = (V)((half - EXPONENT_BIAS) << MANTISSA_BITS);
    V high = (V)((n - half + 3 * EXPONENT_BIAS) << MANTISSA_BITS);
    return x * low * high;
}
#endif

/* Square roots, correctly rounded. */
static INLINE V FN(sqrt)(V x) {
#if WIDTH == 64 && !DOUBLE
    return (V)_mm512_sqrt_ps((__m512)x);
#elif WIDTH == 64
    return (V)_mm512_sqrt_pd((__m512d)x);
#elif WIDTH == 32 && !DOUBLE
    return (V)_mm256_sqrt_ps((__m256)x);
#elif WIDTH == 32
    return (V)_mm256_sqrt_pd((__m256d)x);
#elif DOUBLE
    for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrt(x[i]);
    return x;
#else
    for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

/* Non-zero if any lane of a mask is set. */
static INLINE int FN(any)(I mask) {
#if WIDTH == 64
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif WIDTH == 32
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#elif LEVEL_BYTES > 16
    return !_mm_testz_si128((__m128i)mask, (__m128i)mask);
#else
    int64_t halves[2];
    __builtin_memcpy(halves, &mask, sizeof halves);
    return (halves[0] | halves[1]) != 0;
#endif
}

static INLINE int FN(any_equal)(V a, V b) {
#if WIDTH == 64 && !DOUBLE
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ) != 0;
#elif WIDTH == 64
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_EQ_OQ) != 0;
#else
    return FN(any)(a == b);
#endif
}

/* Sums and maxima over the lanes, by halves: the same order at every width. */
#if LANES == 16
#define SHUFFLE_DOWN(v, s)                                                                        \
    __builtin_shufflevector(v, v, (0 + s) & 15, (1 + s) & 15, (2 + s) & 15, (3 + s) & 15,         \
                            (4 + s) & 15, (5 + s) & 15, (6 + s) & 15, (7 + s) & 15, (8 + s) & 15, \
                            (9 + s) & 15, (10 + s) & 15, (11 + s) & 15, (12 + s) & 15,            \
                            (13 + s) & 15, (14 + s) & 15, (15 + s) & 15)
#elif LANES == 8
#define SHUFFLE_DOWN(v, s)                                                                         \
    __builtin_shufflevector(v, v, (0 + s) & 7, (1 + s) & 7, (2 + s) & 7, (3 + s) & 7, (4 + s) & 7, \
                            (5 + s) & 7, (6 + s) & 7, (7 + s) & 7)
#elif LANES == 4
#define SHUFFLE_DOWN(v, s) __builtin_shufflevector(v, v, (0+s)&3, (1+s)&3, (2+s)&3, (3+s)&3)
#else
#define SHUFFLE_DOWN(v, s) __builtin_shufflevector(v, v, (0+s)&1, (1+s)&1)
#endif
/* The sum, or the maximum, in every lane. */
static INLINE V FN(sum_all)(V v) {
#if LANES > 8
    v = v + SHUFFLE_DOWN(v, 8);
#endif
#if LANES > 4
    v = v + SHUFFLE_DOWN(v, 4);
#endif
#if LANES > 2
    v = v + SHUFFLE_DOWN(v, 2);
#endif
    return v + SHUFFLE_DOWN(v, 1);
}
static INLINE V FN(max_all)(V v) {
#if LANES > 8
    v = FN(max)(v, SHUFFLE_DOWN(v, 8));
#endif
#if LANES > 4
    v = FN(max)(v, SHUFFLE_DOWN(v, 4));
#endif
#if LANES > 2
    v = FN(max)(v, SHUFFLE_DOWN(v, 2));
#endif
    return FN(max)(v, SHUFFLE_DOWN(v, 1));
}
/* The halves of a vector, exchanged. */
static INLINE V FN(other_half)(V v) { return SHUFFLE_DOWN(v, LANES / 2); }
#undef SHUFFLE_DOWN

/* out[0 .. 3] <- the sums over the lanes of a, b, c, d. Merging the vectors while summing takes
 * half the shuffles. */
static INLINE void FN(four_sums)(V a, V b, V c, V d, real *out) {
#if LANES == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define PAIRS_LOW 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23
#define PAIRS_HIGH 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31
#elif LANES == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define PAIRS_LOW 0, 1, 8, 9, 2, 3, 10, 11
#define PAIRS_HIGH 4, 5, 12, 13, 6, 7, 14, 15
#elif LANES == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#define PAIRS_LOW 0, 1, 4, 5
#define PAIRS_HIGH 2, 3, 6, 7
#else
#define LOW 0, 2
#define HIGH 1, 3
#endif
    V ab = __builtin_shufflevector(a, b, LOW) + __builtin_shufflevector(a, b, HIGH);
    V cd = __builtin_shufflevector(c, d, LOW) + __builtin_shufflevector(c, d, HIGH);
#if LANES == 2
    FN(store)(out, ab);
    FN(store)(out + 2, cd);
#else
    V all = __builtin_shufflevector(ab, cd, PAIRS_LOW)
          + __builtin_shufflevector(ab, cd, PAIRS_HIGH);
#if LANES == 16
    all += __builtin_shufflevector(all, all, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    all += __builtin_shufflevector(all, all, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
#elif LANES == 8
    all += __builtin_shufflevector(all, all, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
    __builtin_memcpy(out, &all, 4 * sizeof(real));
#undef PAIRS_LOW
#undef PAIRS_HIGH
#endif
#undef LOW
#undef HIGH
}

/* Alternate lanes of a and b, from the lower (o = 0) or the upper (o = LANES / 2) half of each. */
#undef ZIP
#if LANES == 16
#define ZIP(a, b, o)                                                                             \
    __builtin_shufflevector(a, b, o, o + 16, o + 1, o + 17, o + 2, o + 18, o + 3, o + 19, o + 4, \
                            o + 20, o + 5, o + 21, o + 6, o + 22, o + 7, o + 23)
#elif LANES == 8
#define ZIP(a, b, o) \
    __builtin_shufflevector(a, b, o, o + 8, o + 1, o + 9, o + 2, o + 10, o + 3, o + 11)
#elif LANES == 4
#define ZIP(a, b, o) __builtin_shufflevector(a, b, o, o + 4, o + 1, o + 5)
#else
#define ZIP(a, b, o) __builtin_shufflevector(a, b, o, o + 2)
#endif

/* log2(factor) perfect shuffles of the entries of `rows` vectors, both powers of two. With factor =
 * rows the entries are then in column order; log2(LANES) more shuffles restore row order. */
static INLINE void FN(interleave)(const int rows, const int factor, V *v) {
    if (rows == 1) return;
    UNROLLED
    for (int stage = 1; stage < factor; stage *= 2) {
        V u[16];
        UNROLLED_FOR(i, rows / 2) {
            u[2 * i] = ZIP(v[i], v[i + rows / 2], 0);
            u[2 * i + 1] = ZIP(v[i], v[i + rows / 2], LANES / 2);
        }
        UNROLLED_FOR(i, rows) v[i] = u[i];
    }
}

/* v[i][j] <- v[j][i] */
static INLINE void FN(transpose_square)(V *v) { FN(interleave)(LANES, LANES, v); }
