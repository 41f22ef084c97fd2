/* SpMM, C <- epilogue(A B) with a sparse A in CSR form (nn_csr): the first layer's products with
 * batches that are mostly zeros, for engine/sparse.pxi.
 *
 * B is taken in blocks of SPMM_ROWS rows and strips of SPMM_VECTORS vectors, which stay in the L1
 * cache; a strip of a row of C stays in registers for all entries of a block. Every element of C is
 * summed in the order of A's columns, whichever rows a call computes, so that results do not depend
 * on how rows are split among threads.
 *
 * Deleting this file, its lines in kernels.h and table.h, engine/sparse.pxi and the calls to it
 * leaves the general path, with the same results to rounding. */

#undef SPMM_ROWS
#define SPMM_ROWS (SPMM_BLOCK_BYTES / (SPMM_VECTORS * WIDTH))

static nn_index FN(csr_blocks)(nn_index columns) { return (columns + SPMM_ROWS - 1) / SPMM_ROWS; }

typedef struct {
    FN(int) column;
    real value;
} FN(entry);

/* Append the non-zeros of x[first .. last - 1] to `count` entries. Returns the new count. */
static INLINE nn_index FN(append_nonzeros)(const real *x, nn_index first, nn_index last,
                                           FN(entry) *entries, nn_index count) {
    nn_index k = first;
#if HAS_COMPRESS
    I column = FN(iota)() + FN(seti)((FN(int))first);
    for (; k + LANES <= last; k += LANES, column += LANES) {
        V v = FN(load)(x + k), low, high;
#if DOUBLE
        const __mmask8 set = _mm512_cmp_pd_mask((__m512d)v, _mm512_setzero_pd(), _CMP_NEQ_UQ);
        V columns = (V)_mm512_maskz_compress_epi64(set, (__m512i)column),
          values = (V)_mm512_maskz_compress_pd(set, (__m512d)v);
        low = __builtin_shufflevector(columns, values, 0, 8, 1, 9, 2, 10, 3, 11);
        high = __builtin_shufflevector(columns, values, 4, 12, 5, 13, 6, 14, 7, 15);
#else
        const __mmask16 set = _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
        V columns = (V)_mm512_maskz_compress_epi32(set, (__m512i)column),
          values = (V)_mm512_maskz_compress_ps(set, (__m512)v);
        low = __builtin_shufflevector(columns, values, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                      22, 7, 23);
        high = __builtin_shufflevector(columns, values, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                       29, 14, 30, 15, 31);
#endif
        __builtin_memcpy(entries + count, &low, sizeof low);
        __builtin_memcpy(entries + count + LANES / 2, &high, sizeof high);
        count += FN(count_bits)(set);
    }
#else
    for (; k + LANES <= last; k += LANES) {
        if (!FN(any)(FN(load)(x + k) != 0)) continue;
        UNROLLED_FOR(l, LANES) {
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
    FN(entry) *entries = (FN(entry) *)a->entries + row * a->row_capacity;
    nn_index count = 0;
    int32_t *end = a->block_ends + row;
    for (nn_index first = 0; first < a->columns; first += SPMM_ROWS, end += a->rows) {
        const nn_index last = a->columns - first < SPMM_ROWS ? a->columns : first + SPMM_ROWS;
        count = FN(append_nonzeros)(x, first, last, entries, count);
        *end = (int32_t)count;
    }
}

/* By blocks of columns, so that the ends of their rows in `to` stay in the L1 cache. */
static void FN(csr_transpose)(const nn_csr *from, nn_index rows, nn_index first, nn_index last,
                              const nn_csr *to) {
    FN(entry) *out = to->entries;
    for (nn_index p = first / SPMM_ROWS; p * SPMM_ROWS < last; p++) {
        const nn_index low = first > p * SPMM_ROWS ? first : p * SPMM_ROWS;
        const nn_index high = last < (p + 1) * SPMM_ROWS ? last : (p + 1) * SPMM_ROWS;
        int32_t *ends = to->block_ends;
        for (nn_index k = low; k < high; k++) ends[k] = 0;
        for (nn_index i = 0; i < rows; i++) {
            if (i > 0 && i % SPMM_ROWS == 0) {
                for (nn_index k = low; k < high; k++) ends[to->rows + k] = ends[k];
                ends += to->rows;
            }
            const FN(entry) *entry = (const FN(entry) *)from->entries + i * from->row_capacity,
                            *end = entry + from->block_ends[p * from->rows + i];
            if (p) entry += from->block_ends[(p - 1) * from->rows + i];
            while (entry < end && entry->column < low) entry++;
            for (; entry < end && entry->column < high; entry++)
                out[entry->column * to->row_capacity + ends[entry->column]++] =
                    (FN(entry)){(FN(int))i, entry->value};
        }
    }
}

/* One strip of nv vectors of C. ku * nv chains of sums hide the latency of the multiply-add. One
 * function, although long: the sums must stay in registers from the entries to the epilogue. */
static INLINE void FN(spmm_strip)(const int nv, const int ku, const int whole, const int updates,
                                  const nn_spmm *g, nn_index j0, nn_index part) {
    const nn_csr *a = &g->a;
    const nn_index blocks = FN(csr_blocks)(a->columns);
    const int packs = g->packs_b && nv > 1;
    real strip[SPMM_ROWS * SPMM_VECTORS * LANES] __attribute__((aligned(64)));
#define TERM(u, entry)                                                  \
    do {                                                                \
        const real *row = b + (nn_index)(entry)->column * b_rs;         \
        UNROLLED_FOR(v, nv) sum[u][v] += LOAD(row, v) * (entry)->value; \
    } while (0)
    for (nn_index p = 0; p < blocks; p++) {
        const nn_index first = p * SPMM_ROWS,
                       depth = a->columns - first < SPMM_ROWS ? a->columns - first : SPMM_ROWS;
        const real *b = (const real *)g->b + j0;
        nn_index b_rs = g->b_rs;
        const int last = p == blocks - 1;
        if (packs) {
            for (nn_index k = 0; k < depth; k++)
                UNROLLED_FOR(v, nv) FN(store)(strip + (k * nv + v) * LANES,
                               FN(load)(b + (first + k) * b_rs + v * LANES));
            b_rs = nv * LANES;
            b = strip - first * b_rs;
        }
        real *c = (real *)g->c + j0;
        for (nn_index i = g->first; i < g->last; i++, c += g->c_rs) {
            const FN(entry) *entry = (const FN(entry) *)a->entries + i * a->row_capacity,
                            *end = entry + a->block_ends[p * a->rows + i];
            if (p) entry += a->block_ends[(p - 1) * a->rows + i];
            if (entry == end && (updates || (p && !last))) continue;
            V sum[8][SPMM_VECTORS];
            UNROLLED_FOR(u, ku) UNROLLED_FOR(v, nv) sum[u][v] = (V){0};
            if (p && !updates) UNROLLED_FOR(v, nv) sum[0][v] = LOAD(c, v);
            for (; entry + ku <= end; entry += ku)
                UNROLLED_FOR(u, ku) TERM(u, entry + u);
            for (; entry < end; entry++) TERM(0, entry);
            UNROLLED
            for (int half = ku / 2; half > 0; half /= 2)
                UNROLLED_FOR(u, half) UNROLLED_FOR(v, nv) sum[u][v] += sum[u + half][v];
            if (updates) {
                const real eta = (real)g->eta;
                UNROLLED_FOR(v, nv) STORE(c, v, LOAD(c, v) - sum[0][v] * eta);
                continue;
            }
            if (last && g->bias)
                UNROLLED_FOR(v, nv) sum[0][v] += LOAD((const real *)g->bias + j0, v);
#define CASE(NAME, name, uses, forward, backward)             \
    if ((forward) && last && g->activation.kind == NN_##NAME) \
        UNROLLED_FOR(v, nv) sum[0][v] = FN(name##_forward)(sum[0][v], (real)g->activation.slope);
            NN_ACTIVATIONS(CASE)
#undef CASE
            UNROLLED_FOR(v, nv) STORE(c, v, sum[0][v]);
        }
    }
#undef TERM
}

static INLINE void FN(spmm_strips)(const int updates, const nn_spmm *g) {
    nn_index j = 0;
    for (; j + 8 * LANES <= g->n; j += 8 * LANES) FN(spmm_strip)(8, 1, 1, updates, g, j, LANES);
    for (; j + 4 * LANES <= g->n; j += 4 * LANES) FN(spmm_strip)(4, 2, 1, updates, g, j, LANES);
    for (; j + 2 * LANES <= g->n; j += 2 * LANES) FN(spmm_strip)(2, 4, 1, updates, g, j, LANES);
    for (; j + LANES <= g->n; j += LANES) FN(spmm_strip)(1, 8, 1, updates, g, j, LANES);
    if (j < g->n) FN(spmm_strip)(1, 8, 0, updates, g, j, g->n - j);
}

static void FN(spmm)(const nn_spmm *g) {
    if (g->updates) {
        FN(spmm_strips)(1, g);
        return;
    }
    FN(spmm_strips)(0, g);
    if (nn_follows_product(g->activation, 0))
        for (nn_index i = g->first; i < g->last; i++) {
            real *c = (real *)g->c + (i - g->first) * g->c_rs;
            FN(activation_forward)(g->n, c, c, g->activation);
        }
}
