/* Reading arrays of other real types, one function for each source type, made by one macro; and
 * copying those of the same type. */
#include <string.h>
#include "kernels.h"

/* Rows of so many bytes, dst_row and src_row bytes apart. */
static void copy_rows(char *dst, nn_index dst_row, const char *src, nn_index src_row, nn_index rows,
                      nn_index bytes) {
    if (dst_row == bytes && src_row == bytes) {
        memcpy(dst, src, (size_t)(rows * bytes));
        return;
    }
    for (nn_index i = 0; i < rows; i++) memcpy(dst + i * dst_row, src + i * src_row, (size_t)bytes);
}

/* The inner loop runs along whichever source stride is shorter, in blocks, so that a transposing
 * read uses whole cache lines. */
enum { BLOCK = 32 };

#define COPY(DST, SRC)                                                                          \
    {                                                                                           \
        DST *out = dst;                                                                         \
        if ((src_row < 0 ? -src_row : src_row) < (src_column < 0 ? -src_column : src_column)) { \
            for (nn_index j0 = 0; j0 < columns; j0 += BLOCK)                                    \
                for (nn_index i = 0; i < rows; i++)                                             \
                    for (nn_index j = j0; j < columns && j < j0 + BLOCK; j++)                   \
                        out[i * dst_row + j] =                                                  \
                            (DST) * (const SRC *)(src + i * src_row + j * src_column);          \
        } else {                                                                                \
            for (nn_index i = 0; i < rows; i++)                                                 \
                for (nn_index j = 0; j < columns; j++)                                          \
                    out[i * dst_row + j] =                                                      \
                        (DST) * (const SRC *)(src + i * src_row + j * src_column);              \
        }                                                                                       \
        return;                                                                                 \
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

void nn_convert(void *dst, nn_index dst_row, int dst_is_double, nn_index rows, nn_index columns,
                const char *src, nn_index src_row, nn_index src_column, int src_type) {
    const nn_index size = dst_is_double ? sizeof(double) : sizeof(float);
    if (src_type == (dst_is_double ? NN_F64 : NN_F32) && src_column == size) {
        copy_rows(dst, dst_row * size, src, src_row, rows, columns * size);
        return;
    }
    if (dst_is_double) FROM(double) else FROM(float)
}

/* Likewise along the shorter stride of dst (4096 x 4096 float64 to Fortran order: 0.1 of the time
 * of a plain loop). */
#define WRITE(T)                                                                                \
    {                                                                                           \
        const T *in = src;                                                                      \
        if ((dst_row < 0 ? -dst_row : dst_row) < (dst_column < 0 ? -dst_column : dst_column)) { \
            for (nn_index i0 = 0; i0 < rows; i0 += BLOCK)                                       \
                for (nn_index j = 0; j < columns; j++)                                          \
                    for (nn_index i = i0; i < rows && i < i0 + BLOCK; i++)                      \
                        *(T *)(dst + i * dst_row + j * dst_column) = in[i * src_row + j];       \
        } else {                                                                                \
            for (nn_index i = 0; i < rows; i++)                                                 \
                for (nn_index j = 0; j < columns; j++)                                          \
                    *(T *)(dst + i * dst_row + j * dst_column) = in[i * src_row + j];           \
        }                                                                                       \
    }

void nn_write_back(char *dst, nn_index dst_row, nn_index dst_column, int is_double, nn_index rows,
                   nn_index columns, const void *src, nn_index src_row) {
    const nn_index size = is_double ? sizeof(double) : sizeof(float);
    if (dst_column == size) {
        copy_rows(dst, dst_row, src, src_row * size, rows, columns * size);
        return;
    }
    if (is_double) WRITE(double) else WRITE(float)
}
