/* The generic level: 16-byte vectors in the compilers' vector extensions, for any processor; all
 * kernels exist at this level. */
#define LEVEL generic
#define LEVEL_BYTES 16
#if defined(__aarch64__)
#define N_VECTOR_REGISTERS 32
#else
#define N_VECTOR_REGISTERS 16
#endif
#define HAS_MASKS 0
#define HAS_COMPRESS 0
#include "level.h"
