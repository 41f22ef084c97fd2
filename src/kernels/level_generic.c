/* Generic level: 16-byte vectors in compiler notation, whatever the processor; complete on its own.
 */
#define LEVEL generic
#define LEVEL_BYTES 16
#include "level.h"
