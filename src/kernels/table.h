/* The kernel table of one level and real type, included twice by level.h. The fused kernels are
 * built for every vector width, all others for the widest. */
#if LEVEL_BYTES > 16
#define WIDTH 16
#include "fused.h"
#include "vector_end.h"
#undef WIDTH
#endif
#if LEVEL_BYTES > 32
#define WIDTH 32
#include "fused.h"
#include "vector_end.h"
#undef WIDTH
#endif
#define WIDTH LEVEL_BYTES
#include "fused.h"
#include "elementwise.h"
#include "gemm.h"
#include "reduce.h"
#include "clip.h"
#include "softmax.h"
#include "loss_arrays.h"
#include "gemv.h"
#include "lookahead.h"
#include "spmm.h"
#include "fused_columns.h"
#include "batchnorm.h"
#include "dropout.h"

#define TABLE_(level, type) nn_table_##level##_##type
#define TABLE(level, type) TABLE_(level, type)
const nn_kernels TABLE(LEVEL, real) = {
    .level = TEXT(LEVEL),
    .type = TEXT(real),
    .lanes = LANES,
    .itemsize = sizeof(real),
    .tile_rows = TILE_ROWS,
    .tile_columns = 2 * LANES,
    .gemm = FN(gemm),
    .gemm_workspace = FN(gemm_workspace),
    .gemm_pack = FN(gemm_pack),
    .gemm_packed_size = FN(gemm_packed_size),
    .csr_blocks = FN(csr_blocks),
    .csr_row = FN(csr_row),
    .csr_transpose = FN(csr_transpose),
    .spmm = FN(spmm),
    .gemv = FN(gemv),
    .gemv_listed = FN(gemv_listed),
    .gemv_unpadded = FN(gemv_unpadded),
    .gemv_backward = FN(gemv_backward),
    .rank1_update = FN(rank1_update),
    .gemv_wt = FN(gemv_wt),
    .gemv_backward_wt = FN(gemv_backward_wt),
    .lookahead_pass = FN(lookahead_pass),
    .lookahead_gram = FN(lookahead_gram),
    .lookahead_columns = FN(lookahead_columns),
    .count_nonzeros = FN(count_nonzeros),
    .nonzero_index = FN(nonzero_index),
    .scaled = FN(scaled),
    .gemv_t = FN(gemv_t),
    .softmax_losses = FN(softmax_losses),
    .softmax_total = FN(softmax_total),
    .subtract_scaled = FN(subtract_scaled),
    .activation_forward = FN(activation_forward),
    .activation_backward = FN(activation_backward),
    .softmax = FN(softmax),
    .softmax_workspace = FN(softmax_workspace),
    .loss_and_gradient = FN(loss_and_gradient),
    .loss_terms = FN(loss_terms),
    .adjust_labels = FN(adjust_labels),
    .nll_backward = FN(nll_backward),
    .apply = FN(apply),
    .sum_rows = FN(sum_rows),
    .sum_columns = FN(sum_columns),
    .transpose = FN(transpose),
    .all_finite = FN(all_finite),
    .copy_finite = FN(copy_finite),
    .largest = FN(largest),
    .load_columns = FN(load_columns),
    .columns_forward = FN(columns_forward),
    .columns_backward = FN(columns_backward),
    .optimizer_step = FN(optimizer_step),
    .rank1_rule = FN(rank1_rule),
    .clip_rows = FN(clip_rows),
    .sum_of_squares = FN(sum_of_squares),
    .optimizer_rows = FN(optimizer_rows),
    .batchnorm_forward = FN(batchnorm_forward),
    .batchnorm_backward = FN(batchnorm_backward),
    .ema_update = FN(ema_update),
    .dropout = FN(dropout),
#if WIDTH == 16
#define ALL_WIDTHS(name) {FN(name)}
#elif WIDTH == 32
#define ALL_WIDTHS(name) {PASTE(name, LEVEL, 16, real), FN(name)}
#else
#define ALL_WIDTHS(name) {PASTE(name, LEVEL, 16, real), PASTE(name, LEVEL, 32, real), FN(name)}
#endif
    .fused_sgd = ALL_WIDTHS(fused_sgd),
    .fused_predict = ALL_WIDTHS(fused_predict),
    .fused_forward = ALL_WIDTHS(fused_forward),
    .fused_update = ALL_WIDTHS(fused_update),
#undef ALL_WIDTHS
};

#undef SUM_OVER_ROWS
#undef WIDE
#undef TABLE_
#undef TABLE
#include "vector_end.h"
#undef WIDTH
