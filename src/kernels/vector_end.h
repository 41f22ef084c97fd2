/* Undefines the macros of vector.h, so that it can be included for the next width or type. */
#undef real
#undef FN
#undef LANES
#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef C
#undef SHIFT
#undef V
#undef I
#undef U
