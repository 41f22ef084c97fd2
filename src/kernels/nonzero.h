/* Count and index the non-zero entries of a sample; NaN is non-zero. Used by fused_sgd.h,
 * engine/sparse.pxi and engine/lookahead.pxi. */

static nn_index FN(count_nonzeros)(nn_index m, const void *x_) {
    const real *x = x_;
    I count = {0}; /* at most m / LANES per lane */
    nn_index k = 0, total = 0;
    for (; k + LANES <= m; k += LANES) count -= FN(load)(x + k) != 0;
    for (; k < m; k++) total += x[k] != 0;
    for (int l = 0; l < LANES; l++) total += count[l];
    return total;
}

/* index (capacity m + 16) <- the indices of the non-zero entries of x (m), in order. Returns their
 * number. */
static nn_index FN(nonzero_index)(nn_index m, const void *x_, int32_t *index) {
    const real *x = x_;
    nn_index count = 0, k = 0;
#if HAS_COMPRESS && DOUBLE
    __m256i indices = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (; k + 8 <= m; k += 8, indices = _mm256_add_epi32(indices, _mm256_set1_epi32(8))) {
        __mmask8 set = _mm512_cmp_pd_mask(_mm512_loadu_pd(x + k), _mm512_setzero_pd(), _CMP_NEQ_UQ);
        _mm256_storeu_si256((__m256i *)(index + count), _mm256_maskz_compress_epi32(set, indices));
        count += FN(count_bits)(set);
    }
#elif HAS_COMPRESS
    __m512i indices = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (; k + 16 <= m; k += 16, indices = _mm512_add_epi32(indices, _mm512_set1_epi32(16))) {
        __mmask16 set =
            _mm512_cmp_ps_mask(_mm512_loadu_ps(x + k), _mm512_setzero_ps(), _CMP_NEQ_UQ);
        _mm512_storeu_si512(index + count, _mm512_maskz_compress_epi32(set, indices));
        count += FN(count_bits)(set);
    }
#endif
    for (; k < m; k++) {
        index[count] = (int32_t)k;
        count += x[k] != 0;
    }
    return count;
}
