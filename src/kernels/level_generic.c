/* Generic level: 16-byte vectors in compiler notation, whatever the processor; complete on its own.
 */
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
