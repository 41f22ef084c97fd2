/* Conversion of arrays of any real type to float or double, and copies between layouts. Called by
 * engine/source.pxi, engine/params.pxi and python/boundary.pxi. */
#include <string.h>
#include "kernels/kernels.h"

static nn_index distance(nn_index stride) { return stride < 0 ? -stride : stride; }

/* Copy rows of `bytes` bytes; strides in bytes. */
static void copy_rows(char *dst, nn_index dst_stride, const char *src, nn_index src_stride,
                      nn_index rows, nn_index bytes) {
    if (dst_stride == bytes && src_stride == bytes) {
        memcpy(dst, src, (size_t)(rows * bytes));
        return;
    }
    for (nn_index i = 0; i < rows; i++)
        memcpy(dst + i * dst_stride, src + i * src_stride, (size_t)bytes);
}

/* The inner loop runs along the shorter source stride, in blocks, so that a transposing read uses
 * whole cache lines. */
enum { BLOCK = 32 };

#define ELEMENT(SRC, i, j) (*(const SRC *)(src + (i) * src_stride + (j) * src_col_stride))
#define COPY(DST, SRC)                                                        \
    {                                                                         \
        DST *out = dst;                                                       \
        if (distance(src_stride) < distance(src_col_stride)) {                \
            for (nn_index j0 = 0; j0 < columns; j0 += BLOCK)                  \
                for (nn_index i = 0; i < rows; i++)                           \
                    for (nn_index j = j0; j < columns && j < j0 + BLOCK; j++) \
                        out[i * dst_stride + j] = (DST)ELEMENT(SRC, i, j);    \
        } else {                                                              \
            for (nn_index i = 0; i < rows; i++)                               \
                for (nn_index j = 0; j < columns; j++)                        \
                    out[i * dst_stride + j] = (DST)ELEMENT(SRC, i, j);        \
        }                                                                     \
        return;                                                               \
    }

#define FROM(DST)                              \
    switch (src_type) {                        \
    case NN_BOOL: COPY(DST, uint8_t)           \
    case NN_I8: COPY(DST, int8_t)              \
    case NN_U8: COPY(DST, uint8_t)             \
    case NN_I16: COPY(DST, int16_t)            \
    case NN_U16: COPY(DST, uint16_t)           \
    case NN_I32: COPY(DST, int32_t)            \
    case NN_U32: COPY(DST, uint32_t)           \
    case NN_I64: COPY(DST, int64_t)            \
    case NN_U64: COPY(DST, uint64_t)           \
    case NN_F32: COPY(DST, float)              \
    case NN_F64: COPY(DST, double)             \
    }

void nn_convert(void *dst, nn_index dst_stride, int dst_is_double, nn_index rows, nn_index columns,
                const char *src, nn_index src_stride, nn_index src_col_stride, int src_type) {
    const nn_index size = dst_is_double ? sizeof(double) : sizeof(float);
    if (src_type == (dst_is_double ? NN_F64 : NN_F32) && src_col_stride == size) {
        copy_rows(dst, dst_stride * size, src, src_stride, rows, columns * size);
        return;
    }
    if (dst_is_double) FROM(double) else FROM(float)
}

/* The inner loop runs along the shorter stride of dst (4096 x 4096 float64 to Fortran order: 0.1 of
 * the time of a plain loop). */
#define WRITE(T)                                                                          \
    {                                                                                     \
        const T *in = src;                                                                \
        if (distance(dst_stride) < distance(dst_col_stride)) {                            \
            for (nn_index i0 = 0; i0 < rows; i0 += BLOCK)                                 \
                for (nn_index j = 0; j < columns; j++)                                    \
                    for (nn_index i = i0; i < rows && i < i0 + BLOCK; i++)                \
                        *(T *)(dst + i * dst_stride + j * dst_col_stride) =               \
                            in[i * src_stride + j];                                       \
        } else {                                                                          \
            for (nn_index i = 0; i < rows; i++)                                           \
                for (nn_index j = 0; j < columns; j++)                                    \
                    *(T *)(dst + i * dst_stride + j * dst_col_stride) =                   \
                        in[i * src_stride + j];                                           \
        }                                                                                 \
    }

void nn_write_back(char *dst, nn_index dst_stride, nn_index dst_col_stride, int is_double,
                   nn_index rows, nn_index columns, const void *src, nn_index src_stride) {
    const nn_index size = is_double ? sizeof(double) : sizeof(float);
    if (dst_col_stride == size) {
        copy_rows(dst, dst_stride, src, src_stride * size, rows, columns * size);
        return;
    }
    if (is_double) WRITE(double) else WRITE(float)
}
