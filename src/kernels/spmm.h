/* Products whose left operand is mostly zeros: C <- epilogue of A B, where A stands as lists of its
 * entries that are not zero.
 *
 * B is taken in blocks of SPARSE_ROWS rows and strips of SPARSE_VECTORS vectors, which stay in the
 * L1 cache; a strip of a row of C stays in registers for all entries of a block. Every element of C
 * is summed in the order of A's columns, whatever the rows are that a call computes: results do not
 * depend on how rows are shared among threads.
 *
 * Deleting this file, its lines in kernels.h and table.h, sparse.pxi and the calls to it
 * leaves the general path, with the same results to rounding. */

#define SPARSE_VECTORS 8
#define SPARSE_ROWS (32768 / (SPARSE_VECTORS * WIDTH))

static nn_index FN(csr_blocks)(nn_index columns) {
    return (columns + SPARSE_ROWS - 1) / SPARSE_ROWS;
}

typedef struct {
    FN(int) place;
    real value;
} FN(entry);

/* Entries of x[first .. last - 1] behind `count` others. Returns how many there are then. */
static INLINE nn_index FN(list_part)(const real *x, nn_index first, nn_index last,
                                     FN(entry) *entries, nn_index count) {
    nn_index k = first;
#if HAS_COMPRESS
    I at = FN(iota)() + FN(seti)((FN(int))first);
    for (; k + LANES <= last; k += LANES, at += LANES) {
        V v = FN(load)(x + k), low, high;
#if DOUBLE
        const __mmask8 set = _mm512_cmp_pd_mask((__m512d)v, _mm512_setzero_pd(), _CMP_NEQ_UQ);
        V places = (V)_mm512_maskz_compress_epi64(set, (__m512i)at),
          values = (V)_mm512_maskz_compress_pd(set, (__m512d)v);
        low = __builtin_shufflevector(places, values, 0, 8, 1, 9, 2, 10, 3, 11);
        high = __builtin_shufflevector(places, values, 4, 12, 5, 13, 6, 14, 7, 15);
#else
        const __mmask16 set = _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        V places = (V)_mm512_maskz_compress_epi32(set, (__m512i)at),
          values = (V)_mm512_maskz_compress_ps(set, (__m512)v);
        low = __builtin_shufflevector(places, values, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                      22, 7, 23);
        high = __builtin_shufflevector(places, values, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
                                       14, 30, 15, 31);
#endif
        __builtin_memcpy(entries + count, &low, sizeof low);
        __builtin_memcpy(entries + count + LANES / 2, &high, sizeof high);
        count += __builtin_popcount(set);
    }
#else
    for (; k + LANES <= last; k += LANES) {
        if (!FN(any)(FN(load)(x + k) != 0)) continue;
        UNROLLED
        for (int l = 0; l < LANES; l++) {
            entries[count] = (FN(entry)){(FN(int))(k + l), x[k + l]};
            count += x[k + l] != 0;
        }
    }
#endif
    for (; k < last; k++) {
        entries[count] = (FN(entry)){(FN(int))k, x[k]};
        count += x[k] != 0;
    }
    return count;
}

static void FN(csr_row)(const nn_csr *a, nn_index row, const void *x) {
    FN(entry) *entries = (FN(entry) *)a->entries + row * a->capacity;
    nn_index count = 0;
    int32_t *end = a->ends + row;
    for (nn_index first = 0; first < a->columns; first += SPARSE_ROWS, end += a->rows) {
        count = FN(list_part)(x, first,
                              a->columns - first < SPARSE_ROWS ? a->columns : first + SPARSE_ROWS,
                              entries, count);
        *end = (int32_t)count;
    }
}

/* By blocks of columns, so that the ends of their lists stay in the L1 cache. */
static void FN(csr_transpose)(const nn_csr *from, nn_index rows, nn_index first, nn_index last,
                           const nn_csr *to) {
    FN(entry) *out = to->entries;
    for (nn_index p = first / SPARSE_ROWS; p * SPARSE_ROWS < last; p++) {
        const nn_index low = first > p * SPARSE_ROWS ? first : p * SPARSE_ROWS;
        const nn_index high = last < (p + 1) * SPARSE_ROWS ? last : (p + 1) * SPARSE_ROWS;
        int32_t *ends = to->ends;
        for (nn_index k = low; k < high; k++) ends[k] = 0;
        for (nn_index i = 0; i < rows; i++) {
            if (i > 0 && i % SPARSE_ROWS == 0) {
                for (nn_index k = low; k < high; k++) ends[to->rows + k] = ends[k];
                ends += to->rows;
            }
            const FN(entry) *entry = (const FN(entry) *)from->entries + i * from->capacity,
                            *end = entry + from->ends[p * from->rows + i];
            if (p) entry += from->ends[(p - 1) * from->rows + i];
            while (entry < end && entry->place < low) entry++;
            for (; entry < end && entry->place < high; entry++)
                out[entry->place * to->capacity + ends[entry->place]++] =
                    (FN(entry)){(FN(int))i, entry->value};
        }
    }
}

/* One strip of nv vectors of C; ku * nv chains of sums hide the latency of the multiply-add. */
static INLINE void FN(sparse_strip)(const int nv, const int ku, const int whole, const int updates,
                                    const nn_spmm *g, nn_index j0, nn_index part) {
    const nn_csr *a = &g->a;
    const nn_index blocks = FN(csr_blocks)(a->columns);
    const int packs = g->packs_b && nv > 1;
    real strip[SPARSE_ROWS * SPARSE_VECTORS * LANES] __attribute__((aligned(64)));
#define LOAD(p, v) (whole ? FN(load)((p) + (v) * LANES) : FN(load_part)((p), part))
#define STORE(p, v, x)                         \
    do {                                       \
        if (whole)                             \
            FN(store)((p) + (v) * LANES, (x)); \
        else                                   \
            FN(store_part)((p), (x), part);    \
    } while (0)
#define EACH UNROLLED for (int v = 0; v < nv; v++)
#define TERM(u, entry)                                             \
    do {                                                           \
        const real *row = b + (nn_index)(entry)->place * b_rs;    \
        EACH sum[u][v] += LOAD(row, v) * (entry)->value;           \
    } while (0)
    for (nn_index p = 0; p < blocks; p++) {
        const nn_index first = p * SPARSE_ROWS,
                       depth = a->columns - first < SPARSE_ROWS ? a->columns - first : SPARSE_ROWS;
        const real *b = (const real *)g->b + j0;
        nn_index b_rs = g->b_rs;
        const int last = p == blocks - 1;
        if (packs) {
            for (nn_index k = 0; k < depth; k++)
                EACH FN(store)(strip + (k * nv + v) * LANES,
                               FN(load)(b + (first + k) * b_rs + v * LANES));
            b_rs = nv * LANES;
            b = strip - first * b_rs;
        }
        real *c = (real *)g->c + j0;
        for (nn_index i = g->first; i < g->last; i++, c += g->c_rs) {
            const FN(entry) *entry = (const FN(entry) *)a->entries + i * a->capacity,
                            *end = entry + a->ends[p * a->rows + i];
            if (p) entry += a->ends[(p - 1) * a->rows + i];
            if (entry == end && (updates || (p && !last))) continue;
            V sum[8][SPARSE_VECTORS];
            UNROLLED
            for (int u = 0; u < ku; u++) EACH sum[u][v] = (V){0};
            if (p && !updates) EACH sum[0][v] = LOAD(c, v);
            for (; entry + ku <= end; entry += ku)
                UNROLLED
                for (int u = 0; u < ku; u++) TERM(u, entry + u);
            for (; entry < end; entry++) TERM(0, entry);
            UNROLLED
            for (int half = ku / 2; half > 0; half /= 2)
                UNROLLED
                for (int u = 0; u < half; u++) EACH sum[u][v] += sum[u + half][v];
            if (updates) {
                const real eta = (real)g->eta;
                EACH STORE(c, v, LOAD(c, v) - sum[0][v] * eta);
                continue;
            }
            if (last && g->bias) EACH sum[0][v] += LOAD((const real *)g->bias + j0, v);
#define CASE(NAME, name, uses, forward, backward)            \
    if ((forward) && last && g->activation.kind == NN_##NAME) \
        EACH sum[0][v] = FN(name##_forward)(sum[0][v], (real)g->activation.slope);
            NN_ACTIVATIONS(CASE)
#undef CASE
            EACH STORE(c, v, sum[0][v]);
        }
    }
#undef TERM
#undef EACH
#undef STORE
#undef LOAD
}

static INLINE void FN(sparse_strips)(const int updates, const nn_spmm *g) {
    nn_index j = 0;
    for (; j + 8 * LANES <= g->n; j += 8 * LANES) FN(sparse_strip)(8, 1, 1, updates, g, j, LANES);
    for (; j + 4 * LANES <= g->n; j += 4 * LANES) FN(sparse_strip)(4, 2, 1, updates, g, j, LANES);
    for (; j + 2 * LANES <= g->n; j += 2 * LANES) FN(sparse_strip)(2, 4, 1, updates, g, j, LANES);
    for (; j + LANES <= g->n; j += LANES) FN(sparse_strip)(1, 8, 1, updates, g, j, LANES);
    if (j < g->n) FN(sparse_strip)(1, 8, 0, updates, g, j, g->n - j);
}

static void FN(spmm)(const nn_spmm *g) {
    if (g->updates) {
        FN(sparse_strips)(1, g);
        return;
    }
    FN(sparse_strips)(0, g);
    if (nn_follows_product(g->activation, 0))
        for (nn_index i = g->first; i < g->last; i++) {
            real *c = (real *)g->c + (i - g->first) * g->c_rs;
            FN(activation_forward)(g->n, c, c, g->activation);
        }
}
#undef SPARSE_VECTORS
#undef SPARSE_ROWS
