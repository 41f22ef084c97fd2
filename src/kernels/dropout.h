/* Dropout: an entry is zeroed by a random word derived from its index, so that the mask does not
 * depend on vector width, thread or order. Called by engine/special.pxi and python/dropout.pxi. */

#if DOUBLE
#define LOW(u) ((u) & 0xffffffff) /* words of 32 bits in lanes of 64 */
#else
#define LOW(u) (u)
#endif

/* A 32-bit mixing function with low bias (Wellons, hash-prospector). */
static INLINE U FN(scramble)(U u) {
    u = LOW((u ^ (u >> 16)) * 0x7feb352d);
    u = LOW((u ^ (u >> 15)) * 0x846ca68b);
    return u ^ (u >> 16);
}

static void FN(dropout)(nn_index n, const void *x_, void *y_, uint64_t word, uint32_t first,
                        uint32_t threshold, double scale) {
    const real *x = x_;
    real *y = y_;
    const U low = (U){0} + (FN(unsigned))(word & 0xffffffff),
            high = (U){0} + (FN(unsigned))(word >> 32);
    for (nn_index i = 0; i < n; i += LANES) {
        const nn_index part = n - i < LANES ? n - i : LANES;
        U index = LOW((U)FN(iota)() + (FN(unsigned))(uint32_t)(first + (uint32_t)i));
        I kept = (I)(FN(scramble)(FN(scramble)(index ^ low) ^ high) >= (FN(unsigned))threshold);
        V xi = part == LANES ? FN(load)(x + i) : FN(load_part)(x + i, part);
        V yi = FN(select)(kept, xi * (real)scale, (V){0});
        if (part == LANES) FN(store)(y + i, yi);
        else FN(store_part)(y + i, yi, part);
    }
}

#undef LOW
