/* Compensated sums: the rounding errors of the additions are summed as well (Knuth's two-sum, as in
 * nn_add of kernels.h), so that the error of the result does not grow with the number of terms. */

typedef struct { V sum, lost; } FN(total);

static INLINE void FN(add)(FN(total) *total, V term) {
    NN_TWO_SUM(V, total->sum, total->lost, term);
}

/* lost is NaN if sum is non-finite. */
static INLINE V FN(value)(FN(total) total) {
    return FN(select)(total.lost == total.lost, total.sum + total.lost, total.sum);
}

/* The same over all lanes. */
static INLINE real FN(value_all)(FN(total) total) {
    const real value = FN(sum_all)(total.sum + total.lost)[0];
    return value == value ? value : FN(sum_all)(total.sum)[0];
}

#undef SUM_OVER_ROWS
/* Declares V result, the sum of `term`, an expression in r, over r < m. */
#define SUM_OVER_ROWS(result, m, term)                                                 \
    V result;                                                                          \
    {                                                                                  \
        FN(total) groups = {{0}, {0}};                                                 \
        for (nn_index low = 0; low < (m); low += SUM_GROUP) {                          \
            const nn_index high = (m) - low < SUM_GROUP ? (m) : low + SUM_GROUP;       \
            V group = {0};                                                             \
            for (nn_index r = low; r < high; r++) group += (term);                     \
            FN(add)(&groups, group);                                                   \
        }                                                                              \
        result = FN(value)(groups);                                                    \
    }
