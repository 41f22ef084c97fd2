/* GEMM, C <- epilogue(A B): register tiles, packing, cache blocking; and the transpose that packing
 * uses. Called by the engine's passes over mini-batches and by linear_forward and linear_backward.
 *
 * A tile of up to TILE_ROWS x 2 vectors of C keeps its sums in registers over a block of k. Every
 * element of C is the sum of its blocks, each one chain of multiply-adds in the order of k. Results
 * therefore do not depend on an element's tile or on how rows are split among threads, and long
 * sums lose fewer digits than in one chain.
 *
 * B is traversed in blocks of GEMM_BLOCK_BYTES, up to DEPTH rows, that stay in the L2 cache.
 * - If A's rows are contiguous, a block is taken panel by panel (PANEL columns): the panel stays in
 *   the L1 cache while all rows of A, at most GEMM_ROWS_BYTES at a time, pass by. If several tiles
 *   of rows use a panel, the first one reads it from B and writes it to the workspace as
 *   [j / PANEL][k][PANEL]; the others read the copy. Panels of a B with contiguous columns are
 *   transposed into it first. A B that was packed whole (`packed`) is never copied.
 * - If A's columns are contiguous, as in updates, A is taken in panels of TILE_ROWS rows that stay
 *   in the L1 cache, and each of them passes by the whole block. A panel is read in place if it
 *   spans at most GEMM_NEAR_BYTES, else packed as [k][PANEL_ROWS] on the stack.
 * The tiles prefetch the B that is read next. An update of more than GEMM_PREFETCH_BYTES finds C in
 * memory, so each tile prefetches its rows of C while it sums. */

#ifndef NN_PANELS
#define NN_PANELS
/* The compiler forgets how x was computed. */
#define HIDE(x) __asm__("" : "+r"(x))
/* Where a product finds the panels of B. */
enum { IN_PLACE, COPIED_BY_FIRST, COPIED };
#endif

#undef TILE_ROWS
#undef PANEL_ROWS
#undef PANEL
#undef DEPTH
/* The sums of a tile, two vectors per row of A, share the registers with two vectors of B and one
 * of A. */
#if N_VECTOR_REGISTERS >= 32 && LEVEL_BYTES == 64
#define TILE_ROWS 14
#elif N_VECTOR_REGISTERS >= 32
#define TILE_ROWS 8 /* 16 sums keep four pipes of latency 4 busy */
#else
#define TILE_ROWS 6
#endif
_Static_assert(2 * TILE_ROWS + 3 <= N_VECTOR_REGISTERS, "a tile's sums must stay in registers");
#define PANEL (2 * LANES)
#define PANEL_ROWS ((TILE_ROWS + LANES - 1) / LANES * LANES)
#define DEPTH (GEMM_DEPTH_BYTES / (nn_index)sizeof(real))

/* ------------------------------------------------------------------------------------ transpose */

static void FN(transpose)(nn_index m, nn_index n, const void *x_, nn_index x_stride, void *out_,
                          nn_index out_stride) {
    const real *x = x_;
    real *out = out_;
    for (nn_index i = 0; i < m; i += LANES)
        for (nn_index j = 0; j < n; j += LANES) {
            const nn_index rows = m - i < LANES ? m - i : LANES,
                           columns = n - j < LANES ? n - j : LANES;
            const real *from = x + i * x_stride + j;
            real *to = out + j * out_stride + i;
            V v[LANES];
            if (rows == LANES && columns == LANES) {
                UNROLLED_FOR(r, LANES) v[r] = FN(load)(from + r * x_stride);
                FN(transpose_square)(v);
                UNROLLED_FOR(r, LANES) FN(store)(to + r * out_stride, v[r]);
            } else { /* rows and columns beyond the matrix are neither read nor written */
                UNROLLED_FOR(r, LANES)
                    v[r] = FN(load_part)(r < rows ? from + r * x_stride : from,
                                         r < rows ? columns : 0);
                FN(transpose_square)(v);
                UNROLLED_FOR(r, LANES)
                    FN(store_part)(r < columns ? to + r * out_stride : to, v[r],
                                   r < columns ? rows : 0);
            }
        }
}

/* ---------------------------------------------------------------------------------------- tiles */

/* A block of k. */
typedef struct {
    const nn_gemm *g;
    nn_index depth, a_cs;
    int first, last;  /* begins and completes the sums of C */
    int prefetches_c;
    /* of one tile: */
    nn_index ahead, ahead_too; /* with each row of B, these numbers beyond it are prefetched */
    real *copy; /* where the tile copies its panel of B, if it `packs` */
} FN(block);

/* rows x nv vectors of C at (i0, j0). a: the tile's rows with row stride g->a_rs or, if transposed,
 * its columns with stride block->a_cs; b: its columns. One function, although long: the sums must
 * stay in registers from the loop over k to the epilogue. */
static INLINE void FN(tile)(const int rows, const int nv, const int whole, const int transposed,
                            const int packs, const FN(block) *block, const real *a, const real *b,
                            nn_index b_rs, nn_index i0, nn_index j0, nn_index part) {
    const nn_gemm *g = block->g;
    const nn_index a_rs = transposed ? 1 : g->a_rs, a_cs = transposed ? block->a_cs : 1,
                   c_rs = g->c_rs, depth = block->depth;
    real *c = (real *)g->c + i0 * c_rs + j0;
    V sum[TILE_ROWS][2];
#define EACH UNROLLED_FOR(r, rows) UNROLLED_FOR(v, nv)
    EACH sum[r][v] = (V){0};
    const int prefetches = nv == 2 && transposed; /* the tiles of large updates */
    const nn_index between = block->prefetches_c ? (depth + rows - 1) / rows : depth;
    const real *c_ahead = c;
    const nn_index ahead = block->ahead, ahead_too = block->ahead_too;
    real *copy = block->copy;
    /* Few pointers and strides reach all rows, as addresses scale a stride by up to 4: an offset per
     * row would leave no general registers for the rest. */
    const int group = transposed ? TILE_ROWS : 5;
    const real *row[3];
    UNROLLED_FOR(r, (rows + group - 1) / group) {
        row[r] = a + group * r * a_rs;
        HIDE(row[r]);
    }
    nn_index k = 0, end = depth;
    do {
        if (prefetches) {
            end = depth - k < between ? depth : k + between;
            __builtin_prefetch(c_ahead, 1, 2);
            __builtin_prefetch(c_ahead + LANES, 1, 2);
            c_ahead += c_rs;
        }
#if defined(__clang__)
#pragma clang loop unroll(disable) /* unrolled, clang keeps six of 28 sums in memory */
#else
#pragma GCC unroll 4
#endif
        for (; k < end; k++) {
            V bk[2];
            UNROLLED_FOR(v, nv) bk[v] = LOAD(b, v);
            if (nv == 2 && !transposed) {
                __builtin_prefetch(b + ahead);
                __builtin_prefetch(b + ahead_too);
            }
            if (packs) {
                UNROLLED_FOR(v, nv) FN(store)(copy + v * LANES, bk[v]);
                copy += PANEL;
            }
            UNROLLED_FOR(r, rows) {
                V ark = FN(set)(row[r / group][r % group * a_rs]);
                UNROLLED_FOR(v, nv) sum[r][v] += ark * bk[v];
            }
            UNROLLED_FOR(r, (rows + group - 1) / group) row[r] += a_cs;
            b += b_rs;
        }
    } while (prefetches && k < depth);
    if (!block->first && g->epilogue != NN_UPDATE) EACH sum[r][v] += LOAD(c + r * c_rs, v);
    if (g->epilogue == NN_UPDATE) {
        const real eta = (real)g->eta;
        if (whole) {
            EACH STORE(c + r * c_rs, v, LOAD(c + r * c_rs, v) - sum[r][v] * eta);
        } else { /* loads first, as in gemv.h */
            V old[TILE_ROWS];
            UNROLLED_FOR(r, rows) old[r] = LOAD(c + r * c_rs, 0);
            UNROLLED_FOR(r, rows) STORE(c + r * c_rs, 0, old[r] - sum[r][0] * eta);
        }
    } else if (!block->last) {
        EACH STORE(c + r * c_rs, v, sum[r][v]);
    } else if (g->epilogue == NN_DERIVATIVE && !transposed) {
        const real *d = (const real *)g->d + i0 * g->d_rs + j0;
        const nn_index d_rs = g->d_rs;
        const real slope = (real)g->activation.slope;
#define CASE(NAME, name, uses, forward, backward)                                 \
    case NN_##NAME:                                                               \
        if (!(backward)) break;                                                   \
        EACH STORE(c + r * c_rs, v,                                               \
                   FN(name##_backward)(sum[r][v], LOAD(d + r * d_rs, v), slope)); \
        return;
        switch (g->activation.kind) {
        NN_ACTIVATIONS(CASE)
        }
#undef CASE
        EACH STORE(c + r * c_rs, v, sum[r][v]);
    } else {
        if (g->bias && (!transposed || g->epilogue == NN_STORE)) {
            const real *bias = (const real *)g->bias;
            if (g->bias_down_rows) EACH sum[r][v] += bias[i0 + r];
            else EACH sum[r][v] += LOAD(bias + j0, v);
        }
        const real slope = (real)g->activation.slope;
        (void)slope;
#define CASE(NAME, name, uses, forward, backward)                      \
    if ((forward) && !transposed && g->activation.kind == NN_##NAME) \
        EACH sum[r][v] = FN(name##_forward)(sum[r][v], slope);
        NN_ACTIVATIONS(CASE)
#undef CASE
        EACH STORE(c + r * c_rs, v, sum[r][v]);
    }
#undef EACH
}

#define TILE_ARGUMENTS                                                                \
    const FN(block) *block, const real *a, const real *b, nn_index b_rs, nn_index i0, \
        nn_index j0, nn_index part
#define TILE_FUNCTION(name, rows, nv, whole, transposed, packs)                        \
    static NOINLINE void FN(name)(TILE_ARGUMENTS) {                                    \
        FN(tile)(rows, nv, whole, transposed, packs, block, a, b, b_rs, i0, j0, part); \
    }
#define TILES(rows)                                             \
    TILE_FUNCTION(tile_two_##rows, rows, 2, 1, 0, 0)            \
    TILE_FUNCTION(tile_one_##rows, rows, 1, 1, 0, 0)            \
    TILE_FUNCTION(tile_part_##rows, rows, 1, 0, 0, 0)           \
    TILE_FUNCTION(tile_two_transposed_##rows, rows, 2, 1, 1, 0) \
    TILE_FUNCTION(tile_one_transposed_##rows, rows, 1, 1, 1, 0) \
    TILE_FUNCTION(tile_part_transposed_##rows, rows, 1, 0, 1, 0)
#define PACKING_TILE(rows) TILE_FUNCTION(tile_packing_##rows, rows, 2, 1, 0, 1)
/* Rows of a tile, from half of TILE_ROWS on if they are split among several. */
#if TILE_ROWS == 14
#define FOR_HALF(X) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define FOR_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) FOR_HALF(X)
#elif TILE_ROWS == 8
#define FOR_HALF(X) X(4) X(5) X(6) X(7) X(8)
#define FOR_ROWS(X) X(1) X(2) X(3) FOR_HALF(X)
#else
#define FOR_HALF(X) X(3) X(4) X(5) X(6)
#define FOR_ROWS(X) X(1) X(2) FOR_HALF(X)
#endif
FOR_ROWS(TILES)
FOR_HALF(PACKING_TILE)
#define TILE_ENTRY(rows)                                               \
    {{FN(tile_two_##rows), FN(tile_one_##rows), FN(tile_part_##rows)}, \
     {FN(tile_two_transposed_##rows), FN(tile_one_transposed_##rows),  \
      FN(tile_part_transposed_##rows)}},
typedef void FN(tile_function)(TILE_ARGUMENTS);
static FN(tile_function) *const FN(tiles)[TILE_ROWS][2][3] = {FOR_ROWS(TILE_ENTRY)};
#define PACKING_ENTRY(rows) FN(tile_packing_##rows),
static FN(tile_function) *const FN(packing_tiles)[] = {FOR_HALF(PACKING_ENTRY)};
#undef TILE_ARGUMENTS
#undef TILE_FUNCTION
#undef TILES
#undef PACKING_TILE
#undef PACKING_ENTRY
#undef FOR_HALF
#undef FOR_ROWS
#undef TILE_ENTRY

/* --------------------------------------------------------------------------- packing and blocks */

static void FN(pack_a)(nn_index rows, nn_index depth, const real *a, nn_index a_rs, nn_index a_cs,
                       real *panel) {
    if (a_rs != 1) {
        for (nn_index k = 0; k < depth; k++)
            for (nn_index r = 0; r < rows; r++)
                panel[k * PANEL_ROWS + r] = a[r * a_rs + k * a_cs];
        return;
    }
    for (nn_index k = 0; k < depth; k++, a += a_cs, panel += PANEL_ROWS) {
        nn_index r = 0;
        for (; r + LANES <= rows; r += LANES) FN(store)(panel + r, FN(load)(a + r));
        if (r < rows) FN(store)(panel + r, FN(load_part)(a + r, rows - r));
    }
}

static void FN(pack_b)(nn_index depth, nn_index columns, const real *b, nn_index b_rs,
                       nn_index b_cs, real *out) {
    if (b_cs == 1) { /* row by row, as a row in memory is one stream for the prefetcher */
        for (nn_index k = 0; k < depth; k++, b += b_rs) {
            real *to = out + k * PANEL;
            nn_index j = 0;
            for (; j + PANEL <= columns; j += PANEL, to += depth * PANEL)
                for (int v = 0; v < PANEL; v += LANES) FN(store)(to + v, FN(load)(b + j + v));
            for (; j < columns; j += LANES, to += LANES)
                FN(store)(to, FN(load_part)(b + j, columns - j < LANES ? columns - j : LANES));
        }
        return;
    }
    for (nn_index j = 0; j < columns; j += PANEL, out += depth * PANEL) {
        const nn_index width = columns - j < PANEL ? columns - j : PANEL;
        FN(transpose)(width, depth, b + j * b_cs, b_cs, out, PANEL);
    }
}

/* Columns of a block of B: the fewer its rows, the more columns share each packed panel of A. */
static nn_index FN(block_columns)(nn_index n, nn_index k) {
    const nn_index depth = k < 1 ? 1 : k < DEPTH ? k : DEPTH;
    const nn_index most = GEMM_BLOCK_BYTES / (nn_index)sizeof(real);
    const nn_index padded = (n + PANEL - 1) / PANEL * PANEL;
    return padded * depth <= most ? padded : most / depth / PANEL * PANEL;
}

/* Suffices for any product of n columns and up to k rows of B: a block of fewer rows has more
 * columns, but never exceeds GEMM_BLOCK_BYTES. */
static nn_index FN(gemm_workspace)(nn_index n, nn_index k) {
    const nn_index whole =
        (k < DEPTH ? k : DEPTH) * ((n + PANEL - 1) / PANEL * PANEL) * (nn_index)sizeof(real);
    return whole < GEMM_BLOCK_BYTES ? whole : GEMM_BLOCK_BYTES;
}

/* C <- f(C), or C f'(D), for rows i0 .. i1 - 1 and columns j0 .. j0 + columns - 1, unless the tiles
 * have applied the activation. The tiles of an A with contiguous columns apply none: they are for
 * updates, and would be half as large again. */
static INLINE void FN(gemm_activate)(const nn_gemm *g, nn_index i0, nn_index i1, nn_index j0,
                                     nn_index columns) {
    const int backward = g->epilogue == NN_DERIVATIVE;
    if (g->activation.kind == NN_NONE) return;
    if (g->a_cs == 1 && !nn_follows_product(g->activation, backward)) return;
    for (nn_index r = i0; r < i1; r++) {
        real *c = (real *)g->c + r * g->c_rs + j0;
        if (backward) /* d is not set otherwise */
            FN(activation_backward)(columns, c, (const real *)g->d + r * g->d_rs + j0, c,
                                    g->activation);
        else FN(activation_forward)(columns, c, c, g->activation);
    }
}

/* Rows of C as tiles: split evenly, so that heights differ by one at most. (Divisions by variables
 * cost a product of a few tiles measurable time.) */
typedef struct {
    nn_index tiles, height, n_taller;
} FN(split);

static INLINE FN(split) FN(split_rows)(nn_index m) {
    FN(split) s = {(m + TILE_ROWS - 1) / TILE_ROWS, m, 0};
    if (s.tiles > 1) {
        s.height = m / s.tiles;
        s.n_taller = m - s.height * s.tiles;
    }
    return s;
}

static INLINE nn_index FN(n_depths)(nn_index k) { return k > DEPTH ? (k + DEPTH - 1) / DEPTH : 1; }

/* The first k of block p. */
static INLINE nn_index FN(depth_begin)(nn_index k, nn_index depths, nn_index p) {
    return p == 0 ? 0 : p == depths ? k : k * p / depths;
}

/* Bytes of a B (k, n) that is packed whole, and the packing. */
static nn_index FN(gemm_packed_size)(nn_index n, nn_index k) {
    return k * ((n + PANEL - 1) / PANEL * PANEL) * (nn_index)sizeof(real);
}

static void FN(gemm_pack)(nn_index n, nn_index k, const void *b, nn_index b_rs, nn_index b_cs,
                          void *packed) {
    const nn_index depths = FN(n_depths)(k), block_columns = FN(block_columns)(n, k);
    real *to = packed;
    for (nn_index j0 = 0; j0 < n; j0 += block_columns) {
        const nn_index columns = n - j0 < block_columns ? n - j0 : block_columns;
        for (nn_index p = 0; p < depths; p++) {
            const nn_index k0 = FN(depth_begin)(k, depths, p),
                           depth = FN(depth_begin)(k, depths, p + 1) - k0;
            FN(pack_b)(depth, columns, (const real *)b + k0 * b_rs + j0 * b_cs, b_rs, b_cs, to);
            to += depth * ((columns + PANEL - 1) / PANEL * PANEL);
        }
    }
}

/* `rows` rows of C from i on, for contiguous rows of A and `width` columns, of a panel or less. */
static INLINE void FN(row_tile)(FN(block) *block, const real *a, nn_index rows, nn_index i,
                                const real *b, nn_index b_rs, nn_index j, nn_index width) {
    FN(tiles)[rows - 1][0][width == PANEL ? 0 : width == LANES ? 1 : 2](block, a, b, b_rs, i, j,
                                                                       width);
}

/* Prefetch the vector `distance` beyond each row of B, and the one `other` beyond that. */
static INLINE void FN(prefetch)(FN(block) *block, nn_index distance, nn_index other) {
    block->ahead = distance;
    block->ahead_too = distance + other;
}

/* Tiles t0 .. t1 - 1, whose first row is i0, times a block of B of `columns` columns from j0 on,
 * panel by panel. panels: the copies. */
static void FN(panel_product)(FN(block) *block, FN(split) s, nn_index t0, nn_index t1, nn_index i0,
                              const real *a, const real *b, real *panels, int copied, nn_index j0,
                              nn_index columns) {
    const nn_gemm *g = block->g;
    const nn_index depth = block->depth, b_rs = g->b_rs;
    for (nn_index j = 0, width; j < columns; j += width) {
        const nn_index left = columns - j;
        width = left >= PANEL ? PANEL : left >= LANES ? LANES : left;
        real *panel =
            copied == IN_PLACE ? NULL : panels + j / PANEL * PANEL * depth + j % PANEL;
        int copies = copied;
        if (copied == COPIED_BY_FIRST && g->b_cs != 1) {
            if (t0 == 0 && j % PANEL == 0)
                FN(pack_b)(depth, left < PANEL ? left : PANEL, b + j * g->b_cs, b_rs, g->b_cs,
                           panel);
            copies = COPIED;
        } else if (copied == COPIED_BY_FIRST && width < PANEL) {
            copies = IN_PLACE;
        }
        nn_index t = t0, i = i0, at_rs = b_rs;
        const real *at = b + j;
        FN(prefetch)(block, t0 == 0 ? GEMM_AHEAD * b_rs : 0, LANES);
        if (copies == COPIED || (copies == COPIED_BY_FIRST && t0 > 0)) {
            at = panel;
            at_rs = PANEL;
            FN(prefetch)(block, copied == COPIED && t1 - t0 == 1 ? GEMM_AHEAD * PANEL : 0, LANES);
        } else if (copies == COPIED_BY_FIRST) {
            const nn_index height = s.height + (s.n_taller > 0);
            block->copy = panel;
            FN(packing_tiles)[height - TILE_ROWS / 2](block, a, at, b_rs, 0, j0 + j, width);
            at = panel;
            at_rs = PANEL;
            t = 1;
            i = height;
            FN(prefetch)(block, 0, 0);
        }
        for (nn_index next; t < t1; t++, i = next) {
            next = i + s.height + (t < s.n_taller);
            if (copied == COPIED && t1 - t0 > 1) /* the first two tiles share the next panel */
                FN(prefetch)(block, t - t0 < 2 ? depth * PANEL + (t - t0) * LANES : 0, 0);
            FN(row_tile)(block, a + i * g->a_rs, next - i, i, at, at_rs, j0 + j, width);
            if (copied == IN_PLACE) FN(prefetch)(block, 0, 0);
        }
    }
}

/* All tiles times such a block, whose copy is complete if there is one: each panel of rows passes by
 * the whole block. */
static void FN(row_product)(FN(block) *block, FN(split) s, const real *a, int a_packed,
                            const real *b, const real *copied, nn_index j0, nn_index columns) {
    const nn_gemm *g = block->g;
    real panel[DEPTH * PANEL_ROWS] __attribute__((aligned(64)));
    FN(prefetch)(block, 0, 0);
    for (nn_index t = 0, i = 0, next; t < s.tiles; t++, i = next) {
        next = i + s.height + (t < s.n_taller);
        const real *rows = a + i * g->a_rs;
        FN(tile_function) *const *tile = FN(tiles)[next - i - 1][g->a_cs != 1];
        if (a_packed) {
            FN(pack_a)(next - i, block->depth, rows, g->a_rs, g->a_cs, panel);
            rows = panel;
        }
        for (nn_index j = 0, width; j < columns; j += width) {
            const nn_index left = columns - j;
            const int shape = left >= PANEL ? 0 : left >= LANES ? 1 : 2;
            width = shape == 0 ? PANEL : shape == 1 ? LANES : left;
            if (copied)
                tile[shape](block, rows, copied + j / PANEL * PANEL * block->depth + j % PANEL,
                            PANEL, i, j0 + j, width);
            else tile[shape](block, rows, b + j, g->b_rs, i, j0 + j, width);
        }
        if (block->last && g->epilogue != NN_UPDATE) FN(gemm_activate)(g, i, next, j0, columns);
    }
}

/* Whether A goes row panel by row panel: if its columns are contiguous, and if many tiles of rows
 * use a transposed copy of B or write more than they read. */
static int FN(goes_by_rows)(const nn_gemm *g, nn_index tiles) {
    return g->a_cs != 1 || (tiles > GEMM_PANEL_TILES && !g->packed &&
                            (g->b_cs != 1 || g->k <= GEMM_SHORT_SUM));
}

/* Whether the panels of B are copied: always if its rows are not contiguous, else if enough tiles use
 * the copy. */
static int FN(copies_panels)(const nn_gemm *g, nn_index tiles, int by_rows) {
    const nn_index row = g->b_rs * (nn_index)sizeof(real);
    if (g->b_cs != 1) return 1;
    if (!g->workspace || g->k <= 16) return 0;
    if (by_rows) return row >= GEMM_FAR_ROW && g->m >= 2 * TILE_ROWS;
    return tiles > 2 || (tiles == 2 && g->k * row >= GEMM_FAR_BYTES);
}

static void FN(gemm)(const nn_gemm *g) {
    if (g->m <= 0 || g->n <= 0) return;
    const FN(split) s = FN(split_rows)(g->m);
    const nn_index depths = FN(n_depths)(g->k), block_columns = FN(block_columns)(g->n, g->k);
    const nn_index c_bytes = g->m * g->n * (nn_index)sizeof(real);
    const int a_packed = g->a_cs != 1 && (g->a_rs != 1 || g->k * g->a_cs * (nn_index)sizeof(real) >
                                                              GEMM_NEAR_BYTES);
    const int by_rows = FN(goes_by_rows)(g, s.tiles);
    const int copied = g->packed                               ? COPIED
                       : FN(copies_panels)(g, s.tiles, by_rows) ? COPIED_BY_FIRST
                                                                : IN_PLACE;
    const real *packed = g->packed;
    for (nn_index j0 = 0; j0 < g->n; j0 += block_columns) {
        const nn_index columns = g->n - j0 < block_columns ? g->n - j0 : block_columns;
        for (nn_index p = 0; p < depths; p++) {
            const nn_index k0 = FN(depth_begin)(g->k, depths, p),
                           depth = FN(depth_begin)(g->k, depths, p + 1) - k0;
            FN(block) block = {.g = g,
                               .depth = depth,
                               .a_cs = a_packed ? PANEL_ROWS : g->a_cs,
                               .first = p == 0,
                               .last = p == depths - 1,
                               .prefetches_c = g->epilogue == NN_UPDATE &&
                                               c_bytes > GEMM_PREFETCH_BYTES};
            const real *a = (const real *)g->a + k0 * g->a_cs;
            const real *b = (const real *)g->b + k0 * g->b_rs + j0 * g->b_cs;
            real *panels = g->packed ? (real *)packed : g->workspace;
            packed += g->packed ? depth * ((columns + PANEL - 1) / PANEL * PANEL) : 0;
            if (by_rows) {
                if (copied == COPIED_BY_FIRST)
                    FN(pack_b)(depth, columns, b, g->b_rs, g->b_cs, panels);
                FN(row_product)(&block, s, a, a_packed, b, copied ? panels : NULL, j0, columns);
                continue;
            }
            const nn_index tile_bytes = s.height * depth * (nn_index)sizeof(real);
            const nn_index most = tile_bytes * s.tiles > GEMM_ROWS_BYTES
                                      ? GEMM_ROWS_BYTES / tile_bytes + 1
                                      : s.tiles;
            for (nn_index t = 0, i = 0, next; t < s.tiles; t += most, i = next) {
                const nn_index end = s.tiles - t < most ? s.tiles : t + most;
                next = end * s.height + (end < s.n_taller ? end : s.n_taller);
                FN(panel_product)(&block, s, t, end, i, a, b, panels, copied, j0, columns);
                if (block.last && g->epilogue != NN_UPDATE)
                    FN(gemm_activate)(g, i, next, j0, columns);
            }
        }
    }
}
